"""`group_norm` of blocks.py, sooner: in one pass where the channels are the last axis in memory.

The other twins leave their channels last. For that layout PyTorch's own kernel on the CPU adds up all squares one after
another, and over a million of them the rounding moves the maps by 1e-4; here they are added up in portions.

Letters: G supports, p positions, D channels in 4 groups.
"""

import torch
from torch import Tensor

PORTIONS = 64


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """As `blocks.group_norm`: (G, D, ...) to the same shape."""
    positions = x.to(weight.dtype).movedim(1, -1)
    out = GroupNorm.apply(positions.flatten(1, -2), groups, weight, bias, eps)
    return out.view(positions.shape).movedim(-1, 1)


class GroupNorm(torch.autograd.Function):
    """Group normalisation of (G, p, D), with PyTorch's gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean, square = average(x, groups), average(x * x, groups)
        rstd = torch.addcmul(square, mean, mean, value=-1).add_(eps).rsqrt_()
        factor = weight.view(groups, -1) * rstd[..., None]  # G, groups, D/groups
        shift = torch.addcmul(bias.view(groups, -1), mean[..., None], factor, value=-1)
        ctx.save_for_backward(x, mean, rstd, weight)
        return torch.addcmul(shift.view(len(x), 1, -1), x, factor.view(len(x), 1, -1))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd, weight = ctx.saved_tensors
        (count, positions, channels), groups = x.shape, mean.shape[1]
        grad, x = (t.contiguous().movedim(-1, 1)[:, :, None] for t in (grad, x))  # G, D, 1, p with channels last
        of_x, of_weight, of_bias = torch.ops.aten.native_group_norm_backward(
            grad, x, mean, rstd, weight, count, channels, positions, groups, [True, True, True]
        )
        return of_x[:, :, 0].movedim(1, -1), None, of_weight, of_bias, None


def average(x: Tensor, groups: int) -> Tensor:
    """Means (G, groups) of groups of channels of x (G, p, D), over up to 64 portions of the positions first."""
    count, positions, channels = x.shape
    portions = next(number for number in range(PORTIONS, 0, -1) if positions % number == 0)
    means = x.view(count, portions, positions // portions, channels).mean(dim=2)
    return means.view(count, portions, groups, -1).mean(dim=(1, 3))
