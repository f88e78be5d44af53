"""From a learner's maps to presence and mask (chapters 03 and 04).

Letters: N ways, h w map size, H W image size.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from torch import Tensor

from ..data.episodes import Episode
from ..data.images import to_image
from . import canvas
from .canvas import BACKGROUND, DARK, FONT, INK, QUIET, InlineFigure
from .charts import make_chart


def show_class_maps(ep: Episode, log_prob: Tensor) -> InlineFigure:
    """A learner's maps (N, 2, h, w) of log-probabilities, as probabilities; each way has a row."""
    fig, axes = canvas.make_grid(len(log_prob), 3, ep.size[0] / ep.size[1])
    for n, (row, (background, foreground)) in enumerate(zip(axes, log_prob.exp(), strict=True), start=1):
        name = ep.class_names[n - 1]
        canvas.show_image(row[0], ep.picture, f"query, way {n}: {name}")
        canvas.show_map(row[1], background, "background", BACKGROUND)
        canvas.show_map(row[2], foreground, f"foreground {n}: {name}", canvas.way_colour(n))
    canvas.add_colour_bar(fig, axes, "probability")
    return fig


def show_merging(ep: Episode, stacked: Tensor, masks: Sequence[np.ndarray]) -> InlineFigure:
    """From the stacked maps (N + 1, h, w) to the mask: the maps, then masks, the first (h, w), the last (H, W)."""
    names = ["background, mean", *(f"foreground {n}: {name}" for n, name in enumerate(ep.class_names, start=1))]
    fig, axes = canvas.make_grid(2, max(len(names), len(masks) + 1), ep.size[0] / ep.size[1])
    for n, (ax, values, name) in enumerate(zip(axes[0], stacked.exp(), names, strict=False)):
        canvas.show_map(ax, values, name, canvas.way_colour(n))
    coarse, fine = masks
    colours = {
        "cmap": ListedColormap([canvas.way_colour(n) for n in range(len(stacked))]),
        "vmin": 0,
        "vmax": len(names) - 1,
    }
    canvas.show_image(axes[1, 0], coarse, "argmax of cells", interpolation="nearest", **colours)
    canvas.show_image(axes[1, 1], canvas.overlay_finely(ep.picture, fine), "argmax of pixels")
    canvas.show_image(axes[1, 2], canvas.overlay_finely(ep.picture, ep.query_mask.numpy()), "truth")
    for ax in axes.flat:
        ax.set_visible(bool(ax.images))
    canvas.add_colour_bar(fig, axes[0], "probability")
    return fig


def show_threshold(ep: Episode, log_prob: Tensor, limit: float) -> InlineFigure:
    """What a threshold does to presence, for up to three ways: the foreground maps of (N, 2, h, w), the cells above it
    outlined, and the largest probability of each way beside it."""
    foreground = log_prob[:, 1].exp()
    fig, axes = canvas.make_grid(1, len(log_prob) + 2, ep.size[0] / ep.size[1], extra=0.75)
    canvas.show_image(axes[0, 0], ep.picture, "query")
    for n, (ax, values) in enumerate(zip(axes[0, 1:], foreground, strict=False), start=1):
        inside = values.numpy() >= limit
        note = f"{inside.sum()} of {inside.size} cells\nreach {limit:.2f}"
        canvas.show_map(ax, values, f"{n}: {ep.class_names[n - 1]}", canvas.way_colour(n), note)
        canvas.outline(ax, inside)
    plot_largest(axes[0, -1], ep, foreground.flatten(1).amax(dim=1).tolist(), limit)
    return fig


def plot_largest(ax: Axes, ep: Episode, largest: Sequence[float], limit: float) -> None:
    """The largest foreground probability of each way against a threshold, and whether the prediction is right."""
    for n, (value, true) in enumerate(zip(largest, ep.presence.tolist(), strict=True), start=1):
        found = value >= limit
        ax.bar(n, value, 0.7, color=canvas.way_colour(n))
        verdict = f"{canvas.yes(found)} {'✓' if found == true else '✗'}"
        ax.text(n, 1.04, f"{value:.2f}\n{verdict}", ha="center", va="bottom", fontsize=9, color=INK)
    ax.axhline(limit, color=INK, linewidth=1.2, linestyle="--")
    ax.set(xlim=(0.4, len(largest) + 0.6), ylim=(0, 1.35), xticks=range(1, len(largest) + 1), yticks=[0, 0.5, 1])
    ax.set_title("largest probability", fontsize=FONT, color=INK)
    canvas.write_note(ax, "way")
    ax.spines[["left", "bottom"]].set_visible(True)


def show_scores(cases: dict[str, tuple[Episode, dict[str, Tensor]]], label: str) -> InlineFigure:
    """Scores of the cells of several queries, a row for each, with the support of way 1: all on one colour scale.

    cases: {what the row shows: (episode, {name: scores (h, w), 0…1})}, the names the same in all; label: what a score
    is.
    """
    names = next(iter(cases.values()))[1]
    fig, axes = canvas.make_grid(len(cases), len(names) + 2, 1.0)
    for row, (title, (ep, scores)) in zip(axes, cases.items(), strict=True):
        canvas.show_image(row[0], canvas.support_image(ep), f"support: {ep.class_names[0]}")
        canvas.show_image(row[1], to_image(ep.query), title)
        for ax, (name, values) in zip(row[2:], scores.items(), strict=True):
            canvas.show_map(ax, values, name, note=f"max {values.max():.2f}")
    canvas.add_colour_bar(fig, axes, label)
    return fig


def plot_thresholds(largest: Sequence[float], present: Sequence[bool], mark: str = "", at: float = 0.5) -> InlineFigure:
    """1-way episodes judged with every threshold: the share right, and the two kinds of errors.

    largest: each episode's largest value of a map, 0…1; present: whether the query shows the class; mark: what to write
    over a line at the threshold `at`, if there is to be one.
    """
    value, true = np.array(largest), np.array(present)
    limits = np.linspace(0, 1, 201)
    found = value >= limits[:, None]
    lines = {
        "right (ER)": ((found == true).mean(axis=1), INK, "-"),
        "wrong: absent, predicted present": ((found & ~true).mean(axis=1), DARK, "--"),
        "wrong: present, predicted absent": ((~found & true).mean(axis=1), "#B8860B", ":"),
    }
    fig, ((ax,),) = make_chart(3)
    for name, (share, colour, style) in lines.items():
        ax.plot(limits, 100 * share, color=colour, linestyle=style, linewidth=2, label=name)
    if mark:
        ax.axvline(at, color=QUIET, linewidth=1)
        ax.text(at, 103, mark, color=QUIET, fontsize=9, ha="center")
    ax.set(xlim=(0, 1), ylim=(0, 101), xlabel="threshold", ylabel=f"share of {len(true)} episodes (%)")
    ax.set_yticks(range(0, 101, 20))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return fig
