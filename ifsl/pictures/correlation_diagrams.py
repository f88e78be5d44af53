"""Block diagrams of learners that turn correlations into maps shot by shot: HSNet, ASNet, HM, CST and EMAT."""

from math import isqrt

import numpy as np
from matplotlib.axes import Axes

from . import sketching
from .canvas import INK
from .diagram_pieces import SIDE, TOKEN, Labels, merge_shots, place_backbones, place_inputs, place_maps
from .sketching import (
    MASK,
    Box,
    draw_arrow,
    make_example,
    place_box,
    place_cells,
    place_panel,
    place_picture,
    place_sign,
    say,
)

# HSNet, ASNet and HM --------------------------------------------------------------------------------------------------


def draw_correlations(ax: Axes, labels: Labels, method: str) -> None:
    """Correlations of three levels; their support grids are squeezed, and the levels are mixed, the coarsest first."""
    hybrid, attentive = method == "asnethm", method != "hsnet"
    place_panel(ax, Box(0.08, 0.15, 8.33, 3.72), "")
    say(ax, 0.2, 0.28, "each of K shots", ha="left", style="italic")
    mask, support, query = place_inputs(ax, 0.5, 1.5, 4.08, "support" if hybrid else "")
    correlate = place_box(ax, Box(2.36, 0.72, 0.6, 2.95), "")
    share = None if attentive else sketching.share_cells(make_example().support_mask, 5)
    sketching.place_comparison(ax, Box(2.44, 1.1, 0.44, 0.44), Box(2.44, 3.1, 0.44, 0.44), share)
    say(ax, correlate.centre[0], 0.88, "cosine", color=INK)
    if hybrid:
        draw_hybrid(ax, mask, support, query, correlate)
    else:
        backbones = place_backbones(ax, [support, query])
        if attentive:
            join = place_box(ax, Box(1.68, support.centre[1] - 0.2, 0.5, 0.4), "pool")
        else:
            join = place_sign(ax, 1.95, support.centre[1], "×", mask=True)
            draw_arrow(ax, mask.east, (join.centre[0], mask.centre[1]), join.north, mask=True)
        draw_arrow(ax, backbones[0].east, join.west)
        draw_arrow(ax, join.east, (correlate.left, join.centre[1]))
        draw_arrow(ax, backbones[1].east, (correlate.centre[0], backbones[1].centre[1]), correlate.south)
    squeezed, mixes = draw_levels(ax, labels, correlate, "attentive\nsqueeze" if attentive else "squeeze\nblock")
    if attentive:
        spread_mask(ax, mask, squeezed, mixes)


def draw_levels(ax: Axes, labels: Labels, correlate: Box, name: str) -> tuple[list[Box], list[Box]]:
    """From correlations to maps and answers; returns the boxes that squeeze, layer4 first, and those that mix."""
    boxes = []
    for level, y in zip((4, 3, 2), (1.02, 2.05, 3.08), strict=True):
        box = place_box(ax, Box(4.42, y - 0.3, 0.74, 0.6), name, "trained")
        draw_arrow(ax, (correlate.east[0], y), box.west, shape=labels[f"correlation{level}"], at=0.45)
        say(ax, correlate.east[0] + 0.64, y - 0.24, f"layer{level}")
        boxes.append(box)
    plus3, plus2 = place_sign(ax, 6.54, 2.05, "+"), place_sign(ax, 6.98, 3.08, "+")
    mixes = [place_box(ax, Box(6.76, 1.82, 0.44, 0.46), "mix", "trained")]
    mixes += [place_box(ax, Box(7.22, 2.85, 0.44, 0.46), "mix", "trained")]
    draw_arrow(ax, boxes[0].east, (plus3.centre[0], 1.02), plus3.north, shape=labels["squeezed4"], at=0.5)
    draw_arrow(ax, boxes[1].east, plus3.west, shape=labels["squeezed3"], at=0.5)
    draw_arrow(ax, plus3.east, mixes[0].west)
    draw_arrow(ax, mixes[0].south, plus2.north, shape=labels["mixed3"], at=0.45)
    draw_arrow(ax, boxes[2].east, plus2.west, shape=labels["squeezed2"], at=0.37)
    draw_arrow(ax, plus2.east, mixes[1].west)
    decoder = place_box(ax, Box(7.6, 1.62, 0.72, 0.4), "decoder", "trained")
    draw_arrow(ax, mixes[1].east, (decoder.centre[0], 3.08), decoder.south, shape=labels["cells"], of=1, at=0.72)
    maps = place_maps(ax, Box(7.63, 0.5, SIDE, SIDE), pile=True)
    draw_arrow(ax, decoder.north, maps.south, shape=labels["maps"])
    vote, mean = merge_shots(ax, "vote")
    bend = vote.left - 0.14
    draw_arrow(ax, (maps.east[0], vote.centre[1]), vote.west)
    draw_arrow(ax, (bend, vote.centre[1]), (bend, mean.centre[1]), mean.west)
    return boxes, mixes


