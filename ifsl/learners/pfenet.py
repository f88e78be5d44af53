"""PFENet: a prior that needs no training, and a pyramid of enriched features (chapter 06).

Three things are known about each cell of the query: its own features, the mean features of the class, and the prior,
how much the cell's deepest features look like anything under the support mask. They are merged at four resolutions,
each of which hands what it found to the next coarser one.

Source: Tian et al., *Prior Guided Feature Enrichment Network for Few-Shot Segmentation*, TPAMI 2020, sections 3 and 4.

Letters: B episodes, N ways, K shots, C channels, h w feature grid, S image side. BN and BNK are axes that run over the
ways of each episode in turn, and over the shots of each way.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, is_int, shown
from .backbones import IMAGE_SIZE, LitePyramid, ResNetPyramid, build_backbone, channels_last, folded
from .learner import Features, Learner
from .maps import Maps, presence, stack, upsample

BINS = (1, 2, 4, 8)
"""How much coarser than the feature grid each resolution of the enrichment is."""


class PFENet(Learner):
    """Maps on the grid of stride 8 (50 x 50 at 400 px). Each way stands alone; shots are averaged on the way in.

    Without masks (weak) the whole support image stands for its class, and the prior says which cells of the query look
    like anything in it. `width` is the learner's number of channels.
    """

    method = "pfenet"

    def __init__(self, backbone: str = "resnet50", pretrained: bool = False, width: int = 256):
        super().__init__()
        if backbone == "resnet101":
            raise InputError(
                "PFENet has no resnet101: asked for it, the published code silently builds resnet50; "
                "choose resnet50 or efficientnet_lite0."
            )
        if not is_int(width) or width < 1:
            raise InputError(f"width is {shown(width)}; give a number of channels from 1.")
        self.backbone_name, self.width = backbone, width
        self.image_size = IMAGE_SIZE[backbone]
        pyramid = build_backbone(backbone, pretrained, output_stride=8)
        self.backbone0, self.backbone1, self.backbone2, self.backbone3, self.backbone4 = stages(pyramid)
        if backbone == "resnet50":  # the other has been spread by timm, whose first kernels stay as dense as before
            dilate(self.backbone3, 2)
            dilate(self.backbone4, 4)
        middle = pyramid.channels[0] + pyramid.channels[1]
        self.down_qry = nn.Sequential(nn.Conv2d(middle, width, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5))
        self.down_spt = nn.Sequential(nn.Conv2d(middle, width, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5))
        self.learner = Enrichment(width)
        self.freeze()

    def frozen_modules(self) -> list[nn.Module]:
        """The five parts of the backbone."""
        return [self.backbone0, self.backbone1, self.backbone2, self.backbone3, self.backbone4]

    def pyramid(self, images: Tensor) -> Features:
        """(M, 3, S, S) images to the outputs of layer2 and layer3, after the ReLU, each (M, C, h, w)."""
        x = channels_last(images)
        for part in (self.backbone0, self.backbone1, self.backbone2):
            x = folded(part, x)(x)
        return [[x], [folded(self.backbone3, x)(x)]]

    def for_query(self, seen: Features) -> Features:
        """Layer4 follows."""
        layer2, (layer3,) = seen
        return [layer2, [layer3], [folded(self.backbone4, layer3)(layer3)]]

    def for_support(self, seen: Features, images: Tensor, masks: Tensor) -> Features:
        """As the query, but the masks cut out what layer4 sees, and what it says of that."""
        layer2, (layer3,) = seen
        masks = upsample(masks[:, None], layer3.shape[-2:])
        return [layer2, [layer3], [folded(self.backbone4, layer3)(layer3 * masks) * masks]]

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Query, mean support features of each class and its prior, merged to maps."""
        (query2,), (query3,), (query4,) = query
        (support2,), (support3,), (support4,) = support
        episodes = masks.shape[:3]  # B, N, K
        masks = upsample(masks.flatten(0, 2)[:, None], support3.shape[-2:])  # BNK, 1, h, w
        features = self.down_qry(self.side_by_side(query3, query2))  # B, C, h, w
        vectors = masked_mean(self.down_spt(self.side_by_side(support3, support2)), masks)  # BNK, C
        vectors = vectors.unflatten(0, episodes).mean(dim=2)  # B, N, C
        prior = prior_maps(query4, support4.unflatten(0, episodes)).mean(dim=2)  # B, N, h, w
        log_prob = self.learner(features, vectors, prior).log_softmax(dim=2)  # B, N, 2, h, w
        return Maps(log_prob, stack(log_prob), presence(log_prob))

    def side_by_side(self, layer3: Tensor, layer2: Tensor) -> Tensor:
        """Both layers' outputs as one tensor (M, C, h, w).

        EfficientNet-Lite0 ends its blocks without a ReLU, and values beyond 10 are common there: beside those the
        prior, 0 … 1, would go unheard. Its cells are brought to a mean square of 1; a ResNet's have about that size.
        """
        if self.backbone_name == "efficientnet_lite0":
            layer3, layer2 = (x * x.pow(2).mean(dim=1, keepdim=True).add(1e-6).rsqrt() for x in (layer3, layer2))
        return torch.cat([layer3, layer2], dim=1)


