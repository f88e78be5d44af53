"""Pictures of what lies between an episode and its answer: maps, thresholds, correlations (chapters 01, 03, 04).

As in figures.py: data in, figure out, the same colours for the same ways.

Letters: N ways, h w map size, H W picture size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, to_rgb
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from ..data.episodes import Episode, to_picture
from ..learners.maps import upsample
from .figures import (
    BACKGROUND,
    DARK,
    DPI,
    GAP,
    GUTTER,
    INK,
    LABEL,
    LIGHT,
    LINES,
    QUIET,
    WIDTH,
    Picture,
    canvas,
    class_label,
    heading,
    image,
    iou,
    number_ways,
    overlay,
    percent,
    way_colour,
    write,
)

HEAT = "cividis"
"""Colours of probabilities and cosines, from 0 (dark) to 1 (light): readable for colour-blind people and in grey."""


def grid(rows: int, columns: int, aspect: float, extra: float = 0.4) -> tuple[Picture, np.ndarray]:
    """A figure of `rows` x `columns` axes for pictures of an aspect (height by width), at most a notebook wide.

    extra: inches for the titles of a row.
    """
    side = min(2.4, (WIDTH - 0.9) / columns)
    size = (columns * side + 0.9, rows * (side * aspect + extra) + 0.1)
    fig = Picture(figsize=size, dpi=DPI, layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    return fig, axes


def heat(ax: Axes, values: Tensor, title: str, colour: str | None = None) -> None:
    """A map (h, w) of values 0…1; its cells are drawn as they are, without smoothing."""
    ax.imshow(values.detach().cpu().numpy(), cmap=HEAT, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    ax.set_title(title, fontsize=9.5, color=INK)
    if colour:
        ax.spines[:].set(visible=True, color=colour, linewidth=2.5)


def marked(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture with its mask over it, twice as fine, so that the outline is thin."""
    return overlay(*(np.asarray(a).repeat(2, axis=0).repeat(2, axis=1) for a in (picture, mask)))


def scale(fig: Picture, axes: np.ndarray, label: str) -> None:
    """The colour bar of `heat`."""
    bar = fig.colorbar(ScalarMappable(cmap=HEAT), ax=axes, shrink=0.9, pad=0.01, aspect=18)
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)


def class_maps(ep: Episode, log_prob: Tensor) -> Picture:
    """A learner's maps (N, 2, h, w) of log-probabilities, as probabilities; each way has a row."""
    way, aspect = len(log_prob), ep.size[0] / ep.size[1]
    fig, axes = grid(way, 3, aspect)
    for n, (row, (background, foreground)) in enumerate(zip(axes, log_prob.exp(), strict=True), start=1):
        row[0].imshow(ep.picture, aspect="auto")
        row[0].set_title(f"query; way {n} asks for: {ep.class_names[n - 1]}", fontsize=9.5, color=INK)
        heat(row[1], background, "background", BACKGROUND)
        heat(row[2], foreground, f"foreground {n}: {ep.class_names[n - 1]}", way_colour(n))
    scale(fig, axes, "probability")
    return fig


def merged(ep: Episode, stacked: Tensor, masks: Sequence[np.ndarray]) -> Picture:
    """From the stacked maps (N + 1, h, w) to the mask: the maps, then masks, the first (h, w), the last (H, W)."""
    names = ["background, mean", *(f"foreground {n}: {name}" for n, name in enumerate(ep.class_names, start=1))]
    titles = ["argmax of cells", "argmax of pixels"]
    aspect = ep.size[0] / ep.size[1]
    columns = max(len(names), len(masks) + 1)
    fig, axes = grid(2, columns, aspect)
    for n, (ax, values, name) in enumerate(zip(axes[0], stacked.exp(), names, strict=False)):
        heat(ax, values, name, way_colour(n))
    colours = ListedColormap([way_colour(n) for n in range(len(stacked))])
    coarse, fine = masks
    axes[1, 0].imshow(coarse, cmap=colours, vmin=0, vmax=len(stacked) - 1, interpolation="nearest", aspect="auto")
    axes[1, 1].imshow(marked(ep.picture, fine), aspect="auto")
    axes[1, 2].imshow(marked(ep.picture, ep.query_mask.numpy()), aspect="auto")
    for ax, title in zip(axes[1], [*titles, "truth"], strict=False):
        ax.set_title(title, fontsize=9.5, color=INK)
    for ax in axes.flat:
        ax.set_visible(bool(ax.images))
    scale(fig, axes[0], "probability")
    return fig