def spread_mask(ax: Axes, mask: Box, squeezed: list[Box], mixes: list[Box]) -> None:
    """The mask enters each attention of ASNet."""
    bus, x = 0.36, squeezed[0].left - 0.17
    for box in squeezed:
        draw_arrow(ax, (x, bus), (x, box.top + 0.12), (box.left, box.top + 0.12), mask=True)
    draw_arrow(ax, (mask.east[0], 0.6), (1.0, 0.6), (1.0, bus), (mixes[0].centre[0], bus), mixes[0].north, mask=True)
    bottom = squeezed[2].south[1] + 0.25
    draw_arrow(ax, (x, squeezed[2].top), (x, bottom), (mixes[1].centre[0], bottom), mixes[1].south, mask=True)


def draw_hybrid(ax: Axes, mask: Box, support: Box, query: Box, correlate: Box) -> None:
    """HM: the support's features are masked in two places, and joined."""
    example = make_example()
    hidden = np.where(example.support_mask[..., None], example.support, 124).astype(np.uint8)
    masked = place_picture(ax, Box(0.22, 2.86, SIDE, SIDE), hidden)
    say(ax, masked.centre[0], masked.top + SIDE + 0.11, "masked")
    times = place_sign(ax, support.centre[0], 2.57, "×", mask=True)
    draw_arrow(ax, (0.22, 0.83), (0.14, 0.83), (0.14, 2.57), times.west, mask=True)
    draw_arrow(ax, support.south, times.north)
    draw_arrow(ax, times.south, masked.north)
    backbones = place_backbones(ax, [support, masked, query])
    join = place_box(ax, Box(1.92, 1.65, 0.3, 1.72), "first if > 0, else second", turned=True)
    sign = place_sign(ax, 1.67, support.centre[1], "×", mask=True)
    draw_arrow(ax, mask.east, (sign.centre[0], mask.centre[1]), sign.north, mask=True)
    draw_arrow(ax, backbones[0].east, sign.west)
    draw_arrow(ax, sign.east, (join.left, sign.centre[1]))
    draw_arrow(ax, backbones[1].east, (join.left, masked.centre[1]))
    draw_arrow(ax, join.east, (correlate.left, join.centre[1]))
    draw_arrow(ax, backbones[2].east, (correlate.centre[0], backbones[2].centre[1]), correlate.south)


# CST and EMAT ---------------------------------------------------------------------------------------------------------


