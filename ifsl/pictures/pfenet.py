"""Prior maps and the four resolutions of PFENet (chapter 06). All images are square, as a learner sees them.

Letters: D channels, h w map size, h_b w_b size of a bin.
"""

from torch import Tensor

from ..data.episodes import Episode
from ..learners.maps import resize
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

    priors: (h_b, w_b) as they arrive; found: (D, h, w), in colours that all of them share; foreground: (h, w)
    probability of the class; without: the same, with what one resolution found left out. The outline of the object is
    white, and under each probability is the IoU of its mask.
    """
    fig, axes = canvas.make_grid(3, len(priors) + 1, 1.0, extra=0.36)
    query, truth = canvas.square_query(ep)
    touched = resize((ep.query_mask == 1)[None, None].float(), foreground.shape)[0, 0].numpy() >= 0.5
    canvas.show_image(axes[0, 0], query, "query")
    canvas.show_image(axes[1, 0], canvas.overlay_finely(query, truth), f"truth: {ep.class_names[0]}")
    columns = [*zip(axes[:, 1:].T, priors, canvas.colour_features(*found), strict=True)]
    for column, prior, colours in columns:
        size = " x ".join(map(str, prior.shape))
        canvas.show_map(column[0], prior, f"prior, {size}")
        canvas.show_image(column[1], colours, f"output, {size}", interpolation="nearest")
    names = ["all four bins", *(f"without {prior.shape[0]} x {prior.shape[1]}" for prior in priors)]
    for ax, name, values in zip(axes[2], names, [foreground, *without], strict=True):
        iou = canvas.compute_iou(canvas.mask_of(values, len(query)) == 1, truth == 1)
        canvas.show_map(ax, values, name, canvas.way_colour(1), f"IoU {canvas.percent(iou)}")
        canvas.outline(ax, touched)
    canvas.add_colour_bar(fig, axes[0], "prior")
    canvas.add_colour_bar(fig, axes[2], "probability")
    return fig
