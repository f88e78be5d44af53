"""The whole system as one schematic (chapter 00, and small at the head of chapters 03 to 10).

It shows one query and one class of an episode; the other classes are treated in the same way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.text import Text
from PIL import Image

from ..errors import InputError, shown
from . import canvas, sketching
from .canvas import FONT, WIDTH, InlineFigure
from .sketching import MASK, MIDDLE, Box, Example, draw_arrow, guess_map, say

MARK = "#3F7FBF"  # round a highlighted part: a blue that is seen on a white and on a dark page


class Layout(NamedTuple):
    """The areas of the parts, their names included; the middles of the rows of support and query; an image's side."""

    areas: dict[str, Box]
    rows: tuple[float, float]
    side: float
    small: bool

    def cut(self, part: str, row: int, width: float | None = None, height: float | None = None) -> Box:
        """A box in the middle of a part and of a row, by default a square as large as an image."""
        width, height = width or self.side, height or self.side
        return Box(self.areas[part].centre[0] - width / 2, self.rows[row] - height / 2, width, height)


def lay_out(small: bool) -> Layout:
    top, down, upper = (0.04, 1.84, 0.96) if small else (0.04, 3.46, 1.66)
    areas = {
        "images": Box(0.05, top, 1.25, down),
        "backbone": Box(1.65, top, 1.75, down),
        "comparison": Box(3.75, top, 1.8, down),
        "maps": Box(5.95, top, 1.25, down),
        "presence": Box(7.65, top, 1.8, upper),
        "mask": Box(7.65, top + upper + 0.08, 1.8, down - upper - 0.08),
    }
    return Layout(areas, (0.82, 1.5) if small else (1.14, 2.48), 0.56 if small else 0.92, small)


def draw_system(part: str | Sequence[str] | None = None, small: bool | None = None) -> InlineFigure:
    """From two images to an answer: backbone, comparison, maps, and presence and mask, which both come from the maps.

    part: one or several of `PARTS` to highlight; the others are pale. small: low and without notes, for the head of a
    chapter; by default where a part is highlighted. Raises `InputError` for an unknown part.
    """
    wanted = PARTS if part is None else (part,) if isinstance(part, str) else tuple(part)
    for one in wanted:
        if one not in PARTS:
            raise InputError(f"There is no part {shown(one)}; choose from {', '.join(PARTS)}.")
    layout = lay_out(part is not None if small is None else small)
    area = layout.areas["images"]
    fig, ax = sketching.make_sketch(WIDTH, area.height + 2 * area.top)
    for name, (draw, note) in PARTS.items():
        with dimmed(ax, name not in wanted):
            draw(ax, layout, sketching.make_example())
            if name in layout.areas:
                add_words(ax, layout, name, note)
        if part is not None and name in wanted and name in layout.areas:
            highlight(ax, layout.areas[name])
    return fig


@contextmanager
def dimmed(ax: Axes, pale: bool) -> Iterator[None]:
    """Makes pale what is drawn inside; text stays readable."""
    before = set(ax.get_children())
    yield
    for artist in set(ax.get_children()) - before if pale else ():
        if isinstance(artist, Text):
            artist.set_color(MIDDLE)
            if artist.get_bbox_patch():
                artist.get_bbox_patch().set_alpha(0.15)
        else:
            artist.set_alpha(0.22 * (artist.get_alpha() or 1))


def highlight(ax: Axes, area: Box) -> None:
    """A blue area behind a part."""
    style = {"facecolor": (*canvas.rgb(MARK) / 255, 0.12), "edgecolor": MARK, "linewidth": 1.8}
    ax.add_patch(FancyBboxPatch(area[:2], *area[2:], "round,pad=0,rounding_size=0.08", zorder=0.5, **style))


def add_words(ax: Axes, layout: Layout, name: str, note: str) -> None:
    """The name of a part above it (of a small mask, beside it), and a note below it where there is room."""
    area = layout.areas[name]
    x, y = area.centre[0], area.top + 0.16
    if layout.small and name == "mask":
        x, y = area.left + 1.3, layout.rows[1]
    say(ax, x, y, name, fontsize=FONT, fontweight="bold")
    if not layout.small:
        say(ax, x, area.top + area.height - 0.23, note, linespacing=1.2)


# The parts ------------------------------------------------------------------------------------------------------------


def draw_images(ax: Axes, layout: Layout, example: Example) -> None:
    """The support with its mask, and the query."""
    support = canvas.fade(example.support, example.support_mask)
    sketching.place_picture(ax, layout.cut("images", 0), support, example.support_mask)
    sketching.place_picture(ax, layout.cut("images", 1), example.query)
    if not layout.small:
        for row, text in enumerate(("support", "query")):
            say(ax, layout.areas["images"].centre[0], layout.cut("images", row).top - 0.11, text)


def draw_backbone(ax: Axes, layout: Layout, example: Example) -> None:
    """One network for both images: each becomes grids of features, from fine to coarse."""
    tall = layout.side + 0.14
    top = layout.rows[0] - tall / 2
    width = layout.areas["backbone"].width - 0.1
    box = layout.cut("backbone", 0, width, tall)._replace(top=top, height=layout.rows[1] + tall / 2 - top)
    sketching.place_box(ax, box, "", "frozen")
    sides = layout.side * np.array([0.74, 0.48, 0.26])
    gap = (width - sides.sum()) / 4
    for row, image in enumerate((example.support, example.query)):
        draw_arrow(ax, layout.cut("images", row).east, (box.left, layout.rows[row]))
        left = box.left + gap
        for side, cells in zip(sides, (8, 4, 2), strict=True):
            colours = np.asarray(Image.fromarray(image).resize((cells, cells), Image.Resampling.BOX)) / 255
            sketching.place_map(ax, Box(left, layout.rows[row] - side / 2, side, side), colours)
            left += side + gap


