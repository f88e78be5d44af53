"""How the shots of FS-S vote on a mask (chapter 12).

Letters: K shots, S image side.
"""

import numpy as np
from matplotlib.colors import BoundaryNorm

from ..data.episodes import Episode
from . import canvas
from .canvas import HEAT, InlineFigure


def show_votes(ep: Episode, alone: np.ndarray, mask: np.ndarray) -> InlineFigure:
    """A 1-way episode of FS-S: supports, the mask that each shot finds alone, the votes, and what is made of them.

    alone: (K, S, S) of 0 and 1, K from 2; mask: (S, S) of 0 and 1, the prediction of all shots.
    """
    shots, votes = len(alone), alone.sum(axis=0)
    fig, axes = canvas.make_grid(3, max(shots, 4), 1)
    for k, (above, below) in enumerate(axes[:2, :shots].T):
        canvas.show_image(above, canvas.support_image(ep, k=k), f"shot {k + 1}")
        canvas.show_image(below, canvas.overlay_finely(ep.picture, alone[k]), f"mask of shot {k + 1}")
    colours = {"cmap": HEAT, "norm": BoundaryNorm(np.arange(shots + 2) - 0.5, 256), "interpolation": "nearest"}
    canvas.show_image(axes[2, 0], votes, f"votes, at most {votes.max()} of {shots}", **colours)
    masks = {"half of the largest vote": mask, f"half of all {shots} shots": 2 * votes >= shots, "truth": ep.query_mask}
    for ax, (title, marked) in zip(axes[2, 1:], masks.items(), strict=False):
        canvas.show_image(ax, canvas.overlay_finely(ep.picture, np.asarray(marked, np.uint8)), title)
    for ax in axes.flat:
        ax.set_visible(bool(ax.images))
    bar = fig.colorbar(axes[2, 0].images[0], ax=axes[2], shrink=0.9, pad=0.01, aspect=18, ticks=range(shots + 1))
    bar.set_label("votes", fontsize=9)
    bar.outline.set_visible(False)
    return fig