def threshold(ep: Episode, log_prob: Tensor, limit: float) -> Picture:
    """What a threshold does to presence, for up to three ways: the foreground maps of (N, 2, h, w), the cells above it
    outlined, and the largest probability of each way beside it."""
    way, aspect = len(log_prob), ep.size[0] / ep.size[1]
    foreground = log_prob[:, 1].exp()
    largest = foreground.flatten(1).amax(dim=1).tolist()
    fig, axes = grid(1, way + 2, aspect, extra=0.75)
    axes[0, 0].imshow(ep.picture, aspect="auto")
    axes[0, 0].set_title("query", fontsize=9.5, color=INK)
    for n, (ax, values) in enumerate(zip(axes[0, 1:], foreground, strict=False), start=1):
        heat(ax, values, f"{n}: {ep.class_names[n - 1]}", way_colour(n))
        inside = values.numpy() >= limit
        outline(ax, inside)
        ax.set_xlabel(f"{inside.sum()} of {inside.size} cells\nreach {limit:.2f}", fontsize=8.5, color=QUIET)
    bars(axes[0, -1], ep, largest, limit)
    return fig


def outline(ax: Axes, inside: np.ndarray) -> None:
    """A white line round cells (h, w) bool, along their edges."""
    if inside.any():
        fine = np.kron(np.pad(inside, 1), np.ones((8, 8)))
        extent = (-1.5, inside.shape[1] + 0.5, -1.5, inside.shape[0] + 0.5)
        ax.contour(fine, [0.5], colors="white", linewidths=1.6, extent=extent)
        ax.set(xlim=(-0.5, inside.shape[1] - 0.5), ylim=(inside.shape[0] - 0.5, -0.5))


def threshold_curve(largest: Sequence[float], present: Sequence[bool], mark: str = "") -> Picture:
    """1-way episodes answered with every threshold: the share right, and what is wrong, by kind.

    largest: each episode's largest value of a map, 0…1; present: whether the query shows the class; mark: what to write
    over a line at 0.5, if there is to be one.
    """
    value, true = np.array(largest), np.array(present)
    limits = np.linspace(0, 1, 201)
    said = value >= limits[:, None]
    lines = {
        "right: ER": ((said == true).mean(axis=1), INK, "-"),
        "wrong: said to be there, and is not": ((said & ~true).mean(axis=1), DARK, "--"),
        "wrong: there, and not found": ((~said & true).mean(axis=1), "#B8860B", ":"),
    }
    fig = Picture(figsize=(WIDTH, 3), dpi=DPI, layout="constrained")
    ax = fig.add_subplot()
    for name, (share, colour, style) in lines.items():
        ax.plot(limits, 100 * share, color=colour, linestyle=style, linewidth=2, label=name)
    if mark:
        ax.axvline(0.5, color=QUIET, linewidth=1)
        ax.text(0.5, 103, mark, color=QUIET, fontsize=9, ha="center")
    ax.set(xlim=(0, 1), ylim=(0, 101), xlabel="threshold", ylabel=f"share of {len(true)} episodes (%)")
    ax.set_yticks(range(0, 101, 20))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return fig


def bars(ax: Axes, ep: Episode, largest: Sequence[float], limit: float) -> None:
    """The largest foreground probability of each way against a threshold, and whether the answer is right."""
    for n, (value, true) in enumerate(zip(largest, ep.presence.tolist(), strict=True), start=1):
        said = value >= limit
        ax.bar(n, value, 0.7, color=way_colour(n))
        verdict = f"{'yes' if said else 'no'} {'✓' if said == true else '✗'}"
        ax.text(n, 1.04, f"{value:.2f}\n{verdict}", ha="center", va="bottom", fontsize=9, color=INK)
    ax.axhline(limit, color=INK, linewidth=1.2, linestyle="--")
    ax.set(xlim=(0.4, len(largest) + 0.6), ylim=(0, 1.35), xticks=range(1, len(largest) + 1), yticks=[0, 0.5, 1])
    ax.set_title("largest probability", fontsize=9.5, color=INK)
    ax.set_xlabel("way", fontsize=8.5, color=QUIET)
    ax.spines[["left", "bottom"]].set_visible(True)


