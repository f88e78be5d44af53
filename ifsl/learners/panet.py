"""PANet: compare each cell of the query with the mean of every class (chapter 05).

Nothing is trained but the backbone. A class is the mean of the features under its masks, its prototype; a cell of the
query belongs to the prototype with which it has the largest cosine. FS-CS leaves out the paper's alignment loss.

Source: Wang et al., *PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment*, ICCV 2019, section 3.3.

Letters: B episodes, N ways, K shots, D channels, h w feature grid, S image side.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_flag
from .backbones import Features, build_backbone, encode_together
from .learner import Learner
from .maps import Maps, find_present, resize
from .registry import BACKBONES

SCALE = 20.0
"""Factor of the cosines before the softmax, so that probabilities near 0 and 1 can occur."""


class PANet(Learner):
    """Prototypes of the backbone's last bottleneck; the maps have its grid (13 x 13 at 400 px).

    frozen_norm: batch normalisation keeps its pretrained statistics; as published, training takes those of each batch.
    """

    method = "panet"
    options = ("frozen_norm",)
    backbones = ("resnet50", "resnet101", "efficientnet_lite0")
    frozen = False
    needs_masks = (
        "PANet cannot work from class tags alone: without masks there is no background to make a prototype of; "
        "give masks, or choose pfenet, hsnet or asnet."
    )

    def __init__(self, backbone: str = "resnet50", pretrained: bool = False, frozen_norm: bool = False):
        super().__init__(backbone)
        self.frozen_norm = check_flag("frozen_norm", frozen_norm)
        self.backbone = build_backbone(backbone, pretrained)
        self.freeze()

    def frozen_modules(self) -> list[nn.Module]:
        """The ImageNet classifier, which no image goes through; everything else is trained."""
        return [self.backbone.get_submodule(name) for name in BACKBONES[self.backbone_name].head]

    def train(self, mode: bool = True) -> "PANet":
        super().train(mode)
        for module in self.modules():
            if self.frozen_norm and isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def encode_query(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to one level with one bottleneck, the last: (M, D, h, w)."""
        return [self.backbone.pyramid(images)[-1][-1:]]

    def encode(self, query: Tensor, supports: Tensor, masks: Tensor) -> tuple[Features, Features]:
        """In training queries and supports are two batches for batch normalisation."""
        if self.training:
            return super().encode(query, supports, masks)
        return encode_together(self.encode_query, query, supports)

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Cosines with the prototypes to maps: `stacked` over all classes at once, `log_prob` class by class."""
        [[query]], [[support]] = query, support
        masks = resize(masks.flatten(1, 2), support.shape[-2:]).unflatten(1, masks.shape[1:3])  # B, N, K, h, w
        prototypes = average(support.unflatten(0, masks.shape[:3]), masks)  # B, N + 1, D
        logits = SCALE * cosine(query, prototypes)  # B, N + 1, h, w
        background, foregrounds = logits[:, :1], logits[:, 1:]
        pairs = torch.stack([background.expand_as(foregrounds), foregrounds], dim=2)  # B, N, 2, h, w
        log_prob = pairs.log_softmax(dim=2)
        return Maps(log_prob, logits.log_softmax(dim=1), find_present(log_prob), log_prob[:, :, None])

    def class_log_prob(self, query: Tensor, supports: Tensor, masks: Tensor) -> Tensor:
        """Log-probabilities (B, N + 1, h, w) of background and the N classes, which compete for each cell."""
        return self.maps(query, supports, masks).stacked

    @staticmethod
    def optimizer(parameters: Iterable[nn.Parameter], lr: float | None = None, weak: bool = False):
        return torch.optim.SGD(parameters, lr or 1e-3, momentum=0.9, weight_decay=5e-4)


def average(features: Tensor, masks: Tensor) -> Tensor:
    """Prototypes (B, N + 1, D): the mean feature of the background of all supports, and of each class.

    features: (B, N, K, D, h, w); masks: (B, N, K, h, w) resized to the same grid. A cell that the mask only touches is
    foreground; background is where the resized mask is exactly 0.
    """
    inside, outside = (masks > 0).to(features.dtype), (masks == 0).to(features.dtype)
    sums = torch.einsum("bnkdhw,bnkhw->bnd", features, inside)
    areas = inside.sum(dim=(2, 3, 4))
    background = torch.einsum("bnkdhw,bnkhw->bd", features, outside)
    sums = torch.cat([background[:, None], sums], dim=1)
    areas = torch.cat([outside.sum(dim=(1, 2, 3, 4))[:, None], areas], dim=1)
    return sums / (areas[..., None] + 1e-6)


def cosine(query: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine similarity of each cell with each prototype: (B, D, h, w) and (B, N, D) to (B, N, h, w)."""
    return torch.einsum("bdhw,bnd->bnhw", F.normalize(query, dim=1), F.normalize(prototypes, dim=2))
