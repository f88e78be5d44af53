"""ASNet, the attentive squeeze network (chapter 08).

Source: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*, CVPR 2022, section 5.

Letters: B episodes, N ways, G = B·N supports of one shot, D channels and D' those of a layer's output, L bottlenecks of
a level, Hq Wq query grid, Hs Ws support grid, h w grid of the keys, S image side.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from .backbones import Features
from .blocks import CorrelationLearner, Decoder, GroupNorm, resize_query
from .fast import attention, convolution, faster
from .maps import resize
from .registry import BACKBONES

HEADS = 8


class AttentiveSqueezeNetwork(Decoder):
    """Three correlations (G, L, Hq, Wq, Hs, Ws) and support masks (G, S, S) to logits (G, 2, 2·Hq, 2·Wq), Hq of layer2.

    Each level's support grid is squeezed, the coarsest level first, and mixed into the next finer level.
    """

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
        layer2, layer3, layer4 = correlations
        x = self.squeeze(self.encoder_layer4, layer4, masks)
        x = x.mean(dim=(-2, -1), keepdim=True)
        x = self.squeeze(self.encoder_layer3, layer3, masks) + resize_query(x, layer3.shape[2:4])
        x = self.squeeze(self.encoder_layer4to3, x, masks)
        x = self.squeeze(self.encoder_layer2, layer2, masks) + resize_query(x, layer2.shape[2:4])
        x = self.squeeze(self.encoder_layer3to2, x, masks)
        return self.decode(x[..., 0, 0])  # one support cell is left

    def squeeze(self, layers: nn.ModuleList, x: Tensor, masks: Tensor) -> Tensor:
        """(G, D, Hq, Wq, Hs, Ws) to (G, D', Hq, Wq, Hs', Ws'), with a smaller support grid."""
        grid = x.shape[2:4]
        x = x.flatten(2, 3)
        for layer in layers:
            x = layer(x, masks)
        return x.unflatten(2, grid)


class AttentiveSqueezeLayer(nn.Module):
    """Attention over the support grid, then a feed-forward part."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, pool: bool = False):
        super().__init__()
        self.attn = Attention(channels, out, kernel, stride, pool)
        self.ff = FeedForward(out)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        return self.ff(self.attn(x, masks))


class Attention(nn.Module):
    """For every query cell by itself: strided self-attention over the support cells inside the mask.

    Queries and the shortcut are convolutions with `kernel` and `stride` over the support grid, and so are keys and
    values with `pool`; without it they keep the grid. There are D'/2 channels in 8 heads, and the logits are not
    scaled.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, pool: bool):
        super().__init__()
        half = out // 2
        of_keys = (kernel, stride) if pool else (1, 1)
        self.qhead = SupportConv(channels, half, kernel, stride)
        self.khead = SupportConv(channels, half, *of_keys)
        self.vhead = SupportConv(channels, half, *of_keys)
        if kernel == stride == 1 and channels == out:
            self.short_cut = nn.Identity()
        else:
            self.short_cut = nn.Sequential(
                SupportConv(channels, out, kernel, stride, bias=False), GroupNorm(out), nn.ReLU(inplace=True)
            )
        self.agg = nn.Sequential(
            GroupNorm(half),
            nn.ReLU(inplace=True),
            SupportConv(half, out, bias=False),
            GroupNorm(out),
            nn.ReLU(inplace=True),
        )
        self.out_norm = GroupNorm(out)

    @faster(attention.attention)
    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        """(G, D, Hq·Wq, Hs, Ws) and masks (G, S, S) to (G, D', Hq·Wq, Hs', Ws')."""
        q, k, v = self.qhead(x), self.khead(x), self.vhead(x)
        attended = attend(q, k, v, masks, HEADS)
        return self.out_norm(self.agg(attended) + self.short_cut(x))