# Features and correlation ---------------------------------------------------------------------------------------------


def feature_colours(picture: np.ndarray, features: dict[str, Tensor]) -> Picture:
    """Feature maps (C, h, w) as colours: their three strongest directions become red, green and blue.

    Cells of like colour have like features. Each map has its own three directions, so colours cannot be compared
    between maps.
    """
    fig, axes = grid(1, len(features) + 1, picture.shape[0] / picture.shape[1])
    axes[0, 0].imshow(picture, aspect="auto")
    axes[0, 0].set_title("picture", fontsize=9.5, color=INK)
    for ax, (name, values) in zip(axes[0, 1:], features.items(), strict=True):
        cells = values.flatten(1).T
        cells = cells - cells.mean(dim=0)
        _, _, directions = torch.linalg.svd(cells, full_matrices=False)
        three = cells @ directions[:3].T
        low, high = three.quantile(0.02, dim=0), three.quantile(0.98, dim=0)
        colours = ((three - low) / (high - low)).clamp(0, 1)
        ax.imshow(colours.reshape(*values.shape[1:], 3).numpy(), interpolation="nearest", aspect="auto")
        ax.set_title(name, fontsize=9.5, color=INK)
    return fig


def at(correlations: dict[str, Tensor], point: tuple[float, float]) -> dict[str, Tensor]:
    """What each level says of one query point: {name: (L, Hq, Wq, Hs, Ws)} to {name: (Hs, Ws)}, mean over bottlenecks.

    point: x and y as shares of the query's width and height, 0…1; the cell that holds it is asked.
    """
    cells = {}
    for name, values in correlations.items():
        row, column = cell_under(point, values.shape[1:3])
        cells[name] = values[:, row, column].mean(dim=0)
    return cells


def cell_under(point: tuple[float, float], grid: Sequence[int]) -> tuple[int, int]:
    """Row and column of the cell that holds a point: x and y as shares of width and height, 0…1; grid: (h, w)."""
    row, column = (min(int(share * side), side - 1) for share, side in zip(point[::-1], grid, strict=True))
    return row, column


def cross(ax: Axes, point: tuple[float, float], width: int, height: int) -> None:
    """Two lines through a point (x and y as shares) of a picture of so many pixels."""
    for line, style in ((ax.axvline, {"x": point[0] * width}), (ax.axhline, {"y": point[1] * height})):
        line(**style, color="white", linewidth=2.6)
        line(**style, color=INK, linewidth=1.2)


def answers(
    query: np.ndarray,
    point: tuple[float, float],
    support: np.ndarray,
    mask: Tensor,
    levels: dict[str, Tensor],
    inside_only: bool = False,
) -> Picture:
    """Where the support answers to one point of the query.

    query, support: pictures (H, W, 3) uint8; point: x and y as shares of the query's width and height, 0…1; mask: the
    support's (S, S); levels: {name: (Hs, Ws) correlations of the point's cell with every support cell, 0…1};
    inside_only: grey out the cells that the mask, resized to the grid, does not touch.
    """
    fig, axes = grid(1, len(levels) + 2, 1.0)
    height, width = query.shape[:2]
    axes[0, 0].imshow(query, aspect="auto")
    cross(axes[0, 0], point, width, height)
    axes[0, 0].set_title("query and the point", fontsize=9.5, color=INK)
    axes[0, 1].imshow(overlay(support, mask.byte().numpy(), 0.15), aspect="auto")
    axes[0, 1].set_title("support and its mask", fontsize=9.5, color=INK)
    for ax, (name, values) in zip(axes[0, 2:], levels.items(), strict=True):
        touched = upsample(mask[None, None], values.shape)[0, 0] > 0
        heat(ax, values.masked_fill(~touched, torch.nan) if inside_only else values, name)
        ax.set_facecolor(BACKGROUND)
        outline(ax, touched.numpy())
        inside = f"{values[touched].max():.2f}" if touched.any() else "no cell"
        ax.set_xlabel(f"max {values.max():.2f}, inside {inside}", fontsize=8.5, color=QUIET)
    scale(fig, axes, "correlation")
    return fig


