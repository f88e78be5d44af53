"""Learning from masks and from class tags, side by side (chapters 10 and 15).

All images are square, as a learner sees them.

Letters: h w map size.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..data.episodes import Episode
from . import canvas
from .canvas import LINES, QUIET, InlineFigure
from .charts import make_chart, trim_ticks

STRONG, WEAK = LINES[:2]
"""Colours of the two kinds of supervision."""


def plot_label_shares(panels: dict[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]) -> InlineFigure:
    """How cells with equal evidence are labelled: {kind of evidence: (evidence, weak, strong)}, shares 0…1, by bin.

    weak: the share of a bin's cells whose query shows the class; strong: of those that lie on it. The bins have equal
    sizes, so the mean of the weak shares is the base rate.
    """
    fig, axes = make_chart(3.1, 1, len(panels))
    for ax, (name, (evidence, weak, strong)) in zip(axes[0], panels.items(), strict=True):
        style = {"markersize": 5, "linewidth": 1.5}
        ax.plot(evidence, 100 * np.array(weak), "o-", color=WEAK, label="whose query shows the class (weak)", **style)
        ax.plot(evidence, 100 * np.array(strong), "s-", color=STRONG, label="that lie on the class (strong)", **style)
        ax.axhline(100 * np.mean(weak), color=QUIET, linewidth=1, linestyle="--", label="base rate")
        ax.set(xlim=(0, 1), xlabel=name, ylim=(-2, 102), yticks=range(0, 101, 25), ylabel="share of the cells (%)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return fig


def plot_scores_by_threshold(limits: Sequence[float], panels: dict[str, dict[str, Sequence[float]]]) -> InlineFigure:
    """Scores of a strong and a weak learner at every threshold: {score in %: {"strong": values, "weak": values}}."""
    fig, axes = make_chart(2.9, 1, len(panels))
    for ax, (label, lines) in zip(axes[0], panels.items(), strict=True):
        for (name, values), colour, style in zip(lines.items(), (STRONG, WEAK), ("-", "--"), strict=True):
            ax.plot(limits, values, style, color=colour, linewidth=2, label=name)
        ax.axvline(0.5, color=QUIET, linewidth=1, label="0.5, as published")
        ax.set(xlim=(0, 1), xlabel="threshold", ylim=(-2, 102), yticks=range(0, 101, 25), ylabel=label)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return fig


def show_two_predictions(
    cases: dict[str, tuple[Episode, Tensor, Tensor]], names: tuple[str, str] = ("strong", "weak")
) -> InlineFigure:
    """The maps of two learners for the same 1-way queries, a row for each: {title: (episode, one map, other map)}.

    A map (h, w) has foreground probabilities. A white line in it is the true outline, and below it are its means on the
    class and off it. Beside it is its mask, the pixels above 0.5, on the query. names: the two learners'.
    """
    fig, axes = canvas.make_grid(len(cases), 6, 0.95, extra=0.45)
    for row, (title, (ep, *maps)) in zip(axes, cases.items(), strict=True):
        query, truth = canvas.square_query(ep)
        canvas.show_image(row[0], canvas.support_image(ep), f"{title}: support")
        there = f"query: {ep.class_names[0]}" if truth.any() else f"query: no {ep.class_names[0]}"
        canvas.show_image(row[1], query, there)
        canvas.outline_mask(row[1], truth)
        for name, values, map_ax, mask_ax in zip(names, maps, row[2::2], row[3::2], strict=True):
            canvas.show_map(map_ax, values, f"{name}: map", note=describe_levels(values, truth))
            canvas.outline_mask(map_ax, truth, values.shape)
            mask = canvas.mask_of(values, len(query))
            canvas.show_image(mask_ax, canvas.overlay(query, mask), f"{name}: mask", judge_mask(mask > 0, truth > 0))
    canvas.add_colour_bar(fig, axes, "probability")
    return fig


def describe_levels(values: Tensor, truth: np.ndarray) -> str:
    """The means of a map on the class and off it, in words."""
    fine = canvas.resize(values[None, None], truth.shape)[0, 0].numpy()
    if not truth.any():
        return f"mean {fine.mean():.2f}"
    return f"on {fine[truth > 0].mean():.2f}, off {fine[truth == 0].mean():.2f}"


def judge_mask(mask: np.ndarray, truth: np.ndarray) -> str:
    """A mask against the truth, in words."""
    if not truth.any():
        return "false alarm" if mask.any() else "right"
    return f"IoU {canvas.percent(canvas.compute_iou(mask, truth))}"


def plot_trade(versions: dict[str, dict[str, Sequence[float]]]) -> InlineFigure:
    """Versions of a network, a point for each run: {version: {metric of the x axis: values, of the y axis: values}}."""
    fig, ((ax,),) = make_chart(3.2)
    for (name, scores), colour, marker in zip(versions.items(), LINES, "osD^vX", strict=False):
        (across, xs), (up, ys) = scores.items()
        ax.plot(xs, ys, marker, color=colour, markersize=8, markeredgecolor="white", label=name)
        ax.set(xlabel=f"{across}: does the map show where?", ylabel=f"{up}: whether?")
    ax.axvline(50, color=QUIET, linewidth=1, linestyle="--", label="chance")
    ax.margins(0.08)
    trim_ticks(ax)
    fig.legend(loc="outside upper center", ncols=len(versions) + 1, frameon=False)
    return fig