class Enrichment(nn.Module):
    """Features, class vector and prior to logits, through four resolutions from fine to coarse.

    `inner_cls` stands in published checkpoints, but nothing that it says enters a loss; so it is kept and not run.
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
        """query (B, C, h, w), vectors (B, N, C), prior (B, N, h, w) to logits (B, N, 2, h, w)."""
        grid = query.shape[-2:]
        found = []
        for i, size in enumerate(bins(grid)):
            merged = self.merge(i, F.adaptive_avg_pool2d(query, size), vectors, upsample(prior, size))
            if found:  # what the finer resolution found
                merged = merged + self.alpha_conv[i - 1](torch.cat([merged, upsample(found[-1], size)], dim=1))
            merged = merged + self.beta_conv[i](merged)
            found.append(upsample(merged, grid))  # BN, C, h, w
        merged = self.res1(torch.cat(found, dim=1))
        merged = merged + self.res2(merged)
        return self.cls(merged).unflatten(0, vectors.shape[:2])

    def merge(self, i: int, query: Tensor, vectors: Tensor, prior: Tensor) -> Tensor:
        """`init_merge[i]` of query, class vector and prior side by side: (BN, C, h, w).

        A 1 x 1 convolution of three things side by side is the sum of three: the query's is the same for every way, and
        the class vector's is the same in every cell, so neither is repeated before it is convolved.
        """
        width = vectors.shape[-1]
        on_query, on_vector, on_prior = self.init_merge[i][0].weight.split([width, width, 1], dim=1)
        of_query = F.conv2d(query, on_query)[:, None]  # B, 1, C, h, w
        of_vector = F.linear(vectors, on_vector.flatten(1))[..., None, None]  # B, N, C, 1, 1
        of_prior = prior[:, :, None] * on_prior.flatten(1)[..., None]  # B, N, C, h, w
        return F.relu(of_query + of_vector + of_prior).flatten(0, 1)


def bins(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The four resolutions of the enrichment: sides 50, 25, 13 and 7 for a grid (h, w) of 50 x 50."""
    return [(-(-grid[0] // step), -(-grid[1] // step)) for step in BINS]  # -(-a // b) rounds up


def prior_maps(query: Tensor, support: Tensor) -> Tensor:
    """How much each query cell looks like the most similar support cell: (B, N, K, h, w), scaled to 0 … 1.

    query: (B, C, h, w); support: (B, N, K, C, h, w), 0 outside the masks. Cosines, section 3.2.
    """
    cells = F.normalize(query.flatten(2), dim=1)  # B, C, hw
    # one support image at a time: all the cosines of five ways and five shots would be 25 times as much memory
    images = support.flatten(1, 2).flatten(3).unbind(dim=1)  # N·K times B, C, hw
    best = torch.stack([(F.normalize(image, dim=1).mT @ cells).amax(dim=1) for image in images], dim=1)
    low, high = best.amin(dim=2, keepdim=True), best.amax(dim=2, keepdim=True)
    scaled = (best - low) / (high - low + 1e-7)  # B, N·K, hw
    return scaled.unflatten(1, support.shape[1:3]).unflatten(3, query.shape[-2:])


def masked_mean(features: Tensor, masks: Tensor) -> Tensor:
    """Mean of the features under the masks: (M, C, h, w) and (M, 1, h, w) to (M, C)."""
    return (features * masks).sum(dim=(2, 3)) / (masks.sum(dim=(2, 3)) + 0.0005)


def stages(backbone: ResNetPyramid | LitePyramid) -> list[nn.Module]:
    """Stem and the stages of stride 4, 8, 16 and 32."""
    if isinstance(backbone, LitePyramid):
        net = backbone.net
        return [nn.Sequential(net.conv_stem, net.bn1), *(net.blocks[a:b] for a, b in ((0, 2), (2, 3), (3, 5), (5, 7)))]
    stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
    return [stem, backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4]


def dilate(stage: nn.Module, dilation: int) -> None:
    """Keep the stage's input grid, and spread every kernel that is larger than 1 x 1, the first one's included.

    torchvision's `replace_stride_with_dilation` is not this: its first bottleneck is as dense as the stage before.
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
    conv = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)]
    return nn.Sequential(conv[0], nn.ReLU(), conv[1], nn.ReLU())


def head(width: int) -> nn.Sequential:
    """Logits of background and foreground."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(width, 2, 1)
    )
