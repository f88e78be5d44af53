"""Segmentation without training: the support's mask is handed on to the query cells that look like it.

Label propagation is attention whose values are the mask. Each query cell is a query, each support cell a key: the
softmax of their cosines says how much each support cell counts, and the mean of the mask under these weights is how
much of the query cell belongs to the class. A softmax always sums to 1, so it finds a best match even where the class
is absent. What it lacks is an answer "none of them": here a null match, one more key for every support, whose cosine
with all queries is one constant and whose value is 0. The constant, the temperature of the softmax, the levels of the
backbone and the two thresholds of `baselines` are chosen on episodes of the training classes.

It resembles several published methods and is none of them. Propagating labels by affinities of features is how videos
are segmented from their first frame: Oh et al., *Video Object Segmentation using Space-Time Memory Networks*, ICCV 2019
(trained), Jabri et al., *Space-Time Correspondence as a Contrastive Random Walk*, NeurIPS 2020 (only the features are).
One-shot segmentation by matching features that nobody trained for it is what PerSAM (Zhang et al., *Personalize Segment
Anything Model with One Shot*, ICLR 2024) and Matcher (Liu et al., ICLR 2024) do, which then prompt a large segmentation
model. Those are given that the class is there, as in FS-S; the null match is what FS-CS needs besides.

Letters: B episodes, N ways, K shots, M images, D channels, h w feature grid of stride 16.
"""

from collections.abc import Sequence
from itertools import product
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..data.benchmarks import Benchmark
from ..errors import InputError, is_int, is_number, shown
from ..learners.backbones import Features, build_backbone
from ..learners.correlation import normalize
from ..learners.maps import resize
from .baselines import LEVELS, Baseline, Scores, training_batches

LEVEL_SETS = ((3,), (4,), (3, 4), (2, 3, 4))
TEMPERATURES = (0.03, 0.05, 0.1)
NULLS = (float("-inf"), 0.4, 0.5, 0.6, 0.7)
"""What `choose_match` tries; a cosine of minus infinity means no null match."""
EPISODES = 240
"""How many training episodes it tries them on."""


class Match(NamedTuple):
    """A choice that was tried, with the thresholds that suit it best, and its metrics in % on training episodes."""

    levels: tuple[int, ...]
    temperature: float
    null: float
    presence: float
    mask: float
    er: float
    miou: float