def draw_tokens(ax: Axes, labels: Labels, method: str) -> None:
    """Support tokens, one of them for the class, are reduced to two by attention; each of the two has its own head."""
    place_panel(ax, Box(0.08, 0.15, 8.33, 3.72), "")
    say(ax, 0.2, 0.28, "each of K shots", ha="left", style="italic")
    mask, support, query = place_inputs(ax, 0.5, 1.5, 4.08)
    backbones = place_backbones(ax, [support, query])
    correlate = place_box(ax, Box(2.7, 0.72, 0.72, 2.95), "")
    say(ax, correlate.centre[0], 0.88, "cosine", color=INK)
    grid, cells = Box(2.82, 1.35, 0.48, 0.48), Box(2.82, 3.06, 0.48, 0.48)
    sketching.place_comparison(ax, grid, cells, None)
    first = place_token(ax, grid.left + 0.06, grid.top - 0.13)
    spot = cells.left + 0.144, cells.top + 0.144
    ax.plot(*zip(spot, first.centre, strict=True), color=INK, linewidth=0.7, alpha=0.5, zorder=3.5)
    draw_arrow(ax, backbones[0].east, (correlate.left, support.centre[1]), shape=labels["support"])
    y = backbones[1].centre[1]
    draw_arrow(ax, backbones[1].east, (correlate.centre[0], y), correlate.south, shape=labels["query"], at=0.45)
    layers = [place_box(ax, Box(4.95, y - 0.3, 0.85, 0.6), "attention", "trained") for y in (1.25, 2.97)]
    draw_arrow(ax, (correlate.east[0], 1.25), layers[0].west, shape=labels["correlation"])
    draw_arrow(ax, layers[0].south, layers[1].north, shape=labels["layer0"])
    bus, x = 0.36, 6.12
    draw_arrow(ax, (mask.east[0], 0.6), (1.0, 0.6), (1.0, bus), (layers[0].centre[0], bus), layers[0].north, mask=True)
    draw_arrow(ax, (layers[0].centre[0], bus), (x, bus), (x, 2.77), (layers[1].east[0], 2.77), mask=True)
    place_row(ax, 3.92, 0.8, labels["correlation"], 6)
    place_row(ax, 3.66, 2.11, labels["layer0"], 3)
    draw_heads(ax, labels, layers[1])


def place_token(ax: Axes, x: float, y: float, colour: str = TOKEN) -> Box:
    """A token, by default the class token."""
    return place_cells(ax, Box(x - 0.06, y - 0.06, 0.12, 0.12), [[colour]])


def place_row(ax: Axes, left: float, y: float, label: str, cells: int) -> None:
    """Tokens as an attention sees them: the class token, and cells, of which those inside the mask take part.

    label: the tensor's shape, which ends in the number of tokens; cells: how many are drawn in a row.
    """
    share, side = sketching.share_cells(make_example().support_mask, cells), 0.075 * cells
    colours = [[sketching.mix(sketching.PAPER, MASK, float(one > 0.2)) for one in row] for row in share]
    place_cells(ax, Box(left, y - side / 2, side, side), colours)
    place_token(ax, left - 0.14, y)
    count = isqrt(int(label.split(" · ")[-1]))
    say(ax, left + side + 0.08, y, f"1 + {count}×{count}", ha="left")


def draw_heads(ax: Axes, labels: Labels, layer: Box) -> None:
    """The class token becomes presence, the other token the map."""
    y, x = layer.centre[1], 7.27
    class_head = place_box(ax, Box(7.55, 0.57, 0.6, 0.5), "class\nhead", "trained")
    mask_head = place_box(ax, Box(7.55, y - 0.25, 0.6, 0.5), "mask\nhead", "trained")
    draw_arrow(ax, layer.east, mask_head.west, shape=labels["layer1"], at=0.42)
    draw_arrow(ax, (x, y), (x, class_head.centre[1]), class_head.west, shape=labels["token"], at=0.8)
    place_token(ax, x, class_head.centre[1] + 0.18)
    place_token(ax, x + 0.1, y, MASK)
    maps = place_maps(ax, Box(mask_head.centre[0] - SIDE / 2, 1.55, SIDE, SIDE), pile=True)
    draw_arrow(ax, mask_head.north, maps.south, shape=labels["maps"])
    presence, mask = merge_shots(ax, "mean")
    draw_arrow(ax, class_head.east, presence.west, shape=labels["class"], at=0.4)
    bend = mask.left - 0.14
    draw_arrow(ax, maps.east, (bend, maps.centre[1]), (bend, mask.centre[1]), mask.west)
