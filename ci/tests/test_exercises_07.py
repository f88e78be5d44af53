"""The exercises of chapter 07."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor

from ifsl.course.chapters.chapter_07 import over_query


def over_support(x: Tensor, kernel: Tensor) -> Tensor:
    return over_query(x.permute(0, 3, 4, 1, 2), kernel).permute(0, 3, 4, 1, 2)


RIGHT = [
    ("07.1", (640_000, 51_200)),
    ("07.1", np.array([640_000, 51_200])),
    ("07.2", over_query),
    ("07.3", [13, 4, 2]),
    ("07.3", torch.tensor([13, 4, 2])),
]
WRONG = [
    ("07.1", (625, 50), "places of the kernels"),
    ("07.1", (640_000, 50_176), "centre"),
    ("07.1", (640_000, 25_600), "second"),
    ("07.1", (1, 51_200), "first"),
    ("07.1", 640_000, "list"),
    ("07.2", over_support, "moves the support"),
    ("07.2", lambda x, kernel: over_query(x, kernel.transpose(2, 3)), "values differ"),
    ("07.2", lambda x, kernel: over_query(x, kernel)[:, 1:-1], "shape"),
    ("07.2", lambda x, kernel: None, "NoneType"),
    ("07.2", lambda x: x, "could not be checked"),
    ("07.2", "conv", "function"),
    ("07.3", (12, 3, 1), "round up"),
    ("07.3", (13, 3, 2), "first side"),
    ("07.3", (25, 6, 3), "padding"),
    ("07.3", (13, 4), "3 numbers"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
