"""Features, and what a support's cells have in common with one point of the query (chapters 03, 05 and 07 to 10).

Letters: L bottlenecks, h w map size, Hq Wq and Hs Ws grids of query and support, H W image size.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..learners.maps import resize
from . import canvas
from .canvas import BACKGROUND, InlineFigure


def show_features(image: np.ndarray, features: dict[str, Tensor]) -> InlineFigure:
    """An image, and feature maps (D, h, w) as colours: their three strongest directions are red, green and blue.

    Cells with similar colours have similar features. Each map has its own three directions, so colours cannot be
    compared between maps.
    """
    fig, axes = canvas.make_grid(1, len(features) + 1, image.shape[0] / image.shape[1])
    canvas.show_image(axes[0, 0], image, "query")
    for ax, (name, values) in zip(axes[0, 1:], features.items(), strict=True):
        canvas.show_image(ax, canvas.colour_features(values)[0], name, interpolation="nearest")
    return fig


def show_maps(images: np.ndarray | dict[str, np.ndarray], maps: dict[str, Tensor], label: str) -> InlineFigure:
    """The query, or images {title: (H, W, 3) uint8} of one size, and maps {name: (h, w)} of values 0…1.

    label: what the values are.
    """
    images = images if isinstance(images, dict) else {"query": images}
    height, width = next(iter(images.values())).shape[:2]
    fig, axes = canvas.make_grid(1, len(images) + len(maps), height / width)
    for ax, (title, image) in zip(axes[0], images.items(), strict=False):
        canvas.show_image(ax, image, title)
    for ax, (name, values) in zip(axes[0, len(images) :], maps.items(), strict=True):
        canvas.show_map(ax, values, name)
    canvas.add_colour_bar(fig, axes, label)
    return fig


def find_cell(point: tuple[float, float], grid: Sequence[int]) -> tuple[int, int]:
    """Row and column of the cell that holds a point: x and y as shares of width and height, 0…1; grid: (h, w)."""
    row, column = (min(int(share * side), side - 1) for share, side in zip(point[::-1], grid, strict=True))
    return row, column


def select_cell(correlations: dict[str, Tensor], point: tuple[float, float]) -> dict[str, Tensor]:
    """The correlations of one query cell with every support cell, the mean over the bottlenecks of each level.

    correlations: {name: (L, Hq, Wq, Hs, Ws)}; point: x and y as shares of the query's width and height, 0…1, of which
    the cell that holds it is taken. Returns {name: (Hs, Ws)}.
    """
    cells = {}
    for name, values in correlations.items():
        row, column = find_cell(point, values.shape[1:3])
        cells[name] = values[:, row, column].mean(dim=0)
    return cells


def show_correlation(
    query: np.ndarray,
    point: tuple[float, float],
    support: np.ndarray,
    mask: Tensor,
    levels: dict[str, Tensor],
    inside_only: bool = False,
) -> InlineFigure:
    """Which cells of the support resemble one point of the query.

    query, support: images (H, W, 3) uint8; point: x and y as shares of the query's width and height, 0…1; mask: the
    support's (S, S); levels: {name: (Hs, Ws) correlations of the point's cell with every support cell, 0…1};
    inside_only: grey out the cells that the mask, resized to the grid, does not touch.
    """
    fig, axes = canvas.make_grid(1, len(levels) + 2, 1.0)
    canvas.show_image(axes[0, 0], query, "query and the point")
    canvas.mark_point(axes[0, 0], point, query.shape[1], query.shape[0])
    canvas.show_image(axes[0, 1], canvas.mark_support(support, mask.byte().numpy()), "support and its mask")
    for ax, (name, values) in zip(axes[0, 2:], levels.items(), strict=True):
        touched = resize(mask[None, None], values.shape)[0, 0] > 0
        inside = f"{values[touched].max():.2f}" if touched.any() else "no cell"
        shown = values.masked_fill(~touched, torch.nan) if inside_only else values
        canvas.show_map(ax, shown, name, note=f"max {values.max():.2f}, inside {inside}")
        ax.set_facecolor(BACKGROUND)
        canvas.outline(ax, touched.numpy())
    canvas.add_colour_bar(fig, axes, "correlation")
    return fig
