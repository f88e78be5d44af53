"""Pictures of episodes, predictions and what lies between (all chapters).

A figure function takes data and returns a matplotlib figure; nothing is shown, nothing is kept by pyplot. One visual
language: the n-th way has the same colour and the same number everywhere, the background is grey.

Letters: N ways, K shots, S image side, H W picture size.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from scipy.ndimage import distance_transform_edt

from ..data.benchmarks import Benchmark
from ..data.episodes import Episode, read_pair, to_picture
from ..learners.maps import VOID

if TYPE_CHECKING:
    from ..run.folders import Prediction

WAY_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00")
"""Ways 1 to 5, from the palette of Okabe & Ito (2008), which colour-blind people can tell apart."""
BACKGROUND = "#8C8C8C"
INK, QUIET = "#222222", "#666666"
DARK, SOFT, LIGHT = "#2B4C6F", "#9DB6CF", "#E4E6E8"  # of what is no way
LINE = 4.5  # half pixels, the outline of a mask

WIDTH = 9.5  # inches, a notebook's column
DPI = 100
LABEL, GAP, GUTTER = 0.27, 0.07, 0.3  # inches: a line of text; between pictures; between blocks


class Picture(Figure):
    """A figure that shows itself in a notebook, without pyplot and with few bytes."""

    def encode(self) -> tuple[str, bytes]:
        """("jpeg" or "png", the bytes): JPEG where photographs or maps are drawn, PNG for lines and text alone."""
        kind = "jpeg" if any(ax.images for ax in self.axes) else "png"
        file = BytesIO()
        self.savefig(file, format=kind, dpi=DPI, pil_kwargs=PIL_OPTIONS[kind])
        return kind, file.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        kind, data = self.encode()
        return {f"image/{kind}": data, "text/plain": repr(self)}


PIL_OPTIONS = {"jpeg": {"quality": 90, "subsampling": 0}, "png": {"optimize": True}}


def way_colour(n: int) -> str:
    """The colour of way n, counted from 1; 0 is the background. Beyond five ways the colours come round again."""
    return BACKGROUND if n == 0 else WAY_COLOURS[(n - 1) % len(WAY_COLOURS)]


def rgb(colour: str) -> np.ndarray:
    """`#RRGGBB` to (3,) floats 0…255."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def overlay(picture: np.ndarray, mask: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """A grey picture with its ways tinted and outlined: (H, W, 3) uint8 and (H, W) of 0, n and 255 to (H, W, 3) uint8.

    strength: how much of a pixel inside a mask is the way's colour, the rest is the picture's own; the outline is the
    way's colour alone. What is not marked loses its colour and fades. Void pixels (255) are white.
    """
    grey = picture.mean(axis=2, keepdims=True)
    out = np.broadcast_to(grey + 0.25 * (255 - grey), picture.shape).copy()
    for n in np.unique(mask[mask > 0]):
        inside = mask == n
        depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]  # the picture's border ends a mask, too
        colour = np.full(3, 255.0) if n == VOID else rgb(way_colour(n))
        out[inside] = picture[inside] + strength * (colour - picture[inside])
        out[inside & (depth <= LINE)] = colour
    return out.round().astype(np.uint8)


# An episode -----------------------------------------------------------------------------------------------------------

Box = tuple[float, float, float, float]
"""Left, top, width, height in inches, from the top left corner of the figure."""


def show(ep: Episode, prediction: tuple | None = None) -> Picture:
    """An episode: its support set, a row for each way; the query and its true mask; and a prediction.

    prediction: presence and segmentation as `model.predict` returns them for this one episode: (N,) or (1, N) bool and
    an (H, W) mask or a list of one. Under the pictures stands for each class whether the query shows it, what was
    predicted, and the intersection over union (IoU) of the two masks; a dash where neither marks a pixel.
    """
    panels = {"query": None, "truth": ep.query_mask.numpy()}
    columns = {"in the query": [yes(p) for p in ep.presence.tolist()]}
    if prediction is not None:
        presence, guess = one_prediction(prediction)
        panels["prediction"] = guess
        columns = verdicts(ep, presence, guess)
    return compose(ep.class_names, ep.supports, ep.masks, ep.picture, panels, columns)


def compose(
    names: Sequence[str],
    supports: torch.Tensor,
    masks: torch.Tensor | None,
    picture: np.ndarray,
    panels: dict[str, np.ndarray | None],
    columns: dict[str, list[str]],
) -> Picture:
    """A support set, panels of one query, and a table under them.

    names: N class names; supports: (N, K, 3, S, S); masks: (N, K, S, S) or None; picture: (H, W, 3) uint8; panels:
    {title: an (H, W) mask over the picture, or None}, two or three; columns: {title: N cells}.
    """
    way, shot = supports.shape[:2]
    thumb, boxes = layout(way, shot, len(panels), picture.shape[0] / picture.shape[1])
    left, under = boxes[0][0], max(top + height for _, top, _, height in boxes) + GAP
    across = max(max(x + width for x, _, width, _ in boxes), left + 4.0, shot * (thumb + GAP)) + GAP
    down = max(under + (way + 1) * LABEL, LABEL + way * (LABEL + thumb + GAP)) + GAP
    fig, ax = canvas(across, down)
    support_set(ax, names, supports, masks, thumb)
    for box, (name, mask) in zip(boxes, panels.items(), strict=True):
        heading(ax, box[0], box[1] - LABEL, name)
        image(ax, box, picture, mask)
        if mask is not None:
            number_ways(ax, box, mask)
    table(ax, left, under, names, columns)
    return fig


def support_set(
    ax: Axes, names: Sequence[str], supports: torch.Tensor, masks: torch.Tensor | None, side: float, beside: int = 1
) -> None:
    """The pictures of each class, `side` inches wide, `beside` classes in a row; other arguments as for `compose`."""
    heading(ax, 0, 0, "support set")
    for n, name in enumerate(names):
        left, top = n % beside * WIDTH / beside, LABEL + n // beside * (LABEL + side + GAP)
        class_label(ax, left, top, n + 1, name)
        for k, picture in enumerate(supports[n]):
            mask = None if masks is None else (n + 1) * masks[n, k].byte().numpy()
            image(ax, (left + k * (side + GAP), top + LABEL, side, side), to_picture(picture), mask, strength=0.15)


def layout(way: int, shot: int, panels: int, aspect: float) -> tuple[float, list[Box]]:
    """Inches: the side of a support picture, and the boxes of the query's `panels` (aspect: their height by width).

    The supports stand to the left of the query, or above it where one or two ways have many shots. Three panels stand
    side by side where there is room, else the first above the two others.
    """
    if way <= 2 and shot >= 3:
        thumb = min(1.8 if way == 1 else 1.45, WIDTH / shot - GAP)
        left, top = 0.0, LABEL + way * (LABEL + thumb + GAP) + GUTTER / 2
    else:
        thumb = min(2.0, 0.42 + 2.6 / way, 4.7 / shot)
        left, top = shot * (thumb + GAP) - GAP + GUTTER, 0.0
    top += LABEL
    room = WIDTH - GAP - left
    if panels == 3 and room < 5.8:
        large, small = fit(room, 2.7, aspect), fit((room - GAP) / 2, 2.7, aspect)
        below = top + large[1] + LABEL
        return thumb, [(left, top, *large), (left, below, *small), (left + small[0] + GAP, below, *small)]
    size = fit((room - (panels - 1) * GAP) / panels, 2.9, aspect)
    return thumb, [(left + i * (size[0] + GAP), top, *size) for i in range(panels)]


def fit(width: float, height: float, aspect: float) -> tuple[float, float]:
    """The largest size of an aspect (height by width) that fits into a width and a height."""
    width = min(width, height / aspect)
    return width, width * aspect


def one_prediction(prediction: tuple) -> tuple[list[bool], np.ndarray]:
    """Presence as N bools and an (H, W) mask, from a prediction with or without its batch axis."""
    presence, mask = prediction
    mask = np.asarray(mask[0] if isinstance(mask, list) or mask.ndim == 3 else mask)
    return torch.as_tensor(presence).flatten().bool().tolist(), mask


def verdicts(ep: Episode, presence: list[bool], guess: np.ndarray) -> dict[str, list[str]]:
    """For each way, whether the query shows it, what was predicted, and how far the masks agree, as words."""
    true, masks = ep.presence.tolist(), ep.query_mask.numpy()
    return {
        "in the query": [yes(t) for t in true],
        "predicted": [f"{yes(p)} {'✓' if p == t else '✗'}" for p, t in zip(presence, true, strict=True)],
        "IoU": [percent(iou(guess == n, masks == n)) for n in range(1, len(true) + 1)],
    }


def iou(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Intersection over union of two boolean masks of one shape, 0…1; None where both are empty."""
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else None


