"""The exercises of chapter 17; the check against the package."""

import numpy as np
import torch
from answers import make_tests

from ifsl.course.chapters.chapter_17 import propagate_cell
from ifsl.run.training_free import propagate


def with_null(cosines, mask, T, null):
    keys = torch.cat([cosines, torch.full((len(cosines), 1), null)], dim=1) / T
    return (keys.flatten().softmax(dim=0).view(keys.shape)[:, :-1] * mask).sum()


def of_numpy(cosines, mask, T, null):
    weights = np.exp(cosines.numpy() / T)
    return (weights * mask.numpy()).sum() / (weights.sum() + len(weights) * np.exp(null / T))


def without_null(cosines, mask, T, null):
    return with_null(cosines, mask, T, float("-inf"))


def one_for_all(cosines, mask, T, null):
    return with_null(cosines.flatten()[None], mask.flatten()[None], T, null)


def mean_of_shots(cosines, mask, T, null):
    return torch.stack([with_null(c[None], m[None], T, null) for c, m in zip(cosines, mask, strict=True)]).mean()


def unscaled(cosines, mask, T, null):
    return with_null(cosines, mask, 1.0, null)


def of_cells(cosines, mask, T, null):
    return cosines


def test_the_check_agrees_with_the_package() -> None:
    torch.manual_seed(0)
    cosines, mask = torch.rand(1, 1, 1, 1, 2, 1), torch.ones(1, 1, 2, 1, 1)
    mask[0, 0, 1] = 0
    expected = propagate(cosines, mask, 0.1, 0.5).squeeze()
    assert torch.allclose(propagate_cell(cosines.view(2, 1), mask.view(2, 1), 0.1, 0.5), expected, atol=1e-6)


RIGHT = [
    ("17.1", with_null),
    ("17.1", of_numpy),
    ("17.2", (0.25, 0.022)),
    ("17.2", torch.tensor([0.25, 0.0221])),
]
WRONG = [
    ("17.1", without_null, "missing"),
    ("17.1", one_for_all, "one null match"),
    ("17.1", mean_of_shots, "mean over shots"),
    ("17.1", unscaled, "should be"),
    ("17.1", of_cells, "one number"),
    ("17.1", 0.5, "function"),
    ("17.2", (0.5, 0.022), "mean of the mask"),
    ("17.2", (0.25, 0.25), "compare"),
    ("17.2", (0.25, 0.0001), "289"),
    ("17.2", 0.25, "list"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
