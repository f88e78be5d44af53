"""`correlation_pyramid` of correlation.py, sooner: only the support cells in a box around those that are not 0.

Where a mask has set the support's vectors to 0, as in HSNet, their cosines with all others are known: 0.

Letters as in correlation.py.
"""

import torch
from torch import Tensor

Features = list[list[Tensor]]


def correlation_pyramid(query: Features, support: Features) -> list[Tensor]:
    """As `correlation.correlation_pyramid`."""
    return [correlate_level(q, s) for q, s in zip(query, support, strict=True)]


def correlate_level(query: list[Tensor], support: list[Tensor]) -> Tensor:
    """The correlations of one level, (G, L, Hq, Wq, Hs, Ws), written in place; the channels L are last in memory."""
    (queries, _, *query_grid), (supports, _, *support_grid) = query[0].shape, support[0].shape
    level = query[0].new_empty(supports, *query_grid, *support_grid, len(query))
    for g in range(supports):
        rows, columns = find_box([s[g] for s in support])
        level[g, :, :, : rows.start] = level[g, :, :, rows.stop :] = 0
        level[g, :, :, rows, : columns.start] = level[g, :, :, rows, columns.stop :] = 0
        for bottleneck, (q, s) in enumerate(zip(query, support, strict=True)):
            cells, kept = q[g * queries // supports].flatten(1), s[g, :, rows, columns]
            cosines = (cells.T @ kept.flatten(1)).relu_()
            level[g, :, :, rows, columns, bottleneck] = cosines.view(*query_grid, *kept.shape[1:])
    return level.movedim(-1, 1)


def find_box(support: list[Tensor]) -> tuple[slice, slice]:
    """Rows and columns of the smallest box that holds all vectors besides 0 of maps (D, Hs, Ws), at least one cell."""
    filled = torch.stack([x.norm(dim=0) for x in support]).ne(0).any(dim=0)  # NaN counts as filled
    rows, columns = (filled.any(dim=axis).nonzero()[:, 0].tolist() or [0] for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
