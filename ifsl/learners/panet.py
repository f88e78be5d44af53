"""PANet: compare each cell of the query with the mean of every class (chapter 05).

Nothing is learned beside the backbone: a class is the mean of the features under its masks (its prototype), and a cell
of the query belongs to the prototype that it points in the direction of. Training bends the backbone until that works.

Source: Wang et al., *PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment*, ICCV 2019, section 3.3.

Letters: B episodes, N ways, K shots, C channels, h w feature grid, S image side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import IMAGE_SIZE, build_backbone
from .learner import Features, Learner
from .maps import Maps, presence, upsample

SCALE = 20.0
"""What cosines are multiplied with before the softmax, so that it can become sure."""


class PANet(Learner):
    """Prototypes on the backbone's last bottleneck; the maps have its grid (13 x 13 at 400 px)."""

    method = "panet"
    frozen = False
    needs_masks = (
        "PANet cannot work from class tags alone: without masks there is no background to make a prototype of; "
        "give masks, or choose pfenet, hsnet or asnet."
    )

    def __init__(self, backbone: str = "resnet50", pretrained: bool = False):
        super().__init__()
        self.backbone = build_backbone(backbone, pretrained)
        self.backbone_name = backbone
        self.image_size = IMAGE_SIZE[backbone]
        self.freeze()

    def frozen_modules(self) -> list[nn.Module]:
        """The backbone's classification head, which no image goes through; all else is trained."""
        if self.backbone_name == "efficientnet_lite0":
            net = self.backbone.net
            return [net.conv_head, net.bn2, net.classifier]
        return [self.backbone.fc]

    def pyramid(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to one level of one (M, C, h, w): the last bottleneck."""
        return [self.backbone.pyramid(images)[-1][-1:]]

    def encode(self, query: Tensor, supports: Tensor, masks: Tensor) -> tuple[Features, Features]:
        """In training two passes of their own: batch norm sees queries and supports as two batches."""
        if self.training:
            return self.encode_query(query), self.encode_support(supports, masks)
        return super().encode(query, supports, masks)

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Cosines with the prototypes to maps: `stacked` over all classes at once, `log_prob` class by class."""
        query, support = query[0][0], support[0][0]
        masks = upsample(masks.flatten(1, 2), support.shape[-2:]).unflatten(1, masks.shape[1:3])  # B, N, K, h, w
        means = prototypes(support.unflatten(0, masks.shape[:3]), masks)  # B, N + 1, C
        logits = SCALE * cosine(query, means)  # B, N + 1, h, w
        pairs = torch.stack([logits[:, :1].expand_as(logits[:, 1:]), logits[:, 1:]], dim=2)  # B, N, 2, h, w
        log_prob = pairs.log_softmax(dim=2)
        return Maps(log_prob, logits.log_softmax(dim=1), presence(log_prob))

    def class_log_prob(self, query: Tensor, supports: Tensor, masks: Tensor) -> Tensor:
        """Log-probabilities (B, N + 1, h, w) of background and the N classes, which compete for each cell."""
        return self.maps(query, supports, masks).stacked


def prototypes(features: Tensor, masks: Tensor) -> Tensor:
    """Mean features of the background, of all ways and shots together, and of each class: (B, N + 1, C).

    features: (B, N, K, C, h, w); masks: (B, N, K, h, w) resized to the same grid. A cell that the mask only touches is
    foreground; background is where it is exactly 0.
    """
    inside = (masks > 0).to(features.dtype)
    sums = torch.einsum("bnkchw,bnkhw->bnc", features, inside)
    areas = inside.sum(dim=(2, 3, 4))
    outside = (masks == 0).to(features.dtype)
    background = torch.einsum("bnkchw,bnkhw->bc", features, outside)
    sums = torch.cat([background[:, None], sums], dim=1)
    areas = torch.cat([outside.sum(dim=(1, 2, 3, 4))[:, None], areas], dim=1)
    return sums / (areas[..., None] + 1e-6)


def cosine(query: Tensor, means: Tensor) -> Tensor:
    """Cosine similarity of each cell with each mean: (B, C, h, w) and (B, N, C) to (B, N, h, w)."""
    return torch.einsum("bchw,bnc->bnhw", F.normalize(query, dim=1), F.normalize(means, dim=2))
