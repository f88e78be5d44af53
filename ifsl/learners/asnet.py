"""ASNet, the attentive squeeze network (chapter 08).

Letters: G = B·N·K supports (B episodes, N ways, K shots), C channels and C' those of a layer's output, L bottlenecks of
a level, Hq Wq query grid, Hs Ws support grid, S image side. All tensors have their channels last in memory.

Source: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*, CVPR 2022, section 5.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .blocks import CorrelationLearner, Decoder, GroupNorm, by_window, pointwise
from .learner import Features
from .maps import upsample

HEADS = 8
LOGITS = {False: 2**19, True: 2**28}
"""How many logits to compute at once: what stays in a processor's cache; on a GPU what fits in memory."""
SIDES = range(257, 513)
"""Image sides whose layer2 and layer3 end at 2 x 2 support cells."""


def convolutions(x: Tensor, *convs: nn.Conv3d) -> list[Tensor]:
    """The outputs of several convolutions of x; those of equal kernel and stride share their windows."""
    kinds = [(conv.kernel_size[-1], conv.stride[-1], conv.padding[-1]) for conv in convs]
    outputs: dict[nn.Conv3d, Tensor] = {}
    for kind in dict.fromkeys(kinds):
        group = [conv for conv, its_kind in zip(convs, kinds, strict=True) if its_kind == kind]
        weights = [conv.weight[:, :, 0] for conv in group]
        biases = [conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias for conv in group]
        found = by_window(x.movedim(1, -1), weights, biases, *kind[1:])
        outputs |= zip(group, (out.movedim(-1, 1) for out in found), strict=True)
    return [outputs[conv] for conv in convs]


class Pointwise(nn.Conv3d):
    """A 1 x 1 convolution without bias; it is a product with a matrix, and done as one."""

    def __init__(self, channels: int, out: int):
        super().__init__(channels, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x.movedim(1, -1), self.weight.flatten(1)).movedim(-1, 1)


class SupportMasks:
    """Which support cells are inside the masks (G, S, S), on any grid."""

    def __init__(self, masks: Tensor):
        self.masks, self.known = masks, {}

    def inside(self, grid: tuple[int, int]) -> list[list[int]]:
        """For each support the indices of the grid's cells where the resized mask is not exactly 0."""
        if grid not in self.known:
            self.known[grid] = [mask.flatten().nonzero()[:, 0].tolist() for mask in upsample(self.masks[:, None], grid)]
        return self.known[grid]


