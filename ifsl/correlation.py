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


def unit(features: Tensor) -> Tensor:
    """Unit vectors: (M, C, h, w) divided by its length over the channels, to which 1e-5 is added."""
    features = features.contiguous(memory_format=torch.channels_last)
    return features / (features.norm(dim=1, keepdim=True) + 1e-5)


def correlate(query: Tensor, support: Tensor) -> Tensor:
    """Cosine of every query cell with every support cell, negatives set to 0.

    query: (B, C, Hq, Wq); support: (G, C, Hs, Ws). Returns (G, Hq, Wq, Hs, Ws).

    The unit vectors of an episode's supports are the filters of a 1 x 1 convolution over its query, so that the query
    is neither repeated nor normalised again for ways and shots.
    """
    query, support = unit(query), unit(support)
    grid = support.shape[-2:]
    filters = support.permute(0, 2, 3, 1).unflatten(0, (len(query), -1)).flatten(1, 3)  # (B, G/B·Hs·Ws, C)
    cosine = torch.cat([F.conv2d(q[None], f[:, :, None, None]) for q, f in zip(query, filters, strict=True)])
    return cosine.relu_().unflatten(1, (-1, *grid)).flatten(0, 1).permute(0, 3, 4, 1, 2)


def pyramid(query: Features, support: Features) -> list[Tensor]:
    """All correlations: for each level one tensor (G, L, Hq, Wq, Hs, Ws), its bottlenecks in forward order.

    In memory the bottlenecks are the last axis ("channels last"), as the convolutions that follow like it.
    """
    return [
        torch.stack([correlate(q, s) for q, s in zip(*level, strict=True)], dim=-1).movedim(-1, 1)
        for level in zip(query, support, strict=True)
    ]
