"""The exercises of chapter 00."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ifsl import Benchmark
from ifsl.course.exercises import judge


@pytest.mark.parametrize("answer", [32, 32.0, np.int64(32), torch.tensor(32), np.array([32])])
def test_presence_vectors(answer: object) -> None:
    assert judge("00.1", answer).right


@pytest.mark.parametrize(("answer", "why"), [(31, "empty"), (5, "any subset"), (10, "multiply"), ("32", "number")])
def test_wrong_presence_vectors(answer: object, why: str) -> None:
    verdict = judge("00.1", answer)
    assert not verdict.right and why in verdict.why


def test_always_there(tiny_root: Path) -> None:
    bench = Benchmark("pascal", tiny_root, 0)
    there = [bench.episode(i, 1, 1, 32).presence.item() for i in range(40)]
    true = 100 * sum(there) / len(there)
    for answer in (true, np.float32(true), torch.tensor(true)):
        assert judge("00.2", answer, bench=bench, episodes=40).right
    for answer, why in ((100 - true, "“not there”"), (true / 100, "in %"), (true + 3, "too high"), (0, "too low")):
        verdict = judge("00.2", answer, bench=bench, episodes=40)
        assert not verdict.right and why in verdict.why


@pytest.mark.parametrize("answer", [(26, 25), [26, 25], np.array([26, 25]), (np.int64(26), torch.tensor(25))])
def test_images_and_masks(answer: object) -> None:
    assert judge("00.3", answer).right


@pytest.mark.parametrize("answer", [(26, 26), (25, 25), (25, 26), (7, 7), 26, (26, 25, 1)])
def test_wrong_images_and_masks(answer: object) -> None:
    verdict = judge("00.3", answer)
    assert not verdict.right and len(verdict.why) > 15
