"""Cosine correlation pyramids: how alike is every query cell to every support cell (chapter 03).

Source: Min et al., *Hypercorrelation Squeeze for Few-Shot Segmentation*, ICCV 2021, section 4.1 (the bottlenecks of a
level become channels); Kang & Cho, *Integrative Few-Shot Learning*, CVPR 2022, section 5 (pooled support).

Letters: B episodes, N ways, K shots, G = B·N·K supports (ordered episode, way, shot), C channels, L bottlenecks of a
level, Hq Wq query grid, Hs Ws support grid.
"""

import torch
from torch import Tensor

from .backbones import one_dnn

Features = list[list[Tensor]]
"""A pyramid: for each level the outputs of its bottlenecks, each (M, C, h, w) for M images."""


def unit(features: Features) -> Features:
    """Divide every cell's vector by its length over the channels, to which 1e-5 is added.

    The channels become the last axis in memory ("channels last"): the vectors lie in one piece.
    """
    features = [[x.contiguous(memory_format=torch.channels_last) for x in level] for level in features]
    return [[x / (x.norm(dim=1, keepdim=True) + 1e-5) for x in level] for level in features]


def correlate(query: Tensor, support: Tensor) -> Tensor:
    """Cosine of every query cell with every support cell, negatives set to 0.

    query: unit vectors (C, Hq, Wq); support: unit vectors (C, Hs, Ws). Returns (Hq, Wq, Hs, Ws).

    These are products of two matrices, of all query vectors by all support vectors.
    """
    vectors = (x.movedim(0, -1).flatten(0, 1) for x in (query, support))
    return products(*vectors).view(*query.shape[1:], *support.shape[1:])


def products(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products of each row of a (n, C) with each row of b (m, C), negatives set to 0: (n, m)."""
    if one_dnn(a, b):
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "relu", [], "")
    return (a @ b.T).relu_()


def pyramid(query: Features, support: Features) -> list[Tensor]:
    """All correlations: for each level one tensor (G, L, Hq, Wq, Hs, Ws), its bottlenecks in forward order.

    query: unit vectors of B images, support: of G, of which the first G/B belong to the first query and so on. In
    memory the bottlenecks are the last axis, as they are channels from here on.
    """
    return [stack(q, s) for q, s in zip(query, support, strict=True)]


def stack(query: list[Tensor], support: list[Tensor]) -> Tensor:
    """The correlations of one level, (G, L, Hq, Wq, Hs, Ws)."""
    (queries, _, *query_grid), (supports, _, *support_grid) = query[0].shape, support[0].shape
    level = query[0].new_empty(supports, *query_grid, *support_grid, len(query))
    for g in range(supports):
        rows, columns = box([s[g] for s in support])
        if (rows, columns) != tuple(slice(0, side) for side in support_grid):
            level[g] = 0
        for bottleneck, (q, s) in enumerate(zip(query, support, strict=True)):
            cosine = correlate(q[g * queries // supports], s[g, :, rows, columns])
            level[g, :, :, rows, columns, bottleneck] = cosine
    return level.movedim(-1, 1)


def box(support: list[Tensor]) -> tuple[slice, slice]:
    """Rows and columns of the smallest box, of one cell or more, that holds all vectors besides 0 of maps (C, Hs, Ws).

    Where a mask has set the support's vectors to 0, their cosines with all others are known: 0.
    """
    filled = torch.zeros(support[0].shape[1:], dtype=torch.bool, device=support[0].device)
    for x in support:
        filled |= x.norm(dim=0) != 0  # NaN, too
        if filled.all():
            break
    rows, columns = (filled.any(dim=axis).nonzero()[:, 0].tolist() or [0] for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
