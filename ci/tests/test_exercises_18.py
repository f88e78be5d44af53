"""The exercises of chapter 18."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ifsl.course.exercises import judge

PLAIN, TWIN = 48_020_000, 11_760_000


def test_logits() -> None:
    for answer in ((PLAIN, TWIN), np.array([PLAIN, TWIN]), torch.tensor([PLAIN, TWIN])):
        assert judge("18.1", answer).right
    for answer, why in (
        ((PLAIN, 2500 * 8 * 144), "Only keys"),
        ((TWIN, PLAIN), "order"),
        ((1, 2), "Multiply"),
        (PLAIN, "list"),
    ):
        verdict = judge("18.1", answer)
        assert not verdict.right and why in verdict.why


@pytest.mark.parametrize(
    ("answer", "why"), [(0.5556, "in %"), (44.4, "useful"), (75, "count products"), (60, "too high"), ("no", "number")]
)
def test_padding(answer: object, why: str) -> None:
    useful = F.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3), padding=1).sum().item()
    assert judge("18.2", 100 * (1 - useful / 36)).right and judge("18.2", np.float32(55.6)).right
    verdict = judge("18.2", answer)
    assert not verdict.right and why in verdict.why