def level_maps(picture: np.ndarray, levels: dict[str, Tensor], label: str, title: str = "query") -> Picture:
    """A picture, and maps (h, w) of values 0…1 over it, one a level."""
    fig, axes = grid(1, len(levels) + 1, picture.shape[0] / picture.shape[1])
    axes[0, 0].imshow(picture, aspect="auto")
    axes[0, 0].set_title(title, fontsize=9.5, color=INK)
    for ax, (name, values) in zip(axes[0, 1:], levels.items(), strict=True):
        heat(ax, values, name)
    scale(fig, axes, label)
    return fig


# The task -------------------------------------------------------------------------------------------------------------


def three_tasks(ep: Episode) -> Picture:
    """One query under the three set-ups, for a 2-way episode whose query shows exactly one of its classes."""
    shown = int(ep.presence.nonzero()[0, 0])
    aspect = ep.size[0] / ep.size[1]
    side = 1.45  # of a support, and the height of the query
    width = side / aspect
    x_query, x_answer = 2 * (side + GAP) + GUTTER, 2 * (side + GAP) + width + 2 * GUTTER
    row = 2 * LABEL + side + 0.25
    fig, ax = canvas(x_answer + width + 2.1, 3 * row)
    truth = ep.query_mask.numpy()
    tasks = {
        "FS-C, few-shot classification: which one is it?": ([0, 1], False),
        "FS-S, few-shot segmentation: where is it?": ([shown], True),
        "FS-CS, both at once: which of them are there, if any, and where?": ([0, 1], True),
    }
    for i, (name, (ways, masked)) in enumerate(tasks.items()):
        top = i * row
        heading(ax, 0, top, name)
        for place, n in enumerate(ways):
            x = place * (side + GAP)
            class_label(ax, x, top + LABEL, n + 1, ep.class_names[n])
            mask = (n + 1) * ep.masks[n, 0].byte().numpy() if masked else None
            image(ax, (x, top + 2 * LABEL, side, side), to_picture(ep.supports[n, 0]), mask, strength=0.15)
        write(ax, x_query, top + LABEL, "query", color=QUIET)
        image(ax, (x_query, top + 2 * LABEL, width, side), ep.picture)
        write(ax, x_answer, top + LABEL, "answer", color=QUIET)
        x_text = x_answer
        if masked:
            image(ax, (x_answer, top + 2 * LABEL, width, side), ep.picture, truth)
            number_ways(ax, (x_answer, top + 2 * LABEL, width, side), truth)
            x_text += width + 0.15
        for place, n in enumerate(ways if i != 1 else []):
            there = bool(ep.presence[n])
            class_label(
                ax, x_text, top + (2 + place) * LABEL, n + 1, f"{ep.class_names[n]}: {'yes' if there else 'no'}"
            )
        notes = ("exactly one yes", "it is there for sure", "none, one or several yes")
        write(ax, x_text, top + (4.2 if i != 1 else 2) * LABEL, notes[i], color=QUIET, fontsize=8.5)
    return fig


# Prototypes -----------------------------------------------------------------------------------------------------------


def square(ep: Episode) -> tuple[np.ndarray, np.ndarray]:
    """The query (S, S, 3) uint8 and its true mask (S, S) uint8 as a learner sees them."""
    picture = to_picture(ep.query)
    return picture, np.asarray(Image.fromarray(ep.query_mask.numpy()).resize(picture.shape[1::-1], Image.NEAREST))


def mask_of(foreground: Tensor, side: int) -> np.ndarray:
    """Where a map (h, w) of probabilities, brought to (side, side), reaches 0.5, as uint8."""
    return (upsample(foreground[None, None], (side, side))[0, 0] >= 0.5).byte().numpy()


def drawn(ax: Axes, picture: np.ndarray, title: str, note: str = "", **style) -> None:
    """A picture with its title, and a note under it."""
    ax.imshow(picture, aspect="auto", **style)
    ax.set_title(title, fontsize=9.5, color=INK)
    ax.set_xlabel(note, fontsize=8.5, color=QUIET)


