"""Prototypes and shots of PANet (chapter 05). All images are square, as a learner sees them.

Letters: K shots, h w map size.
"""

from matplotlib.colors import ListedColormap
from torch import Tensor

from ..data.episodes import Episode
from .canvas import (
    BACKGROUND,
    InlineFigure,
    add_colour_bar,
    make_grid,
    mask_of,
    outline,
    overlay_finely,
    show_image,
    show_map,
    square_query,
    support_image,
    way_colour,
)


def show_prototypes(ep: Episode, inside: Tensor, cosines: Tensor, foreground: Tensor) -> InlineFigure:
    """From a support's mask to a prediction, in a 1-way 1-shot episode.

    inside: (h, w) bool, the support cells that make the class's prototype, the others make the background's; cosines:
    (2, h, w) of the query's cells with the prototypes of background and class; foreground: (h, w) probability of the
    class, its cells above 0.5 are outlined.
    """
    fig, axes = make_grid(2, 4, 0.95)
    name, (query, truth) = ep.class_names[0], square_query(ep)
    note = f"{inside.sum()} cells of the class, {(~inside).sum()} others"
    cells = ListedColormap([BACKGROUND, way_colour(1)])
    show_image(axes[0, 0], support_image(ep), f"support: {name}")
    show_image(axes[0, 1], inside.numpy(), "cells of the prototypes", note, cmap=cells, interpolation="nearest")
    show_image(axes[0, 2], query, "query")
    show_image(axes[0, 3], overlay_finely(query, truth), "truth")
    show_image(axes[1, 3], overlay_finely(query, mask_of(foreground, len(query))), "prediction")
    maps = {
        "cosine with background": cosines[0],
        f"cosine with {name}": cosines[1],
        f"probability of {name}": foreground,
    }
    for n, (ax, (title, values)) in enumerate(zip(axes[1], maps.items(), strict=False)):
        show_map(ax, values, title, way_colour(min(n, 1)), f"{values.min():.2f} … {values.max():.2f}")
    outline(axes[1, 2], foreground.numpy() >= 0.5)
    add_colour_bar(fig, axes[1], "cosine, probability")
    return fig


def show_shots(ep: Episode, each: Tensor, together: Tensor) -> InlineFigure:
    """The maps of each of K shots alone, and of all together, in a 1-way episode.

    each: (K, h, w) probabilities of the class; together: (h, w). Cells above 0.5 are outlined.
    """
    fig, axes = make_grid(2, len(each) + 1, 0.95)
    for k in range(len(each)):
        show_image(axes[0, k], support_image(ep, k=k), f"shot {k + 1}")
    show_image(axes[0, -1], overlay_finely(*square_query(ep)), "query, truth")
    names = [*(f"shot {k + 1} alone" for k in range(len(each))), "all together"]
    for ax, values, name in zip(axes[1], [*each, together], names, strict=True):
        show_map(ax, values, name, way_colour(1))
        outline(ax, values.numpy() >= 0.5)
    add_colour_bar(fig, axes[1], f"probability of {ep.class_names[0]}")
    return fig
