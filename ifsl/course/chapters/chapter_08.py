"""Exercises of chapter 08, ASNet."""

import torch
from torch import Tensor

from ..exercises import Verdict, exercise, right, to_function, to_numbers, wrong


@exercise(
    "08.1",
    hints=["A side n becomes (n + 2 · padding − kernel) / stride, rounded down, plus 1. Apply it twice."],
    solution="`answer = (7, 2)`: (25 + 4 − 5) / 4 + 1 = 7, then (7 + 4 − 5) / 4 = 1.5, rounded down to 1, plus 1 is 2.",
)
def check_sides(answer: object) -> Verdict:
    given = to_numbers(answer, 2)
    if given == [7, 2]:
        return right("(25 + 4 − 5) / 4 + 1 = 7, and (7 + 4 − 5) / 4 = 1.5, rounded down to 1, plus 1 is 2.")
    if given == [6, 1]:
        return wrong("This is 25 / 4 and 6 / 4, rounded down. The padding of 2 on both sides adds a cell each time.")
    if given[0] == 7:
        return wrong("The first side is right. Apply the same formula to 7; round the division down, then add 1.")
    return wrong("A side n becomes (n + 2 · padding − kernel) / stride, rounded down, plus 1.")


@exercise(
    "08.2",
    hints=[
        "Change the logits of the keys outside before the softmax, not the weights after it.",
        "`logits.masked_fill(~inside, value)`: which value also works where no key is inside?",
    ],
    solution="""```python
def answer(logits, inside):
    return logits.masked_fill(~inside, -1e9).softmax(dim=-1)
```

With $-\\infty$ instead of $-10^9$ an empty mask would give $0 / 0$.""",
)
def check_masked_softmax(answer: object) -> Verdict:
    function = to_function(answer)
    logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    inside = torch.tensor([True, False, True, True, False, True])
    given = function(logits.clone(), inside.clone())
    if not isinstance(given, Tensor) or given.shape != (3, 6):
        return wrong("For logits of shape (3, 6) return a tensor of the same shape.")
    if (given[:, ~inside].abs() > 1e-6).any():
        return wrong("A key outside the mask has a weight.")
    if not torch.allclose(given.sum(dim=-1), torch.ones(3), atol=1e-5):
        return wrong("The weights do not sum to 1. Exclude the keys outside before the softmax, not after it.")
    if not torch.allclose(given[:, inside], logits[:, inside].softmax(dim=-1), atol=1e-5):
        return wrong("Inside the mask the weights should be the softmax of the logits there.")
    nowhere = function(logits.clone(), torch.zeros(6, dtype=torch.bool))
    if not torch.allclose(nowhere, torch.full((3, 6), 1 / 6), atol=1e-5):
        return wrong(f"Where no key is inside, all weights should be 1/6; the first one is {nowhere[0, 0].item():.2f}.")
    return right("A softmax inside the mask, 0 outside, and equal weights where the mask is empty.")


@exercise(
    "08.3",
    hints=[
        "Multiply four numbers: heads, query cells, output cells, keys.",
        "There are 8 heads, 50 × 50 query cells and 7 × 7 output cells. Only the number of keys differs.",
    ],
    solution="`answer = (8 * 2500 * 49 * 49, 8 * 2500 * 49 * 625)`, that is 48,020,000 and 612,500,000.",
)
def check_weights(answer: object) -> Verdict:
    strided, kept = to_numbers(answer, 2)
    if (strided, kept) == (8 * 2500 * 49 * 49, 8 * 2500 * 49 * 625):
        return right("192 MB in single precision, against 2.5 GB: therefore layer2 and layer3 stride their keys too.")
    if 8 * strided == 8 * 2500 * 49 * 49:
        return wrong("Each of the 8 heads has weights of its own.")
    if strided == 8 * 2500 * 49 * 49:
        return wrong("The first number is right. For the second, keep 7 × 7 output cells and take 25 × 25 keys.")
    return wrong("Multiply heads, query cells, output cells and keys.")