class Attention(nn.Module):
    """Strided self-attention over the support cells, for every query cell by itself.

    `kernel` and `stride` are those of queries and shortcut over the support grid; with `pool` keys and values have them
    too, else they keep the grid. There are C'/2 channels in 8 heads, and the logits are not scaled.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, pool: bool):
        super().__init__()
        padding = kernel // 2 if kernel > 2 else 0
        strided = {"kernel_size": (1, kernel, kernel), "stride": (1, stride, stride), "padding": (0, padding, padding)}
        half = out // 2
        self.qhead = nn.Conv3d(channels, half, **strided)
        self.khead = nn.Conv3d(channels, half, **(strided if pool else {"kernel_size": 1}))
        self.vhead = nn.Conv3d(channels, half, **(strided if pool else {"kernel_size": 1}))
        if kernel == stride == 1 and channels == out:
            self.short_cut = nn.Identity()
        else:
            self.short_cut = nn.Sequential(
                nn.Conv3d(channels, out, bias=False, **strided), GroupNorm(out), nn.ReLU(inplace=True)
            )
        self.agg = nn.Sequential(
            GroupNorm(half),
            nn.ReLU(inplace=True),
            Pointwise(half, out),
            GroupNorm(out),
            nn.ReLU(inplace=True),
        )
        self.out_norm = GroupNorm(out)

    def forward(self, x: Tensor, masks: SupportMasks) -> Tensor:
        """(G, C, Hq·Wq, Hs, Ws) to (G, C', Hq·Wq, Hs', Ws')."""
        v, shortcut = self.values(x)
        inside = masks.inside(v.shape[-2:])
        if any(inside) or torch.is_grad_enabled():
            q, k = self.project(x)
            supports = zip(tokens(q), tokens(k), tokens(v), inside, strict=True)
            attended = torch.stack([attend(*qkv, cells) for *qkv, cells in supports])
            attended = attended.unflatten(2, q.shape[-2:]).movedim(-1, 1)  # (G, C'/2, Hq·Wq, Hs', Ws')
        else:  # all keys are attended to alike, by whatever query
            attended = tokens(v).mean(dim=2).movedim(-1, 1)[..., None, None]  # (G, C'/2, Hq·Wq, 1, 1)
        return self.out_norm(self.agg(attended) + shortcut)

    def values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values (G, C'/2, Hq·Wq, ., .) and the shortcut (G, C', Hq·Wq, Hs', Ws')."""
        if isinstance(self.short_cut, nn.Identity):
            return *convolutions(x, self.vhead), x
        conv, *rest = self.short_cut
        shortcut, v = convolutions(x, conv, self.vhead)
        return v, nn.Sequential(*rest)(shortcut)

    def project(self, x: Tensor) -> list[Tensor]:
        """Queries and keys, each (G, C'/2, Hq·Wq, ., .)."""
        return convolutions(x, self.qhead, self.khead)

    def attention(self, x: Tensor, masks: SupportMasks, cell: int) -> Tensor:
        """Where query cell number `cell` looks: weights (G, heads, Hs', Ws', h, w) over the h x w keys, to be shown."""
        q, k = self.project(x[:, :, [cell]])
        found = [torch.zeros(HEADS, *q.shape[3:], k[0, 0].numel(), device=x.device) for _ in x]
        for out, query, key, inside in zip(found, tokens(q), tokens(k), masks.inside(k.shape[-2:]), strict=True):
            if len(inside) == 0:
                out.fill_(1 / out.shape[-1])
            else:
                out[..., inside] = weights(query, key[:, inside])[..., 0].unflatten(1, q.shape[3:])
        return torch.stack(found).unflatten(-1, k.shape[-2:])


def tokens(x: Tensor) -> Tensor:
    """(G, C, Hq·Wq, Hs, Ws) to (G, Hq·Wq, Hs·Ws, C)."""
    return x.flatten(3).movedim(1, -1)


def attend(q: Tensor, k: Tensor, v: Tensor, inside: list[int]) -> Tensor:
    """Attention of one support's cells, for every query cell by itself.

    q: (Hq·Wq, queries, C); k, v: (Hq·Wq, keys, C); inside: indices of the keys to attend to; where there are none, all
    are attended to alike. Returns (Hq·Wq, queries, C).
    """
    if len(inside) == 0:
        alike = v.mean(dim=1, keepdim=True)
        return alike + 0 * (q + k.mean(dim=1, keepdim=True))  # which have a gradient of 0, rather than none
    if len(inside) < k.shape[1]:
        k, v = (torch.stack([x[cell] for cell in inside], dim=1) for x in (k.unbind(1), v.unbind(1)))
    return Attend.apply(q, k, v)


class Attend(torch.autograd.Function):
    """`values` of `weights`, for as many query cells at once as stay in the cache; weights are computed anew for the
    gradient rather than kept. q: (cells, queries, C); k, v: (cells, keys, C)."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        out = q.new_empty(q.shape)
        for cells in parts(q, k):
            out[cells] = cells_first(sums(weights(q[cells], k[cells]), cells_last(v[cells])))
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = ctx.saved_tensors
        of_q, of_k, of_v = (t.new_empty(t.shape) for t in (q, k, v))
        for cells in parts(q, k):
            g, last_q, last_k, last_v = (cells_last(t[cells]) for t in (grad, q, k, v))
            w = weights(q[cells], k[cells])
            of_w = dots(g, last_v)
            of_logits = w * (of_w - (w * of_w).sum(dim=2, keepdim=True))  # the gradient of softmax
            of_q[cells] = cells_first(sums(of_logits, last_k))
            of_k[cells] = cells_first(sums(of_logits.transpose(1, 2), last_q))
            of_v[cells] = cells_first(sums(w.transpose(1, 2), g))
        return of_q, of_k, of_v


def parts(q: Tensor, k: Tensor) -> Iterator[slice]:
    """Slices of the query cells of q (cells, queries, C) and k (cells, keys, C) with about `LOGITS` logits each.

    They are of 32 cells or a multiple, which a processor's vector instructions take without a remainder.
    """
    size = 32 * max(1, round(LOGITS[q.is_cuda] / (32 * HEADS * q.shape[1] * k.shape[1])))
    return (slice(start, start + size) for start in range(0, len(q), size))


def weights(q: Tensor, k: Tensor) -> Tensor:
    """Attention weights (heads, queries, keys, cells) of q (cells, queries, C) over k (cells, keys, C)."""
    return dots(cells_last(q), cells_last(k)).softmax(dim=2)


def dots(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products (heads, n, m, cells) of a (heads, C/heads, n, cells) and b (heads, C/heads, m, cells)."""
    (first, other), *rest = zip(a[:, :, :, None].unbind(1), b[:, :, None].unbind(1), strict=True)
    products = first * other
    for one, other in rest:
        products.addcmul_(one, other)
    return products


def sums(weights: Tensor, x: Tensor) -> Tensor:
    """Sums (heads, C/heads, n, cells) of x (heads, C/heads, m, cells), weighted by weights (heads, n, m, cells)."""
    return torch.stack([(weights * channel).sum(dim=2) for channel in x[:, :, None].unbind(1)], dim=1)


def cells_last(x: Tensor) -> Tensor:
    """(cells, n, C) to (heads, C/heads, n, cells): rows of many cells to compute on, as a head has few channels."""
    return x.permute(2, 1, 0).contiguous().unflatten(0, (HEADS, -1))


def cells_first(x: Tensor) -> Tensor:
    """(heads, C/heads, n, cells) to (cells, n, C)."""
    return x.flatten(0, 1).permute(2, 1, 0)


class FeedForward(nn.Module):
    """Two 1 x 1 convolutions around a bottleneck of half the channels, and a residual sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.ff = nn.Sequential(
            Pointwise(channels, channels // 2),
            GroupNorm(channels // 2),
            nn.ReLU(inplace=True),
            Pointwise(channels // 2, channels),
        )
        self.out_norm = GroupNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_norm(self.ff(x).add_(x))


class AttentiveSqueezeLayer(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, pool: bool = False):
        super().__init__()
        self.attn = Attention(channels, out, kernel, stride, pool)
        self.ff = FeedForward(out)

    def forward(self, x: Tensor, masks: SupportMasks) -> Tensor:
        return self.ff(self.attn(x, masks))


class AttentiveSqueezeNetwork(Decoder):
    """Three correlations (G, L, Hq, Wq, Hs, Ws) and support masks to logits (G, 2, 2·Hq, 2·Wq), Hq of layer2."""

    def __init__(self, depths: tuple[int, int, int]):
        super().__init__()
        layer = AttentiveSqueezeLayer
        l2, l3, l4 = depths
        self.encoder_layer4 = nn.ModuleList([layer(l4, 32, 5, 4), layer(32, 128, 3, 2)])
        self.encoder_layer3 = nn.ModuleList([layer(l3, 32, 5, 4, pool=True), layer(32, 128, 5, 4, pool=True)])
        self.encoder_layer2 = nn.ModuleList([layer(l2, 32, 5, 4, pool=True), layer(32, 128, 5, 4, pool=True)])
        self.encoder_layer4to3 = nn.ModuleList([layer(128, 128, 1, 1), layer(128, 128, 2, 1)])
        self.encoder_layer3to2 = nn.ModuleList([layer(128, 128, 1, 1), layer(128, 128, 2, 1)])

    def forward(self, correlations: list[Tensor], masks: Tensor) -> Tensor:
        (corr2, corr3, corr4), masks = correlations, SupportMasks(masks)
        x4 = squeeze(self.encoder_layer4, corr4, masks).mean(dim=(-2, -1))  # (G, 128, Hq, Wq) of layer4
        x3 = add(squeeze(self.encoder_layer3, corr3, masks), x4)  # (G, 128, Hq, Wq, 2, 2) of layer3
        x3 = squeeze(self.encoder_layer4to3, x3, masks)[..., 0, 0]  # one support cell is left
        x2 = add(squeeze(self.encoder_layer2, corr2, masks), x3)
        x2 = squeeze(self.encoder_layer3to2, x2, masks)[..., 0, 0]
        return self.decode(x2)


def squeeze(layers: nn.ModuleList, x: Tensor, masks: SupportMasks) -> Tensor:
    """Run the layers: (G, C, Hq, Wq, Hs, Ws) to (G, C', Hq, Wq, Hs', Ws')."""
    grid = x.shape[2:4]
    x = x.flatten(2, 3)
    for layer in layers:
        x = layer(x, masks)
    return x.unflatten(2, grid)


def add(x: Tensor, coarse: Tensor) -> Tensor:
    """x (G, C, Hq, Wq, Hs, Ws) plus a coarser level (G, C, h, w), resized to the query grid, at every support cell."""
    return x + upsample(coarse, x.shape[2:4])[..., None, None]


class ASNet(CorrelationLearner):
    """Attentive squeeze network: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*,
    CVPR 2022, https://arxiv.org/abs/2203.15712

    Query and support are compared as cosine correlations of all their bottlenecks, with the support pooled to half its
    side. For every query cell by itself, self-attention over the support cells, which sees only those inside the mask,
    squeezes the support grid step by step to a single cell, coarse levels first. A small decoder turns what is left,
    128 channels at each query cell, into background and foreground.
    """

    method = "asnet"
    network = AttentiveSqueezeNetwork

    def for_support(self, seen: Features, images: Tensor, masks: Tensor) -> Features:
        return pool(seen)

    def check(self, query: Tensor, supports: Tensor, masks: Tensor | None) -> None:
        super().check(query, supports, masks)
        if any(side not in SIDES for side in query.shape[-2:]):
            raise InputError(
                f"Images of {query.shape[-2]} x {query.shape[-1]} pixels do not fit {self.method}; "
                f"give images with sides of {SIDES[0]} to {SIDES[-1]} pixels."
            )


def pool(features: Features) -> Features:
    """Average-pool support features whose side is above 32 to half of it (3 x 3, stride 2, the padding counts)."""
    return [[F.avg_pool2d(x, 3, 2, 1) if min(x.shape[-2:]) > 32 else x for x in level] for level in features]
