"""HSNet, the hypercorrelation squeeze network (chapter 07).

Letters: G = B·N·K supports (B episodes, N ways, K shots), C channels, L bottlenecks of a level, Hq Wq query grid, Hs Ws
support grid, S image side.
"""

import torch
from torch import Tensor, nn

from .blocks import CorrelationLearner, Decoder, GroupNorm, by_window
from .correlation import pyramid
from .learner import Features
from .maps import upsample

Box = tuple[slice, slice]
"""Rows and columns of the support grid."""
STEP = 4
"""A box begins at a multiple of this many cells, and so of every first stride."""


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

    def forward(self, x: Tensor, box: Box | None = None) -> Tensor:
        """(G, C, Hq, Wq, Hs, Ws) to (G, C', Hq, Wq, Hs', Ws').

        With a box (see `around`) x holds what is inside it, of a support grid as large as the query's; 0 is outside.
        """
        stride = self.conv2.stride[0]
        x = x.movedim(1, -1)
        kept = x[..., ::stride, ::stride, :].permute(0, 3, 4, 1, 2, 5)  # where conv2's windows are centred
        by_query = self.conv1(kept.flatten(0, 2).contiguous().movedim(-1, 1)).movedim(1, -1)
        by_query = by_query.unflatten(0, kept.shape[:3]).permute(0, 3, 4, 1, 2, 5)  # (G, Hq, Wq, Hs', Ws', C')
        weight, bias, padding = self.conv2.weight, self.conv2.bias, self.conv2.padding[0]
        [by_support] = by_window(x.flatten(1, 2), [weight], [bias], stride, padding)
        out = by_support.unflatten(1, x.shape[1:3]) + by_query
        if box is not None:
            inside, (height, width) = out, x.shape[1:3]
            out = (self.conv1.bias + self.conv2.bias).repeat(*x.shape[:3], -(-height // stride), -(-width // stride), 1)
            row, column = (part.start // stride for part in box)
            out[:, :, :, row : row + inside.shape[3], column : column + inside.shape[4]] = inside
        return out.movedim(-1, 1)


def squeeze(channels: int, *layers: tuple[int, int, int]) -> nn.Sequential:
    """Centre-pivot convolutions of (channels out, kernel, stride), each followed by group normalisation and ReLU."""
    modules = []
    for out, kernel, stride in layers:
        modules += [CenterPivotConv(channels, out, kernel, stride), GroupNorm(out), nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*modules)


class HypercorrelationSqueeze(Decoder):
    """Three correlations (G, L, Hq, Wq, Hs, Ws), layer2 first, to logits (G, 2, 2·Hq, 2·Wq) on twice layer2's grid.

    With boxes, of each level what is inside its box of the support grid.
    """

    def __init__(self, depths: tuple[int, ...]):
        super().__init__()
        l2, l3, l4 = depths
        self.encoder_layer4 = squeeze(l4, (16, 3, 2), (64, 3, 2), (128, 3, 2))
        self.encoder_layer3 = squeeze(l3, (16, 5, 4), (64, 3, 2), (128, 3, 2))
        self.encoder_layer2 = squeeze(l2, (16, 5, 4), (64, 5, 4), (128, 3, 2))
        self.encoder_layer4to3 = squeeze(128, (128, 3, 1), (128, 3, 1), (128, 3, 1))
        self.encoder_layer3to2 = squeeze(128, (128, 3, 1), (128, 3, 1), (128, 3, 1))

    def forward(self, correlations: list[Tensor], boxes: list[Box | None]) -> Tensor:
        encoders = [self.encoder_layer2, self.encoder_layer3, self.encoder_layer4]
        levels = [
            encoder[1:](encoder[0](x, box)) for encoder, x, box in zip(encoders, correlations, boxes, strict=True)
        ]
        x = self.encoder_layer4to3(add(levels[1], levels[2]))
        x = self.encoder_layer3to2(add(levels[0], x))
        return self.decode(x.movedim(1, -1).flatten(3, 4).mean(dim=3).movedim(-1, 1))


def around(masks: Tensor, grid: tuple[int, int]) -> Box:
    """A box that holds all cells inside any of the masks (G, S, S), resized to the grid.

    It begins and ends where the first convolution's windows have their centres: no window outside reaches into it.
    """
    inside = upsample(masks[:, None], grid)[:, 0].any(dim=0)
    return span(inside.any(dim=1)), span(inside.any(dim=0))


def span(inside: Tensor) -> slice:
    """From the first to the last that is inside (n,), and on to multiples of `STEP`."""
    places = inside.nonzero()[:, 0].tolist() or [0]
    return slice(places[0] // STEP * STEP, min(-(-places[-1] // STEP) * STEP + 1, len(inside)))


def add(x: Tensor, coarse: Tensor) -> Tensor:
    """x (G, C, Hq, Wq, Hs, Ws) plus a coarser level (G, C, h, w, Hs, Ws), resized to the query grid."""
    support_first = coarse.permute(0, 4, 5, 1, 2, 3)  # (G, Hs, Ws, C, h, w)
    pictures = support_first.flatten(0, 2).contiguous(memory_format=torch.channels_last)
    return x + upsample(pictures, x.shape[2:4]).unflatten(0, support_first.shape[:3]).permute(0, 3, 4, 5, 1, 2)


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

    def squeeze(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """Outside the masks all correlations are 0: only those in a box around them are made."""
        boxes = [around(masks, level[0].shape[-2:]) for level in support]
        inside = [[x[(..., *box)] for x in level] for level, box in zip(support, boxes, strict=True)]
        return self.learner(pyramid(query, inside), boxes)
