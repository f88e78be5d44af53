"""The exercises of chapter 16."""

import numpy as np
import torch
from answers import make_tests

RIGHT = [
    ("16.1", (401, 101, 2)),
    ("16.1", np.array([401, 101, 2])),
    ("16.2", (1, 0)),
    ("16.2", torch.tensor([1, 0])),
    ("16.3", 17),
    ("16.3", np.float64(17.2)),
]
WRONG = [
    ("16.1", (400, 100, 1), "class token"),
    ("16.1", (401, 101, 26), "average"),
    ("16.1", (145, 10, 2), "CST"),
    ("16.1", (20, 10, 5), "stride 2"),
    ("16.1", 401, "list"),
    ("16.2", (0, 0), "CST's rule"),
    ("16.2", (1, 1), "ASNet's"),
    ("16.2", (1,), "2 numbers"),
    ("16.3", 0.17, "percent"),
    ("16.3", 83, "backbone"),
    ("16.3", 2.1, "points"),
    ("16.3", 50, "CST*"),
    ("16.3", "most", "number"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