def draw_comparison(ax: Axes, layout: Layout, example: Example) -> None:
    """Each cell of the query against each cell of the support; the mask says which of those are of the class."""
    tall = layout.side + 0.14
    top = layout.rows[0] - tall / 2
    box = layout.cut("comparison", 0, 1.6, tall)._replace(top=top, height=layout.rows[1] + tall / 2 - top)
    sketching.place_box(ax, box, "")
    side = 0.86 * layout.side
    grids = [layout.cut("comparison", row, side, side)._replace(left=box.left + 0.62 - side / 2) for row in (0, 1)]
    sketching.place_comparison(ax, *grids, sketching.share_cells(example.support_mask, 5))
    slab = Box(box.left + box.width - 0.42, box.top + 0.1, 0.32, box.height - 0.2)
    sketching.place_box(ax, slab, "trained layers", "trained", turned=True)
    draw_arrow(ax, (grids[0].east[0] + 0.04, slab.centre[1]), slab.west, over=True)
    for row in layout.rows:
        right = layout.areas["backbone"].east[0] - 0.05
        draw_arrow(ax, (right, row), (box.left, row))


def draw_support_mask(ax: Axes, layout: Layout, example: Example) -> None:
    """The way of the support mask past the backbone into the comparison."""
    start, end = layout.cut("images", 0), layout.cut("comparison", 0, None, layout.side + 0.14)
    height, x = end.top - 0.15, layout.areas["comparison"].centre[0] - 0.8 + 0.62
    draw_arrow(ax, (start.east[0], start.top + 0.06), (start.east[0] + 0.12, start.top + 0.06),
               (start.east[0] + 0.12, height), (x, height), (x, end.top), mask=True)  # fmt: skip
    backbone = layout.areas["backbone"]
    middle = backbone.left + 0.05 if layout.small else backbone.centre[0]  # in small, left of the title
    sketching.place_label(ax, middle, height, "support mask")


def draw_maps(ax: Axes, layout: Layout, example: Example) -> None:
    """A map for the class and one for its background."""
    right = layout.areas["comparison"].centre[0] + 1.6 / 2
    found = guess_map(example.query_mask)
    for row, (values, text) in enumerate(((found, "foreground"), (1 - found, "background"))):
        box = layout.cut("maps", row)
        sketching.place_map(ax, box, values)
        draw_arrow(ax, (right, layout.rows[row]), box.west)
        if not layout.small:
            say(ax, box.centre[0], box.top - 0.11, text)


def draw_presence(ax: Axes, layout: Layout, example: Example) -> None:
    """The class is present where one cell of its map is above one half."""
    source = layout.cut("maps", 0)
    found = guess_map(example.query_mask)
    row, column = np.unravel_index(found.argmax(), found.shape)
    step = source.width / len(found)
    spot = source.left + (column + 0.5) * step, source.top + (row + 0.5) * step
    ax.add_patch(Circle(spot, 0.9 * step, fill=False, edgecolor=MASK, linewidth=1.6, zorder=4))
    box = layout.cut("presence", 0, 1.2, 0.34)._replace(top=spot[1] - 0.17)
    draw_arrow(ax, (spot[0] + 0.9 * step, spot[1]), box.west, over=True)
    sketching.place_box(ax, box, "")
    canvas.place_number(ax, box.left + 0.22, box.centre[1], 1)
    say(ax, box.left + 0.7, box.centre[1], f"{example.name}: yes", color=canvas.INK)


def draw_mask(ax: Axes, layout: Layout, example: Example) -> None:
    """Each pixel gets the label of the larger map."""
    box = layout.cut("mask", 1)
    if layout.small:
        box = box._replace(left=layout.areas["mask"].left + 0.25)
    for row in (0, 1):
        source = layout.cut("maps", row)
        y = layout.rows[1] if row else source.top + 0.8 * source.height
        bend = source.east[0] + 0.22
        if row:
            draw_arrow(ax, (source.east[0], y), box.west)
        else:
            draw_arrow(ax, (source.east[0], y), (bend, y), (bend, layout.rows[1]), head=False)
    sketching.place_picture(ax, box, example.query, example.query_mask)


Draw = Callable[[Axes, Layout, Example], None]
PARTS: dict[str, tuple[Draw, str]] = {
    "images": (draw_images, "3 · S×S each"),
    "backbone": (draw_backbone, "pretrained and frozen:\nfeatures, fine to coarse"),
    "comparison": (draw_comparison, "each query cell with\neach support cell"),
    "support mask": (draw_support_mask, ""),
    "maps": (draw_maps, "2 · h×w: for each cell,\nis it the class?"),
    "presence": (draw_presence, "the largest foreground\nvalue is at least 0.5"),
    "mask": (draw_mask, "in each pixel the\nlarger map wins"),
}
"""The parts of the system in the order of its arrows: what draws each, and the note under it."""
