"""What the block diagrams of several learners have in common: inputs, backbones, and from maps to the answers."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle

from . import canvas, sketching
from .canvas import INK, LINES, WIDTH
from .sketching import (
    FILLS,
    MASK,
    MIDDLE,
    Box,
    draw_arrow,
    guess_map,
    make_example,
    place_box,
    place_map,
    place_mask,
    place_picture,
    say,
)

SIDE = 0.66  # inches, of an image
RIGHT = 9.05  # inches, the middle of the column of answers
TOKEN = LINES[5]
"""The colour of a class token."""
Labels = dict[str, str]
"""The shapes to write on a diagram, by name."""
Draw = Callable[[Axes, Labels, str], None]
"""Draws the learner of a method, given its labels."""


def add_legend(ax: Axes, y: float, note: str, tokens: bool) -> None:
    """What the colours of boxes and lines mean, in a row at a height, and which backbone the shapes are of."""
    fills = [patch.get_facecolor() for patch in ax.patches if patch.get_gid() == "box"]
    names = {"trained": "trained", "frozen": "pretrained, frozen", "fixed": "no weights"}
    kinds = {names[kind]: fill for kind, fill in FILLS.items() if any(same_color(fill, one) for one in fills)}
    kinds["support mask"] = MASK
    if tokens:
        kinds["class token"] = TOKEN
    left = 0.1
    for text, colour in kinds.items():
        ax.add_patch(Rectangle((left, y - 0.07), 0.24, 0.14, facecolor=colour, edgecolor=MIDDLE, linewidth=0.8))
        say(ax, left + 0.32, y, text, ha="left")
        left += 0.62 + 0.068 * len(text)
    say(ax, WIDTH - 0.1, y, note, ha="right")


def place_inputs(
    ax: Axes, mask_top: float, support_top: float, query_top: float, aside: str = ""
) -> tuple[Box, Box, Box]:
    """The support mask, the support and the query, with their names below them; `aside` is beside an arrow there."""
    example = make_example()
    boxes = [Box(0.22, top, SIDE, SIDE) for top in (mask_top, support_top, query_top)]
    place_mask(ax, boxes[0], example.support_mask)
    place_picture(ax, boxes[1], example.support)
    place_picture(ax, boxes[2], example.query)
    for box, name in zip(boxes, ("mask", "support", "query"), strict=True):
        x = box.centre[0] + (0.34 if name == aside else 0)
        say(ax, x, box.top + SIDE + 0.11, name)
    return tuple(boxes)


def place_backbones(
    ax: Axes, sources: list[Box], text: str = "backbone", kind: str = "frozen", shift: float = 0
) -> list[Box]:
    """A backbone beside each image; a dotted line says that it is the same one."""
    boxes = []
    for source in sources:
        box = Box(1.15, source.centre[1] - 0.45, 0.34, 0.9)
        boxes.append(place_box(ax, box, text, kind, turned=True))
        draw_arrow(ax, source.east, box.west)
    for above, below in zip(boxes, boxes[1:], strict=False):
        x = above.centre[0] + shift
        ax.plot([x, x], [above.south[1], below.top], color=MIDDLE, linewidth=1.6, linestyle=":", zorder=1.6)
    return boxes


def place_maps(ax: Axes, box: Box, pile: bool) -> Box:
    """The map of the class; pile: there is one for each shot."""
    if pile:
        sketching.place_pile(ax, box)
    return place_map(ax, box, guess_map(make_example().query_mask))


def place_answers(ax: Axes, presence_y: float, mask_y: float, above: bool = False) -> tuple[Box, Box]:
    """Presence and mask at two heights in the right column, with their names; above: that of presence is above it."""
    example = make_example()
    presence = place_box(ax, Box(RIGHT - 0.4, presence_y - 0.17, 0.8, 0.34), "")
    canvas.place_number(ax, RIGHT - 0.2, presence_y, 1)
    say(ax, RIGHT + 0.13, presence_y, "yes", color=INK)
    mask = place_picture(ax, Box(RIGHT - SIDE / 2, mask_y - SIDE / 2, SIDE, SIDE), example.query, example.query_mask)
    say(ax, RIGHT, presence_y - 0.29 if above else presence_y + 0.29, "presence")
    say(ax, RIGHT, mask.top + SIDE + 0.12, "mask")
    return presence, mask


def merge_shots(ax: Axes, presence_by: str) -> tuple[Box, Box]:
    """Where the shots are merged, into presence and into the mask: the boxes to draw arrows to."""
    presence, mask = place_answers(ax, 1.62, 3.22)
    boxes = [place_box(ax, Box(RIGHT - 0.4, top, 0.8, 0.5), f"{by} of\nK shots")
             for top, by in ((0.57, presence_by), (2.15, "mean"))]  # fmt: skip
    draw_arrow(ax, boxes[0].south, presence.north)
    draw_arrow(ax, boxes[1].south, mask.north)
    return tuple(boxes)


def place_maps_and_answers(ax: Axes, source: Box, label: str, presence_y: float = 0.95) -> None:
    """From logits to the maps, and from them to presence and mask, where the shots were merged before."""
    y = source.centre[1]
    presence, mask = place_answers(ax, presence_y, y, above=True)
    maps = place_maps(ax, Box(RIGHT - SIDE / 2, (presence_y + y) / 2 - SIDE / 2, SIDE, SIDE), pile=False)
    draw_arrow(ax, source.east, (RIGHT - 0.62, y), (RIGHT - 0.62, maps.centre[1]), maps.west, shape=label)
    draw_arrow(ax, maps.north, (RIGHT, presence.south[1]))
    draw_arrow(ax, maps.south, mask.north)
