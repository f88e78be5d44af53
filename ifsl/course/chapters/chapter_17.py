"""Exercises of chapter 17, without training."""

import torch

from ..exercises import Verdict, exercise, right, to_function, to_numbers, wrong


def propagate_cell(cosines: torch.Tensor, mask: torch.Tensor, temperature: float, null: float) -> torch.Tensor:
    """P of one query cell from cosines and mask (K, U), with a null match for each of K supports."""
    weights, nothing = (cosines / temperature).exp(), torch.tensor(null / temperature).exp()
    return (weights * mask).sum() / (weights.sum() + len(cosines) * nothing)


@exercise(
    "17.1",
    hints=[
        "Add a column of the value null to the cosines, (K, U + 1), and take one softmax over all K · (U + 1) keys.",
        "The null matches have the value 0, so leave their weights out of the sum, but not out of the softmax.",
    ],
    solution="```python\ndef answer(cosines, mask, T, null):\n"
    "    nothing = torch.full((len(cosines), 1), null)\n"
    "    keys = torch.cat([cosines, nothing], dim=1) / T\n"
    "    attention = keys.flatten().softmax(dim=0).view(keys.shape)\n"
    "    return (attention[:, :-1] * mask).sum()\n```\n\n"
    "With a single null match for all supports, more shots would outweigh it.",
)
def check_null(answer: object) -> Verdict:
    propagate = to_function(answer)
    source = torch.Generator().manual_seed(0)
    for shots, null in ((1, 0.5), (3, 0.5), (3, float("-inf"))):
        cosines = torch.rand(shots, 12, generator=source)
        mask = (torch.rand(shots, 12, generator=source) > 0.5).float()
        given = torch.as_tensor(propagate(cosines.clone(), mask.clone(), 0.1, null)).float()
        if given.numel() != 1:
            return wrong(f"Return one number; this has {given.numel()}.")
        weights, nothing = (cosines / 0.1).exp(), torch.tensor(null / 0.1).exp()
        top, value = (weights * mask).sum(), given.item()
        if abs(value - propagate_cell(cosines, mask, 0.1, null)) < 1e-4:
            continue
        if abs(value - top / weights.sum()) < 1e-4:
            return wrong("The null matches are missing: this is P without them.")
        if abs(value - top / (weights.sum() + nothing)) < 1e-4:
            return wrong(f"This has one null match for all {shots} supports; each support needs its own.")
        each = (weights * mask).sum(dim=1) / (weights.sum(dim=1) + nothing)
        if abs(value - each.mean()) < 1e-4:
            return wrong("This is the mean over shots of P; take one softmax over the keys of all supports.")
        return wrong(f"P is {value:.4f} where it should be {propagate_cell(cosines, mask, 0.1, null):.4f}.")
    return right("One softmax over all cells and null matches, and the null matches have the value 0.")


@exercise(
    "17.2",
    hints=[
        "Without: all weights are equal. With: 289 · exp(0.2 / 0.05) against exp(0.6 / 0.05); divide by the second."
    ],
    solution="Without a null match all weights are equal, so P is the mean of the mask, 0.25. With it, divide "
    "numerator and denominator by exp(0.6 / 0.05): 289 · exp(−8) = 0.0969, so P = 0.25 · 0.0969 / 1.0969 = 0.022.",
)
def check_absent(answer: object) -> Verdict:
    without, with_null = to_numbers(answer, 2)
    if abs(without - 0.25) > 0.0006:
        return wrong("Without a null match all cells have the same weight; what is the mean of the mask?")
    if abs(with_null - 0.0221) < 0.0006:
        return right("The null match takes most of the weight although it is one key against 289.")
    if abs(with_null - 0.0001) < 0.0006:
        return wrong("Count all 289 cells in the denominator and a quarter of them above it.")
    return wrong("The first is right. For the second, compare 289 · exp(0.2 / T) with exp(0.6 / T).")
