"""Exercises of chapter 06, PFENet."""

import torch

from ...learners.pfenet import bins, prior_maps
from ..exercises import Verdict, exercise, right, to_function, to_number, to_numbers, wrong


@exercise(
    "06.1",
    hints=[
        "Flatten both maps to (D, HW) and normalise each column; one matrix product gives all cosines.",
        "Take the largest cosine over the support's cells, then subtract the smallest value and divide by the range.",
    ],
    solution="```python\ndef answer(query, support):\n"
    "    q, s = (F.normalize(x.flatten(1), dim=0) for x in (query, support))  # (D, HW)\n"
    "    best = (q.T @ s).amax(dim=1).reshape(query.shape[1:])\n"
    "    return (best - best.min()) / (best.max() - best.min() + 1e-7)\n```",
)
def check_prior(answer: object) -> Verdict:
    given = to_function(answer)
    source = torch.Generator().manual_seed(6)
    query, support = torch.randn(8, 5, 6, generator=source), torch.randn(8, 5, 6, generator=source)
    support[:, :2] = 0
    true = prior_maps(query[None], support[None, None, None])[0, 0, 0]
    found = torch.as_tensor(given(query.clone(), support.clone()), dtype=torch.float32)
    if tuple(found.shape) != (5, 6):
        return wrong(f"The shape is {tuple(found.shape)}, not (5, 6): one value for each cell of the query.")
    if torch.allclose(found, true, atol=1e-4):
        return right("It gives the same as pfenet.prior_maps.")
    if abs(found.min()) > 0.001 or abs(found.max() - 1) > 0.001:
        return wrong("Scale the map so that its smallest value is 0 and its largest is 1.")
    return wrong("Take cosines, so divide by both lengths, and keep the largest over the support's cells.")


@exercise(
    "06.2",
    hints=["Put the largest cosine into the formula of the prior. What are numerator and denominator then?"],
    solution="1. The largest value is always scaled to 1, whatever the cosines are. "
    "(If all cosines were exactly equal it would be 0, which does not happen in a real image.)",
)
def check_absent(answer: object) -> Verdict:
    given = to_number(answer)
    if abs(given - 1) < 0.001:
        return right("Whatever the cosines are, the largest is scaled to 1. The prior cannot express 'nowhere'.")
    if 0 < given <= 0.2:
        return wrong("0.2 limits the cosines, not the prior; look at the denominator of the formula.")
    return wrong("Put the largest cosine into the formula of the prior.")


@exercise(
    "06.3",
    hints=["Divide the side of the grid by 1, 2, 4 and 8. What happens to a fraction?"],
    solution="`[60, 30, 15, 8]`, as in the paper. "
    "At 400 pixels the grid is 50 x 50, and the bins have 50, 25, 13 and 7.",
)
def check_bins(answer: object) -> Verdict:
    true = [side for side, _ in bins((60, 60))]
    given = to_numbers(answer, 4)
    if given == true:
        return right("60, and a half, a quarter and an eighth of it, rounded up.")
    if sorted(given) == sorted(true):
        return wrong("The values are right, but the finest bin comes first.")
    if given[:3] == true[:3] and 7 <= given[3] < 8:
        return wrong("The last side is rounded up.")
    return wrong("Divide the side of the grid by 1, 2, 4 and 8.")
