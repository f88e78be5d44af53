"""A block diagram for each learner: what is compared, where the mask enters, how shots merge (chapters 05 to 10).

A pale panel with sheets behind it happens once for each of the K shots; arrows leave it to where the shots are merged.
Orange lines carry the support mask. The labels on the arrows are tensor shapes of one episode with one class, and one
shot inside the panel (see `shapes`).
"""

from matplotlib.axes import Axes

from ..errors import InputError, shown
from . import sketching
from .canvas import BACKGROUND, INK, SOFT, WIDTH, InlineFigure
from .correlation_diagrams import draw_correlations, draw_tokens
from .diagram_pieces import Draw, Labels, add_legend, place_backbones, place_inputs, place_maps_and_answers
from .shapes import TOKENS, compute_shapes, find_facts, write_shape
from .sketching import MASK, Box, draw_arrow, make_example, place_box, place_cells, place_panel, place_sign, say


def draw_learner(method: str, backbone: str | None = None) -> InlineFigure:
    """The block diagram of a learner, from a support, its mask and a query to presence and mask.

    backbone: the one whose tensor shapes are written on the arrows, by default the published one (resnet50, or the
    vision transformer of cst and emat). Raises `InputError` for a learner that has no diagram and for a backbone that
    does not exist.
    """
    if method not in DIAGRAMS:
        raise InputError(f"There is no diagram of {shown(method)}; choose one of {', '.join(DIAGRAMS)}.")
    draw, down = DIAGRAMS[method]
    name, facts = find_facts(method, backbone)
    labels = {key: write_shape(shape) for key, shape in compute_shapes(method, name).items()}
    fig, ax = sketching.make_sketch(WIDTH, down + 0.42)
    draw(ax, labels, method)
    add_legend(ax, down + 0.2, f"{name}, images of {facts.image_size}×{facts.image_size}", method in TOKENS)
    return fig


# PANet ----------------------------------------------------------------------------------------------------------------


def draw_panet(ax: Axes, labels: Labels, method: str) -> None:
    """Query cells are compared with two means of support cells, inside the mask and outside, over all shots."""
    place_panel(ax, Box(0.08, 0.15, 4.42, 2.42), "each of K shots")
    mask, support, query = place_inputs(ax, 0.42, 1.5, 3.0)
    backbones = place_backbones(ax, [support, query], kind="trained")
    share = sketching.share_cells(make_example().support_mask, 6)
    cells = place_cells(
        ax, Box(3.3, 1.43, 0.8, 0.8), [[MASK if one > 0 else BACKGROUND for one in row] for row in share]
    )
    draw_arrow(ax, backbones[0].east, cells.west, shape=labels["features"])
    draw_arrow(ax, mask.east, (cells.centre[0], mask.centre[1]), cells.north, mask=True)
    mean = place_box(ax, Box(4.85, 1.38, 1.0, 0.9), "means over\nthe cells of\nall K shots")
    draw_arrow(ax, cells.east, mean.west)
    bars = [Box(6.8 + 0.32 * i, 1.38, 0.16, 0.9) for i in (0, 1)]
    for bar, colour in zip(bars, (MASK, BACKGROUND), strict=True):
        place_cells(ax, bar, [[colour]] * 6)
    say(ax, 7.04, 1.24, "prototypes")
    draw_arrow(ax, mean.east, bars[0].west, shape=labels["prototypes"])
    cosine = place_box(ax, Box(6.5, 2.72, 1.08, 1.08), "")
    grid = Box(cosine.centre[0] - 0.36, 2.84, 0.72, 0.72)
    place_cells(ax, grid, [[INK if (i, j) == (2, 2) else SOFT for j in range(6)] for i in range(6)])
    for bar in bars:
        draw_arrow(ax, (grid.left + 2.5 * 0.12, grid.top + 2.5 * 0.12), bar.south, over=True)
    say(ax, cosine.centre[0], 3.68, "20 × cosine", color=INK)
    draw_arrow(ax, backbones[1].east, (cosine.left, backbones[1].centre[1]), shape=labels["features"])
    place_maps_and_answers(ax, cosine._replace(top=backbones[1].centre[1] - cosine.height / 2), labels["maps"])


# PFENet ---------------------------------------------------------------------------------------------------------------


