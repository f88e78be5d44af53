"""A norm of each query cell by itself, in the place of one over all of them (chapter 15).

Letters: G supports of one shot, D channels.
"""

from torch import Tensor, nn


class CellNorm(nn.Module):
    """Group normalisation of each query cell by itself: (G, D, cells, ...) to the same shape."""

    def __init__(self, groups: int, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        cells = x.transpose(1, 2)  # (G, cells, D, ...)
        return self.norm(cells.flatten(0, 1)).unflatten(0, cells.shape[:2]).transpose(1, 2)


def use_cell_norms(module: nn.Module) -> nn.Module:
    """Replace every group norm inside a module by a norm of each cell; returns the module."""
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, CellNorm(child.num_groups, child.num_channels))
        else:
            use_cell_norms(child)
    return module
