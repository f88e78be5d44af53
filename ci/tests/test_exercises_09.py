"""The exercises of chapter 09."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor

from ifsl.learners.hybrid_masking import merge_masked
from ifsl.learners.maps import resize


def by_cell(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    weight = resize(masks[:, None], features.shape[-2:])
    return torch.where(weight > 0, features * weight, of_masked_image)


def unweighted(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    return torch.where(resize(masks[:, None], features.shape[-2:]) > 0, features, of_masked_image)


RIGHT = [("09.1", (11, 21)), ("09.1", np.array([11, 21])), ("09.2", "a"), ("09.2", "(A)"), ("09.3", by_cell)]
WRONG = [
    ("09.1", (10, 20), "exactly once"),
    ("09.1", (11, 22), "no mask"),
    ("09.1", (6, 11), "supports"),
    ("09.1", 11, "list"),
    ("09.2", "b", "not 0 there"),
    ("09.2", "c", "never adds"),
    ("09.2", 1, "Answer with"),
    ("09.3", merge_masked, "This is HM"),
    ("09.3", unweighted, "Almost"),
    ("09.3", lambda f, i, masks: by_cell(i, f, masks), "feature masking"),
    ("09.3", lambda f, i, masks: f[0], "shape"),
    ("09.3", "a", "function"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
