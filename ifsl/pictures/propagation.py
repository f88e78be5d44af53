"""Label propagation with and without a null match (chapter 17).

Letters: E episodes, h w map size.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..data.episodes import Episode
from . import canvas
from .canvas import DARK, FONT, INK, QUIET, InlineFigure
from .charts import make_chart


def show_propagation(rows: Sequence[tuple[Episode, dict[str, Tensor]]]) -> InlineFigure:
    """A row for each 1-way 1-shot episode: its support with the mask, its query, and maps {title: (h, w) from 0 to 1}.

    Under each map is its largest value.
    """
    fig, axes = canvas.make_grid(len(rows), 2 + len(rows[0][1]), 1, extra=0.6)
    for row, (ep, maps) in zip(axes, rows, strict=True):
        there = "present" if ep.presence[0] else "absent"
        canvas.show_image(row[0], canvas.support_image(ep), f"support: {ep.class_names[0]}")
        canvas.show_image(row[1], canvas.square_query(ep)[0], f"query: {there}")
        for ax, (title, values) in zip(row[2:], maps.items(), strict=True):
            canvas.show_map(ax, values, title, note=f"largest value {values.max():.2f}")
    canvas.add_colour_bar(fig, axes, "P: share of the class")
    return fig


def plot_peaks(panels: dict[str, tuple[Sequence[float], float]], present: Sequence[bool]) -> InlineFigure:
    """The largest value of each episode's map, a panel for each matcher: {title: (E values, threshold)}.

    present: for each episode, whether the class is in the query. Present and absent episodes have a row each.
    """
    fig, axes = make_chart(2.2, 1, len(panels), sharey=True)
    true, spread = np.array(present), np.random.default_rng(0).uniform(-0.28, 0.28, len(present))
    for ax, (title, (largest, threshold)) in zip(axes[0], panels.items(), strict=True):
        for y, (here, colour, marker) in enumerate(((true, DARK, "o"), (~true, "#B8860B", "^"))):
            values = np.array(largest)[here]
            ax.scatter(values, y + spread[here], s=16, color=colour, marker=marker, alpha=0.75, linewidths=0)
        ax.axvline(threshold, color=INK, linewidth=1, linestyle="--")
        ax.set_title(title, loc="left", fontsize=FONT, color=INK)
        ax.text(threshold, -0.62, " threshold", color=QUIET, fontsize=8.5, ha="left" if threshold < 0.7 else "right")
        ax.set(xlim=(-0.03, 1.03), ylim=(1.5, -0.75), xlabel="largest value of the map", yticks=[0, 1])
        ax.set_yticklabels(["present", "absent"])
        ax.tick_params(axis="y", length=0)
    return fig
