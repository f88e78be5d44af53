"""`Attention` of asnet.py, sooner: fewer convolutions, only the keys inside the mask, and many query cells at once.

The deeper a layer, the coarser its support grid: on 2 x 2 cells a mask in the middle of the image covers no key at all.
Then every key weighs the same, and the queries and keys need not be computed unless somebody wants their gradient.

Elsewhere a head has 2 to 8 channels and a query cell 4 to 49 keys, which are short rows to compute on. Here the query
cells are the last axis, so that a processor's vector instructions work on many of them; and only as many are taken at a
time as stay in its cache. The weights are computed again for the gradient instead of being kept.

Letters: d channels of a head, n queries and m keys of a query cell, x query cells; the rest as in asnet.py.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..maps import resize
from .convolution import convolve_support

HEADS = 8
LOGITS = 2**19
"""How many logits to compute at once: what stays in a processor's cache."""


def attention(layer: nn.Module, x: Tensor, masks: Tensor) -> Tensor:
    """As `asnet.Attention.forward`."""
    v = layer.vhead(x)
    inside = resize(masks[:, None], v.shape[-2:]).flatten(1) != 0  # G, h·w
    if inside.any() or torch.is_grad_enabled():
        q, k = query_and_key(layer, x)
        supports = zip(q, k, v, inside, strict=True)
        attended = torch.stack([attend_inside(*qkv, cells) for *qkv, cells in supports]).movedim(-1, 1)
    else:
        attended = v.mean(dim=(-2, -1), keepdim=True)  # the same for each query
    return layer.out_norm(layer.agg(attended) + layer.short_cut(x))


def query_and_key(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs of both convolutions, computed by one where they have the same kernel and stride."""
    q, k = layer.qhead, layer.khead
    if q.weight.shape != k.weight.shape or q.stride != k.stride:
        return q(x), k(x)
    weight, bias = torch.cat([q.weight, k.weight]), torch.cat([q.bias, k.bias])
    return convolve_support(x, weight, bias, q.stride, q.padding).chunk(2, dim=1)


def attend_inside(query: Tensor, key: Tensor, value: Tensor, inside: Tensor) -> Tensor:
    """One support: query (D, Hq·Wq, Hs, Ws), key and value (D, Hq·Wq, h, w), inside (h·w,) to (Hq·Wq, Hs, Ws, D)."""
    k, v = key.flatten(2), value.flatten(2)
    if not inside.any():  # every key weighs the same
        uniform = v.mean(dim=2) + 0 * k.mean(dim=2)  # the products with 0 give query and key a gradient of 0
        return (0 * query + uniform[..., None, None]).movedim(0, -1)
    if not inside.all():
        kept = inside.nonzero()[:, 0]
        k, v = k.index_select(2, kept), v.index_select(2, kept)
    attended = Attend.apply(*(cells_last(x) for x in (query.flatten(2), k, v)))
    return attended.flatten(0, 1).permute(2, 1, 0).unflatten(1, query.shape[-2:])


def cells_last(x: Tensor) -> Tensor:
    """(D, x, n) to (heads, d, n, x)."""
    return x.transpose(1, 2).contiguous().unflatten(0, (HEADS, -1))


class Attend(torch.autograd.Function):
    """Sums of values (heads, d, m, x), weighted by a softmax of query (heads, d, n, x) times key (heads, d, m, x)."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        out = torch.empty_like(q)
        for cells in portions(q, k):
            out[..., cells] = add_up(weigh(q[..., cells], k[..., cells]), v[..., cells])
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        saved = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.empty_like(x) for x in saved)
        for cells in portions(*saved[:2]):
            g, q, k, v = (x[..., cells] for x in (grad, *saved))
            weights = weigh(q, k)
            grad_weights = multiply(g, v)
            grad_logits = weights * (grad_weights - (weights * grad_weights).sum(dim=2, keepdim=True))
            grad_q[..., cells] = add_up(grad_logits, k)
            grad_k[..., cells] = add_up(grad_logits.transpose(1, 2), q)
            grad_v[..., cells] = add_up(weights.transpose(1, 2), g)
        return grad_q, grad_k, grad_v


def portions(q: Tensor, k: Tensor) -> Iterator[slice]:
    """Slices of the query cells with about `LOGITS` logits each, of 32 cells or a multiple of 32."""
    heads, _, n, cells = q.shape
    size = 32 * max(1, round(LOGITS / (32 * heads * n * k.shape[2])))
    return (slice(start, start + size) for start in range(0, cells, size))


def weigh(q: Tensor, k: Tensor) -> Tensor:
    """Attention weights (heads, n, m, x)."""
    return multiply(q, k).softmax(dim=2)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products over the channels: (heads, d, n, x) and (heads, d, m, x) to (heads, n, m, x)."""
    (first, other), *rest = zip(a[:, :, :, None].unbind(1), b[:, :, None].unbind(1), strict=True)
    products = first * other
    for first, other in rest:
        products.addcmul_(first, other)
    return products


def add_up(weights: Tensor, x: Tensor) -> Tensor:
    """Weighted sums: weights (heads, n, m, x) of x (heads, d, m, x) to (heads, d, n, x)."""
    return torch.stack([(weights * channel).sum(dim=2) for channel in x[:, :, None].unbind(1)], dim=1)
