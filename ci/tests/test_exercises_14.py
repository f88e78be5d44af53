"""The exercises of chapter 14."""

import numpy as np
import torch
from answers import make_tests


def only(ids, c):
    return 255 * (ids == c).astype(np.uint8)


def of_torch(ids, c):
    return torch.from_numpy((ids == c).astype(np.uint8))


def as_it_is(ids, c):
    return ids


def without_void(ids, c):
    return np.where(ids == 255, 0, ids).astype(np.uint8)


def of_bools(ids, c):
    return ids == c


def half(ids, c):
    return only(ids, c) * np.array([[0, 1, 1, 1]], np.uint8)


RIGHT = [
    ("14.1", only),
    ("14.1", of_torch),
    ("14.2", (3, 4, 13)),
    ("14.2", torch.tensor([3, 4, 13])),
    ("14.3", (2, 3)),
    ("14.3", np.array([2, 3])),
]
WRONG = [
    ("14.1", as_it_is, "Void"),
    ("14.1", without_void, "something else"),
    ("14.1", of_bools, "uint8"),
    ("14.1", half, "Not every pixel"),
    ("14.1", 3, "function"),
    ("14.1", lambda ids: ids, "could not be checked"),
    ("14.2", (3, 4, 25), "N and K are right"),
    ("14.2", (3, 5, 16), "same number"),
    ("14.2", (2, 4, 9), "sub-folders"),
    ("14.2", (3, 4), "3 numbers"),
    ("14.3", (3, 3), "tie"),
    ("14.3", (2, 2), "less than half"),
    ("14.3", (4, 5), "votes"),
    ("14.3", "two", "list"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
