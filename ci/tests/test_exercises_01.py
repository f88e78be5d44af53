"""The exercises of chapter 01."""

from pathlib import Path

import numpy as np
import torch
from answers import make_tests

from ifsl import Benchmark
from ifsl.course.exercises import judge
from ifsl.course.presence import count_shown, find_shown

RIGHT = [("01.1", answer) for answer in ((3, 1, 8), [3.0, 1, 8], np.array([3, 1, 8]), torch.tensor([3, 1, 8]))]
WRONG = [
    ("01.1", (3, 1, 7), "the empty answer"),
    ("01.1", (3, 3, 8), "FS-S assumes"),
    ("01.1", (8, 1, 3), "FS-C assumes"),
    ("01.1", (1, 1, 8), "FS-C assumes"),
    ("01.1", (3, 1, 6), "is 0 or 1"),
    ("01.1", 12, "list of numbers"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def test_none_of_them(tiny_root: Path) -> None:
    bench = Benchmark("pascal", tiny_root, 0)
    empty = [not bench.episode(i, 3, 1, 32).presence.any().item() for i in range(150)]
    true = 100 * sum(empty) / len(empty)
    assert 0 < true < 100
    for answer in (true, np.float64(true), torch.tensor(true)):
        assert judge("01.2", answer, bench=bench, episodes=150).right
    for answer, why in ((100 - true, "wrong"), (true / 100, "in %"), (true + 3, "too high"), (0, "too low")):
        verdict = judge("01.2", answer, bench=bench, episodes=150)
        assert not verdict.right and why in verdict.why


def test_absent_pair(tiny_root: Path) -> None:
    bench = Benchmark("pascal", tiny_root, 0)
    there = find_shown(bench, bench.entries[0][0])
    absent = [c for c in bench.class_ids if c not in there]
    for answer in (absent[:2], np.array(absent[:2]), set(absent[:2]), torch.tensor(absent[-2:])):
        assert judge("01.3", answer, bench=bench).right
    for answer in ([absent[0]], [absent[0]] * 2, [absent[0], 99], [absent[0], bench.entries[0][1]], "no"):
        assert not judge("01.3", answer, bench=bench).right


def test_counts_are_those_of_the_episodes(tiny_root: Path) -> None:
    bench = Benchmark("pascal", tiny_root, 0)
    assert count_shown(bench, 2, 20) == [int(bench.episode(i, 2, 1, 32).presence.sum()) for i in range(20)]
    assert count_shown(bench, 1, 20, "fs-s") == [1] * 20
