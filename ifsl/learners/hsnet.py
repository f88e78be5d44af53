"""HSNet, the hypercorrelation squeeze network (chapter 07).

Letters: G = B·N·K supports (B episodes, N ways, K shots), C channels, L bottlenecks of a level, Hq Wq query grid, Hs Ws
support grid, S image side.
"""

from torch import Tensor, nn

from ..maps import upsample
from .blocks import CorrelationLearner, Decoder, GroupNorm, by_window
from .learner import Features


class CenterPivotConv(nn.Module):
    """A 4-D convolution that keeps of its kernel the two planes through the centre.

    One plane moves the query cell and holds the support cell (`conv1`), the other moves the support cell and holds the
    query cell (`conv2`): two 2-D convolutions, summed. The stride is over the support grid alone.

    Source: Min et al., ICCV 2021, section 4.2.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(G, C, Hq, Wq, Hs, Ws) to (G, C', Hq, Wq, Hs', Ws')."""
        stride = self.conv2.stride[0]
        x = x.movedim(1, -1)
        kept = x[..., ::stride, ::stride, :].permute(0, 3, 4, 1, 2, 5)  # where conv2's windows are centred
        by_query = self.conv1(kept.flatten(0, 2).movedim(-1, 1)).movedim(1, -1)
        by_query = by_query.unflatten(0, kept.shape[:3]).permute(0, 3, 4, 1, 2, 5)  # (G, Hq, Wq, Hs', Ws', C')
        by_support = by_window(x.flatten(1, 2), self.conv2.weight, self.conv2.bias, stride, self.conv2.padding[0])
        return by_support.unflatten(1, x.shape[1:3]).add_(by_query).movedim(-1, 1)


def squeeze(channels: int, *layers: tuple[int, int, int]) -> nn.Sequential:
    """Centre-pivot convolutions of (channels out, kernel, stride), each followed by group normalisation and ReLU."""
    modules = []
    for out, kernel, stride in layers:
        modules += [CenterPivotConv(channels, out, kernel, stride), GroupNorm(out), nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*modules)


class HypercorrelationSqueeze(Decoder):
    """Three correlations (G, L, Hq, Wq, Hs, Ws), layer2 first, to logits (G, 2, 2·Hq, 2·Wq) on twice layer2's grid."""

    def __init__(self, depths: tuple[int, ...]):
        super().__init__()
        l2, l3, l4 = depths
        self.encoder_layer4 = squeeze(l4, (16, 3, 2), (64, 3, 2), (128, 3, 2))
        self.encoder_layer3 = squeeze(l3, (16, 5, 4), (64, 3, 2), (128, 3, 2))
        self.encoder_layer2 = squeeze(l2, (16, 5, 4), (64, 5, 4), (128, 3, 2))
        self.encoder_layer4to3 = squeeze(128, (128, 3, 1), (128, 3, 1), (128, 3, 1))
        self.encoder_layer3to2 = squeeze(128, (128, 3, 1), (128, 3, 1), (128, 3, 1))

    def forward(self, correlations: list[Tensor], masks: Tensor) -> Tensor:
        """The masks are in the support's features already."""
        layer2, layer3, layer4 = correlations
        x = self.encoder_layer4(layer4)
        x = self.encoder_layer4to3(add(self.encoder_layer3(layer3), x))
        x = self.encoder_layer3to2(add(self.encoder_layer2(layer2), x))
        return self.decode(x.mean(dim=(-2, -1)))


def add(x: Tensor, coarse: Tensor) -> Tensor:
    """x (G, C, Hq, Wq, Hs, Ws) plus a coarser level (G, C, h, w, Hs, Ws), resized to the query grid."""
    support_first = coarse.permute(0, 4, 5, 1, 2, 3)  # (G, Hs, Ws, C, h, w)
    resized = upsample(support_first.flatten(1, 3), x.shape[2:4])
    return x + resized.unflatten(1, support_first.shape[1:4]).permute(0, 3, 4, 5, 1, 2)


class HSNet(CorrelationLearner):
    """Hypercorrelation squeeze network: Min, Kang & Cho, *Hypercorrelation Squeeze for Few-Shot Segmentation*,
    ICCV 2021, https://arxiv.org/abs/2104.01538

    The support's features are multiplied by its mask and correlated with the query's, bottleneck by bottleneck. Centre-
    pivot 4-D convolutions squeeze the support grid to 2 x 2 cells, coarse levels first, and mix each level into the
    next finer one. What is left is averaged over the support, and a small decoder turns the 128 channels at each query
    cell into background and foreground.
    """

    method = "hsnet"
    network = HypercorrelationSqueeze

    def for_support(self, seen: Features, images: Tensor, masks: Tensor) -> Features:
        """Features times the mask, resized to their grid."""
        return [[x * upsample(masks[:, None], x.shape[-2:]) for x in level] for level in seen]
