"""Features that are masked in two places, and joined (chapter 09)."""

from typing import NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from torch import Tensor

from . import canvas
from .canvas import FONT, INK, SMALL_FONT, InlineFigure

SIGNED = "PuOr_r"
"""Colours of values with a sign, white at 0: readable for colour-blind people."""
SOURCES = ("#56B4E9", "#E69F00")
"""Of a cell whose value is taken from the masked image, and of one whose value is taken from feature masking."""


class Channel(NamedTuple):
    """One channel of a support's features: (h, w) each."""

    feature: Tensor
    input: Tensor
    hybrid: Tensor


def show_masking(support: np.ndarray, masked: np.ndarray, mask: np.ndarray, rows: dict[str, Channel]) -> InlineFigure:
    """One channel of a support's features masked in two places, which of the two each cell takes, and the result.

    support, masked: the support image and the masked one (S, S, 3) uint8; mask: (S, S) uint8; rows: {name: channel}. A
    row has one scale, symmetric about 0.
    """
    fig, axes = canvas.make_grid(max(len(rows), 2), 5, 0.95)
    canvas.show_image(axes[0, 0], canvas.mark_support(support, mask), "support and mask")
    canvas.show_image(axes[1, 0], masked, "masked image")
    for ax in axes[2:, 0]:
        ax.set_visible(False)
    kinds = (1, "feature", "feature masking"), (2, "input", "input masking"), (4, "hybrid", "hybrid")
    for row, (name, channel) in zip(axes, rows.items(), strict=False):
        limit = max(values.abs().max().item() for values in channel) or 1.0
        for column, kind, title in kinds:
            values = getattr(channel, kind).numpy()
            style = {"cmap": SIGNED, "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
            canvas.show_image(row[column], values, title, **style)
        taken = (channel.feature > 0).numpy().astype(int)
        style = {"cmap": ListedColormap(SOURCES), "vmin": 0, "vmax": 1, "interpolation": "nearest"}
        canvas.show_image(row[3], taken, "taken from", **style)
        row[1].set_ylabel(name, fontsize=FONT, color=INK, fontweight="bold")
        bar = fig.colorbar(row[4].images[0], ax=row, pad=0.01, aspect=12, shrink=0.9)
        bar.set_label("value", fontsize=SMALL_FONT)
        bar.set_ticks([-limit, 0, limit], labels=[f"{end:.2g}" for end in (-limit, 0, limit)])
        bar.outline.set_visible(False)
    handles = [
        Patch(color=SOURCES[1], label="feature masking (above 0)"),
        Patch(color=SOURCES[0], label="input masking"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=FONT, frameon=False)
    return fig