def prototypes(ep: Episode, inside: Tensor, cosines: Tensor, foreground: Tensor) -> Picture:
    """From a support's mask to an answer, in a 1-way 1-shot episode; all pictures square, as a learner sees them.

    inside: (h, w) bool, the support cells that make the class's prototype, the others make the background's; cosines:
    (2, h, w) of the query's cells with the prototypes of background and class; foreground: (h, w) probability of the
    class, its cells above 0.5 are outlined.
    """
    fig, axes = grid(2, 4, 0.95)
    name, (query, truth) = ep.class_names[0], square(ep)
    drawn(axes[0, 0], overlay(to_picture(ep.supports[0, 0]), ep.masks[0, 0].byte().numpy(), 0.15), f"support: {name}")
    note = f"{inside.sum()} cells of the class, {(~inside).sum()} others"
    cells = ListedColormap([BACKGROUND, way_colour(1)])
    drawn(axes[0, 1], inside.numpy(), "cells of the prototypes", note, cmap=cells, interpolation="nearest")
    drawn(axes[0, 2], query, "query")
    drawn(axes[0, 3], marked(query, truth), "truth")
    drawn(axes[1, 3], marked(query, mask_of(foreground, len(query))), "prediction")
    maps = {
        "cosine with background": cosines[0],
        f"cosine with {name}": cosines[1],
        f"probability of {name}": foreground,
    }
    for n, (ax, (title, values)) in enumerate(zip(axes[1], maps.items(), strict=False)):
        heat(ax, values, title, way_colour(min(n, 1)))
        ax.set_xlabel(f"{values.min():.2f} … {values.max():.2f}", fontsize=8.5, color=QUIET)
    outline(axes[1, 2], foreground.numpy() >= 0.5)
    scale(fig, axes[1], "cosine, probability")
    return fig


def shot_maps(ep: Episode, each: Tensor, together: Tensor) -> Picture:
    """What each of K shots says alone, and what they say together, in a 1-way episode.

    each: (K, h, w) probabilities of the class; together: (h, w). Cells above 0.5 are outlined.
    """
    fig, axes = grid(2, len(each) + 1, 0.95)
    for k, (support, mask) in enumerate(zip(ep.supports[0], ep.masks[0], strict=True)):
        drawn(axes[0, k], overlay(to_picture(support), mask.byte().numpy(), 0.15), f"shot {k + 1}")
    drawn(axes[0, -1], marked(*square(ep)), "query, truth")
    names = [*(f"shot {k + 1} alone" for k in range(len(each))), "all together"]
    for ax, values, name in zip(axes[1], [*each, together], names, strict=True):
        heat(ax, values, name, way_colour(1))
        outline(ax, values.numpy() >= 0.5)
    scale(fig, axes[1], f"probability of {ep.class_names[0]}")
    return fig


# Squeezing the support ------------------------------------------------------------------------------------------------


class Stage(NamedTuple):
    """A support grid to draw: values (h, w), 0…1; a note under it; and which cells to outline, (h, w) bool."""

    title: str
    values: Tensor
    note: str = ""
    inside: Tensor | None = None


def views(ep: Episode, stages: dict[str, Tensor], label: str) -> Picture:
    """Tensors over query and support as pictures of pictures: at each query cell, its view of the support.

    stages: {title: (Hq, Wq, Hs, Ws) values from 0}, up to five of one query grid; each is drawn from 0 to its largest.
    """
    fig, axes = grid(2, 3, 1.0)
    axes = axes.flatten()
    drawn(axes[0], to_picture(ep.query), "query and its cells")
    height, width = next(iter(stages.values())).shape[:2]
    axes[0].set(
        xticks=[i * ep.query.shape[2] / width - 0.5 for i in range(1, width)],
        yticks=[i * ep.query.shape[1] / height - 0.5 for i in range(1, height)],
    )
    axes[0].tick_params(length=0, labelleft=False, labelbottom=False)
    axes[0].grid(color="white", linewidth=1)
    for ax, (title, values) in zip(axes[1:], stages.items(), strict=False):
        heat(ax, side_by_side(values / values.max()), title)
        ax.set_xlabel(f"1 is {values.max():.2f}", fontsize=8.5, color=QUIET)
    for ax in axes[len(stages) + 1 :]:
        ax.set_visible(False)
    scale(fig, axes, label)
    return fig