def attend(query: Tensor, key: Tensor, value: Tensor, masks: Tensor, heads: int) -> Tensor:
    """query (G, D, Hq·Wq, Hs, Ws), key and value (G, D, Hq·Wq, h, w), masks (G, S, S): (G, D, Hq·Wq, Hs, Ws)."""
    weights = attention_weights(query, key, masks, heads)
    v = rearrange(value, "g (heads d) cell h w -> g cell heads d (h w)", heads=heads)
    attended = torch.einsum("gxhij,gxhdj->gxhdi", weights, v)
    return rearrange(attended, "g cell heads d (h w) -> g (heads d) cell h w", h=query.shape[-2])


def attention_weights(query: Tensor, key: Tensor, masks: Tensor, heads: int = HEADS) -> Tensor:
    """Where each query cell looks: (G, Hq·Wq, heads, Hs·Ws, h·w), a softmax over the keys inside the mask.

    Keys where the resized mask is exactly 0 get a logit of -1e9; where it is 0 everywhere, all keys weigh the same.
    """
    q = rearrange(query, "g (heads d) cell h w -> g cell heads d (h w)", heads=heads)
    k = rearrange(key, "g (heads d) cell h w -> g cell heads d (h w)", heads=heads)
    logits = torch.einsum("gxhdi,gxhdj->gxhij", q, k)
    outside = resize(masks[:, None], key.shape[-2:]).flatten(2)[:, :, None, None] == 0  # G, 1, 1, 1, h·w
    return logits.masked_fill(outside, -1e9).softmax(dim=-1)


class FeedForward(nn.Module):
    """Two 1 x 1 convolutions with half the channels between them, and a residual sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.ff = nn.Sequential(
            SupportConv(channels, channels // 2, bias=False),
            GroupNorm(channels // 2),
            nn.ReLU(inplace=True),
            SupportConv(channels // 2, channels, bias=False),
        )
        self.out_norm = GroupNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.ff(x)
        out += x
        return self.out_norm(out)


class SupportConv(nn.Conv3d):
    """A convolution over the support grid, for every query cell by itself: (G, D, Hq·Wq, Hs, Ws)."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, bias: bool = True):
        padding = kernel // 2 if kernel > 2 else 0
        super().__init__(channels, out, (1, kernel, kernel), (1, stride, stride), (0, padding, padding), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolve_support(x, self.weight, self.bias, self.stride, self.padding)


@faster(convolution.convolve_support)
def convolve_support(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple, padding: tuple) -> Tensor:
    """(G, D, Hq·Wq, Hs, Ws) to (G, D', Hq·Wq, Hs', Ws')."""
    return F.conv3d(x, weight, bias, stride, padding)


class ASNet(CorrelationLearner):
    """Attentive squeeze network: Kang & Cho, *Integrative Few-Shot Learning for Classification and Segmentation*,
    CVPR 2022, https://arxiv.org/abs/2203.15712

    Query and support are compared as cosine correlations of all their bottlenecks, with the finest support level pooled
    to half its side. For every query cell by itself, self-attention over the support cells inside the mask squeezes the
    support grid step by step to a single cell, coarse levels first. A small decoder turns the 128 channels left at each
    query cell into background and foreground.
    """

    method = "asnet"
    network = AttentiveSqueezeNetwork

    def prepare_support(self, features: Features, images: Tensor, masks: Tensor) -> Features:
        return pool_support(features)

    def check_shapes(self, query: Tensor, supports: Tensor, masks: Tensor | None) -> None:
        super().check_shapes(query, supports, masks)
        sides = BACKBONES[self.backbone_name].sides
        if query.shape[-1] not in sides:
            raise InputError(
                f"Images of {query.shape[-2]} x {query.shape[-1]} pixels do not fit {self.method} on "
                f"{self.backbone_name}; give images with sides of {sides[0]} to {sides[-1]} pixels."
            )


def pool_support(features: Features) -> Features:
    """Average-pool support features whose side is above 32 to half of it (3 x 3, stride 2, the padding counts)."""
    return [[F.avg_pool2d(x, 3, 2, 1) if x.shape[-1] > 32 else x for x in level] for level in features]
