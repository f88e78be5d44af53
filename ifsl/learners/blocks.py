"""What HSNet and ASNet share: the way from features to maps, group normalisation, the decoder (chapters 07 and 08).

Letters: G supports (B episodes x N ways x K shots), C channels, h w map size.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import IMAGE_SIZE, build_backbone
from .correlation import pyramid, unit
from .learner import Features, Learner
from .maps import Maps, from_shots

GROUPS = 4
WINDOWS = 4
"""Up to so many windows, a convolution is done window by window."""
TOGETHER = 32
"""Up to so many channels out, convolutions are done as one: on a CPU 32, 32 and 16 take less time than 80."""
MEMORY = 2**28
"""Bytes of correlations to hold at once where no gradient is asked for: 256 MB."""


class GroupNorm(nn.GroupNorm):
    """Normalise each of four groups of channels over all positions of a tensor (G, C, ...), then scale and shift.

    The correlations have their channels last in memory. For that layout PyTorch's own kernel on the CPU adds up all
    squares one after another, so that a million of them move the maps by 1e-4; here they are summed pairwise.
    """

    def __init__(self, channels: int):
        super().__init__(GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        positions = x.to(self.weight.dtype).movedim(1, -1)
        out = PairwiseGroupNorm.apply(positions.flatten(1, -2), self.weight, self.bias, self.eps)
        return out.view(positions.shape).movedim(-1, 1)


class PairwiseGroupNorm(torch.autograd.Function):
    """Group normalisation of (G, positions, C) with PyTorch's gradient and with statistics of our own."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean, square = per_group(x), per_group(x * x)
        rstd = torch.addcmul(square, mean, mean, value=-1).add_(eps).rsqrt_()
        scale = weight.view(GROUPS, -1) * rstd[..., None]  # (G, 4, C/4)
        shift = torch.addcmul(bias.view(GROUPS, -1), mean[..., None], scale, value=-1)
        ctx.save_for_backward(x, mean, rstd, weight)
        return torch.addcmul(shift.view(len(x), 1, -1), x, scale.view(len(x), 1, -1))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, rstd, weight = ctx.saved_tensors
        count, positions, channels = x.shape
        grad, x = (t.contiguous().movedim(-1, 1)[:, :, None] for t in (grad, x))  # (G, C, 1, positions), channels last
        gradients = torch.ops.aten.native_group_norm_backward(
            grad, x, mean, rstd, weight, count, channels, positions, GROUPS, [True, True, True]
        )
        return gradients[0][:, :, 0].movedim(1, -1), *gradients[1:], None


