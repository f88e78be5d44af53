"""The exercises of chapter 13."""

import numpy as np
import torch
from answers import make_tests

from ifsl.course.exercises import judge

RUN = {"steps": 40, "bsz": 4, "epoch": 100}

RIGHT = [
    *[("13.2", answer) for answer in ((200, 300), [200, 300], np.array([200, 300]), torch.tensor([200, 300]))],
    *[("13.3", answer) for answer in (179, np.int64(179))],
]
WRONG = [
    ("13.2", (200, 400), "second is wrong"),
    ("13.2", (300, 200), "wrong order"),
    ("13.2", (400, 400), "Which of the two metrics"),
    ("13.2", (200,), "list of 2"),
    ("13.2", 200, "list of numbers"),
    ("13.3", 180, "Nearly"),
    ("13.3", 0, "each validation"),
    ("13.3", 250, "count"),
    ("13.3", 1.5, "whole"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def test_epochs() -> None:
    for answer in (1.6, np.float64(1.6), torch.tensor(1.6), [1.6]):
        assert judge("13.1", answer, **RUN).right
    for answer, why in ((0.4, "whole batch"), (6.4, "counts once"), (3, "too high"), ("1.6", "one number")):
        verdict = judge("13.1", answer, **RUN)
        assert not verdict.right and why in verdict.why
