"""What HSNet and ASNet share: group normalisation, and the decoder (chapters 07 and 08).

Letters: G supports (B episodes x N ways x K shots), C channels, h w map size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4


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
        return PairwiseGroupNorm.apply(x.to(self.weight.dtype), self.weight, self.bias, self.eps)


class PairwiseGroupNorm(torch.autograd.Function):
    """Group normalisation with PyTorch's gradient and with statistics of our own."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        positions = x.movedim(1, -1).flatten(1, -2)  # (G, positions, C)
        mean, square = per_group(positions.mean(dim=1)), per_group(positions.square().mean(dim=1))  # (G, 4, 1)
        rstd = (square - mean.square() + eps).rsqrt()
        scale = rstd * weight.view(GROUPS, -1)  # (G, 4, C/4)
        shift = bias.view(GROUPS, -1) - mean * scale
        out = torch.addcmul(shift.flatten(1)[:, None], positions, scale.flatten(1)[:, None])
        ctx.save_for_backward(x, mean[..., 0], rstd[..., 0], weight)
        return out.unflatten(1, x.shape[2:]).movedim(-1, 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, rstd, weight = ctx.saved_tensors
        count, channels = x.shape[:2]
        return *torch.ops.aten.native_group_norm_backward(
            grad, x, mean, rstd, weight, count, channels, x[0, 0].numel(), GROUPS, [True, True, True]
        ), None


def per_group(channels: Tensor) -> Tensor:
    """Means of channels (G, C) to means of groups (G, 4, 1)."""
    return channels.unflatten(1, (GROUPS, -1)).mean(dim=2, keepdim=True)


class Decoder(nn.Module):
    """From squeezed correlations to maps: (G, 128, h, w) to logits (G, 2, 2h, 2w)."""

    def __init__(self):
        super().__init__()
        self.decoder1 = nn.Sequential(
            nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 64, 3, padding=1), nn.ReLU()
        )
        self.decoder2 = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 2, 3, padding=1))

    def decode(self, x: Tensor) -> Tensor:
        x = self.decoder1(x)
        h, w = x.shape[-2:]
        return self.decoder2(F.interpolate(x, (2 * h, 2 * w), mode="bilinear", align_corners=True))
