"""The exercises of chapter 10."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor

from ifsl.learners.maps import weak_loss


def log_of_mean(log_prob: Tensor, present: Tensor) -> Tensor:
    p = log_prob.exp().mean(dim=(-2, -1))
    return -torch.where(present, p[..., 1], p[..., 0]).log().mean()


RIGHT = [
    ("10.1", 1.204),
    ("10.1", torch.tensor(1.2)),
    ("10.1", np.float32(1.2)),
    ("10.2", (0.6, True)),
    ("10.2", [np.float64(0.6), np.True_]),
    ("10.3", log_of_mean),
    ("10.3", lambda maps, present: log_of_mean(maps, present).item()),
]
WRONG = [
    ("10.1", 0.693, "mean of the logarithms"),
    ("10.1", 0.105, "all cells"),
    ("10.1", 2.41, "sum"),
    ("10.1", -1.2, "sign"),
    ("10.1", 7, "logarithm"),
    ("10.1", "1.2", "number"),
    ("10.2", (0.6, False), "above 0.5"),
    ("10.2", (60, True), "0 to 1"),
    ("10.2", (0, False), "query contains"),
    ("10.2", (1, True), "Count"),
    ("10.2", 0.6, "pair"),
    ("10.2", (0.6, "yes"), "True or False"),
    ("10.3", weak_loss, "before"),
    ("10.3", lambda maps, present: log_of_mean(maps, ~present), "Channel 1"),
    ("10.3", lambda maps, present: -log_of_mean(maps, present), "sign"),
    ("10.3", lambda maps, present: 2 * log_of_mean(maps, present), "sum"),
    ("10.3", lambda maps, present: maps, "one number"),
    ("10.3", lambda maps: 0, "could not be checked"),
    ("10.3", 3, "function"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
