"""Correlation tokens, and masks on the grids of their keys (chapter 16).

Letters: D correlation channels, h w grid of the query, J support tokens (the class token first).
"""

from math import isqrt

from torch import Tensor

from ..data.episodes import Episode
from . import canvas
from .canvas import InlineFigure
from .correlation import find_cell


def show_tokens(
    ep: Episode, point: tuple[float, float], correlation: Tensor, channels: dict[str, int], inside: Tensor
) -> InlineFigure:
    """Correlations of a 1-way 1-shot episode, a row for each of some channels.

    correlation: (D, h, w, J); channels: {name: channel}; inside: (J - 1,) bool, support cells that the mask touches.
    A row has the query with a cross at `point`, every query cell's cosine with the class token, and the cosines of the
    cell under the cross with the cells of the support, whose masked part is outlined. Negative values are drawn as 0.
    """
    side = isqrt(correlation.shape[-1])
    i, j = find_cell(point, correlation.shape[1:3])
    picture, _ = canvas.square_query(ep)
    fig, axes = canvas.make_grid(len(channels), 4, 1)
    for row, (name, channel) in zip(axes, channels.items(), strict=True):
        canvas.show_image(row[0], picture, "query, cell A")
        canvas.mark_point(row[0], point, picture.shape[1], picture.shape[0])
        canvas.show_map(row[1], correlation[channel, ..., 0], f"{name}:\nmean token, all query cells")
        canvas.mark_point(row[1], point, correlation.shape[2] - 1, correlation.shape[1] - 1)
        canvas.show_image(row[2], canvas.support_image(ep), "support")
        cells = correlation[channel, i, j, 1:].unflatten(0, (side, side))
        canvas.show_map(row[3], cells, f"{name}:\nquery cell A, all support cells")
        canvas.outline(row[3], inside.unflatten(0, (side, side)).numpy())
    canvas.add_colour_bar(fig, axes, "cosine")
    return fig


def show_key_masks(ep: Episode, grids: dict[str, Tensor]) -> InlineFigure:
    """The support with its mask, then which cells take part on coarse grids: {title: (h, w) bool}."""
    fig, axes = canvas.make_grid(1, 1 + len(grids), 1)
    canvas.show_image(axes[0, 0], canvas.support_image(ep), "support and mask")
    for ax, (title, inside) in zip(axes[0, 1:], grids.items(), strict=True):
        canvas.show_map(ax, inside.float(), title, note=f"{int(inside.sum())} of {inside.numel()} cells take part")
    return fig
