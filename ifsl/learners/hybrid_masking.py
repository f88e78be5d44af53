"""HM, hybrid masking: ASNet with support features that are masked in two ways (chapter 09)."""

import torch
from torch import Tensor

from .asnet import ASNet, pool_support
from .backbones import Features
from .maps import resize


class HybridMasking(ASNet):
    """Hybrid masking: Moon et al., *HM: Hybrid Masking for Few-Shot Segmentation*, ECCV 2022,
    https://arxiv.org/abs/2203.12826

    Multiplying the support's features by its mask keeps what each cell saw around the object; running the masked image
    through the backbone keeps fine detail inside the object and nothing of its surroundings. HM takes the first where
    it is positive and the second elsewhere. Everything after that is ASNet.
    """

    method = "asnethm"
    needs_masks = (
        "HM cannot work from class tags alone: without masks there is nothing to mask, neither features nor images; "
        "give masks, or choose pfenet, hsnet or asnet."
    )

    def prepare_support(self, features: Features, images: Tensor, masks: Tensor) -> Features:
        of_masked_images = self.backbone.pyramid(images * masks[:, None])
        return [
            [merge_masked(*pair, masks) for pair in zip(*level, strict=True)]
            for level in zip(pool_support(features), pool_support(of_masked_images), strict=True)
        ]


def merge_masked(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    """Features (M, D, h, w) times the resized masks (M, S, S) where positive, else those of the masked image."""
    masked = features * resize(masks[:, None], features.shape[-2:])
    return torch.where(masked > 0, masked, of_masked_image)
