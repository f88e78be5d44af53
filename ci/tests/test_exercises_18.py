"""The exercises of chapter 18."""

import numpy as np
import torch
import torch.nn.functional as F
from answers import make_tests

PLAIN, TWIN = 48_020_000, 11_760_000
USEFUL = F.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3), padding=1).sum().item()  # of 36 products

RIGHT = [
    *[("18.1", answer) for answer in ((PLAIN, TWIN), np.array([PLAIN, TWIN]), torch.tensor([PLAIN, TWIN]))],
    *[("18.2", answer) for answer in (100 * (1 - USEFUL / 36), np.float32(55.6))],
]
WRONG = [
    ("18.1", (PLAIN, 2500 * 8 * 144), "Only keys"),
    ("18.1", (TWIN, PLAIN), "order"),
    ("18.1", (1, 2), "Multiply"),
    ("18.1", PLAIN, "list"),
    ("18.2", 0.5556, "in %"),
    ("18.2", 44.4, "useful"),
    ("18.2", 75, "count products"),
    ("18.2", 60, "too high"),
    ("18.2", "no", "number"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
