"""EMAT, the efficient masked attention transformer (chapter 16).

Source: Carrión-Ojeda, Roth & Schaub-Meyer, *Efficient Masked Attention Transformer for Few-Shot Classification and
Segmentation*, GCPR 2025, https://arxiv.org/abs/2507.23642

Letters: as in `tokens`.
"""

from functools import partial

import torch
from torch import Tensor, nn

from .tokens import Attention, Layer, TokenLearner, TwoHeads, norm, pool_cells, split_class


class MaskedAttentionTransformer(TwoHeads):
    """Correlation tokens (G, D, h·w, J) and masks (G, S, S) to logits of masks and classes.

    Of 20 x 20 support cells 10 x 10 are left, then 1. classes: whether there are class tokens and a class head.
    """

    def __init__(self, channels: int, side: int, classes: bool = True):
        first = Layer(StridedAttention(channels, 64, classes=classes), 64)
        second = Layer(StridedAttention(64, 32, pool=side // 4, classes=classes), 32)
        super().__init__([first, second], width=32, classes=classes)


class StridedAttention(Attention):
    """Queries and shortcut are strided convolutions, see `Reduce`; keys and values are all tokens."""

    def __init__(self, channels: int, out: int, pool: int = 1, classes: bool = True):
        super().__init__(out)
        half = out // 2
        self.short_cut = nn.Sequential(Reduce(channels, out, pool, classes, bias=False), norm(out), nn.ReLU())
        self.q = Reduce(channels, half, pool, classes)
        self.kv = nn.Conv2d(channels, 2 * half, 1)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q(x), *self.kv(x).chunk(2, dim=1)


class Reduce(nn.Module):
    """A 2 x 2 convolution of stride 2 over the cells, then averages of pool x pool; class tokens have their own."""

    def __init__(self, channels: int, out: int, pool: int, classes: bool, bias: bool = True):
        super().__init__()
        self.pool = pool
        self.q_cls = nn.Conv2d(channels, out, 1, bias=bias) if classes else None
        self.q_seg = nn.Conv3d(channels, out, (1, 2, 2), (1, 2, 2), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(G, D, h·w, J) to (G, D', h·w, J')."""
        class_token, cells = split_class(x)
        cells = pool_cells(self.q_seg(cells), self.pool).flatten(3)
        return cells if self.q_cls is None else torch.cat([self.q_cls(class_token), cells], dim=3)


class EMAT(TokenLearner):
    """Efficient masked attention transformer, on DINOv2's ViT-S/14.

    The structure is CST's with a finer support grid, 20 x 20 cells, and a narrower second layer. Convolutions reduce
    the tokens where CST averages them. Cells outside the mask take no part in the attention; the published code removes
    them, which saves memory, and here the attention skips them, which gives the same numbers.
    """

    method = "emat"
    backbones = ("dinov2_vits14", "efficientnet_lite0")
    network = MaskedAttentionTransformer
    support_side = 20
    needs_masks = (
        "EMAT cannot work from class tags alone: it was published with masks only and has no pseudo masks; give "
        "masks, or choose cst."
    )


class EMATSeg(EMAT):
    """EMAT for few-shot segmentation (FS-S): without class tokens and class head, learned from masks alone.

    FS-S takes presence for granted. Where it is asked for in FS-CS, a class is present if a cell's foreground reaches
    a probability of 0.5: the rule of iFSL, and no part of the paper.
    """

    method = "ematseg"
    network = staticmethod(partial(MaskedAttentionTransformer, classes=False))
    class_tokens = False
