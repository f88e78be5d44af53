"""The exercises of chapter 13."""

import numpy as np
import pytest
import torch

from ifsl.course.exercises import judge

RUN = {"steps": 40, "bsz": 4, "epoch": 100}


def test_epochs() -> None:
    for answer in (1.6, np.float64(1.6), torch.tensor(1.6), [1.6]):
        assert judge("13.1", answer, **RUN).right
    for answer, why in ((0.4, "whole batch"), (6.4, "counts once"), (3, "too high"), ("1.6", "one number")):
        verdict = judge("13.1", answer, **RUN)
        assert not verdict.right and why in verdict.why


def test_best_steps() -> None:
    for answer in ((200, 300), [200, 300], np.array([200, 300]), torch.tensor([200, 300])):
        assert judge("13.2", answer).right
    for answer in ((200, 400), (300, 200), (400, 400), (200,), 200):
        verdict = judge("13.2", answer)
        assert not verdict.right and len(verdict.why) > 20


@pytest.mark.parametrize(("answer", "why"), [(180, "Nearly"), (0, "each validation"), (250, "count"), (1.5, "whole")])
def test_lost_steps(answer: object, why: str) -> None:
    assert judge("13.3", 179).right and judge("13.3", np.int64(179)).right
    verdict = judge("13.3", answer)
    assert not verdict.right and why in verdict.why
