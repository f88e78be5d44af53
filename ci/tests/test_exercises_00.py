"""The exercises of chapter 00."""

from pathlib import Path

import numpy as np
import torch
from answers import make_tests

from ifsl import Benchmark
from ifsl.course.exercises import judge

RIGHT = [
    *[("00.1", answer) for answer in (32, 32.0, np.int64(32), torch.tensor(32), np.array([32]))],
    *[("00.3", answer) for answer in ((26, 25), [26, 25], np.array([26, 25]), (np.int64(26), torch.tensor(25)))],
]
WRONG = [
    ("00.1", 31, "empty"),
    ("00.1", 5, "any subset"),
    ("00.1", 10, "multiply"),
    ("00.1", "32", "number"),
    ("00.3", (26, 26), "does not get it"),
    ("00.3", (25, 25), "query is an image"),
    ("00.3", (25, 26), "Images first"),
    ("00.3", (7, 7), "N · K supports"),
    ("00.3", 26, "list of numbers"),
    ("00.3", (26, 25, 1), "list of 2"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def test_always_there(tiny_root: Path) -> None:
    bench = Benchmark("pascal", tiny_root, 0)
    there = [bench.episode(i, 1, 1, 32).presence.item() for i in range(40)]
    true = 100 * sum(there) / len(there)
    for answer in (true, np.float32(true), torch.tensor(true)):
        assert judge("00.2", answer, bench=bench, episodes=40).right
    for answer, why in ((100 - true, "“not there”"), (true / 100, "in %"), (true + 3, "too high"), (0, "too low")):
        verdict = judge("00.2", answer, bench=bench, episodes=40)
        assert not verdict.right and why in verdict.why