def side_by_side(values: Tensor, side: int = 18, gap: int = 2) -> Tensor:
    """(Hq, Wq, Hs, Ws) to one picture: Hq x Wq views of about `side` pixels, NaN between them."""
    times = max(1, side // values.shape[-1])
    large = values.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    framed = pad(large, [0, gap, 0, gap], value=torch.nan)
    return framed.transpose(1, 2).flatten(2).flatten(0, 1)[:-gap, :-gap]


def squeezed(
    ep: Episode, point: tuple[float, float], answer: Tensor, levels: dict[str, list[Stage]], label: str
) -> Picture:
    """How the support shrinks for one query cell, in a 1-way 1-shot episode; a row for each of three levels.

    point: x and y as shares of the query's width and height, 0…1; answer: (h, w) probability of the class; label: of
    the values of the stages. All pictures are square, as a learner sees them. Returns the figure.
    """
    fig, axes = grid(3, 1 + max(map(len, levels.values())), 1.0, extra=0.55)
    name, query = ep.class_names[0], to_picture(ep.query)
    drawn(axes[0, 0], query, "query and the cell")
    drawn(axes[1, 0], overlay(to_picture(ep.supports[0, 0]), ep.masks[0, 0].byte().numpy(), 0.15), f"support: {name}")
    heat(axes[2, 0], answer, f"probability of {name}")
    here = answer[cell_under(point, answer.shape)]
    axes[2, 0].set_xlabel(f"{here:.2f} at the cell", fontsize=8.5, color=QUIET)
    for ax, (height, width) in zip(axes[::2, 0], (query.shape[:2], answer.shape), strict=True):
        cross(ax, point, width, height)
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    for row, (level, stages) in zip(axes[:, 1:], levels.items(), strict=True):
        row[0].set_ylabel(level, fontsize=9.5, color=INK, fontweight="bold")
        for ax, stage in zip(row, stages, strict=False):
            heat(ax, stage.values, stage.title)
            ax.set_xlabel(stage.note, fontsize=8.5, color=QUIET)
            if stage.inside is not None:
                outline(ax, stage.inside.numpy())
    scale(fig, axes, label)
    return fig


# Hybrid masking -------------------------------------------------------------------------------------------------------


def kinds_of_masking(support: np.ndarray, cut: np.ndarray, mask: np.ndarray, levels: dict[str, dict]) -> Picture:
    """A support's features masked in two places, and joined: a row for each kind, a column for each level.

    support, cut: the support picture and the masked one (S, S, 3) uint8; mask: (S, S) uint8; levels: {name: the (C, h,
    w) features "feature", "input" and "hybrid"}. Colours can be compared within a column; cells that are 0 are grey.
    The third row is the share of a cell's entries that are above 0 under feature masking.
    """
    fig, axes = grid(4, len(levels) + 1, 0.95)
    drawn(axes[0, 0], overlay(support, mask, 0.15), "support")
    drawn(axes[1, 0], cut, "masked support")
    words = "where feature masking\nis above 0 …", "… HM keeps it, and takes\ninput masking elsewhere"
    for ax, text in zip(axes[2:, 0], words, strict=True):
        ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=9.5, color=INK)
    for column, (name, kinds) in zip(axes[:, 1:].T, levels.items(), strict=True):
        rows = (0, "feature masking"), (1, "input masking"), (3, "hybrid")
        for (row, title), values in zip(rows, shared_colours(*kinds.values()), strict=True):
            drawn(column[row], values, f"{name}: {title}", interpolation="nearest")
        heat(column[2], (kinds["feature"] > 0).float().mean(dim=0), f"{name}: share above 0")
    scale(fig, axes[2], "share")
    return fig


def shared_colours(*maps: Tensor) -> list[np.ndarray]:
    """Feature maps (C, h, w) as (h, w, 3) colours, with directions and scale in common; cells that are all 0 are grey.

    The three strongest directions of all cells become red, green and blue.
    """
    cells = torch.cat([values.flatten(1).T for values in maps])
    some = cells[cells.abs().sum(dim=1) > 0]
    _, _, directions = torch.linalg.svd(some - some.mean(dim=0), full_matrices=False)
    low, high = ((some @ directions[:3].T).quantile(share, dim=0) for share in (0.02, 0.98))
    pictures = []
    for values in maps:
        colours = ((values.movedim(0, -1) @ directions[:3].T - low) / (high - low)).clamp(0, 1)
        colours[(values == 0).all(dim=0)] = torch.tensor(to_rgb(LIGHT))
        pictures.append(colours.numpy())
    return pictures


