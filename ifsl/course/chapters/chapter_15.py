"""Exercises of chapter 15, a flat map."""

import torch

from ..exercises import Verdict, exercise, right, to_function, to_number, wrong


@exercise(
    "15.1",
    hints=[
        "The mean is 17/289. The variance is the mean of the squares minus the square of the mean.",
        "17² = 289, so the mean of the squares is 1.",
    ],
    solution="The mean is 17/289 = 1/17 ≈ 0.059. The mean of the squares is 289/289 = 1, so the standard deviation is "
    "√(1 − 1/289) ≈ 0.998. A background cell becomes (0 − 0.0588) / 0.998 ≈ −0.059. Without the object it would be 0: "
    "every background cell now depends on the object.",
)
def check_shift(answer: object) -> Verdict:
    given = to_number(answer)
    if abs(given + 0.0589) < 0.0006:
        return right("−(1/17) / √(1 − 1/289). Without the object it would be 0, so every cell depends on the object.")
    if abs(given - 0.0589) < 0.0006:
        return wrong("Only the sign is missing: a background cell lies below the mean.")
    if abs(given) < 1e-9:
        return wrong("The cell's own value is 0, but the norm subtracts the mean over all cells.")
    if abs(given - 16.97) < 0.02:
        return wrong("This is the cell on the object; the question asks for a background cell.")
    return wrong("Compute the mean and the standard deviation of all 289 values, then (0 − mean) / deviation.")


@exercise(
    "15.2",
    hints=["`x.mean(dim=1, keepdim=True)` is the mean of each cell's D numbers.", "Use `var(dim=1, correction=0)`."],
    solution="```python\ndef answer(x):\n    mean = x.mean(dim=1, keepdim=True)\n"
    "    variance = x.var(dim=1, keepdim=True, correction=0)\n    return (x - mean) / (variance + 1e-5).sqrt()\n```",
)
def check_cell_norm(answer: object) -> Verdict:
    function = to_function(answer)
    x = 3 * torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0)) + 1

    def norm(dim: int | tuple[int, ...], correction: int = 0) -> torch.Tensor:
        variance = x.var(dim=dim, keepdim=True, correction=correction)
        return (x - x.mean(dim=dim, keepdim=True)) / (variance + 1e-5).sqrt()

    given = torch.as_tensor(function(x.clone()))
    if given.shape != x.shape:
        return wrong(f"The result has the shape {tuple(given.shape)}, the features have {tuple(x.shape)}.")
    if torch.allclose(given, norm(1), atol=1e-4):
        return right("No cell depends on another one any more.")
    if torch.allclose(given, norm(1, correction=1), atol=1e-4):
        return wrong("Close: use the biased variance, `correction=0`.")
    if torch.allclose(given, norm(2), atol=1e-4):
        return wrong("This normalises each channel over the cells; normalise each cell over its channels.")
    if torch.allclose(given, norm((1, 2)), atol=1e-4):
        return wrong("This normalises over all cells, as ASNet does; use dimension 1 alone.")
    return wrong("Subtract each cell's mean over dimension 1, and divide by the root of its variance + 1e-5.")
