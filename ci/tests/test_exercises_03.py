"""The exercises of chapter 03."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor


def cosines(q: Tensor, s: Tensor) -> Tensor:
    return torch.einsum("dij,duv->ijuv", q / q.norm(dim=0), s / s.norm(dim=0))


def correlate(q: Tensor, s: Tensor) -> Tensor:
    return cosines(q, s).clamp(min=0)


def correlate_in_numpy(q: Tensor, s: Tensor) -> np.ndarray:
    return correlate(q, s).double().numpy()


RIGHT = [
    ("03.1", "b"),
    ("03.1", " (B) "),
    ("03.2", (25_000_000, 4)),
    ("03.2", [np.int64(25_000_000), torch.tensor(4.0)]),
    ("03.3", correlate),
    ("03.3", correlate_in_numpy),
]
WRONG = [
    ("03.1", "a", "the cosine 1"),
    ("03.1", "c", "without the mask"),
    ("03.1", 2, "'a', 'b' or 'c'"),
    ("03.2", (25_000_000, 16), "only the two axes"),
    ("03.2", (6_250_000, 4), "one bottleneck"),
    ("03.2", (10_000, 4), "cells of the query only"),
    ("03.2", (1, 2), "Multiply"),
    ("03.2", 25_000_000, "list of numbers"),
    ("03.3", cosines, "negative"),
    ("03.3", lambda q, s: torch.einsum("dij,duv->ijuv", q, s).clamp(min=0), "length"),
    ("03.3", lambda q, s: correlate(q, s).permute(2, 3, 0, 1), "shape"),
    ("03.3", lambda q, s: correlate(q.flip(-1), s), "order of the axes"),
    ("03.3", 3, "function"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
