"""HM, hybrid masking: ASNet with two kinds of masked support features (chapter 09)."""

import torch
from torch import Tensor

from .asnet import ASNet, pool
from .learner import Features
from .maps import upsample


class HybridMasking(ASNet):
    """Hybrid masking: Moon et al., *HM: Hybrid Masking for Few-Shot Segmentation*, ECCV 2022,
    https://arxiv.org/abs/2203.12826

    Multiplying the support's features by its mask keeps what each cell saw around the object; running the masked image
    through the backbone keeps fine detail inside, and no surroundings. HM takes the first where it is positive and the
    second elsewhere. Everything after that is ASNet.
    """

    method = "asnethm"
    needs_masks = (
        "HM cannot work from class tags alone: without masks there is nothing to mask, neither features nor images; "
        "give masks, or choose pfenet, hsnet or asnet."
    )

    def for_support(self, seen: Features, images: Tensor, masks: Tensor) -> Features:
        """Pooled hybrid features; the masked images go through the backbone too."""
        cut_out = self.pyramid(images * masks[:, None])
        pairs = zip(pool(seen), pool(cut_out), strict=True)
        return [[hybrid(*pair, masks) for pair in zip(*levels, strict=True)] for levels in pairs]


def hybrid(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    """(M, C, h, w) features times the resized masks (M, S, S) where that is positive, else the masked image's."""
    masked = features * upsample(masks[:, None], features.shape[-2:])
    return torch.where(masked > 0, masked, of_masked_image)