def per_group(x: Tensor) -> Tensor:
    """Means (G, 4) of groups of channels of x (G, positions, C): of up to 64 portions first, which cores can share."""
    count, positions, channels = x.shape
    portions = next(number for number in range(64, 0, -1) if positions % number == 0)
    means = x.view(count, portions, positions // portions, channels).mean(dim=2)
    return means.view(count, portions, GROUPS, -1).mean(dim=(1, 3))


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A product with a matrix: (G, cells, ..., C) by weights (C', C) to (G, cells, ..., C').

    Done as a 1 x 1 convolution of pictures with a cell in each row: with the channels last, that takes PyTorch half the
    time of `F.linear` and a third of a 1 x 1 x 1 convolution's.
    """
    pictures = x.flatten(2, -2) if x.dim() > 3 else x[:, :, None]  # G, cells, n, C
    out = F.conv2d(pictures.movedim(-1, 1), weight[..., None, None], bias).movedim(1, -1)
    return out.reshape(*x.shape[:-1], len(weight))


def by_window(x: Tensor, weights: list[Tensor], biases: list[Tensor], stride: int, padding: int) -> list[Tensor]:
    """Convolve x (G, cells, h, w, C) over h and w, for each cell by itself, with weights (C', C, k, k) of equal k.

    Returns (G, cells, h', w', C') for each. Where there are few windows, each is one product of matrices for all the
    weights: what is under it, with the part of the kernels that lies on the grid. So padding is neither made nor
    multiplied; on a grid of 2 x 2 it would be more than half of what is under a 3 x 3 kernel. For a 1 x 1 kernel of
    stride 1 the whole grid is one window.
    """
    kernel = weights[0].shape[-1]
    rows, columns = (spans(side, kernel, stride, padding) for side in x.shape[2:4])
    one_window = kernel == stride == 1
    if not one_window and len(rows) * len(columns) > WINDOWS:
        found = (convolve(x, weights[these], biases[these], stride, padding) for these in batches(weights))
        return [out for outs in found for out in outs]
    sizes = [len(weight) for weight in weights]
    weight, bias = torch.cat(weights).movedim(1, -1).contiguous(), torch.cat(biases)  # C', k, k, C
    if one_window:
        return list(pointwise(x, weight.flatten(1), bias).split(sizes, dim=-1))
    found = [
        pointwise(x[:, :, r, c].flatten(2), weight[:, kr, kc].flatten(1), bias) for r, kr in rows for c, kc in columns
    ]
    return list(torch.stack(found, dim=2).unflatten(2, (len(rows), len(columns))).split(sizes, dim=-1))


def batches(weights: list[Tensor]) -> Iterator[slice]:
    """Which weights to convolve with at once: up to `TOGETHER` channels out, or one weight of more."""
    start = channels = 0
    for i, weight in enumerate(weights):
        if i > start and channels + len(weight) > TOGETHER:
            yield slice(start, i)
            start, channels = i, 0
        channels += len(weight)
    yield slice(start, len(weights))


def convolve(x: Tensor, weights: list[Tensor], biases: list[Tensor], stride: int, padding: int) -> list[Tensor]:
    """As `by_window`, all as one convolution."""
    out = F.conv2d(x.flatten(0, 1).movedim(-1, 1), torch.cat(weights), torch.cat(biases), stride, padding)
    return list(out.movedim(1, -1).unflatten(0, x.shape[:2]).split([len(weight) for weight in weights], dim=-1))


def spans(side: int, kernel: int, stride: int, padding: int) -> list[tuple[slice, slice]]:
    """For each window along a side, the cells under it and the part of the kernel that lies on them."""
    starts = range(-padding, side + padding - kernel + 1, stride)
    return [(slice(max(a, 0), min(a + kernel, side)), slice(max(-a, 0), min(kernel, side - a))) for a in starts]


class Decoder(nn.Module):
    """From squeezed correlations to maps: (G, 128, h, w) to logits (G, 2, 2h, 2w)."""

    def __init__(self):
        super().__init__()
        self.decoder1 = nn.Sequential(
            nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(128, 64, 3, padding=1), nn.ReLU()
        )
        self.decoder2 = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(64, 2, 3, padding=1)
        )

    def decode(self, x: Tensor) -> Tensor:
        x = self.decoder1(x.clone(memory_format=torch.channels_last))
        h, w = x.shape[-2:]
        return self.decoder2(F.interpolate(x, (2 * h, 2 * w), mode="bilinear", align_corners=True))


class CorrelationLearner(Learner):
    """A learner that squeezes correlations: HSNet, ASNet and HM differ in `network` and in the support's features.

    `network` is built from the backbone's depths and turns three correlations (G, L, Hq, Wq, Hs, Ws) and support masks
    (G, S, S) into logits (G, 2, h, w).
    """

    network: Callable[[tuple[int, ...]], nn.Module]

    def __init__(self, backbone: str = "resnet50", pretrained: bool = False):
        super().__init__()
        self.backbone = build_backbone(backbone, pretrained)
        self.backbone_name, self.image_size = backbone, IMAGE_SIZE[backbone]
        self.learner = self.network(self.backbone.depths)
        self.freeze()

    def compare(self, query: Features, support: Features, masks: Tensor) -> Maps:
        """Each support gives a map of its own; the shots' maps are merged."""
        query, support, flat_masks = unit(query), unit(support), masks.flatten(0, 2)
        size = len(flat_masks) if torch.is_grad_enabled() else supports_at_once(query, support)
        logits = [
            self.squeeze(take(query, these), take(support, those), flat_masks[those])
            for these, those in portions(len(masks), len(flat_masks), size)
        ]
        return from_shots(torch.cat(logits).log_softmax(dim=1).unflatten(0, masks.shape[:3]))

    def squeeze(self, query: Features, support: Features, masks: Tensor) -> Tensor:
        """Unit vectors of queries and of their G supports, and the supports' masks (G, S, S), to logits."""
        return self.learner(pyramid(query, support), masks)


def supports_at_once(query: Features, support: Features) -> int:
    """How many supports' correlations fit in `MEMORY` bytes; at least one."""
    pairs = [(q[0, 0], s[0, 0]) for levels in zip(query, support, strict=True) for q, s in zip(*levels, strict=True)]
    return max(1, MEMORY // (4 * sum(q.numel() * s.numel() for q, s in pairs)))


def portions(queries: int, supports: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Which queries and which supports to compare at once: whole episodes of up to `size` supports, or parts of one."""
    count = supports // queries
    episodes = max(1, size // count)
    for first in range(0, queries, episodes):
        last = min(first + episodes, queries)
        for start in range(first * count, last * count, size):
            yield slice(first, last), slice(start, min(start + size, last * count))


def take(features: Features, part: slice) -> Features:
    """The pyramid of some of the images."""
    return [[x[part] for x in level] for level in features]
