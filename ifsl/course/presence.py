"""Which classes the queries of a benchmark show, counted without reading any image (chapters 00 to 02)."""

from functools import cache

import numpy as np

from ..data.benchmarks import Benchmark
from ..data.images import read_mask


@cache
def find_shown(bench: Benchmark, image: str) -> frozenset[int]:
    """The ids of the classes in an image's mask."""
    ids = np.unique(read_mask(bench.mask_path(image), len(bench.class_names))).tolist()
    return frozenset(ids) & set(bench.class_names)


def count_shown(bench: Benchmark, way: int, episodes: int, task: str = "fs-cs") -> list[int]:
    """How many of its classes the query shows, for each of the first 1-shot episodes of a benchmark."""
    draws = [bench.draw(i, way, 1, task=task) for i in range(episodes)]
    return [len(find_shown(bench, draw.query) & set(draw.classes)) for draw in draws]
