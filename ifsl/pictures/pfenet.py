"""Prior maps and the four resolutions of PFENet (chapter 06). All images are square, as a learner sees them.

Letters: C channels, h w map size, h_b w_b size of a bin.
"""

from torch import Tensor

from ..data.episodes import Episode
from .canvas import (
    InlineFigure,
    add_colour_bar,
    colour_features,
    make_grid,
    overlay_finely,
    show_image,
    show_map,
    square_query,
    support_image,
    way_colour,
)


def show_priors(ep: Episode, masked: Tensor, whole: Tensor) -> InlineFigure:
    """Prior maps (h, w) of a 1-way 1-shot episode, from the masked support and from the whole one."""
    fig, axes = make_grid(1, 4, 1.0)
    name, (query, truth) = ep.class_names[0], square_query(ep)
    show_image(axes[0, 0], support_image(ep), "support", name)
    if ep.presence[0]:
        show_image(axes[0, 1], overlay_finely(query, truth), "query, truth")
    else:
        show_image(axes[0, 1], query, "query", f"shows no {name}")
    show_map(axes[0, 2], masked, "prior, masked support")
    show_map(axes[0, 3], whole, "prior, whole support")
    add_colour_bar(fig, axes, "prior")
    return fig


def show_bins(
    ep: Episode, priors: list[Tensor], found: list[Tensor], foreground: Tensor, without: list[Tensor]
) -> InlineFigure:
    """What PFENet's resolutions receive, find and contribute, in a 1-way 1-shot episode; a column for each of them.

    priors: (h_b, w_b) as they arrive; found: (C, h, w), each in colours of its own; foreground: (h, w) probability of
    the class; without: the same, with what one resolution found left out.
    """
    fig, axes = make_grid(3, len(priors) + 1, 1.0, extra=0.3)
    query, truth = square_query(ep)
    show_image(axes[0, 0], query, "query")
    show_image(axes[1, 0], overlay_finely(query, truth), f"truth: {ep.class_names[0]}")
    show_map(axes[2, 0], foreground, "answer", way_colour(1))
    for column, prior, features, left in zip(axes[:, 1:].T, priors, found, without, strict=True):
        size = " x ".join(map(str, prior.shape))
        show_map(column[0], prior, f"prior, {size}")
        show_image(column[1], colour_features(features)[0], f"found at {size}", interpolation="nearest")
        show_map(column[2], left, f"without {size}", way_colour(1))
    add_colour_bar(fig, axes[::2], "prior, probability")
    return fig
