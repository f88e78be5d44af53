"""How HSNet and ASNet squeeze the support's two axes (chapters 07 and 08). All images are square.

Letters: Hq Wq and Hs Ws grids of query and support.
"""

from typing import NamedTuple

from torch import Tensor, nan
from torch.nn.functional import pad

from ..data.episodes import Episode
from ..data.images import to_image
from . import canvas
from .canvas import FONT, INK, InlineFigure
from .correlation import find_cell


class Stage(NamedTuple):
    """A support grid to show: values (h, w), 0…1; a note under it; and which cells to outline, (h, w) bool."""

    title: str
    values: Tensor
    note: str = ""
    inside: Tensor | None = None


def show_views(ep: Episode, stages: dict[str, Tensor], label: str) -> InlineFigure:
    """Tensors over query and support as images of images: at each query cell, its view of the support.

    stages: {title: (Hq, Wq, Hs, Ws) values from 0}, up to five of one query grid; each has a scale from 0 to its
    largest value.
    """
    fig, axes = canvas.make_grid(2, 3, 1.0)
    axes = axes.flatten()
    canvas.show_image(axes[0], to_image(ep.query), "query and its cells")
    height, width = next(iter(stages.values())).shape[:2]
    axes[0].set(
        xticks=[i * ep.query.shape[2] / width - 0.5 for i in range(1, width)],
        yticks=[i * ep.query.shape[1] / height - 0.5 for i in range(1, height)],
    )
    axes[0].tick_params(length=0, labelleft=False, labelbottom=False)
    axes[0].grid(color="white", linewidth=1)
    for ax, (title, values) in zip(axes[1:], stages.items(), strict=False):
        canvas.show_map(ax, tile_views(values / values.max()), title, note=f"1 is {values.max():.2f}")
    for ax in axes[len(stages) + 1 :]:
        ax.set_visible(False)
    canvas.add_colour_bar(fig, axes, label)
    return fig


def tile_views(values: Tensor, side: int = 18, gap: int = 2) -> Tensor:
    """(Hq, Wq, Hs, Ws) to one image: Hq x Wq views of about `side` pixels, NaN between them."""
    times = max(1, side // values.shape[-1])
    large = values.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    framed = pad(large, [0, gap, 0, gap], value=nan)
    return framed.transpose(1, 2).flatten(2).flatten(0, 1)[:-gap, :-gap]


def show_squeezing(
    ep: Episode, point: tuple[float, float], foreground: Tensor, levels: dict[str, list[Stage]], label: str
) -> InlineFigure:
    """How the support shrinks for one query cell, in a 1-way 1-shot episode; a row for each of three levels.

    point: x and y as shares of the query's width and height, 0…1; foreground: (h, w) probability of the class; label:
    of the values of the stages.
    """
    fig, axes = canvas.make_grid(3, 1 + max(map(len, levels.values())), 1.0, extra=0.55)
    name, query = ep.class_names[0], to_image(ep.query)
    here = foreground[find_cell(point, foreground.shape)]
    canvas.show_image(axes[0, 0], query, "query and the cell")
    canvas.show_image(axes[1, 0], canvas.support_image(ep), f"support: {name}")
    canvas.show_map(axes[2, 0], foreground, f"probability of {name}", note=f"{here:.2f} at the cell")
    for ax, (height, width) in zip(axes[::2, 0], (query.shape[:2], foreground.shape), strict=True):
        canvas.mark_point(ax, point, width, height)
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    for row, (level, stages) in zip(axes[:, 1:], levels.items(), strict=True):
        row[0].set_ylabel(level, fontsize=FONT, color=INK, fontweight="bold")
        for ax, stage in zip(row, stages, strict=False):
            canvas.show_map(ax, stage.values, stage.title, note=stage.note)
            if stage.inside is not None:
                canvas.outline(ax, stage.inside.numpy())
    canvas.add_colour_bar(fig, axes, label)
    return fig
