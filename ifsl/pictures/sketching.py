"""What the schematics are drawn with: boxes, arrows with the shape of a tensor on them, grids, and an example.

A sketch has no background of its own, so it is seen on a white page and on a dark one. Text is dark on a light box,
white on a dark one, or of a grey that can be read on both pages. All lengths are inches from the top left corner.

Letters: h w grid.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path
from PIL import Image
from scipy.ndimage import gaussian_filter

from ..tiny.scenes import arrange_pascal, make_class_mask, paint_plan, plan_pascal
from ..tiny.symbols import PASCAL_SYMBOLS
from . import canvas
from .canvas import DARK, DPI, HEAT, INK, LIGHT, SMALL_FONT, SOFT, WAY_COLOURS, InlineFigure

MIDDLE = "#7A7A7A"
"""A grey that can be read on a white and on a dark page."""
PAPER = "#F7F8F9"  # of labels
MASK = WAY_COLOURS[0]  # what comes from the support mask
FILLS = {"trained": DARK, "frozen": SOFT, "fixed": LIGHT}
"""Boxes with trained weights, with pretrained weights that stay as they are, and without weights."""
SHARP = 2  # pixels of a sketch for each pixel of another figure
EXAMPLE = {"support": 60, "query": 203}  # numbers of training pictures of the tiny benchmark, both show a heart
SHEET = 0.05  # inches between the sheets of a pile


class Sketch(InlineFigure):
    """A figure without a background, twice as fine as it is shown."""

    def encode(self) -> tuple[str, bytes]:
        return "png", canvas.save(self, "png", SHARP * DPI)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        width, height = (round(side * DPI) for side in self.get_size_inches())
        return super()._repr_mimebundle_(), {"image/png": {"width": width, "height": height}}


class Box(NamedTuple):
    """A rectangle in inches, and the middles of its sides."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def west(self) -> tuple[float, float]:
        return self.left, self.centre[1]

    @property
    def east(self) -> tuple[float, float]:
        return self.left + self.width, self.centre[1]

    @property
    def north(self) -> tuple[float, float]:
        return self.centre[0], self.top

    @property
    def south(self) -> tuple[float, float]:
        return self.centre[0], self.top + self.height


def make_sketch(across: float, down: float) -> tuple[Sketch, Axes]:
    """An empty sketch of a size in inches, and its axes."""
    fig, ax = canvas.make_canvas(across, down, Sketch)
    fig.set_facecolor("none")
    return fig, ax


def say(ax: Axes, x: float, y: float, text: str, **style) -> None:
    """Text on the page itself, centred, in a grey that is readable on white and on black."""
    middle = {"ha": "center", "va": "center", "fontsize": SMALL_FONT, "color": MIDDLE, "zorder": 6}
    ax.text(x, y, text, **middle | style)


def place_pile(ax: Axes, box: Box) -> None:
    """Two more sheets behind a box: there is one for each shot."""
    for step in (2, 1):
        at = box.left + step * SHEET, box.top - step * SHEET
        ax.add_patch(Rectangle(at, *box[2:], facecolor=LIGHT, edgecolor=MIDDLE, linewidth=0.8, zorder=1.5))


def place_box(ax: Axes, box: Box, text: str, kind: str = "fixed", turned: bool = False) -> Box:
    """A rounded box with centred text; kind: one of `FILLS`; turned: the text reads upwards. Returns the box."""
    dark = kind == "trained"
    fill, edge = FILLS[kind], SOFT if dark else MIDDLE
    shape = FancyBboxPatch(
        box[:2], *box[2:], "round,pad=0,rounding_size=0.06", facecolor=fill, edgecolor=edge, linewidth=0.9, zorder=2
    )
    shape.set_gid("box")
    ax.add_patch(shape)
    style = {"color": "white" if dark else INK, "rotation": 90 if turned else 0, "linespacing": 1.15}
    say(ax, *box.centre, text, **style)
    return box