# Prior and bins -------------------------------------------------------------------------------------------------------


def prior(ep: Episode, masked: Tensor, whole: Tensor) -> Picture:
    """Prior maps (h, w) of a 1-way 1-shot episode, from the masked support and from the whole one; all square."""
    fig, axes = grid(1, 4, 1.0)
    drawn(axes[0, 0], overlay(to_picture(ep.supports[0, 0]), ep.masks[0, 0].byte().numpy(), 0.15), "support")
    axes[0, 0].set_xlabel(ep.class_names[0], fontsize=8.5, color=QUIET)
    there = ep.presence[0].item()
    drawn(axes[0, 1], square(ep)[0] if not there else marked(*square(ep)), "query, truth" if there else "query")
    axes[0, 1].set_xlabel("" if there else f"shows no {ep.class_names[0]}", fontsize=8.5, color=QUIET)
    for ax, values, title in ((axes[0, 2], masked, "masked support"), (axes[0, 3], whole, "whole support")):
        heat(ax, values, f"prior, {title}")
    scale(fig, axes, "prior")
    return fig


def bins(ep: Episode, priors: list[Tensor], found: list[Tensor], answer: Tensor, without: list[Tensor]) -> Picture:
    """What PFENet's resolutions see, find and contribute, in a 1-way 1-shot episode; a column for each of them.

    priors: (h_b, w_b) as they arrive; found: (C, h, w), each drawn in colours of its own; answer: (h, w)
    probability of the class; without: the same, with what one resolution found left out.
    """
    fig, axes = grid(3, len(priors) + 1, 1.0, extra=0.3)
    query, truth = square(ep)
    drawn(axes[0, 0], query, "query")
    drawn(axes[1, 0], marked(query, truth), f"truth: {ep.class_names[0]}")
    heat(axes[2, 0], answer, "answer", way_colour(1))
    for column, values, colours, left in zip(axes[:, 1:].T, priors, found, without, strict=True):
        size = " x ".join(map(str, values.shape))
        heat(column[0], values, f"prior, {size}")
        drawn(column[1], shared_colours(colours)[0], f"found at {size}", interpolation="nearest")
        heat(column[2], left, f"without {size}", way_colour(1))
    scale(fig, axes[::2], "prior, probability")
    return fig


# Weak and strong ------------------------------------------------------------------------------------------------------

STRONG, WEAK = LINES[:2]
"""Colours of the two kinds of supervision."""


def taught(panels: dict[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]) -> Picture:
    """What labels say of cells with like evidence: {kind of evidence: (evidence, weak, strong)}, shares 0…1, by bin.

    weak: the share of a bin's cells whose query shows the class; strong: of those that lie on it.
    """
    fig = Picture(figsize=(WIDTH, 3.1), dpi=DPI, layout="constrained")
    for ax, (name, (evidence, weak, strong)) in zip(fig.subplots(1, len(panels)), panels.items(), strict=True):
        style = {"markersize": 5, "linewidth": 1.5}
        ax.plot(evidence, 100 * np.array(weak), "o-", color=WEAK, label="whose query shows the class (weak)", **style)
        ax.plot(evidence, 100 * np.array(strong), "s-", color=STRONG, label="that lie on the class (strong)", **style)
        ax.axhline(50, color=QUIET, linewidth=1, linestyle="--")
        ax.set(xlim=(0, 1), xlabel=name, ylim=(-2, 102), yticks=range(0, 101, 25), ylabel="share of the cells (%)")
        ax.spines[["top", "right"]].set_visible(False)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return fig


