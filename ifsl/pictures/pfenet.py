"""Prior maps and the four resolutions of PFENet (chapter 06). All images are square, as a learner sees them.

Letters: C channels, h w map size, h_b w_b size of a bin.
"""

from torch import Tensor

from ..data.episodes import Episode
from . import canvas
from .canvas import InlineFigure


def show_priors(ep: Episode, masked: Tensor, whole: Tensor) -> InlineFigure:
    """Prior maps (h, w) of a 1-way 1-shot episode, from the masked support and from the whole one."""
    fig, axes = canvas.make_grid(1, 4, 1.0)
    name, (query, truth) = ep.class_names[0], canvas.square_query(ep)
    canvas.show_image(axes[0, 0], canvas.support_image(ep), "support", name)
    if ep.presence[0]:
        canvas.show_image(axes[0, 1], canvas.overlay_finely(query, truth), "query, truth")
    else:
        canvas.show_image(axes[0, 1], query, "query", f"shows no {name}")
    canvas.show_map(axes[0, 2], masked, "prior, masked support")
    canvas.show_map(axes[0, 3], whole, "prior, whole support")
    canvas.add_colour_bar(fig, axes, "prior")
    return fig


def show_bins(
    ep: Episode, priors: list[Tensor], found: list[Tensor], foreground: Tensor, without: list[Tensor]
) -> InlineFigure:
    """What PFENet's resolutions receive, find and contribute, in a 1-way 1-shot episode; a column for each of them.

    priors: (h_b, w_b) as they arrive; found: (C, h, w), each in colours of its own; foreground: (h, w) probability of
    the class; without: the same, with what one resolution found left out.
    """
    fig, axes = canvas.make_grid(3, len(priors) + 1, 1.0, extra=0.3)
    query, truth = canvas.square_query(ep)
    canvas.show_image(axes[0, 0], query, "query")
    canvas.show_image(axes[1, 0], canvas.overlay_finely(query, truth), f"truth: {ep.class_names[0]}")
    canvas.show_map(axes[2, 0], foreground, "answer", canvas.way_colour(1))
    for column, prior, features, left in zip(axes[:, 1:].T, priors, found, without, strict=True):
        size = " x ".join(map(str, prior.shape))
        canvas.show_map(column[0], prior, f"prior, {size}")
        canvas.show_image(column[1], canvas.colour_features(features)[0], f"found at {size}", interpolation="nearest")
        canvas.show_map(column[2], left, f"without {size}", canvas.way_colour(1))
    canvas.add_colour_bar(fig, axes[::2], "prior, probability")
    return fig
