"""Correlation pyramids: the cosine similarity of every query cell with every support cell (chapter 03).

Source: Min et al., *Hypercorrelation Squeeze for Few-Shot Segmentation*, ICCV 2021, section 4.1 (the bottlenecks of a
level become channels); Kang & Cho, *Integrative Few-Shot Learning*, CVPR 2022, section 5 (pooled support).

Letters: B episodes, N ways, G = B·N supports of one shot (ordered episode, way), D channels, L bottlenecks of a level,
Hq Wq query grid, Hs Ws support grid.
"""

import torch
from torch import Tensor

from .backbones import Features
from .fast import correlation as fast
from .fast import faster


def normalize(features: Features) -> Features:
    """Divide every cell's vector by its length over the channels, to which 1e-5 is added."""
    return [[x / (x.norm(dim=1, keepdim=True) + 1e-5) for x in level] for level in features]


def correlate(query: Tensor, support: Tensor) -> Tensor:
    """Cosine similarity of every query cell with every support cell; negative values become 0.

    query: unit vectors (B, D, Hq, Wq); support: unit vectors (G, D, Hs, Ws), the first G/B belong to the first query
    and so on. Returns (G, Hq, Wq, Hs, Ws).
    """
    query = query.repeat_interleave(len(support) // len(query), dim=0)
    return torch.einsum("gdij,gdkl->gijkl", query, support).relu()


@faster(fast.correlation_pyramid)
def correlation_pyramid(query: Features, support: Features) -> list[Tensor]:
    """All correlations: for each level one tensor (G, L, Hq, Wq, Hs, Ws), its bottlenecks in forward order.

    query: unit vectors of B images; support: unit vectors of G images (see `correlate`).
    """
    return [
        torch.stack([correlate(q, s) for q, s in zip(*level, strict=True)], dim=1)
        for level in zip(query, support, strict=True)
    ]
