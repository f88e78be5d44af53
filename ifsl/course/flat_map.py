"""Weak ASNets on one level of the pyramid, with a norm over all query cells or one for each cell (chapter 15).

Letters: B episodes, G supports of one shot, C channels, L bottlenecks, Q query cells, Hq Wq query grid, Hs Ws support
grid, S image side.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..learners import build_model
from ..learners.asnet import ASNet, AttentiveSqueezeLayer
from ..learners.blocks import Decoder
from ..learners.registry import BACKBONES


class CellNorm(nn.Module):
    """Group normalisation of each query cell by itself: (G, C, Q, ...) to the same shape."""

    def __init__(self, groups: int, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        cells = x.transpose(1, 2)  # (G, Q, C, ...)
        return self.norm(cells.flatten(0, 1)).unflatten(0, cells.shape[:2]).transpose(1, 2)


def use_cell_norms(module: nn.Module) -> nn.Module:
    """Replace every group norm inside a module by a norm of each cell; returns the module."""
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, CellNorm(child.num_groups, child.num_channels))
        else:
            use_cell_norms(child)
    return module


class OneLevelNetwork(Decoder):
    """The part of ASNet's network that squeezes layer4: (G, L, Hq, Wq, Hs, Ws) to logits (G, 2, 2·Hq, 2·Wq)."""

    def __init__(self, depths: tuple[int, int, int]):
        super().__init__()
        self.layers = nn.ModuleList([AttentiveSqueezeLayer(depths[-1], 32, 5, 4), AttentiveSqueezeLayer(32, 128, 3, 2)])

    def forward(self, correlations: list[Tensor], masks: Tensor) -> Tensor:
        x = correlations[-1]
        grid = x.shape[2:4]
        x = x.flatten(2, 3)
        for layer in self.layers:
            x = layer(x, masks)
        return self.decode(x.mean(dim=(-2, -1)).unflatten(2, grid))


def build_one_level(norm: str, backbone: str = "efficientnet_lite0", pretrained: bool = True) -> ASNet:
    """An ASNet of layer4 alone. norm: "all cells", as published, or "each cell"."""
    model = build_model("asnet", backbone, pretrained=pretrained)
    model.learner = OneLevelNetwork(BACKBONES[backbone].depths)
    if norm == "each cell":
        use_cell_norms(model.learner)
    return model


def load_one_level(path: str | Path, norm: str) -> ASNet:
    """A learner that `ci/flat_map.py` has kept, in evaluation mode."""
    model = build_one_level(norm)
    model.learner.load_state_dict(load_file(path))
    return model.eval()


def map_of(model: ASNet, episode) -> Tensor:
    """Foreground probabilities (h, w) of the first way from class tags alone."""
    with torch.inference_mode():
        return model(episode.query[None], episode.supports[None])[0, 0, 1].exp()
