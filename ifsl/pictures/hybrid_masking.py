"""Features that are masked in two places, and joined (chapter 09)."""

import numpy as np
from torch import Tensor

from . import canvas
from .canvas import FONT, INK, InlineFigure


def show_masking(
    support: np.ndarray, masked: np.ndarray, mask: np.ndarray, levels: dict[str, dict[str, Tensor]]
) -> InlineFigure:
    """A support's features masked in two places, and joined: a row for each kind, a column for each level.

    support, masked: the support image and the masked one (S, S, 3) uint8; mask: (S, S) uint8; levels: {name: the
    (C, h, w) features "feature", "input" and "hybrid"}. Colours can be compared within a column; cells of zeros are
    grey. The third row is the share of a cell's entries that are above 0 under feature masking.
    """
    fig, axes = canvas.make_grid(4, len(levels) + 1, 0.95)
    canvas.show_image(axes[0, 0], canvas.overlay(support, mask, 0.15), "support")
    canvas.show_image(axes[1, 0], masked, "masked support")
    words = "where feature masking\nis above 0 …", "… HM keeps it, and takes\ninput masking elsewhere"
    for ax, text in zip(axes[2:, 0], words, strict=True):
        ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=FONT, color=INK)
    for column, (name, kinds) in zip(axes[:, 1:].T, levels.items(), strict=True):
        rows = (0, "feature masking"), (1, "input masking"), (3, "hybrid")
        for (row, title), colours in zip(rows, canvas.colour_features(*kinds.values()), strict=True):
            canvas.show_image(column[row], colours, f"{name}: {title}", interpolation="nearest")
        canvas.show_map(column[2], (kinds["feature"] > 0).float().mean(dim=0), f"{name}: share above 0")
    canvas.add_colour_bar(fig, axes[2], "share")
    return fig
