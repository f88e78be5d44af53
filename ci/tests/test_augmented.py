"""EMAT's evaluation settings: augmented support sets and queries by object size, in draws, results and commands."""

import json
import pickle
import re
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from test_benchmarks import write_lists

import ifsl
from ifsl.__main__ import main
from ifsl.course import compare_results
from ifsl.data.augmented import LEAST_SHARE, augment_supports, measure
from ifsl.data.benchmarks import Benchmark
from ifsl.data.lists import write_lists as write_all_lists
from ifsl.data.loading import TestEpisodes, group_equal
from ifsl.errors import InputError
from ifsl.learners import LEARNERS, build_model
from ifsl.learners.maps import VOID
from ifsl.run.baselines import Constant
from ifsl.run.settings import Settings
from ifsl.tasks import AUGMENTS, OBJECTS

LITE = "efficientnet_lite0"
CLASS_IDS = {"pascal": [1, 2, 3, 4, 5], "coco": [2, 6, 10, 14]}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bench(tiny_root):
    return Benchmark("pascal", tiny_root)


# Augmented support sets -----------------------------------------------------------------------------------------------


def bands(way: int, shot: int, seed: int, class_ids: list[int]):
    """The made-up episodes of the expected numbers: N classes, and N lists of K masks that are piles of bands."""
    classes = np.random.RandomState(7000 + seed).choice(class_ids, way, replace=False).tolist()
    masks = {}
    for n in range(way):
        for k in range(shot):
            stream = np.random.RandomState(8000 + 100 * seed + 10 * n + k)
            mask, row = np.zeros((100, 100), np.uint8), 0
            for c in stream.permutation([*class_ids, VOID]).tolist():
                height = stream.randint(0, 25)
                mask[row : row + height] = c
                row += height
            masks[n, k] = mask
    return classes, masks


def augment(name: str, way: int, shot: int, seed: int, kind: str):
    """Classes and shots, as [way, shot] of the drawn ones, of a made-up episode."""
    classes, masks = bands(way, shot, seed, CLASS_IDS[name])
    used = classes if kind == "partially" else CLASS_IDS[name]
    return augment_supports(
        classes,
        [[(n, k) for k in range(shot)] for n in range(way)],
        lambda place: measure(masks[place]),
        used,
        LEAST_SHARE[name],
        np.random.RandomState(seed),
    )


def test_supports_equal_the_published_ones(shared):
    cases = json.loads((shared / "golden" / "episodes-augmented.json").read_text())
    for key, expected in cases.items():
        seed, way, shot = (int(number) for number in re.findall(r"\d+", key))
        kind, name = key.split("-")[-2:]
        classes, shots = augment(name, way, shot, seed, kind)
        assert classes == expected["classes"], key
        assert [[list(place) for place in places] for places in shots] == expected["shots"], key
        assert (sum(map(len, shots)) > way * shot) == expected["augmented"], key
    assert len(cases) >= 64


@pytest.mark.parametrize("case, classes, shots", [])
def test_supports_wherever_the_tests_run(case, classes, shots):
    """Some of the published answers, copied."""
    assert augment(*case) == (classes, shots)