def draw_pfenet(ax: Axes, labels: Labels, method: str) -> None:
    """The class's mean vector and a prior map, both means over the shots, are merged with the query on four grids."""
    place_panel(ax, Box(0.08, 0.15, 5.85, 3.55), "")
    say(ax, 0.2, 2.6, "each of\nK shots", ha="left", style="italic")
    mask, support, query = place_inputs(ax, 1.5, 0.42, 4.04)
    backbones = place_backbones(ax, [support, query], "up to layer3", shift=-0.08)
    top, low = support.centre[1], 2.75
    inside = place_box(ax, Box(4.75, top - 0.25, 0.85, 0.5), "mean inside\nthe mask")
    reduce_support = place_box(ax, Box(2.85, top - 0.22, 0.6, 0.44), "1×1\nconv", "trained")
    draw_arrow(ax, backbones[0].east, reduce_support.west, shape=labels["middle"])
    draw_arrow(ax, reduce_support.east, inside.west, shape=labels["reduced"])
    before, after = place_sign(ax, 2.72, low, "×", mask=True), place_sign(ax, 3.84, low, "×", mask=True)
    deep = place_box(ax, Box(3.0, low - 0.2, 0.55, 0.4), "layer4", "frozen")
    cosine = place_box(ax, Box(4.15, 2.02, 0.6, 1.5), "")
    say(ax, cosine.centre[0], 2.15, "cosine", color=INK)
    share = sketching.share_cells(make_example().support_mask, 5)
    sketching.place_comparison(ax, Box(4.23, 2.27, 0.44, 0.44), Box(4.23, 3.0, 0.44, 0.44), share)
    best = place_box(ax, Box(4.97, low - 0.25, 0.82, 0.5), "largest,\nscaled 0…1")
    x = backbones[0].centre[0] + 0.08
    draw_arrow(ax, (x, backbones[0].south[1]), (x, low), before.west, shape=labels["layer3"], of=1, at=0.45)
    for one, other in ((before, deep), (deep, after), (after, cosine), (cosine, best)):
        draw_arrow(ax, (one.east[0], low), (other.left, low))
    y = mask.centre[1]
    for target in (before.north, after.north, inside.south):
        draw_arrow(ax, mask.east, (target[0], y), target, mask=True)
    means = [place_box(ax, Box(6.13, y - 0.25, 0.72, 0.5), "mean of\nK shots") for y in (top, low)]
    draw_arrow(ax, inside.east, means[0].west)
    draw_arrow(ax, best.east, means[1].west)
    upper, lower = query.centre[1] - 0.24, query.centre[1] + 0.24
    deep_query = place_box(ax, Box(3.0, upper - 0.2, 0.55, 0.4), "layer4", "frozen")
    reduce_query = place_box(ax, Box(2.98, lower - 0.2, 0.6, 0.42), "1×1\nconv", "trained")
    draw_arrow(ax, (backbones[1].east[0], upper), deep_query.west, shape=labels["layer3"])
    draw_arrow(ax, deep_query.east, (cosine.centre[0], upper), cosine.south, shape=labels["layer4"], of=1, at=0.38)
    draw_arrow(ax, (backbones[1].east[0], lower), (reduce_query.left, lower), shape=labels["middle"])
    grids = draw_enrichment(ax, means, low)
    draw_arrow(ax, means[0].east, (grids.centre[0], top), grids.north, shape=labels["vector"], of=1, at=0.4)
    draw_arrow(ax, means[1].south, (means[1].centre[0], 3.35), (grids.left, 3.35), shape=labels["prior"], of=0, at=0.5)
    draw_arrow(
        ax, (reduce_query.east[0], lower), (grids.centre[0], lower), grids.south, shape=labels["reduced"], at=0.5
    )
    place_maps_and_answers(ax, grids, labels["maps"])


def draw_enrichment(ax: Axes, means: list[Box], y: float) -> Box:
    """Four grids, from fine to coarse, in one trained box."""
    box = place_box(ax, Box(7.03, 1.55, 0.7, 2.4), "", "trained")
    top = box.top + 0.14
    for side, cells in ((0.6, 8), (0.5, 5), (0.38, 3), (0.26, 2)):
        place_cells(ax, Box(box.centre[0] - side / 2, top, side, side), [[SOFT] * cells] * cells)
        top += side + 0.12
    return box


DIAGRAMS: dict[str, tuple[Draw, float]] = {
    "panet": (draw_panet, 3.9),
    "pfenet": (draw_pfenet, 5.0),
    "hsnet": (draw_correlations, 5.0),
    "asnet": (draw_correlations, 5.0),
    "asnethm": (draw_correlations, 5.0),
    "cst": (draw_tokens, 5.0),
    "emat": (draw_tokens, 5.0),
}
"""What draws each learner, and its height in inches without the legend."""
