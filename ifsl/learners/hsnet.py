"""HSNet, the hypercorrelation squeeze network (chapter 07).

Source: Min, Kang & Cho, *Hypercorrelation Squeeze for Few-Shot Segmentation*, ICCV 2021, section 4.

Letters: G supports of one shot (episodes times ways), D channels and D' those of a layer's output, L bottlenecks of a
level, Hq Wq query grid, Hs Ws support grid, S image side.
"""

from einops import rearrange
from torch import Tensor, nn

from .backbones import Features
from .blocks import CorrelationLearner, Decoder, GroupNorm, resize_query
from .fast import convolution, faster
from .maps import resize


class HypercorrelationSqueezeNetwork(Decoder):
    """Three correlations (G, L, Hq, Wq, Hs, Ws), layer2 first, to logits (G, 2, 2·Hq, 2·Wq), Hq of layer2.

    Each level's support grid is squeezed to 2 x 2 cells, the coarsest level first, and mixed into the next finer level.
    """

    def __init__(self, depths: tuple[int, int, int]):
        super().__init__()
        l2, l3, l4 = depths
        self.encoder_layer4 = squeeze_block(l4, (16, 3, 2), (64, 3, 2), (128, 3, 2))
        self.encoder_layer3 = squeeze_block(l3, (16, 5, 4), (64, 3, 2), (128, 3, 2))
        self.encoder_layer2 = squeeze_block(l2, (16, 5, 4), (64, 5, 4), (128, 3, 2))
        self.encoder_layer4to3 = squeeze_block(128, (128, 3, 1), (128, 3, 1), (128, 3, 1))
        self.encoder_layer3to2 = squeeze_block(128, (128, 3, 1), (128, 3, 1), (128, 3, 1))

    def forward(self, correlations: list[Tensor], masks: Tensor) -> Tensor:
        """The masks are not used again: the support's features were multiplied by them before the correlation."""
        layer2, layer3, layer4 = correlations
        x = self.encoder_layer4(layer4)
        x = self.encoder_layer3(layer3) + resize_query(x, layer3.shape[2:4])
        x = self.encoder_layer4to3(x)
        x = self.encoder_layer2(layer2) + resize_query(x, layer2.shape[2:4])
        x = self.encoder_layer3to2(x)
        return self.decode(x.mean(dim=(-2, -1)))


def squeeze_block(channels: int, *layers: tuple[int, int, int]) -> nn.Sequential:
    """Centre-pivot convolutions of (channels out, kernel, stride), each followed by group normalisation and ReLU."""
    modules = []
    for out, kernel, stride in layers:
        modules += [CenterPivotConv(channels, out, kernel, stride), GroupNorm(out), nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*modules)


class CenterPivotConv(nn.Module):
    """A 4-D convolution reduced to the two planes of its kernel that pass through the centre.

    `conv1` moves over the query grid with the support cell held, `conv2` over the support grid with the query cell
    held: two 2-D convolutions, summed. Only the support grid has a stride.

    Source: Min et al., ICCV 2021, section 4.2.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2)

    @faster(convolution.center_pivot)
    def forward(self, x: Tensor) -> Tensor:
        """(G, D, Hq, Wq, Hs, Ws) to (G, D', Hq, Wq, Hs', Ws')."""
        g, _, hq, wq = x.shape[:4]
        kept = x[..., :: self.stride, :: self.stride]  # the support cells on which conv2's windows are centred
        hs, ws = kept.shape[-2:]
        over_query = self.conv1(rearrange(kept, "g d hq wq hs ws -> (g hs ws) d hq wq"))
        over_support = self.conv2(rearrange(x, "g d hq wq hs ws -> (g hq wq) d hs ws"))
        over_query = rearrange(over_query, "(g hs ws) d hq wq -> g d hq wq hs ws", g=g, hs=hs)
        over_support = rearrange(over_support, "(g hq wq) d hs ws -> g d hq wq hs ws", g=g, hq=hq)
        return over_query + over_support


class HSNet(CorrelationLearner):
    """Hypercorrelation squeeze network: Min, Kang & Cho, *Hypercorrelation Squeeze for Few-Shot Segmentation*,
    ICCV 2021, https://arxiv.org/abs/2104.01538

    The support's features are multiplied by its mask and correlated with the query's, bottleneck by bottleneck. Centre-
    pivot 4-D convolutions squeeze the support grid to 2 x 2 cells, coarse levels first, and mix each level into the
    next finer one. The rest is averaged over the support, and a small decoder turns the 128 channels at each query
    cell into background and foreground.
    """

    method = "hsnet"
    network = HypercorrelationSqueezeNetwork

    def prepare_support(self, features: Features, images: Tensor, masks: Tensor) -> Features:
        """Features times the mask, resized to their grid."""
        return [[x * resize(masks[:, None], x.shape[-2:]) for x in level] for level in features]
