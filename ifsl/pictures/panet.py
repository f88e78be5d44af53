"""Prototypes and shots of PANet (chapter 05). All images are square, as a learner sees them.

Letters: K shots, h w map size.
"""

from matplotlib.colors import ListedColormap
from torch import Tensor

from ..data.episodes import Episode
from . import canvas
from .canvas import BACKGROUND, InlineFigure


def show_prototypes(ep: Episode, inside: Tensor, cosines: Tensor, foreground: Tensor) -> InlineFigure:
    """From a support's mask to a prediction, in a 1-way 1-shot episode.

    inside: (h, w) bool, the support cells that make the class's prototype, the others make the background's; cosines:
    (2, h, w) of the query's cells with the prototypes of background and class; foreground: (h, w) probability of the
    class, its cells above 0.5 are outlined.
    """
    fig, axes = canvas.make_grid(2, 4, 0.95)
    name, (query, truth) = ep.class_names[0], canvas.square_query(ep)
    note = f"{inside.sum()} cells of the class, {(~inside).sum()} others"
    cells = ListedColormap([BACKGROUND, canvas.way_colour(1)])
    canvas.show_image(axes[0, 0], canvas.support_image(ep), f"support: {name}")
    canvas.show_image(axes[0, 1], inside.numpy(), "cells of the prototypes", note, cmap=cells, interpolation="nearest")
    canvas.show_image(axes[0, 2], query, "query")
    canvas.show_image(axes[0, 3], canvas.overlay_finely(query, truth), "truth")
    canvas.show_image(axes[1, 3], canvas.overlay_finely(query, canvas.mask_of(foreground, len(query))), "prediction")
    maps = {
        "cosine with background": cosines[0],
        f"cosine with {name}": cosines[1],
        f"probability of {name}": foreground,
    }
    for n, (ax, (title, values)) in enumerate(zip(axes[1], maps.items(), strict=False)):
        canvas.show_map(ax, values, title, canvas.way_colour(min(n, 1)), f"{values.min():.2f} … {values.max():.2f}")
    canvas.outline(axes[1, 2], foreground.numpy() >= 0.5)
    canvas.add_colour_bar(fig, axes[1], "cosine, probability")
    return fig


def show_shots(ep: Episode, each: Tensor, together: Tensor) -> InlineFigure:
    """The maps of each of K shots alone, and of all together, in a 1-way episode.

    each: (K, h, w) probabilities of the class; together: (h, w). Cells above 0.5 are outlined.
    """
    fig, axes = canvas.make_grid(2, len(each) + 1, 0.95)
    for k in range(len(each)):
        canvas.show_image(axes[0, k], canvas.support_image(ep, k=k), f"shot {k + 1}")
    canvas.show_image(axes[0, -1], canvas.overlay_finely(*canvas.square_query(ep)), "query, truth")
    names = [*(f"shot {k + 1} alone" for k in range(len(each))), "all together"]
    for ax, values, name in zip(axes[1], [*each, together], names, strict=True):
        canvas.show_map(ax, values, name, canvas.way_colour(1))
        canvas.outline(ax, values.numpy() >= 0.5)
    canvas.add_colour_bar(fig, axes[1], f"probability of {ep.class_names[0]}")
    return fig
