"""PFENet: a prior that needs no training, and a pyramid of enriched features (chapter 06).

Three things are compared at each cell of the query: its own features, the mean features of the class, and the prior,
which is how similar the cell's deepest features are to anything under the support mask. They are merged at four
resolutions, from fine to coarse, and each passes its result on to the next.

Source: Tian et al., *Prior Guided Feature Enrichment Network for Few-Shot Segmentation*, TPAMI 2020, sections 3 and 4.

Letters: B episodes, N ways, K shots, M images, D channels, h w feature grid, S image side.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..checks import check_flag
from ..errors import InputError, is_int, shown
from .backbones import Features, build_backbone, channels_last
from .learner import Learner
from .maps import Maps, find_present, merge_classes, resize
from .registry import BACKBONES

BINS = (1, 2, 4, 8)
"""How much coarser than the feature grid each resolution of the enrichment is."""


class PFENet(Learner):
    """Maps on the grid of stride 8 (50 x 50 at 400 px). Ways are independent; shots are averaged before the network.

    width: channels of the learner. published_prior: compute the prior of several ways as the published code does, which
    mixes them up (see `published_prior_maps`); at one way there is no difference. Without masks (weak supervision) the
    whole support image counts as its class, and the prior is the similarity to anything in it.
    """

    method = "pfenet"
    backbones = ("resnet50", "efficientnet_lite0")
    options = ("width", "published_prior")
    unused = ("learner.inner_cls",)

    def __init__(
        self, backbone: str = "resnet50", pretrained: bool = False, width: int = 256, published_prior: bool = False
    ):
        if not is_int(width) or width < 1:
            raise InputError(f"width is {shown(width)}; give a number of channels from 1.")
        super().__init__(backbone)
        self.width, self.published_prior = width, check_flag("published_prior", published_prior)
        pyramid = build_backbone(backbone, pretrained, output_stride=8)
        self.backbone0, self.backbone1, self.backbone2, self.backbone3, self.backbone4 = pyramid.stages()
        if backbone == "resnet50":  # timm has dilated the other one already
            dilate(self.backbone3, 2)
            dilate(self.backbone4, 4)
        middle = sum(BACKBONES[backbone].channels[:2])
        self.down_qry = nn.Sequential(nn.Conv2d(middle, width, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5))
        self.down_spt = nn.Sequential(nn.Conv2d(middle, width, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5))
        self.learner = Enrichment(width)
        self.freeze()

    def frozen_modules(self) -> list[nn.Module]:
        return [self.backbone0, self.backbone1, self.backbone2, self.backbone3, self.backbone4]

    def encode_query(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to layer2, layer3 and layer4 after the ReLU, each (M, D, h, w)."""
        layer2, layer3 = self.encode_middle(images)
        return [[layer2], [layer3], [self.backbone4(layer3)]]

    def encode_support(self, images: Tensor, masks: Tensor) -> Features:
        """As the query, but layer4 sees only what is inside the mask, and its output is masked again."""
        layer2, layer3 = self.encode_middle(images)
        masks = resize(masks[:, None], layer3.shape[-2:])
        return [[layer2], [layer3], [self.backbone4(layer3 * masks) * masks]]

    def encode_middle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Layer2 and layer3."""
        layer2 = self.backbone2(self.backbone1(self.backbone0(channels_last(images))))
        return layer2, self.backbone3(layer2)

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        [[query2], [query3], [query4]], [[support2], [support3], [support4]] = query, support
        episodes = masks.shape[:3]  # B, N, K
        masks = resize(masks.flatten(0, 2)[:, None], support3.shape[-2:])  # BNK, 1, h, w
        features = self.down_qry(self.concatenate(query3, query2))  # B, D, h, w
        vectors = masked_mean(self.down_spt(self.concatenate(support3, support2)), masks)  # BNK, D
        vectors = vectors.unflatten(0, episodes).mean(dim=2)  # B, N, D
        prior_of_shots = published_prior_maps if self.published_prior else prior_maps
        prior = prior_of_shots(query4, support4.unflatten(0, episodes)).mean(dim=2)  # B, N, h, w
        log_prob = self.learner(features, vectors, prior).log_softmax(dim=2)  # B, N, 2, h, w
        return Maps(log_prob, merge_classes(log_prob), find_present(log_prob), log_prob[:, :, None])

    def concatenate(self, layer3: Tensor, layer2: Tensor) -> Tensor:
        """Both layers' outputs as one tensor (M, D, h, w).

        EfficientNet-Lite0 ends its blocks without a ReLU, and values beyond 10 are common there; next to them the
        prior, between 0 and 1, would have no influence. So its cells are scaled to a mean square of 1, which is about
        what a ResNet's have.
        """
        if self.backbone_name == "efficientnet_lite0":
            layer3, layer2 = (x * x.pow(2).mean(dim=1, keepdim=True).add(1e-6).rsqrt() for x in (layer3, layer2))
        return torch.cat([layer3, layer2], dim=1)

    @classmethod
    def check_backbone(cls, name: str) -> None:
        if name == "resnet101":
            raise InputError(
                "PFENet has no resnet101: asked for it, the published code silently builds resnet50; "
                "choose resnet50 or efficientnet_lite0."
            )
        super().check_backbone(name)

    @staticmethod
    def optimizer(parameters: Iterable[nn.Parameter], lr: float | None = None, weak: bool = False):
        return torch.optim.SGD(parameters, lr or 0.0025, momentum=0.9, weight_decay=1e-4)


class Enrichment(nn.Module):
    """Features, class vector and prior to logits, through four resolutions from fine to coarse.

    `inner_cls` is part of published checkpoints; the FS-CS system uses its output in no loss, so it is not run.
    """

    def __init__(self, width: int):
        super().__init__()
        self.init_merge = nn.ModuleList(pointwise(2 * width + 1, width) for _ in BINS)
        self.alpha_conv = nn.ModuleList(pointwise(2 * width, width) for _ in BINS[1:])
        self.beta_conv = nn.ModuleList(double(width) for _ in BINS)
        self.inner_cls = nn.ModuleList(head(width) for _ in BINS)
        self.res1 = pointwise(len(BINS) * width, width)
        self.res2 = double(width)
        self.cls = head(width)

    def forward(self, query: Tensor, vectors: Tensor, prior: Tensor) -> Tensor:
        """query (B, D, h, w), vectors (B, N, D), prior (B, N, h, w) to logits (B, N, 2, h, w)."""
        ways, grid = vectors.shape[1], query.shape[-2:]
        found = []
        for i, size in enumerate(bins(grid)):
            pooled = repeat(F.adaptive_avg_pool2d(query, size), "b d h w -> (b n) d h w", n=ways)
            vector = repeat(vectors, "b n d -> (b n) d h w", h=size[0], w=size[1])
            resized_prior = rearrange(resize(prior, size), "b n h w -> (b n) 1 h w")
            merged = self.init_merge[i](torch.cat([pooled, vector, resized_prior], dim=1))
            if found:  # what the finer resolution has found
                merged = merged + self.alpha_conv[i - 1](torch.cat([merged, resize(found[-1], size)], dim=1))
            merged = merged + self.beta_conv[i](merged)
            found.append(resize(merged, grid))
        merged = self.res1(torch.cat(found, dim=1))
        merged = merged + self.res2(merged)
        return self.cls(merged).unflatten(0, (-1, ways))


def bins(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The four resolutions of the enrichment: sides 50, 25, 13 and 7 for a grid (h, w) of 50 x 50."""
    return [(-(-grid[0] // step), -(-grid[1] // step)) for step in BINS]  # -(-a // b) rounds up


def prior_maps(query: Tensor, support: Tensor) -> Tensor:
    """How similar each query cell is to the most similar support cell: (B, N, K, h, w), scaled to 0 … 1.

    query: (B, D, h, w); support: (B, N, K, D, h, w), 0 outside the masks. Cosines, section 3.2.
    """
    cells = F.normalize(query.flatten(2), dim=1)  # B, D, hw
    # one support at a time: all the cosines of five ways and five shots would be 25 times as much memory
    supports = support.flatten(1, 2).flatten(3).unbind(dim=1)  # N·K times B, D, hw
    best = torch.stack([(F.normalize(one, dim=1).mT @ cells).amax(dim=1) for one in supports], dim=1)
    return scale(best).unflatten(1, support.shape[1:3]).unflatten(3, query.shape[-2:])


def published_prior_maps(query: Tensor, support: Tensor) -> Tensor:
    """The prior as the published code computes it, shapes as in `prior_maps`; the same for every way.

    For each shot the code takes the features of all N ways, laid out in memory as (B, N, D, h·w), and reads them as
    (B, D, N·h·w). At one way that is right; with several, channels, ways and positions get mixed up. The published
    scores of several ways were computed so.
    """
    ways = support.shape[1]
    cells = F.normalize(query.flatten(2), dim=1)
    priors = []
    for one_shot in support.unbind(dim=2):  # B, N, D, h, w
        mixed = one_shot.contiguous().view(len(query), query.shape[1], -1)  # B, D, N·hw
        priors.append(scale((F.normalize(mixed, dim=1).mT @ cells).amax(dim=1)))
    prior = torch.stack(priors, dim=1).unflatten(2, query.shape[-2:])  # B, K, h, w
    return repeat(prior, "b k h w -> b n k h w", n=ways)


def scale(values: Tensor) -> Tensor:
    """The last axis to 0 … 1, from its smallest value to its largest."""
    low, high = values.amin(dim=-1, keepdim=True), values.amax(dim=-1, keepdim=True)
    return (values - low) / (high - low + 1e-7)


def masked_mean(features: Tensor, masks: Tensor) -> Tensor:
    """Mean of the features under the masks: (M, D, h, w) and (M, 1, h, w) to (M, D)."""
    return (features * masks).sum(dim=(2, 3)) / (masks.sum(dim=(2, 3)) + 0.0005)


def dilate(stage: nn.Module, dilation: int) -> None:
    """Replace the stage's stride by a dilation of every kernel larger than 1 x 1, the first one's included.

    torchvision's `replace_stride_with_dilation` is different: its first bottleneck keeps the dilation of the stage
    before.
    """
    for conv in stage.modules():
        if isinstance(conv, nn.Conv2d):
            side = conv.kernel_size[0]
            conv.stride, conv.dilation = (1, 1), (dilation if side > 1 else 1,) * 2
            conv.padding = (conv.dilation[0] * (side // 2),) * 2


def pointwise(inputs: int, width: int) -> nn.Sequential:
    """1 x 1 convolution, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), nn.ReLU())


def double(width: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, a ReLU after each."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(),
    )  # fmt: skip


def head(width: int) -> nn.Sequential:
    """Logits of background and foreground."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(width, 2, 1)
    )
