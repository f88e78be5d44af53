"""Folds, classes, and how often they are there (chapters 01 and 02)."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patches import Patch
from PIL import Image

from ..data.benchmarks import Benchmark
from .canvas import BACKGROUND, DARK, INK, LIGHT, InlineFigure
from .charts import make_chart, name_bars


def crop_square(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A square part of an image round what is marked: (H, W, 3) uint8 and (H, W) bool to (side, side, 3) uint8."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    side = min(int(1.15 * max(np.ptp(rows), np.ptp(columns))) + 1, *inside.shape)
    top = min(max((rows[0] + rows[-1] - side) // 2, 0), inside.shape[0] - side)
    left = min(max((columns[0] + columns[-1] - side) // 2, 0), inside.shape[1] - side)
    return image[top : top + side, left : left + side]


def pick_class_images(bench: Benchmark) -> dict[int, np.ndarray]:
    """{class id: a square cut-out (side, side, 3) uint8} of the split's classes.

    Taken from the image with the fewest other classes among the first ten of each.
    """
    images = {}
    for c in bench.class_ids:
        pairs = [bench.read_pair(name) for name in bench.images_of[c][:10]]
        image, mask = min(pairs, key=lambda pair: len(np.unique(pair[1])))
        images[c] = crop_square(np.asarray(image), mask == c)
    return images


def plot_class_split(
    folds: Sequence[Sequence[int]], names: dict[int, str], images: dict[int, np.ndarray]
) -> InlineFigure:
    """Which classes each fold tests.

    folds: the test classes of each fold; names: {class id: name} of all; images: {class id: (H, W, 3) uint8}, shown
    over the columns; without them the columns have ids only.
    """
    fig, ((ax,),) = make_chart(3.1 if images else 1.9)
    tested = np.array([[c in fold for c in names] for fold in folds])
    ax.pcolormesh(tested, cmap=ListedColormap([LIGHT, DARK]), edgecolors="white", linewidth=1.5)
    ax.set_yticks(np.arange(len(folds)) + 0.5, [f"fold {f}" for f in range(len(folds))])
    ax.set(ylim=(len(folds), 0), xlim=(0, len(names)))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if images:
        labels = [f"{name} {c}" for c, name in names.items()]
        ax.set_xticks(np.arange(len(names)) + 0.5, labels, rotation=60, ha="right", rotation_mode="anchor")
        ax.tick_params(axis="x", pad=0)
        for i, c in enumerate(names):
            inset = ax.inset_axes((i + 0.04, -1.3, 0.92, 1.15), transform=ax.transData)
            inset.imshow(np.asarray(Image.fromarray(images[c]).resize((84, 84), Image.Resampling.BOX)))
            inset.set_axis_off()
    else:
        ids = [c for c in names if c == 1 or c % 10 == 0]
        ax.set_xticks([c - 0.5 for c in ids], ids)
        ax.set_xlabel("class id")
    handles = [Patch(color=DARK, label="tested: without labels in training"), Patch(color=LIGHT, label="trained on")]
    fig.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return fig


def plot_presence_counts(counts: dict[int, Sequence[int]]) -> InlineFigure:
    """How many of an episode's ways the query shows.

    counts: {N: for each episode the number of its N classes that the query shows}.
    """
    fig, ((ax,),) = make_chart(0.42 * len(counts) + 1.2)
    most = max(max(found) for found in counts.values())
    colours = [BACKGROUND, *colormaps["cividis"](np.linspace(0.95, 0.15, max(most, 1)))]
    for row, found in enumerate(counts.values()):
        start = 0.0
        for shown in range(most + 1):
            share = 100 * np.mean(np.asarray(found) == shown)
            ax.barh(row, share, 0.78, start, color=colours[shown], edgecolor="white")
            if share >= 4:
                ink = "white" if sum(to_rgb(colours[shown])) < 1.4 else INK
                ax.text(start + share / 2, row, f"{share:.0f}", ha="center", va="center", color=ink)
            start += share
    name_bars(ax, [f"{n}-way" for n in counts])
    ax.set(xlim=(0, 100), xlabel="share of the episodes (%)")
    ax.spines["left"].set_visible(False)
    fig.legend(
        handles=[Patch(color=colour, label=str(i)) for i, colour in enumerate(colours)],
        title="classes of the episode that the query shows",
        loc="outside upper center",
        ncols=most + 1,
        frameon=False,
    )
    return fig


def plot_class_examples(bench: Benchmark, count: int = 8) -> InlineFigure:
    """Rows of cut-outs, one for each class of the split: what its images have in common and what differs.

    count: how many cut-outs in a row, each from another image, the images with the largest object first.
    """
    fig, axes = make_chart(0.83 * len(bench.class_ids) + 0.1, len(bench.class_ids), count)
    for row, c in zip(axes, bench.class_ids, strict=True):
        pairs = [bench.read_pair(name) for name in dict.fromkeys(bench.images_of[c][: 2 * count])]
        pairs.sort(key=lambda pair: -np.mean(pair[1] == c))
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for ax, (image, mask) in zip(row, pairs, strict=False):
            square = Image.fromarray(crop_square(np.asarray(image), mask == c))
            ax.imshow(np.asarray(square.resize((110, 110), Image.Resampling.BILINEAR)))
        row[0].set_ylabel(bench.class_names[c], rotation=0, ha="right", va="center", labelpad=8, color=INK)
    return fig
