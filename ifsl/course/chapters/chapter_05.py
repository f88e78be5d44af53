"""Exercises of chapter 05, PANet."""

import torch

from ...learners.panet import average
from ..exercises import Verdict, exercise, right, to_function, to_number, wrong


@exercise(
    "05.1",
    hints=[
        "`features[:, mask > 0]` has shape (D, number of cells of the class).",
        "Take the mean of `features[:, mask == 0]` and of `features[:, mask > 0]` over the cells, and stack them.",
    ],
    solution="```python\ndef answer(features, mask):\n"
    "    return torch.stack([features[:, mask == 0].mean(dim=1), features[:, mask > 0].mean(dim=1)])\n```",
)
def check_prototypes(answer: object) -> Verdict:
    given = to_function(answer)
    source = torch.Generator().manual_seed(5)
    features, mask = torch.randn(6, 4, 5, generator=source), torch.rand(4, 5, generator=source).sub(0.4).clamp(min=0)
    true = average(features[None, None, None], mask[None, None, None])[0]
    found = torch.as_tensor(given(features.clone(), mask.clone()), dtype=torch.float32)
    if tuple(found.shape) != (2, 6):
        return wrong(f"The shape is {tuple(found.shape)}, not (2, 6): two prototypes with D = 6 numbers each.")
    if torch.allclose(found, true, atol=1e-4):
        return right("It gives the same as panet.average.")
    if torch.allclose(found.flip(0), true, atol=1e-4):
        return wrong("The background comes first, then the class.")
    weighted = (features * mask).sum(dim=(1, 2)) / mask.sum()
    if torch.allclose(found[1], weighted, atol=1e-4):
        return wrong("A cell is in or out; do not weight it by the mask's value.")
    return wrong("Take the mean of the cells where the mask is above 0, and of those where it is exactly 0.")


@exercise(
    "05.2",
    hints=["For presence, each class is compared with the background alone. For the label, all three compete."],
    solution="`(True, True, 2)`. Against the background alone, class 1 has a probability of "
    "$1 / (1 + e^{-20 \\cdot 0.05}) = 0.73$ and class 2 has $0.88$; both are above 0.5. "
    "Among all three cosines, that of class 2 is the largest, so the cell gets label 2.",
)
def check_two_classes(answer: object) -> Verdict:
    if not isinstance(answer, list) or len(answer) != 3:
        return wrong("Give three values, such as (True, False, 1).")
    first, second, label = answer
    if label != 2 or isinstance(label, bool):
        return wrong("The label belongs to the largest of the three cosines.")
    if first not in (True, False) or second not in (True, False):
        return wrong("The first two values are True or False.")
    if first and second:
        return right("Each class alone beats the background. In the mask all three compete, and class 2 wins.")
    return wrong("For presence each class is compared with the background alone, not with the other class.")


@exercise(
    "05.3",
    hints=["The mean runs over all cells of the class, in both shots together. How many cells are there?"],
    solution="(1 · 0 + 9 · 10) / 10 = 9. The mean runs over ten cells, so the small object hardly counts.",
)
def check_mean_over_shots(answer: object) -> Verdict:
    given = to_number(answer)
    if abs(given - 9) < 0.01:
        return right("90 / 10: a mean over ten cells, of which the small object has one.")
    if abs(given - 5) < 0.01:
        return wrong("That is the mean of two prototypes, but PANet takes the mean over all cells of all shots.")
    return wrong("Add up the features of all cells of both shots and divide by the number of cells.")