def place_panel(ax: Axes, box: Box, note: str, sheets: int = 2) -> Box:
    """A pale area with sheets behind it: what happens once for each shot. The note is in its top right corner."""
    for step in range(sheets, -1, -1):
        at = box.left + step * SHEET, box.top - step * SHEET
        ax.add_patch(
            FancyBboxPatch(
                at, *box[2:], "round,pad=0,rounding_size=0.1", zorder=-step,
                facecolor=(0.5, 0.5, 0.5, 0.09 if step == 0 else 0), edgecolor=(0.5, 0.5, 0.5, 0.75 - 0.2 * step),
                linewidth=1, linestyle="-",
            )
        )  # fmt: skip
    if note:
        say(ax, box.left + box.width - 0.1, box.top + 0.15, note, ha="right", style="italic")
    return box


def draw_arrow(
    ax: Axes,
    *points: tuple[float, float],
    shape: str | None = None,
    at: float = 0.5,
    of: int = 0,
    mask: bool = False,
    head: bool = True,
    over: bool = False,
) -> None:
    """An arrow along points, in the support mask's colour if it carries the mask.

    shape: a label on its piece number `of`, at a share `at` of that; head: whether the arrow ends in a head; over:
    whether it lies over boxes.
    """
    style = "-|>,head_length=4,head_width=2" if head else "-"
    order = 4 if over else 1.8 if mask else 1.7
    ax.add_patch(
        FancyArrowPatch(
            path=Path(points), arrowstyle=style, mutation_scale=1.2, color=MASK if mask else MIDDLE,
            linewidth=2.0 if mask else 1.4, joinstyle="round", capstyle="butt", zorder=order,
        )
    )  # fmt: skip
    if shape:
        (x0, y0), (x1, y1) = points[of : of + 2]
        place_label(ax, x0 + at * (x1 - x0), y0 + at * (y1 - y0), shape)


def place_label(ax: Axes, x: float, y: float, text: str) -> None:
    """A label with dark text."""
    pill = {"boxstyle": "round,pad=0.22,rounding_size=0.4", "facecolor": PAPER, "edgecolor": MIDDLE, "linewidth": 0.6}
    say(ax, x, y, text, color=INK, bbox=pill)


def place_sign(ax: Axes, x: float, y: float, sign: str, mask: bool = False, radius: float = 0.12) -> Box:
    """A small disc with a sign such as × or +, in the mask's colour if the mask enters there. Returns its square."""
    disc = Circle((x, y), radius, facecolor=MASK if mask else LIGHT, edgecolor=MIDDLE, linewidth=0.9, zorder=3)
    disc.set_gid("box")
    ax.add_patch(disc)
    say(ax, x, y, sign, fontsize=11, color=INK, va="center_baseline")
    return Box(x - radius, y - radius, 2 * radius, 2 * radius)


def place_picture(ax: Axes, box: Box, image: np.ndarray, mask: np.ndarray | None = None, pile: bool = False) -> Box:
    """An image (H, W, 3), with its mask (H, W) over it; pile: there is one for each shot. Returns the box."""
    if pile:
        place_pile(ax, box)
    canvas.place_image(ax, box, image, mask, SHARP)
    return frame(ax, box)


def place_mask(ax: Axes, box: Box, mask: np.ndarray, pile: bool = False) -> Box:
    """A mask (H, W) of 0 and 1 as an image: the way's colour on grey. Returns the box."""
    return place_picture(
        ax, box, np.where(mask[..., None] > 0, canvas.rgb(MASK), canvas.rgb(LIGHT)).astype(np.uint8), pile=pile
    )


def place_map(ax: Axes, box: Box, values: np.ndarray) -> Box:
    """A map (h, w) of values 0…1 as cells. Returns the box."""
    left, top, width, height = box
    extent = (left, left + width, top + height, top)
    ax.imshow(values, extent=extent, aspect="auto", cmap=HEAT, vmin=0, vmax=1, interpolation="nearest", zorder=2)
    return frame(ax, box)


def frame(ax: Axes, box: Box) -> Box:
    edge = Rectangle(box[:2], *box[2:], fill=False, edgecolor=MIDDLE, linewidth=0.8, zorder=2.5)
    edge.set_gid("box")
    ax.add_patch(edge)
    return box


