"""Exercises of chapter 10, weak and strong supervision."""

import math

import torch

from ...learners.maps import weak_loss
from ..exercises import NotTheKindAsked, Verdict, exercise, right, to_function, to_number, wrong


@exercise(
    "10.1",
    hints=["Take the logarithm of both foreground probabilities, then their mean, then change the sign."],
    solution="−(log 0.9 + log 0.1) / 2 = (0.105 + 2.303) / 2 = 1.20.",
)
def check_weak_loss(answer: object) -> Verdict:
    given = to_number(answer)
    if abs(given - 1.204) < 0.01:
        return right("(−log 0.9 − log 0.1) / 2. The cell with 0.1 contributes nearly all of it.")
    if abs(given + 1.204) < 0.01:
        return wrong("Only the sign is missing: the loss is the negative of the mean.")
    if abs(given - math.log(2)) < 0.01:
        return wrong("This is −log of the mean probability. The loss takes the mean of the logarithms.")
    if abs(given - 0.105) < 0.01:
        return wrong("This is −log of the largest probability. The loss takes the mean over all cells.")
    if abs(given - 2.408) < 0.01:
        return wrong("This is the sum over the two cells. The loss takes the mean.")
    return wrong("Take the logarithm of both foreground probabilities, then their mean, then change the sign.")


@exercise(
    "10.2",
    hints=["Such a cell is labelled 1 if its query contains the class, wherever the cell itself lies."],
    solution="`(0.6, True)`: 60 of 100 such cells are labelled 1, so the loss teaches 0.6, and 0.6 is above 0.5.",
)
def check_base_rate(answer: object) -> Verdict:
    if not isinstance(answer, list) or len(answer) != 2:
        raise NotTheKindAsked("Give a pair of a probability and True or False, such as (0.1, False).")
    probability, marked = to_number(answer[0]), answer[1]
    if not isinstance(marked, bool):
        raise NotTheKindAsked("The second part of the pair says whether the cell is marked: True or False.")
    if abs(probability - 60) < 1e-6:
        return wrong("Give the probability as a number from 0 to 1.")
    if abs(probability - 0.6) < 1e-6 and marked:
        return right("60 of 100 such cells are labelled 1, so all of this background is marked.")
    if abs(probability - 0.6) < 1e-6:
        return wrong("The probability is right, and it is above 0.5.")
    if abs(probability) < 1e-6:
        return wrong("The cell lies on background, but its label depends on what its query contains.")
    return wrong("Count the cells of this kind that are labelled 1: those whose query contains the class.")


@exercise(
    "10.3",
    hints=[
        "`log_prob.exp().mean(dim=(-2, -1))` has the shape (B, N, 2): the mean probabilities.",
        "`torch.where(present, p[..., 1], p[..., 0])` selects the probability of the true label.",
    ],
    solution="```python\ndef answer(log_prob, present):\n    p = log_prob.exp().mean(dim=(-2, -1))  # (B, N, 2)\n"
    "    return -torch.where(present, p[..., 1], p[..., 0]).log().mean()\n```\n\n"
    "For a class on a quarter of the query, the true mask then costs about log 4 = 1.4 instead of 3.4. That is still "
    "more than *yes everywhere* costs, but much less hostile to background.",
)
def check_mean_probability(answer: object) -> Verdict:
    function = to_function(answer)
    source = torch.Generator().manual_seed(3)
    log_prob = (3 * torch.randn(4, 2, 2, 5, 6, generator=source)).log_softmax(dim=2)
    present = torch.tensor([[1, 0], [0, 0], [1, 1], [0, 1]]).bool()
    p = log_prob.exp().mean(dim=(-2, -1))  # B, N, 2
    true, other = (-torch.where(here, p[..., 1], p[..., 0]).log().mean() for here in (present, ~present))
    given = torch.as_tensor(function(log_prob, present)).float()
    if given.numel() != 1:
        return wrong(f"The function should return one number; it returned a tensor of shape {tuple(given.shape)}.")
    if torch.allclose(given, true, atol=1e-5):
        return right("Now a single hesitant cell no longer costs as much as a wrong image.")
    if torch.allclose(given, weak_loss(log_prob, present), atol=1e-5):
        return wrong("This is the weak loss; average the probabilities before you take the logarithm.")
    if torch.allclose(given, other, atol=1e-5):
        return wrong("Channel 1 is the foreground; it is the true label where the class is present.")
    if torch.allclose(given, -true, atol=1e-5):
        return wrong("Only the sign is missing.")
    if torch.allclose(given, true * present.shape[1], atol=1e-5) or torch.allclose(given, true * 8, atol=1e-5):
        return wrong("This is a sum; take the mean over episodes and ways.")
    return wrong("Average the probabilities over the cells, select that of the true label, take −log, then the mean.")
