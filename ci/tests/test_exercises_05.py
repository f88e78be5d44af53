"""The exercises of chapter 05."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor


def two_prototypes(features: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([features[:, mask == 0].mean(dim=1), features[:, mask > 0].mean(dim=1)])


def in_numpy(features: Tensor, mask: Tensor) -> np.ndarray:
    return two_prototypes(features, mask).numpy()


def the_class_first(features: Tensor, mask: Tensor) -> Tensor:
    return two_prototypes(features, mask).flip(0)


def weighted(features: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([(weights * features).sum((1, 2)) / weights.sum() for weights in (1 - mask, mask)])


def transposed(features: Tensor, mask: Tensor) -> Tensor:
    return two_prototypes(features, mask).T


def all_cells(features: Tensor, mask: Tensor) -> Tensor:
    return features.mean(dim=(1, 2)).expand(2, -1)


def in_place(features: Tensor, mask: Tensor) -> Tensor:
    return features.zero_()


RIGHT = [
    *[("05.1", answer) for answer in (two_prototypes, in_numpy)],
    *[("05.2", answer) for answer in ((True, True, 2), [np.True_, True, np.int64(2)], torch.tensor([1, 1, 2]))],
    *[("05.3", answer) for answer in (9, 9.0, np.float32(9), torch.tensor([9.0]))],
]
WRONG = [
    ("05.1", the_class_first, "background comes first"),
    ("05.1", weighted, "in or out"),
    ("05.1", transposed, r"shape is \(6, 2\)"),
    ("05.1", all_cells, "above 0"),
    ("05.1", in_place, "shape"),
    ("05.1", torch.zeros(2, 6), "Give a function"),
    ("05.1", lambda features: features, "could not be checked"),
    ("05.2", (False, True, 2), "background alone"),
    ("05.2", (True, False, 2), "background alone"),
    ("05.2", (True, True, 1), "largest of the three"),
    ("05.2", (True, True, True), "largest of the three"),
    ("05.2", ("yes", "yes", 2), "True or False"),
    ("05.2", (True, True), "three values"),
    ("05.3", 5, "mean of two prototypes"),
    ("05.3", 90, "divide by the number of cells"),
    ("05.3", "9", "Give one number"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