def place_cells(ax: Axes, box: Box, colours: Sequence[Sequence[str]]) -> Box:
    """A grid of coloured cells, row by row, with white lines between them. Returns the box."""
    rows, columns = len(colours), len(colours[0])
    width, height = box.width / columns, box.height / rows
    cells = [
        Rectangle((box.left + j * width, box.top + i * height), width, height)
        for i in range(rows)
        for j in range(columns)
    ]
    flat = [colour for row in colours for colour in row]
    ax.add_collection(PatchCollection(cells, facecolor=flat, edgecolor="white", linewidth=0.7, zorder=3))
    return box


def place_comparison(
    ax: Axes, support: Box, query: Box, weights: np.ndarray | None, spot: tuple[int, int] = (1, 1)
) -> None:
    """A cell of the query grid with lines to all cells of the support grid, which is above it.

    weights: how much of each support cell is inside the mask, (h, w), where the mask has entered already: those cells
    have its colour. spot: row and column of the query's cell.
    """
    rows = columns = 5 if weights is None else len(weights)
    known = np.zeros((rows, columns)) if weights is None else weights
    plain = SOFT if weights is None else PAPER
    place_cells(ax, support, [[mix(plain, MASK, share) for share in row] for row in known])
    place_cells(ax, query, [[INK if (i, j) == spot else SOFT for j in range(columns)] for i in range(rows)])
    step = query.width / columns
    start = query.left + (spot[1] + 0.5) * step, query.top + (spot[0] + 0.5) * step
    for (i, j), share in np.ndenumerate(known):
        end = support.left + (j + 0.5) * support.width / columns, support.top + (i + 0.5) * support.height / rows
        strong = weights is None or share > 0.45
        style = {"linewidth": 0.7 if strong else 0.4, "alpha": 0.5 if strong else 0.13}
        ax.plot(*zip(start, end, strict=True), color=INK, zorder=3.5, **style)


# The example ----------------------------------------------------------------------------------------------------------


class Example(NamedTuple):
    """A class, and a support and a query that show it: images (S, S, 3) uint8 and their masks (S, S) bool."""

    name: str
    support: np.ndarray
    support_mask: np.ndarray
    query: np.ndarray
    query_mask: np.ndarray


@cache
def make_example() -> Example:
    """Two pictures of the tiny benchmark, painted anew: no file is read."""
    plans = plan_pascal("trn", max(EXAMPLE.values()) + 1, seed=0)
    name, found = "heart", []
    for number in EXAMPLE.values():
        scene = arrange_pascal(plans[number])
        inside = make_class_mask(scene) == 1 + [symbol.name for symbol in PASCAL_SYMBOLS].index(name)
        found += cut_square(paint_plan(plans[number], scene), inside)
    return Example(name, *found)


def cut_square(image: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest square of an image (H, W, 3) and of its mask (H, W), on the side where the mask is."""
    side = min(inside.shape)
    middle = np.argwhere(inside).mean(axis=0)
    top, left = (int(np.clip(m - side / 2, 0, n - side)) for m, n in zip(middle, inside.shape, strict=True))
    window = slice(top, top + side), slice(left, left + side)
    return image[window], inside[window]


def guess_map(mask: np.ndarray, side: int = 12) -> np.ndarray:
    """What a learner's foreground map might look like for a true mask (S, S): (side, side), 0…1."""
    return 0.05 + 0.9 * gaussian_filter(share_cells(mask, side), 0.55)


def share_cells(mask: np.ndarray, side: int) -> np.ndarray:
    """How much of each cell of a grid a mask (S, S) covers: (side, side), 0…1."""
    small = Image.fromarray((255 * mask).astype(np.uint8)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small) / 255


def mix(one: str, other: str, share: float) -> tuple[float, ...]:
    """A colour between two: `share` of the second."""
    return tuple((1 - share) * np.array(to_rgb(one)) + share * np.array(to_rgb(other)))
