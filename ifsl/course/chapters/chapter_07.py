"""Exercises of chapter 07, HSNet."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..exercises import Verdict, exercise, right, to_function, to_numbers, wrong


@exercise(
    "07.1",
    hints=[
        "Each place of a kernel holds a matrix of 16 × 64 weights. Count the places.",
        "The package's layer has two kernels of 5 × 5 places each; the shared centre occurs in both.",
    ],
    solution="`answer = (16 * 64 * 5**4, 16 * 64 * 2 * 5**2)`, that is 640,000 and 51,200.",
)
def check_weights(answer: object) -> Verdict:
    full, pivot = to_numbers(answer, 2)
    weights = 16 * 64
    if (full, pivot) == (weights * 5**4, weights * 2 * 5**2):
        return right("640,000 and 51,200: the centre-pivot layer has less than a twelfth of the weights.")
    if (full, pivot) == (5**4, 2 * 5**2):
        return wrong("These are the places of the kernels. Each place holds a matrix of 16 × 64 weights.")
    if full != weights * 5**4:
        return wrong(
            "The first number: the full kernel has 5 × 5 × 5 × 5 places, each with a matrix of 16 × 64 weights."
        )
    if pivot == weights * (2 * 5**2 - 1):
        return wrong("The second number counts the shared centre once; the package's two kernels have a centre each.")
    return wrong("The first number is right. For the second, count two kernels of 5 × 5 places.")


@exercise(
    "07.2",
    hints=[
        "Hold the support cell: for each of them there is one map over the query, of shape (D, Hq, Wq).",
        "Put the two support axes first with permute, flatten them into a batch, use F.conv2d with padding κ // 2, and "
        "bring the axes back.",
    ],
    solution="""```python
def answer(x, kernel):
    maps = x.permute(3, 4, 0, 1, 2)  # (Hs, Ws, D, Hq, Wq)
    y = F.conv2d(maps.flatten(0, 1), kernel, padding=kernel.shape[-1] // 2)
    return y.unflatten(0, maps.shape[:2]).permute(2, 3, 4, 0, 1)
```""",
)
def check_query_plane(answer: object) -> Verdict:
    function = to_function(answer)
    source = torch.Generator().manual_seed(2)
    x, kernel = torch.randn(2, 4, 5, 6, 3, generator=source), torch.randn(7, 2, 3, 3, generator=source)
    true, other = over_query(x, kernel), over_query(x.permute(0, 3, 4, 1, 2), kernel).permute(0, 3, 4, 1, 2)
    given = function(x.clone(), kernel.clone())
    if not isinstance(given, Tensor):
        return wrong(f"The function returns a {type(given).__name__}; return a tensor.")
    if given.shape != true.shape:
        return wrong(
            f"For x {tuple(x.shape)} it returns the shape {tuple(given.shape)} instead of {tuple(true.shape)}."
        )
    if torch.allclose(given, true, atol=1e-4):
        return right("Every support cell has a map over the query, and one 2-D convolution treats them all.")
    if torch.allclose(given, other, atol=1e-4):
        return wrong("This moves the support cell. Hold the support cell and move the query cell.")
    return wrong("The shape is right, the values differ. Put the support axes into the batch, convolve, put them back.")


def over_query(x: Tensor, kernel: Tensor) -> Tensor:
    """(D, Hq, Wq, Hs, Ws) and (D', D, k, k) to (D', Hq, Wq, Hs, Ws)."""
    maps = x.permute(3, 4, 0, 1, 2)
    y = F.conv2d(maps.flatten(0, 1), kernel, padding=kernel.shape[-1] // 2)
    return y.unflatten(0, maps.shape[:2]).permute(2, 3, 4, 0, 1)


@exercise(
    "07.3",
    hints=["With this padding a stride s keeps the cells 0, s, 2s, …: the side is divided by s and rounded up."],
    solution="`answer = (13, 4, 2)`: 50 / 4 rounded up is 13, 13 / 4 rounded up is 4, and 4 / 2 is 2.",
)
def check_sides(answer: object) -> Verdict:
    given = to_numbers(answer, 3)
    if given == [13, 4, 2]:
        return right("A stride s keeps the cells 0, s, 2s, …, so the side is divided by s and rounded up.")
    if given == [12, 3, 1]:
        return wrong("You rounded down, but cell 0 is kept too: round up.")
    if given[0] == 13:
        return wrong("The first side is right. Continue from 13 with stride 4, then with stride 2, and round up.")
    return wrong("A side n becomes (n + 2 · padding − kernel) / stride, rounded down, plus 1.")
