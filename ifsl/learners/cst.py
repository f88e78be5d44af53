"""CST, the classification-segmentation transformer (chapter 16).

Source: Kang, Koniusz, Cho & Murray, *Distilling Self-Supervised Vision Transformers for Weakly-Supervised Few-Shot
Classification & Segmentation*, CVPR 2023, https://arxiv.org/abs/2307.03407

Letters: as in `tokens`.
"""

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor, nn

from .backbones import Features
from .registry import BACKBONES
from .tokens import (
    Attention,
    Layer,
    TokenLearner,
    TokenMaps,
    TwoHeads,
    compare_keys,
    make_pseudo_masks,
    norm,
    pool_cells,
    split_class,
)


class CorrelationTransformer(TwoHeads):
    """Correlation tokens (G, D, h·w, 145) and masks (G, S, S) to logits of mask and class, through 10 tokens to 2."""

    def __init__(self, channels: int, side: int):
        first = Layer(PoolingAttention(channels, 32, pool=4), 32)
        second = Layer(PoolingAttention(32, 128, pool=side // 4), 128)
        super().__init__([first, second], width=128)


class PoolingAttention(Attention):
    """Queries and shortcut are convolutions whose cells are averaged over windows of pool x pool."""

    def __init__(self, channels: int, out: int, pool: int):
        super().__init__(out)
        self.pool = PoolCells(pool)
        self.short_cut = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), self.pool, norm(out), nn.ReLU())
        self.qkv = nn.Conv2d(channels, 3 * (out // 2), 1)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.qkv(x).chunk(3, dim=1)
        return self.pool(query), key, value


class PoolCells(nn.Module):
    """Average over windows of size x size cells; the class token stays as it is: (G, D, h·w, J) to (G, D, h·w, J')."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        class_token, cells = split_class(x)
        return torch.cat([class_token, pool_cells(cells, self.size).flatten(3)], dim=3)


class CST(TokenLearner):
    """Classification-segmentation transformer, on DINO's ViT-S/8 as published or on DINOv2's ViT-S/14 (CST*).

    Correlation tokens of 12 x 12 support cells and the class token are reduced to two by attention whose queries are
    averages. From class tags alone (weak), the backbone makes pseudo masks: pixels whose keys, in the last attention,
    are similar to the query of the support's class token. The support's pseudo mask replaces its mask; the query's is
    the target of the mask head. (The published code finds the 12 from the image size, so it works from 384 to 415
    pixels; here it is 12 at every size.)
    """

    method = "cst"
    network = CorrelationTransformer
    support_side = 12
    weak_monitor = "val_miou"

    def __init__(self, backbone: str = "dino_vits8", pretrained: bool = False):
        super().__init__(backbone, pretrained)
        if BACKBONES[backbone].patch is None:
            self.needs_masks = (
                f"CST cannot work from class tags alone on {backbone}: its pseudo masks come from a class token's "
                "query and the cells' keys, and only a vision transformer has those; give masks, or choose dino_vits8."
            )

    def guess_masks(self, support: Features, whole: Tensor) -> Tensor:
        """Pseudo masks (B, N, K, S, S) of the supports."""
        cosines = support[2][1].unflatten(0, whole.shape[:3]).flatten(2, 3)
        masks = make_pseudo_masks(cosines.flatten(0, 1), whole.shape[-2:])
        return masks.unflatten(0, whole.shape[:2]).to(whole.dtype)

    def compare(self, query: Features, support: Features, masks: Tensor) -> TokenMaps:
        """On a vision transformer the maps include how similar the query's keys are to the supports' class queries."""
        found = super().compare(query, support, masks)
        if BACKBONES[self.backbone_name].patch is None:
            return found
        batch, ways, shots = masks.shape[:3]
        keys = query[2][1].repeat_interleave(ways * shots, dim=0)
        cosines = rearrange(compare_keys(support[2][0], keys), "(b n k) 1 h w -> b n k h w", b=batch, n=ways)
        return found._replace(similarity=cosines.mean(dim=2))

    @staticmethod
    def optimizer(parameters: Iterable[nn.Parameter], lr: float | None = None, weak: bool = False):
        return torch.optim.Adam(parameters, lr or 1e-3)
