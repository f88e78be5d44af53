"""What an episode is: by name, and as tensors (chapter 02). `Benchmark` draws and reads them.

Letters: N ways, K shots, S image side, H W size of the query's picture.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """An episode by name: the query, K support names for each of N ways, the N class ids, and the task it is for."""

    index: int
    query: str
    support: list[list[str]]
    classes: list[int]
    task: str = "fs-cs"


@dataclass(frozen=True)
class Episode:
    """An episode as tensors.

    draw: its names.
    class_names: the N names of the classes.
    query: (3, S, S), the normalised query image.
    supports: (N, K, 3, S, S), the normalised support images.
    masks: (N, K, S, S) float, 1 inside the class of the way, else 0.
    query_mask: uint8, 0 background, n for way n, 255 void if it was asked for; (H, W), the query's own size, or (S, S)
        in training and in FS-S.
    presence: (N,) bool, whether the query shows the class.
    classes: (N,) class ids, counted over the whole benchmark.
    size: (H, W) of the query's mask.
    picture: (H, W, 3) uint8, the query as it is on disk, in FS-S of its mask's size; None in training.
    """

    draw: Draw
    class_names: list[str]
    query: Tensor
    supports: Tensor
    masks: Tensor
    query_mask: Tensor
    presence: Tensor
    classes: Tensor
    size: tuple[int, int]
    picture: np.ndarray | None
