"""How HSNet and ASNet squeeze the support's two axes (chapters 07 and 08). All images are square.

Letters: S image side, Hq Wq and Hs Ws grids of query and support.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ..data.episodes import Episode
from ..learners.maps import resize
from . import canvas
from .canvas import FONT, INK, QUIET, SMALL_FONT, InlineFigure
from .correlation import find_cell

Point = tuple[float, float]
"""x and y as shares of the query's width and height, 0…1."""
NAMES = ("A", "B")


class Step(NamedTuple):
    """One step of a squeeze.

    views: for every query cell a small map over the support, (Hq, Wq, Hs, Ws) from 0; inside: which support cells to
    outline, (Hs, Ws) bool; note: what is written before the largest value of a view.
    """

    title: str
    views: Tensor
    inside: Tensor | None = None
    note: str = "largest"


def show_two_cells(
    ep: Episode, points: Sequence[Point], steps: Sequence[Step], label: str, summary: str = ""
) -> InlineFigure:
    """What two query cells see of the support, step by step: a row for cell A, one for cell B, a column for each step.

    points: A and B. Both cells of a column have one scale, from 0 to the larger of the two. summary: if given, a third
    row with this name has, at every query cell, the mean of its view, and a line round the true mask; label: of the
    values.
    """
    rows = 3 if summary else 2
    fig, axes = canvas.make_grid(rows, 1 + len(steps), 1.0, extra=0.5)
    query, truth = canvas.square_query(ep)
    canvas.show_image(axes[0, 0], query, "query")
    canvas.show_image(axes[1, 0], canvas.support_image(ep), f"support: {ep.class_names[0]}")
    mark_cells(axes[0, 0], points, query.shape[:2])
    if summary:
        canvas.show_image(axes[2, 0], canvas.overlay(query, truth), "query and true mask")
    for row, name in zip(axes[:, 1], (*(f"seen from {name}" for name in NAMES), summary), strict=False):
        row.set_ylabel(name, fontsize=FONT, color=INK, fontweight="bold")
    for column, step in zip(axes[:, 1:].T, steps, strict=True):
        seen = [step.views[find_cell(point, step.views.shape[:2])] for point in points]
        largest = max(view.max() for view in seen).clamp(min=1e-12)
        for ax, view in zip(column, seen, strict=False):
            canvas.show_map(ax, view / largest, step.title, note=f"{step.note} {view.max():.2f}")
            if step.inside is not None:
                canvas.outline(ax, step.inside.numpy())
        if summary:
            means = step.views.mean(dim=(-2, -1))
            canvas.show_map(column[2], means / means.max().clamp(min=1e-12), f"{means.shape[0]} x {means.shape[1]}")
            canvas.outline_mask(column[2], truth == 1, means.shape)
            mark_cells(column[2], points, means.shape)
    canvas.add_colour_bar(fig, axes, label)
    return fig


def mark_cells(ax: Axes, points: Sequence[Point], shape: Sequence[int]) -> None:
    """The letters A and B at two points of a map or an image of a shape (height, width)."""
    disc = {"boxstyle": "circle,pad=0.16", "facecolor": "white", "edgecolor": INK, "linewidth": 1}
    for name, (x, y) in zip(NAMES, points, strict=True):
        place = x * shape[1] - 0.5, y * shape[0] - 0.5
        ax.text(*place, name, ha="center", va="center_baseline", fontsize=SMALL_FONT, color=INK, bbox=disc)


def show_grids(ep: Episode, sides: Sequence[int], titles: Sequence[str]) -> InlineFigure:
    """At which points of the support the grids of some sides read its mask, and how many of them lie inside.

    A point counts as inside where the mask, resized bilinearly with aligned corners, is above 0.
    """
    fig, axes = canvas.make_grid(1, len(sides), 1.0, extra=0.5)
    fig.get_layout_engine().set(w_pad=0.12)
    mask, image = ep.masks[0, 0], canvas.support_image(ep)
    for ax, side, title in zip(axes[0], sides, titles, strict=True):
        inside = (resize(mask[None, None], (side, side))[0, 0] > 0).numpy()
        canvas.show_image(ax, image, title, note=f"{inside.sum()} of {side * side} points inside")
        places = np.linspace(0, len(mask) - 1, side)
        x, y = np.meshgrid(places, places)
        ax.scatter(x[~inside], y[~inside], s=22, color="white", edgecolors=QUIET, clip_on=False, zorder=3)
        ax.scatter(x[inside], y[inside], s=48, color=canvas.way_colour(1), edgecolors=INK, clip_on=False, zorder=3)
        ax.set(xlim=(-0.5, len(mask) - 0.5), ylim=(len(mask) - 0.5, -0.5))
    return fig
