"""Convolutions over the support grid, sooner: `convolve_support` of asnet.py and `CenterPivotConv` of hsnet.py.

The squeezed support grids are small: under a 3 x 3 kernel on a grid of 2 x 2 more than half is padding. Where the
output has at most four positions, each is one product of matrices with the part of the kernel that lies on the grid.

Inside, the channels are the last axis in memory. Letters: G supports, D channels and D' those of the output, Hq Wq
query grid, Hs Ws support grid, k kernel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOWS = 4
"""Up to so many output positions, a convolution is done position by position."""


def convolve_support(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple, padding: tuple) -> Tensor:
    """As `asnet.convolve_support`: (G, D, Hq·Wq, Hs, Ws) to (G, D', Hq·Wq, Hs', Ws'); weight (D', D, 1, k, k)."""
    return convolve(x.movedim(1, -1), weight[:, :, 0], bias, stride[-1], padding[-1]).movedim(-1, 1)


def center_pivot(conv: nn.Module, x: Tensor) -> Tensor:
    """As `hsnet.CenterPivotConv.forward`: (G, D, Hq, Wq, Hs, Ws) to (G, D', Hq, Wq, Hs', Ws')."""
    x = x.movedim(1, -1)  # G, Hq, Wq, Hs, Ws, D
    kept = x[..., :: conv.stride, :: conv.stride, :].permute(0, 3, 4, 1, 2, 5)  # G, Hs', Ws', Hq, Wq, D
    over_query = conv.conv1(kept.flatten(0, 2).contiguous().movedim(-1, 1)).movedim(1, -1)
    over_query = over_query.unflatten(0, kept.shape[:3]).permute(0, 3, 4, 1, 2, 5)
    over_support = convolve(x.flatten(1, 2), conv.conv2.weight, conv.conv2.bias, conv.stride, conv.conv2.padding[0])
    out = over_support.unflatten(1, x.shape[1:3])
    out += over_query
    return out.movedim(-1, 1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolve x (G, Hq·Wq, Hs, Ws, D) over the support, weight (D', D, k, k): (G, Hq·Wq, Hs', Ws', D')."""
    kernel = weight.shape[-1]
    if kernel == stride == 1:
        return multiply(x, weight[:, :, 0, 0], bias)
    rows, columns = (find_windows(side, kernel, stride, padding) for side in x.shape[2:4])
    if len(rows) * len(columns) > WINDOWS:
        images = x.flatten(0, 1).movedim(-1, 1)
        return F.conv2d(images, weight, bias, stride, padding).movedim(1, -1).unflatten(0, x.shape[:2])
    weight = weight.movedim(1, -1).contiguous()  # D', k, k, D
    found = [
        multiply(x[:, :, r, c].flatten(2), weight[:, kr, kc].flatten(1), bias) for r, kr in rows for c, kc in columns
    ]
    return torch.stack(found, dim=2).unflatten(2, (len(rows), len(columns)))


def find_windows(side: int, kernel: int, stride: int, padding: int) -> list[tuple[slice, slice]]:
    """For each output position along a side: the cells under its window, and the part of the kernel on them."""
    starts = range(-padding, side + padding - kernel + 1, stride)
    return [(slice(max(a, 0), min(a + kernel, side)), slice(max(-a, 0), min(kernel, side - a))) for a in starts]


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(G, Hq·Wq, ..., D) times weight (D', D): (G, Hq·Wq, ..., D').

    As a 1 x 1 convolution of images with a query cell in each row: with the channels last, PyTorch takes half as long
    for it as for `F.linear`.
    """
    images = x.flatten(2, -2) if x.dim() > 3 else x[:, :, None]  # G, Hq·Wq, n, D
    out = F.conv2d(images.movedim(-1, 1), weight[..., None, None], bias).movedim(1, -1)
    return out.reshape(*x.shape[:-1], len(weight))
