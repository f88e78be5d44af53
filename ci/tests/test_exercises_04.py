"""The exercises of chapter 04."""

import numpy as np
import pytest
import torch
from answers import make_tests
from torch import Tensor

from ifsl import MeanIoU
from ifsl.course.exercises import judge


def find_present(log_prob: Tensor, tau: float) -> Tensor:
    return log_prob[:, :, 1].amax(dim=(-2, -1)).exp() >= tau


RIGHT = [
    ("04.1", find_present),
    ("04.1", lambda log_prob, tau: find_present(log_prob, tau).numpy()),
    ("04.2", (True, 0)),
    ("04.2", [np.bool_(True), np.int64(0)]),
    ("04.3", 35),
    ("04.3", torch.tensor(35.0)),
]
WRONG = [
    ("04.1", lambda log_prob, tau: log_prob[:, :, 0].amax(dim=(-2, -1)).exp() >= tau, "background"),
    ("04.1", lambda log_prob, tau: log_prob[:, :, 1].mean(dim=(-2, -1)).exp() >= tau, "mean over the cells"),
    ("04.1", lambda log_prob, tau: find_present(log_prob, tau).any(dim=1), "shape"),
    ("04.1", lambda log_prob, tau: find_present(log_prob, 0.5), "τ = 0.9"),
    ("04.1", 0.5, "function"),
    ("04.2", (True, 1), "mean of both log-backgrounds"),
    ("04.2", (True, 2), "0.02"),
    ("04.2", (False, 0), "does not depend"),
    ("04.2", True, "pair"),
    ("04.3", 25, "sum the pixels"),
    ("04.3", 70, "Class B counts"),
    ("04.3", 33.3, "over episodes"),
    ("04.3", 62.22, "classes apart"),
    ("04.3", 0.35, "in %"),
    ("04.3", 99, "Sum I and U"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def test_the_exercise_on_miou_as_the_metric_counts_it() -> None:
    """Class 1: I = 10, U = 100, and I = 270, U = 300. Class 2: absent, with 50 predicted pixels."""
    truth, guess = torch.zeros(3, 20, 20, dtype=torch.uint8), torch.zeros(3, 20, 20, dtype=torch.uint8)
    for row, inside, union in ((0, 10, 100), (1, 270, 300)):
        truth[row].view(-1)[:union] = 1
        guess[row].view(-1)[:inside] = 1
    guess[2].view(-1)[:50] = 1
    miou = MeanIoU([1, 2])
    miou.update(guess, truth, torch.tensor([[1], [1], [2]]))
    assert miou.compute().item() == pytest.approx(35)
    assert judge("04.3", miou.compute()).right