def lessons(ep: Episode, runs: dict[str, tuple[Sequence[float], dict[int, Tensor]]]) -> Picture:
    """A few steps of training, a row for each run: its losses, and its map (h, w) of one query after some steps.

    runs: {name: (losses, {steps made: foreground probabilities})}.
    """
    columns = 2 + len(next(iter(runs.values()))[1])
    fig, axes = grid(len(runs), columns, 0.95)
    for row, (name, (losses, maps)), colour in zip(axes, runs.items(), (STRONG, WEAK), strict=False):
        row[0].plot(range(1, len(losses) + 1), losses, color=colour, marker="o", markersize=4)
        row[0].axhline(np.log(2), color=QUIET, linewidth=1, linestyle="--")
        row[0].set(ylim=(0, None), xlabel="step", xticks=[1, len(losses)], yticks=[0, 0.5, 1], ylabel=f"{name} loss")
        row[0].spines[["left", "bottom"]].set_visible(True)
        drawn(row[1], marked(*square(ep)), "query, truth")
        for ax, (step, values) in zip(row[2:], maps.items(), strict=True):
            heat(ax, values, f"after {step} steps" if step else "before training")
    scale(fig, axes[:, 2:], f"probability of {ep.class_names[0]}")
    return fig


def over_thresholds(limits: Sequence[float], panels: dict[str, dict[str, Sequence[float]]]) -> Picture:
    """Figures of a strong and a weak learner at every threshold: {figure in %: {"strong": values, "weak": values}}."""
    fig = Picture(figsize=(WIDTH, 2.9), dpi=DPI, layout="constrained")
    for ax, (label, lines) in zip(fig.subplots(1, len(panels)), panels.items(), strict=True):
        for (name, values), colour, style in zip(lines.items(), (STRONG, WEAK), ("-", "--"), strict=True):
            ax.plot(limits, values, style, color=colour, linewidth=2, label=name)
        ax.axvline(0.5, color=QUIET, linewidth=1, label="0.5, as published")
        ax.set(xlim=(0, 1), xlabel="threshold", ylim=(-2, 102), yticks=range(0, 101, 25), ylabel=label)
        ax.spines[["top", "right"]].set_visible(False)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return fig


def two_answers(cases: dict[str, tuple[Episode, Tensor, Tensor]]) -> Picture:
    """What two learners say of the same 1-way queries, a row for each: {title: (episode, strong, weak)}.

    strong, weak: foreground probabilities (h, w); beside each map is its mask, the pixels above 0.5.
    """
    fig, axes = grid(len(cases), 6, 0.95)
    for row, (title, (ep, *maps)) in zip(axes, cases.items(), strict=True):
        query, truth = square(ep)
        drawn(row[0], overlay(to_picture(ep.supports[0, 0]), ep.masks[0, 0].byte().numpy(), 0.15), f"{title}: support")
        drawn(row[1], marked(query, truth), f"truth: {ep.class_names[0] if truth.any() else 'not there'}")
        for k, (name, values) in enumerate(zip(("strong", "weak"), maps, strict=True)):
            mask = mask_of(values, len(query))
            heat(row[2 + 2 * k], values, f"{name}: map")
            drawn(row[3 + 2 * k], marked(query, mask), f"{name}: mask", judged(mask > 0, truth > 0))
    scale(fig, axes, "probability")
    return fig


def judged(mask: np.ndarray, truth: np.ndarray) -> str:
    """A mask against the truth, in words."""
    if not truth.any():
        return "false alarm" if mask.any() else "right"
    return f"IoU {percent(iou(mask, truth))}"


def parts(bars: dict[str, dict[str, float]], label: str) -> Picture:
    """Bars made of parts: {bar: {part: size}}, the same parts in each; behind a bar stands its length."""
    fig = Picture(figsize=(WIDTH, 0.42 * len(bars) + 1.2), dpi=DPI, layout="constrained")
    ax = fig.add_subplot()
    starts = np.zeros(len(bars))
    for part, colour in zip(next(iter(bars.values())), LINES, strict=False):
        sizes = np.array([sizes[part] for sizes in bars.values()])
        ax.barh(range(len(bars)), sizes, 0.62, starts, color=colour, edgecolor="white", linewidth=0.5, label=part)
        starts += sizes
    for y, length in enumerate(starts):
        ax.text(length + 0.01 * starts.max(), y, f"{length:.1f}", va="center", color=INK)
    ax.set_yticks(range(len(bars)), bars)
    ticks = ax.get_xticks()
    ax.set(xlim=(0, max(ticks[-1], 1.06 * starts.max())), ylim=(len(bars) - 0.5, -0.5), xlabel=label)
    ax.set_xticks(ticks[ticks >= 0])
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    fig.legend(loc="outside upper center", ncols=6, frameon=False, columnspacing=1.2, handlelength=1.2)
    return fig
