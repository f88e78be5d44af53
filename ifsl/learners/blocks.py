"""What HSNet, ASNet and hybrid masking share: from features to maps, and the decoder (chapters 07 and 08).

Letters: B episodes, N ways, K shots, G = B·N supports of one shot, D channels, L bottlenecks of a level, Hq Wq query
grid, Hs Ws support grid, h w map size, S image side.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .backbones import Features, build_backbone, encode_together
from .correlation import correlation_pyramid, normalize
from .fast import faster
from .fast import group_norm as fast
from .learner import Learner
from .maps import Maps, merge_shots, resize
from .registry import BACKBONES


class CorrelationLearner(Learner):
    """A learner that turns correlations into maps, one shot at a time.

    Subclasses differ in `prepare_support(features, images, masks)`, which returns what is correlated of the supports,
    and in `network`, which is built from the backbone's depths and maps three correlations (G, L, Hq, Wq, Hs, Ws) and
    the support masks (G, S, S) to logits (G, 2, h, w).
    """

    network: type[nn.Module]

    def __init__(self, backbone: str = "resnet50", pretrained: bool = False):
        super().__init__(backbone)
        self.backbone = build_backbone(backbone, pretrained)
        self.learner = self.network(BACKBONES[backbone].depths)
        self.freeze()

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        return self.prepare_support(self.backbone.pyramid(images), images, masks)

    def encode(self, query: Tensor, supports: Tensor, masks: Tensor) -> tuple[Features, Features]:
        query, features = encode_together(self.backbone.pyramid, query, supports)
        return query, self.prepare_support(features, supports, masks)

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Each shot gives maps of its own; they are merged."""
        query, support = normalize(query), normalize(support)
        ways, shots = masks.shape[1:3]
        log_prob = []
        for shot in range(shots):
            one_shot = [[x[shot::shots] for x in level] for level in support]
            logits = self.learner(correlation_pyramid(query, one_shot), masks[:, :, shot].flatten(0, 1))
            log_prob.append(logits.log_softmax(dim=1).unflatten(0, (-1, ways)))
        return merge_shots(torch.stack(log_prob, dim=2))


class GroupNorm(nn.GroupNorm):
    """Normalisation in four groups of channels, as everywhere in HSNet and ASNet."""

    def __init__(self, channels: int):
        super().__init__(4, channels)

    def forward(self, x: Tensor) -> Tensor:
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


@faster(fast.group_norm)
def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(G, D, ...) to the same shape."""
    return F.group_norm(x, groups, weight, bias, eps)


class Decoder(nn.Module):
    """From squeezed correlations to logits of background and foreground: (G, 128, h, w) to (G, 2, 2h, 2w)."""

    def __init__(self):
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.decoder1 = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), relu, nn.Conv2d(128, 64, 3, padding=1), relu)
        self.decoder2 = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), relu, nn.Conv2d(64, 2, 3, padding=1))

    def decode(self, x: Tensor) -> Tensor:
        x = self.decoder1(x)
        h, w = x.shape[-2:]
        return self.decoder2(resize(x, (2 * h, 2 * w)))


def resize_query(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """A coarser level (G, D, h, w, Hs, Ws), resized to the query grid of the next finer one: (G, D, Hq, Wq, Hs, Ws)."""
    resized = resize(rearrange(x, "g d h w hs ws -> (g hs ws) d h w"), grid)
    return rearrange(resized, "(g hs ws) d h w -> g d h w hs ws", hs=x.shape[-2], ws=x.shape[-1])
