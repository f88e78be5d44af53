"""From a learner's maps to predictions and losses: the iFSL framework, and the older task FS-S (chapters 04, 10, 12).

For each of the N classes of an episode a learner returns a map of h x w cells with two log-probabilities per cell:
background (0) and foreground (1). Everything else follows from these maps: which classes are present, the mask of the
query, the loss with masks (strong supervision) and the loss with class tags alone (weak supervision).

Source: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*, CVPR 2022, section 4.

Letters: B episodes, N ways, K shots, D channels, h w map size, H W size of the query's own image.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

VOID = 255
"""Label of pixels that an option may leave out of losses and metrics; everywhere else they are background."""

PRESENT = math.log(0.5)
"""A class is present where the largest foreground log-probability reaches log 0.5."""


class Maps(NamedTuple):
    """What a learner returns for a query.

    log_prob: (B, N, 2, h, w) log-probabilities of background and foreground for each class, mean over the shots.
    stacked: (B, N + 1, h, w) one background map and N foreground maps; their argmax is the segmentation.
    presence: (B, N) bool, which classes the query shows.
    shots: (B, N, K, 2, h, w) log-probabilities of each shot; where a learner has one map for all shots, K is 1.
    """

    log_prob: Tensor
    stacked: Tensor
    presence: Tensor
    shots: Tensor


def find_present(log_prob: Tensor, threshold: float = PRESENT) -> Tensor:
    """Which classes the query shows: (..., 2, h, w) log-probabilities to (...) bool.

    A class is present if at least one cell gives its foreground a log-probability of `threshold` or more.
    """
    return log_prob[..., 1, :, :].amax(dim=(-2, -1)) >= threshold


def merge_classes(log_prob: Tensor) -> Tensor:
    """One background map and N foreground maps: (B, N, 2, h, w) to (B, N + 1, h, w).

    Each class has its own background map; the merged one is their mean.
    """
    background = log_prob[:, :, 0].mean(dim=1, keepdim=True)
    return torch.cat([background, log_prob[:, :, 1]], dim=1)


def merge_shots(shot_log_prob: Tensor) -> Maps:
    """The maps of K shots, (B, N, K, 2, h, w) log-probabilities, to `Maps`.

    The shots' maps are averaged. Presence is the vote of the shots, and a tie counts as present.
    """
    log_prob = shot_log_prob.mean(dim=2)
    votes = find_present(shot_log_prob).float().mean(dim=2)
    return Maps(log_prob, merge_classes(log_prob), votes >= 0.5, shot_log_prob)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize with aligned corners: (B, D, h, w) to (B, D, H, W)."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


def predict(found: Maps, sizes: list[tuple[int, int]], task: str = "fs-cs") -> tuple[Tensor, list[Tensor]]:
    """Presence (B, N) bool and the B segmentations of `sizes` (H, W) that the maps mean under a task.

    FS-S takes it for granted that the query shows the class: its presence is True.
    """
    if task == "fs-s":
        return torch.ones_like(found.presence), vote(found.shots[:, 0], sizes)
    return found.presence, segment(found.stacked, sizes)


def segment(stacked: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Segmentations: (B, N + 1, h, w) and B sizes (H, W) to a list of B (H, W) uint8, 0 background, n for way n."""
    return [resize(one[None], size).argmax(dim=1)[0].byte() for one, size in zip(stacked, sizes, strict=True)]


def vote(shots: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """The segmentations of FS-S: (B, K, 2, h, w) and B sizes (H, W) to a list of B (H, W) uint8 of 0 and 1.

    Each shot votes for the pixels where its foreground is above its background. Foreground is what has at least half as
    many votes as the pixel with most: as published, the votes are divided not by K but by the largest of the image, so
    where no two shots agree a single vote wins.
    """
    masks = []
    for one, size in zip(shots, sizes, strict=True):
        background, foreground = resize(one, size).unbind(dim=1)
        votes = (foreground > background).sum(dim=0)
        masks.append((2 * votes >= votes.max().clamp(min=1)).byte())
    return masks


def strong_loss(stacked: Tensor, query_mask: Tensor) -> Tensor:
    """Negative log-likelihood of the stacked maps against the query's mask, mean over pixels.

    stacked: (B, N + 1, h, w); query_mask: (B, H, W) with 0 background, n for way n. Pixels labelled `VOID` are left
    out; they occur only where the benchmark was asked to keep them.
    """
    return F.nll_loss(resize(stacked, query_mask.shape[-2:]), query_mask.long(), ignore_index=VOID)


def fss_loss(log_prob: Tensor, query_mask: Tensor) -> Tensor:
    """Cross-entropy of the resized maps against the query's mask, mean over pixels: the loss of FS-S.

    log_prob: (B, 2, h, w); query_mask: (B, H, W) of 0 and 1. As published, the softmax comes after the resizing. Raw
    logits give the same loss as log-probabilities: both channels of a cell differ by the same number.
    """
    return F.cross_entropy(resize(log_prob, query_mask.shape[-2:]), query_mask.long())


def weak_loss(log_prob: Tensor, present: Tensor) -> Tensor:
    """Negative log-likelihood of each class's spatially averaged log-probabilities against its presence.

    log_prob: (B, N, 2, h, w); present: (B, N) bool. No mask is needed.
    """
    return F.nll_loss(log_prob.mean(dim=(-2, -1)).flatten(0, 1), present.long().flatten())