def yes(flag: bool) -> str:
    return "yes" if flag else "no"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


# Pieces of it, placed in inches from the top left corner --------------------------------------------------------------


def canvas(across: float, down: float) -> tuple[Picture, Axes]:
    """A figure of a size in inches, and axes over all of it whose units are inches from the top left corner."""
    across, down = round(across * DPI) / DPI, round(down * DPI) / DPI  # whole pixels
    fig = Picture(figsize=(across, down), dpi=DPI)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, across), ylim=(down, 0))
    ax.set_axis_off()
    return fig, ax


def image(ax: Axes, box: Box, picture: np.ndarray, mask: np.ndarray | None = None, strength: float = 0.55) -> None:
    """A picture at a box, with its mask over it if there is one."""
    left, top, width, height = box
    size = round(2 * width * DPI), round(2 * height * DPI)  # twice as fine as it is seen, for smooth outlines
    seen = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    if mask is not None:
        mask_seen = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
        seen = Image.fromarray(overlay(np.asarray(seen), mask_seen, strength))
    ax.imshow(seen.reduce(2), extent=(left, left + width, top + height, top), aspect="auto")


def number_ways(ax: Axes, box: Box, mask: np.ndarray) -> None:
    """The number of each way of a mask (H, W), written at its deepest spot in the picture at a box."""
    for n in np.unique(mask[(mask > 0) & (mask != VOID)]).tolist():
        depth = distance_transform_edt(np.pad(mask == n, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        number(ax, box[0] + (x + 0.5) / mask.shape[1] * box[2], box[1] + (y + 0.5) / mask.shape[0] * box[3], n)


def number(ax: Axes, x: float, y: float, n: int) -> None:
    """The number of a way, on its colour."""
    box = {"boxstyle": "circle,pad=0.18", "facecolor": way_colour(n), "edgecolor": "white", "linewidth": 0.8}
    ax.text(x, y, str(n), ha="center", va="center_baseline", fontsize=8.5, color=INK, bbox=box)


def write(ax: Axes, left: float, top: float, text: str, **style) -> None:
    """A line of text in the middle of a `LABEL` under `top`."""
    ax.text(left, top + LABEL / 2, text, **{"fontsize": 9.5, "color": INK, "va": "center_baseline"} | style)


def heading(ax: Axes, left: float, top: float, text: str) -> None:
    write(ax, left, top, text, fontweight="bold")


def class_label(ax: Axes, left: float, top: float, n: int, name: str) -> None:
    """The way's number, then the class name."""
    number(ax, left + 0.1, top + LABEL / 2, n)
    write(ax, left + 0.25, top, name)


def table(ax: Axes, left: float, top: float, names: Sequence[str], columns: dict[str, list[str]]) -> None:
    """A line for each class, a column for each verdict."""
    for i, (title, cells) in enumerate(columns.items()):
        x = left + 1.4 + (i + 1) * 0.85
        write(ax, x, top, title, ha="right", fontsize=8.5, color=QUIET)
        for n, cell in enumerate(cells, start=1):
            write(ax, x, top + n * LABEL, cell, ha="right")
    for n, name in enumerate(names, start=1):
        class_label(ax, left, top + n * LABEL, n, name)


# Benchmarks -----------------------------------------------------------------------------------------------------------


def cut_out(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A square part of a picture round what is marked: (H, W, 3) uint8 and (H, W) bool to (side, side, 3) uint8."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    side = min(int(1.15 * max(np.ptp(rows), np.ptp(columns))) + 1, *inside.shape)
    top = min(max((rows[0] + rows[-1] - side) // 2, 0), inside.shape[0] - side)
    left = min(max((columns[0] + columns[-1] - side) // 2, 0), inside.shape[1] - side)
    return picture[top : top + side, left : left + side]


def class_pictures(bench: Benchmark) -> dict[int, np.ndarray]:
    """{class id: a square cut-out (side, side, 3) uint8} of the split's classes.

    Taken from the picture with the fewest other classes among the first ten of each.
    """
    pictures = {}
    for c in bench.class_ids:
        pairs = [read_pair(bench, image) for image in bench.images_of[c][:10]]
        picture, mask = min(pairs, key=lambda pair: len(np.unique(pair[1])))
        pictures[c] = cut_out(np.asarray(picture), mask == c)
    return pictures


def class_split(folds: Sequence[Sequence[int]], names: dict[int, str], pictures: dict[int, np.ndarray]) -> Picture:
    """Which classes each fold tests.

    folds: the test classes of each fold; names: {class id: name} of all; pictures: {class id: (H, W, 3) uint8}, drawn
    over the columns; without them the columns bear only ids.
    """
    fig = Picture(figsize=(WIDTH, 3.1 if pictures else 1.9), dpi=DPI, layout="constrained")
    ax = fig.add_subplot()
    tested = np.array([[c in fold for c in names] for fold in folds])
    ax.pcolormesh(tested, cmap=ListedColormap([LIGHT, DARK]), edgecolors="white", linewidth=1.5)
    ax.set_yticks(np.arange(len(folds)) + 0.5, [f"fold {f}" for f in range(len(folds))])
    ax.set(ylim=(len(folds), 0), xlim=(0, len(names)))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if pictures:
        labels = [f"{name} {c}" for c, name in names.items()]
        ax.set_xticks(np.arange(len(names)) + 0.5, labels, rotation=60, ha="right", rotation_mode="anchor")
        ax.tick_params(axis="x", pad=0)
        for i, c in enumerate(names):
            small = np.asarray(Image.fromarray(pictures[c]).resize((84, 84), Image.Resampling.BOX))
            inset = ax.inset_axes((i + 0.04, -1.3, 0.92, 1.15), transform=ax.transData)
            inset.imshow(small)
            inset.set_axis_off()
    else:
        ids = [c for c in names if c == 1 or c % 10 == 0]
        ax.set_xticks([c - 0.5 for c in ids], ids)
        ax.set_xlabel("class id")
    handles = [Patch(color=DARK, label="tested: never seen in training"), Patch(color=LIGHT, label="trained on")]
    fig.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return fig


def presence_counts(counts: dict[int, Sequence[int]]) -> Picture:
    """How many of an episode's ways the query shows.

    counts: {N: for each episode the number of its N classes that the query shows}.
    """
    fig = Picture(figsize=(WIDTH, 0.42 * len(counts) + 1.2), dpi=DPI, layout="constrained")
    ax = fig.add_subplot()
    most = max(max(found) for found in counts.values())
    colours = [BACKGROUND, *colormaps["cividis"](np.linspace(0.95, 0.15, max(most, 1)))]
    for row, found in enumerate(counts.values()):
        start = 0.0
        for number_shown in range(most + 1):
            share = 100 * np.mean(np.asarray(found) == number_shown)
            ax.barh(row, share, 0.78, start, color=colours[number_shown], edgecolor="white")
            if share >= 4:
                ink = "white" if sum(to_rgb(colours[number_shown])) < 1.4 else INK
                ax.text(start + share / 2, row, f"{share:.0f}", ha="center", va="center", color=ink)
            start += share
    ax.set_yticks(range(len(counts)), [f"{n}-way" for n in counts])
    ax.set(xlim=(0, 100), ylim=(len(counts) - 0.5, -0.5), xlabel="share of the episodes (%)")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    handles = [Patch(color=colour, label=str(i)) for i, colour in enumerate(colours)]
    fig.legend(
        handles=handles,
        title="classes of the episode that the query shows",
        loc="outside upper center",
        ncols=most + 1,
        frameon=False,
    )
    return fig


# Comparisons ----------------------------------------------------------------------------------------------------------


def comparison(rows: dict[str, dict[str, tuple[float, float, float]]]) -> Picture:
    """Bars for a few learners: {learner: {metric: (value, low, high)}}, all in %; a whisker spans low to high."""
    metrics = list(next(iter(rows.values())))
    fig = Picture(figsize=(WIDTH, 0.4 * len(rows) + 0.9), dpi=DPI, layout="constrained")
    for ax, metric in zip(np.atleast_1d(fig.subplots(1, len(metrics), sharey=True)), metrics, strict=True):
        for y, row in enumerate(rows.values()):
            value, low, high = row[metric]
            ax.barh(y, value, 0.62, color=SOFT)
            if low < high:
                ends = [[max(value - low, 0)], [max(high - value, 0)]]  # over few episodes the value may lie outside
                ax.errorbar(value, y, xerr=ends, color=INK, capsize=3, linewidth=1)
            ax.text(max(value, high) + 2, y, f"{value:.1f}", va="center", color=INK)
        ax.set_yticks(range(len(rows)), rows)
        ax.set(xlim=(0, 112), ylim=(len(rows) - 0.5, -0.5), xlabel=f"{metric} (%)", xticks=range(0, 101, 20))
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    return fig


# Runs, sweeps, many episodes ------------------------------------------------------------------------------------------

LINES = ("#332288", "#CC6677", "#117733", "#882255", "#999933", "#44AA99")
"""What is no way but has to be told apart, such as learners: from the muted palette of Tol (2021)."""
MARKERS = "osD^vX"


def curves(runs: dict[str, list[dict[str, str]]], best: int | None = None) -> Picture:
    """Loss, and ER and mIoU in validation, over the steps of training runs.

    runs: {name: the rows of a metrics.csv, as `ifsl.training.read_curve` gives them}; best: a step to mark, such as
    that of the best checkpoint.
    """
    fig = Picture(figsize=(WIDTH, 2.9), dpi=DPI, layout="constrained")
    columns = {"loss": "training loss", "val_er": "validation ER (%)", "val_miou": "validation mIoU (%)"}
    for ax, (column, label) in zip(fig.subplots(1, 3), columns.items(), strict=True):
        for i, rows in enumerate(runs.values()):
            points = np.array([(int(row["step"]), float(row[column])) for row in rows if row[column]]).reshape(-1, 2)
            marker = "" if column == "loss" and len(points) > 2 else MARKERS[i % 6]
            ax.plot(*points.T, color=LINES[i % 6], linewidth=1.3, marker=marker, markersize=4)
        if best is not None:
            ax.axvline(best, color=QUIET, linewidth=1, linestyle="--", zorder=0)
        ax.set(xlabel="step", ylabel=label, xlim=(0, None), ylim=(0, None))
        if column != "loss":
            ax.set(ylim=(-2, 102), yticks=range(0, 101, 20))
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        ax.spines[["top", "right"]].set_visible(False)
    handles = [
        Line2D([], [], color=LINES[i % 6], marker=MARKERS[i % 6], markersize=4, label=name)
        for i, name in enumerate(runs)
    ]
    if best is not None:
        handles.append(Line2D([], [], color=QUIET, linewidth=1, linestyle="--", label=f"best, step {best}"))
    fig.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6), frameon=False)
    return fig


def sweep(lines: dict[str, dict[int, dict[str, tuple[float, float, float]]]], label: str) -> Picture:
    """Figures of learners over a whole number such as the way: {learner: {x: {metric: (value, low, high)}}}, in %.

    A whisker spans low to high. The learners stand a little beside each other, so that no whisker hides another.
    """
    points = next(iter(lines.values()))
    metrics, ticks = list(next(iter(points.values()))), sorted(set().union(*lines.values()))
    step = 0.0225 * (ticks[-1] - ticks[0] or 1)  # of the axis, so that none stands far from its place
    fig = Picture(figsize=(WIDTH, 3.5), dpi=DPI, layout="constrained")
    for ax, metric in zip(np.atleast_1d(fig.subplots(1, len(metrics))), metrics, strict=True):
        for i, points in enumerate(lines.values()):
            aside = step * (i - (len(lines) - 1) / 2)
            value, low, high = np.array([points[x][metric] for x in sorted(points)]).T
            style = {"color": LINES[i % 6], "marker": MARKERS[i % 6], "markersize": 5, "linewidth": 1.2, "capsize": 2}
            ax.errorbar(np.array(sorted(points)) + aside, value, np.maximum([value - low, high - value], 0), **style)
        ax.set(xlabel=label, ylabel=f"{metric} (%)", xticks=ticks, ylim=(-2, 102), yticks=range(0, 101, 20))
        ax.grid(axis="y", color=LIGHT)
        ax.spines[["top", "right"]].set_visible(False)
    handles = [
        Line2D([], [], color=LINES[i % 6], marker=MARKERS[i % 6], markersize=5, label=name)
        for i, name in enumerate(lines)
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return fig


def gallery(items: Sequence[tuple[str, Episode, tuple]]) -> Picture:
    """Many predictions on one page, two a row: (title, episode, prediction as for `show`) each.

    Of each episode stand here: a support of every way, the query's true mask and the predicted one, and for each class
    whether the query shows it, what was predicted, and the IoU.
    """
    side = (WIDTH / 2 - GUTTER) / 3 - GAP  # of a picture
    most = max(len(ep.class_names) for _, ep, _ in items)
    down = 2 * LABEL + side + GAP + (most + 1) * LABEL + GUTTER / 2
    fig, ax = canvas(WIDTH, -(-len(items) // 2) * down)
    for i, (title, ep, prediction) in enumerate(items):
        left, top = i % 2 * WIDTH / 2, i // 2 * down
        heading(ax, left, top, title)
        small_episode(ax, left, top + LABEL, side, ep, *one_prediction(prediction))
    return fig


def small_episode(
    ax: Axes, left: float, top: float, side: float, ep: Episode, presence: list[bool], guess: np.ndarray
) -> None:
    """Supports, truth and prediction in a row of pictures not larger than `side` inches, the verdicts under them."""
    truth, under = ep.query_mask.numpy(), top + LABEL
    number_a_row = int(np.ceil(np.sqrt(len(presence))))
    small = side / number_a_row
    for n, (shots, masks) in enumerate(zip(ep.supports, ep.masks, strict=True)):
        box = (left + n % number_a_row * small, under + n // number_a_row * small, small, small)
        image(ax, box, to_picture(shots[0]), (n + 1) * masks[0].byte().numpy(), strength=0.15)
    size = fit(side, side, truth.shape[0] / truth.shape[1])
    places = [left + i * (side + GAP) for i in range(3)]
    for x, name, mask in zip(places, ("support", "truth", "prediction"), (None, truth, guess), strict=True):
        write(ax, x, top, name, color=QUIET, fontsize=8.5)
        if mask is not None:
            image(ax, (x, under, *size), ep.picture, mask)
            number_ways(ax, (x, under, *size), mask)
    table(ax, left, under + side + GAP, ep.class_names, verdicts(ep, presence, guess))


def rates(groups: dict[str, dict[str, list[float]]], label: str) -> Picture:
    """How fast something is in several settings: {what was varied: {setting: measurements}}, a panel for each group.

    A bar is the median, its whisker spans the slowest to the fastest measurement. Each panel has a scale of its own.
    """
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    most = max(map(len, groups.values()))
    fig = Picture(figsize=(WIDTH, rows * (0.34 * most + 1.0)), dpi=DPI, layout="constrained")
    axes = np.ravel(fig.subplots(rows, columns))
    for ax, (title, settings) in zip(axes, groups.items(), strict=False):
        for y, values in enumerate(settings.values()):
            middle, low, high = np.median(values), min(values), max(values)
            ax.barh(y, middle, 0.62, color=SOFT)
            ax.errorbar(middle, y, xerr=[[middle - low], [high - middle]], color=INK, capsize=3, linewidth=1)
            text = f"{middle:.3g}" if middle < 1000 else f"{middle:,.0f}"
            ax.annotate(text, (high, y), (6, 0), textcoords="offset points", va="center", color=INK)
        fastest = max(max(values) for values in settings.values())
        ax.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK)
        ax.set_yticks(range(len(settings)), settings)
        ax.set(xlim=(0, 1.2 * fastest), ylim=(most - 0.5, -0.5), xlabel=label)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    for ax in axes[len(groups) :]:
        ax.set_axis_off()
    return fig


# A reader's own folder ------------------------------------------------------------------------------------------------


def asked(found: dict[str, Prediction], columns: int = 4) -> Picture:
    """The examples of a folder, then answers to photos: {title: what `ifsl.predict_folder` returned}.

    Each photo stands before its answers, once for answers that follow each other; under an answer stands for each class
    whether it is said to be there, and its share of the photo's pixels. The examples are those of the answer that had
    the most.
    """
    support = max((one.support for one in found.values()), key=lambda support: support.supports.shape[1])
    way, shot = support.supports.shape[:2]
    thumb = min(0.85, WIDTH / shot - GAP)
    beside = min(way, max(1, int(WIDTH / max(1.6, shot * (thumb + GAP)))))  # classes in a row
    panels = with_photos(found)
    columns = min(columns, len(panels))
    side = WIDTH / columns - GAP
    sizes = [fit(side, 1.15 * side, one.photo.shape[0] / one.photo.shape[1]) for _, one, _ in panels]
    tops = [LABEL + -(-way // beside) * (LABEL + thumb + GAP) + GUTTER / 2]
    for i in range(0, len(panels), columns):
        tops.append(tops[-1] + LABEL + max(height for _, height in sizes[i : i + columns]) + (way + 0.5) * LABEL)
    fig, ax = canvas(WIDTH, tops[-1])
    support_set(ax, support.class_names, support.supports, support.masks, thumb, beside)
    for i, ((title, one, marked), size) in enumerate(zip(panels, sizes, strict=True)):
        box = (i % columns * (side + GAP), tops[i // columns] + LABEL, *size)
        heading(ax, box[0], box[1] - LABEL, title)
        image(ax, box, one.photo, one.segmentation if marked else None)
        if marked:
            words(ax, box, one)
    return fig


def with_photos(found: dict[str, Prediction]) -> list[tuple[str, Prediction, bool]]:
    """Panels (title, answer, whether its mask is drawn): the answers, before them each new photo without a mask."""
    panels: list[tuple[str, Prediction, bool]] = []
    for title, one in found.items():
        if not any(np.array_equal(one.photo, before.photo) for _, before, _ in panels[-1:]):
            panels.append(("photo", one, False))
        panels.append((title, one, True))
    return panels


def words(ax: Axes, box: Box, one: Prediction) -> None:
    """The numbers of an answer's ways on its picture at a box; under it, for each class, yes or no and its share."""
    number_ways(ax, box, one.segmentation)
    for n, (name, flag) in enumerate(one.presence.items(), start=1):
        share = percent((one.segmentation == n).mean())
        class_label(ax, box[0], box[1] + box[3] + (n - 1) * LABEL, n, f"{name}: {yes(flag)}, {share}")
