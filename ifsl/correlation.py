"""Cosine correlation pyramids: how alike is every query cell to every support cell (chapter 03).

Source: Min et al., *Hypercorrelation Squeeze for Few-Shot Segmentation*, ICCV 2021, section 4.1 (the bottlenecks of a
level become channels); Kang & Cho, *Integrative Few-Shot Learning*, CVPR 2022, section 5 (pooled support).

Letters: B episodes, N ways, K shots, G = B·N·K supports (ordered episode, way, shot), C channels, L bottlenecks of a
level, Hq Wq query grid, Hs Ws support grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Features = list[list[Tensor]]
"""A pyramid: for each level the outputs of its bottlenecks, each (M, C, h, w) for M images."""


def unit(features: Features) -> Features:
    """Divide every cell's vector by its length over the channels, to which 1e-5 is added."""
    return [[x / (x.norm(dim=1, keepdim=True) + 1e-5) for x in level] for level in features]


def correlate(query: Tensor, support: Tensor) -> Tensor:
    """Cosine of every query cell with every support cell, negatives set to 0.

    query: unit vectors (B, C, Hq, Wq); support: unit vectors (G, C, Hs, Ws). Returns (G, Hq, Wq, Hs, Ws).

    The support's vectors are the filters of a 1 x 1 convolution over the query, so that the query is not repeated for
    ways and shots.
    """
    count, grid = len(support) // len(query), support.shape[2:]
    filters = support.flatten(2).transpose(1, 2)[..., None, None]  # (G, Hs·Ws, C, 1, 1)
    cosine = torch.cat([F.conv2d(query[g // count, None], kernels) for g, kernels in enumerate(filters)])
    return cosine.relu_().unflatten(1, grid).permute(0, 3, 4, 1, 2)


def pyramid(query: Features, support: Features) -> list[Tensor]:
    """All correlations: for each level one tensor (G, L, Hq, Wq, Hs, Ws), its bottlenecks in forward order.

    query: unit vectors of B images, support: of G. In memory the bottlenecks are the last axis ("channels last"), as
    the convolutions that follow like it.
    """
    return [
        torch.stack([correlate(q, s) for q, s in zip(*level, strict=True)], dim=-1).movedim(-1, 1)
        for level in zip(query, support, strict=True)
    ]