class TrainingFree(Baseline):
    """Label propagation with a null match, on a backbone that stays as it was pretrained.

    levels: of the backbone, whose bottlenecks' features are put one after the other; temperature: what cosines are
    divided by before the softmax; null: the cosine of the null match, minus infinity for none. Raises `InputError` for
    levels that do not exist, for a temperature that is not above 0, and for a null match that is no number.
    """

    def __init__(
        self,
        backbone: str = "efficientnet_lite0",
        pretrained: bool = True,
        levels: Sequence[int] = (3, 4),
        temperature: float = 0.05,
        null: float = 0.6,
    ):
        if not isinstance(levels, Sequence) or not levels or not all(is_int(one) and one in LEVELS for one in levels):
            raise InputError(f"levels is {shown(levels)}; give a list of some of 2, 3 and 4.")
        if not is_number(temperature) or not 0 < temperature < inf:
            raise InputError(f"temperature is {shown(temperature)}; give a number above 0, such as 0.05.")
        if not is_number(null) or null == inf:
            raise InputError(f"null is {shown(null)}; give a number, such as 0.6, or minus infinity for none.")
        super().__init__("training-free", backbone)
        self.levels, self.temperature, self.null = tuple(levels), temperature, null
        self.backbone = build_backbone(backbone, pretrained)
        self.freeze()

    def use(self, choice: Match) -> None:
        """Take a choice's levels, temperature, null match (None or minus infinity for none) and thresholds."""
        self.levels, self.temperature = tuple(choice.levels), choice.temperature
        self.null = float("-inf") if choice.null is None else choice.null
        self.thresholds.copy_(torch.tensor([choice.presence, choice.mask]))

    def frozen_modules(self) -> list[nn.Module]:
        return [self.backbone]

    def encode_query(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to one level with one map of unit vectors (M, D, h, w)."""
        return [[join_levels(self.backbone.pyramid(images), self.levels)]]

    def score(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """(B, N, h, w): how much of each query cell belongs to each class, from 0 to 1."""
        [[query]], [[support]] = query, support
        return propagate(match(query, support, masks.shape[1]), masks, self.temperature, self.null)


def join_levels(pyramid: Features, levels: Sequence[int]) -> Tensor:
    """The features of all bottlenecks of some levels, resized to stride 16: unit vectors (M, D, h, w).

    Each bottleneck's vectors get length 1 first, so that each counts as much as any other.
    """
    grid = pyramid[LEVELS.index(3)][0].shape[-2:]
    chosen = normalize([pyramid[LEVELS.index(level)] for level in levels])
    [[cells]] = normalize([[torch.cat([resize(x, grid) for level in chosen for x in level], dim=1)]])
    return cells


def match(query: Tensor, support: Tensor, way: int) -> Tensor:
    """Cosines of every query cell with every support cell: (B, D, h, w), (B·N·K, D, h, w) to (B, N, h, w, K, h·w)."""
    support = support.flatten(2).unflatten(0, (len(query), way, -1))
    return torch.einsum("bdij,bnkds->bnijks", query, support)


def propagate(cosines: Tensor, masks: Tensor, temperature: float, null: float) -> Tensor:
    """The mean of the supports' masks under the attention of each query cell: (B, N, h, w), from 0 to 1.

    cosines: (B, N, h, w, K, h·w) of `match`; masks: (B, N, K, S, S), resized to the grid. The keys are the cells of all
    K supports and a null match for each of them: with one for all, more shots would outweigh it.
    """
    values = resize(masks.flatten(1, 2), cosines.shape[2:4]).flatten(2).unflatten(1, masks.shape[1:3])  # B, N, K, h·w
    nothing = cosines.new_full((*cosines.shape[:-1], 1), null)
    attention = (torch.cat([cosines, nothing], dim=-1) / temperature).flatten(-2).softmax(dim=-1)
    kept = attention.view(*cosines.shape[:-1], -1)[..., :-1]  # what the null match gets is lost: its value is 0
    return torch.einsum("bnijks,bnks->bnij", kept, values)


@torch.inference_mode()
def choose_match(
    baseline: TrainingFree,
    trn: Benchmark,
    episodes: int = EPISODES,
    shot: int = 1,
    *,
    level_sets: Sequence[Sequence[int]] = LEVEL_SETS,
    temperatures: Sequence[float] = TEMPERATURES,
    nulls: Sequence[float] = NULLS,
    seed: int = 0,
    batch: int = 8,
    workers: int | None = None,
) -> list[Match]:
    """Set a baseline's levels, temperature, null match and thresholds; returns all choices tried, the best one first.

    The best choice has the highest mIoU, each with the thresholds that `choose_thresholds` would set, all on the same
    `episodes` 1-way episodes of the training classes. trn: the training split. Raises `InputError` for the test split.
    """
    tried = {one: Scores() for one in product(map(tuple, level_sets), temperatures, nulls)}
    for found in training_batches(trn, baseline.image_size, episodes, shot, seed=seed, batch=batch, workers=workers):
        query = baseline.backbone.pyramid(found["query"])
        support = baseline.backbone.pyramid(found["supports"].flatten(0, 2))
        for levels in dict.fromkeys(levels for levels, _, _ in tried):
            cosines = match(join_levels(query, levels), join_levels(support, levels), way=1)
            for temperature, null in product(temperatures, nulls):
                score = propagate(cosines, found["masks"], temperature, null)
                tried[levels, temperature, null].add(score, found)
    matches = []
    for choice, scores in tried.items():
        thresholds = scores.choose()
        matches.append(Match(*choice, *thresholds, *scores.measure(*thresholds)))
    matches.sort(key=lambda one: one.miou, reverse=True)
    baseline.use(matches[0])
    return matches
