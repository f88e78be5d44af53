"""The exercises of chapter 09 tell right from wrong."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ifsl.course.exercises import judge
from ifsl.learners.hybrid_masking import merge_masked
from ifsl.learners.maps import resize


def by_cell(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    weight = resize(masks[:, None], features.shape[-2:])
    return torch.where(weight > 0, features * weight, of_masked_image)


def unweighted(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    return torch.where(resize(masks[:, None], features.shape[-2:]) > 0, features, of_masked_image)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("09.1", (11, 21)), ("09.1", np.array([11, 21])), ("09.2", "a"), ("09.2", "(A)"), ("09.3", by_cell)],
)
def test_right(name: str, answer: object) -> None:
    assert judge(name, answer).right


@pytest.mark.parametrize(
    ("name", "answer", "why"),
    [
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
    ],
)
def test_wrong_answers_are_explained(name: str, answer: object, why: str) -> None:
    verdict = judge(name, answer)
    assert not verdict.right and why in verdict.why
