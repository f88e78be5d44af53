"""The exercises of chapter 02."""

from pathlib import Path

import numpy as np
import torch
from answers import make_tests

from ifsl import Benchmark
from ifsl.course.exercises import judge

RIGHT = [("02.1", 0), ("02.1", np.int64(0)), ("02.2", 0.757), ("02.2", torch.tensor(28 / 37))]
WRONG = [
    ("02.1", 1, "start at 1"),
    ("02.1", 2, "look for 37"),
    ("02.2", 0.75, "Close"),
    ("02.2", 0.9, "too high"),
    ("02.2", 0.5, "too low"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def test_first_empty(tiny_root: Path) -> None:
    bench = Benchmark("pascal", tiny_root, 0)
    empty = [i for i in range(60) if not bench.episode(i, 2, 1, 32).presence.any()]
    for answer in (empty[0], np.int64(empty[0]), torch.tensor(empty[0]), float(empty[0])):
        assert judge("02.3", answer, bench=bench).right
    for answer, why in ((empty[1], "not the first"), (empty[0] + 1, "episode"), (-1, "0 to 999"), ("7", "number")):
        verdict = judge("02.3", answer, bench=bench)
        assert not verdict.right and why in verdict.why
