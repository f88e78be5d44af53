"""Stickers of the tiny benchmark: symbols cut out of a font, and the places that they take in a picture.

Which pixels belong to which sticker is computed with whole numbers only, from the font's outlines to the counted
sub-pixels, and with NumPy's legacy random stream, which never changes. So a seed gives the same masks on every machine.
How stickers are painted is in `paint`.

Letters: H W picture height and width, P points of an outline.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Longer side of a symbol, least and most, in units of the picture's shorter side, by the number of stickers.
SIDE = {1: (0.62, 0.86), 2: (0.50, 0.68), 3: (0.42, 0.56), 4: (0.36, 0.46)}
TURN = 40  # largest turn either way, degrees
SHEAR = 0.22  # largest slant either way
STRETCH = 0.14  # largest relative widening or narrowing
RIM = 0.022  # width of the border round a sticker, of its size
VISIBLE = 0.62  # least share of a sticker that stays uncovered and inside the picture
LEAST_AREA = 0.02  # least share of the picture that each sticker shows
OVERLAP_TRIES = 3  # places tried for each sticker, the one with least overlap is taken: fewer gives more overlap
DECOYS = (0, 3)  # least and (excluded) most decoys in a picture: stickers of no class, in the look of one that it shows
DECOY_SIDE = (0.24, 0.42)  # longer side of a decoy, least and most, in units of the picture's shorter side
DECOY_TRIES = 10  # places tried for each decoy
TEXTURES = ("plain", "stripes", "checks", "dots", "clouds")
CLUTTER_CODES = (0x25CF, 0x25B2, 0x25A0, 0x2B1F, 0x25C6, 0x271A, 0x2716, 0x25C9, 0x25B6, 0x2B22)  # shapes of no class

CELLS = 4  # sub-pixels that a pixel is cut into, in each direction
UNIT = 16  # coordinates of outlines are whole multiples of 1/UNIT of a sub-pixel
CURVE = 8  # straight pieces that replace one curve of an outline
FONT_SCALE = 128  # flattened outlines are whole multiples of 1/128 font unit


@dataclass(frozen=True)
class Symbol:
    """A symbol of DejaVu Sans: its name, code point, and how its outline is cut out.

    cut: "ink" keeps the glyph, so its holes show what is behind; "line" fills an outlined glyph and paints its lines in
    a dark tone; "hole" fills a solid glyph and paints its holes in a dark tone.
    """

    name: str
    code: int
    cut: str = "ink"


@dataclass(frozen=True)
class Look:
    """What a sticker looks like: hue in turns, texture, and whether its second tone is darker than its first."""

    hue: float
    texture: str
    dark: bool


@dataclass
class Sticker:
    """One symbol in its place: its class id, and its coverage in sub-pixels, 0 to CELLS**2, as (H, W) uint8.

    A decoy's class id is 0. The look is chosen when the sticker has its place.
    """

    class_id: int
    cover: np.ndarray  # the whole sticker with its border
    body: np.ndarray  # without the border
    lines: np.ndarray  # the dark lines inside
    degrees: int
    size: float  # longer side in pixels
    look: Look | None = None


@dataclass
class Scene:
    """Stickers from the back to the front, and `owner` (H, W) uint8: which one each pixel shows, 0 none, n the n-th.

    decoys: what lies behind all stickers and belongs to no class.
    """

    shape: tuple[int, int]
    stickers: list[Sticker]
    owner: np.ndarray
    decoys: list[Sticker]


def find_font(bold: bool = False) -> Path:
    """The file of the DejaVu Sans that comes with matplotlib (without importing matplotlib)."""
    package = importlib.util.find_spec("matplotlib").submodule_search_locations[0]
    return Path(package) / "mpl-data" / "fonts" / "ttf" / f"DejaVuSans{'-Bold' * bold}.ttf"


@functools.cache
def _font():
    from fontTools.ttLib import TTFont

    return TTFont(find_font())


@functools.cache
def trace_outline(code: int) -> tuple[np.ndarray, ...]:
    """Closed contours of a glyph: each (P, 2) int64, x right and y down, in 1/FONT_SCALE font unit, centred on 0."""
    from fontTools.pens.basePen import BasePen

    contours: list[list[tuple[float, float]]] = []

    class Flatten(BasePen):
        def _moveTo(self, point):
            contours.append([point])

        def _lineTo(self, point):
            contours[-1].append(point)

        def _qCurveToOne(self, control, end):
            (x0, y0), (x1, y1), (x2, y2) = contours[-1][-1], control, end
            for k in range(1, CURVE + 1):  # exact: all values are multiples of 1/128
                a, b, c = (CURVE - k) ** 2, 2 * k * (CURVE - k), k * k
                contours[-1].append(((a * x0 + b * x1 + c * x2) / CURVE**2, (a * y0 + b * y1 + c * y2) / CURVE**2))

    glyphs = _font().getGlyphSet()
    glyphs[_font().getBestCmap()[code]].draw(Flatten(glyphs))
    points = [np.rint(np.array(c) * (FONT_SCALE, -FONT_SCALE)).astype(np.int64) for c in contours]
    every = np.concatenate(points)
    centre = (every.min(0) + every.max(0)) // 2
    return tuple(p - centre for p in points)


def count_windings(contours: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """How often the contours run round the centre of each cell of a grid: (height, width) int8, exact.

    contours: each (P, 2) int64 (x, y) in 1/UNIT of a cell. Every edge adds +-1 to the cells to the right of where it
    crosses a row's centre line; the running sum along the row is the winding number.
    """
    start = np.concatenate(contours)
    end = np.concatenate([np.roll(c, -1, axis=0) for c in contours])
    sign = np.sign(end[:, 1] - start[:, 1])
    low = np.where(sign[:, None] >= 0, start, end)
    high = np.where(sign[:, None] >= 0, end, start)
    first = np.clip(-((UNIT // 2 - low[:, 1]) // UNIT), 0, height)
    last = np.clip(-((UNIT // 2 - high[:, 1]) // UNIT), 0, height)
    count = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(count)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    rise = (high - low)[edge]
    # The crossing's x as a fraction over rise[:, 1]; the first cell whose centre is not left of it, rounded up.
    top = low[edge, 0] * rise[:, 1] + (row * UNIT + UNIT // 2 - low[edge, 1]) * rise[:, 0]
    column = -((UNIT * rise[:, 1] - 2 * top) // (2 * UNIT * rise[:, 1]))
    steps = np.zeros((height, width + 1), np.int8)
    np.add.at(steps, (row, np.clip(column, 0, width)), sign[edge].astype(np.int8))
    return np.cumsum(steps[:, :width], axis=1, dtype=np.int8)


def _count_cells(cells: np.ndarray) -> np.ndarray:
    """(H*CELLS, W*CELLS) bool -> (H, W) uint8, the number of cells that are set in each pixel."""
    height, width = cells.shape[0] // CELLS, cells.shape[1] // CELLS
    rows = cells.view(np.uint8).reshape(height, CELLS, width * CELLS).sum(1, dtype=np.uint8)
    return rows.reshape(height, width, CELLS).sum(2, dtype=np.uint8)


def _grow(cover: np.ndarray, radius: int) -> np.ndarray:
    """Largest value within `radius` pixels (a disc): widens a shape by that much. (H, W) uint8 -> (H, W) uint8."""
    out = cover.copy()
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if 0 < dx * dx + dy * dy <= radius * radius + 1:
                np.maximum(out, shift(cover, dy, dx), out=out)
    return out


def shift(cover: np.ndarray, down: float, right: float) -> np.ndarray:
    """Move a coverage (H, W) by whole pixels; what comes in from outside is 0."""
    height, width = cover.shape
    dy, dx = round(down), round(right)
    out = np.zeros_like(cover)
    out[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = cover[
        max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return out


def cut_out(
    symbol: Symbol, shape: tuple[int, int], size: float, at: tuple[float, float], r, class_id: int = 0, turn: int = TURN
) -> Sticker:
    """Cut a symbol out at a random turn, slant and mirroring.

    shape: (H, W) of the picture. size: longer side in pixels. at: (x, y) of the centre in pixels. r: RandomState.
    turn: largest turn to either side, degrees.
    """
    height, width = shape
    contours = trace_outline(symbol.code)
    degrees = int(r.randint(-turn, turn + 1))
    slant, wide, mirror = r.uniform(-SHEAR, SHEAR), 1 + r.uniform(-STRETCH, STRETCH), r.choice((-1, 1))
    posed = _pose(contours, size, at, degrees, slant, mirror * wide)

    rim = max(1, round(size * RIM))
    points = np.concatenate(posed)
    margin = rim + 1
    x0, y0 = np.clip(points.min(0) // (CELLS * UNIT) - margin, 0, (width, height))
    x1, y1 = np.clip(points.max(0) // (CELLS * UNIT) + 1 + margin, 0, (width, height))
    cover, body, lines = (np.zeros(shape, np.uint8) for _ in range(3))
    if x1 > x0 and y1 > y0:
        window = np.s_[y0:y1, x0:x1]
        posed = [c - np.array([x0, y0]) * CELLS * UNIT for c in posed]
        grid = (int(y1 - y0) * CELLS, int(x1 - x0) * CELLS)
        ink = count_windings(posed, *grid) != 0
        whole = ink if symbol.cut == "ink" else count_windings([_clockwise(c) for c in posed], *grid) != 0
        body[window] = _count_cells(whole)
        cover[window] = _grow(body[window], rim)
        if symbol.cut != "ink":
            lines[window] = _count_cells(ink if symbol.cut == "line" else whole & ~ink)
    return Sticker(class_id, cover, body, lines, degrees, size)


def _pose(
    contours: tuple[np.ndarray, ...], size: float, at: tuple[float, float], degrees: int, slant: float, flip: float
) -> list[np.ndarray]:
    """Contours (P, 2) of a glyph, scaled, slanted, turned and moved to their place: in 1/UNIT of a sub-pixel.

    size: longer side in pixels. at: (x, y) of the centre in pixels. flip: relative width, negative if mirrored.
    """
    every = np.concatenate(contours)
    scale = size * CELLS * UNIT / float((every.max(0) - every.min(0)).max())
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = ((cos * flip, cos * slant - sin), (sin * flip, sin * slant + cos))  # turn @ [[flip, slant], [0, 1]]
    bits = 24  # the matrix is rounded once, to multiples of 2**-24; from there on all numbers are whole
    whole = np.array([[round(v * scale * 2**bits) for v in row] for row in matrix], np.int64)
    shift = np.array([round(v * CELLS * UNIT) for v in at], np.int64)
    return [((c[:, :1] * whole[:, 0] + c[:, 1:] * whole[:, 1]) >> bits) + shift for c in contours]


def _clockwise(contour: np.ndarray) -> np.ndarray:
    """The contour (P, 2) in the direction of positive area: filling several such contours gives their union."""
    following = np.roll(contour, -1, axis=0)
    area = (contour[:, 0] * following[:, 1] - contour[:, 1] * following[:, 0]).sum()
    return contour if area >= 0 else contour[::-1]


def arrange(
    shape: tuple[int, int], symbols: dict[int, Symbol], class_ids: list[int], r, with_decoys: bool = True
) -> Scene:
    """Put one sticker of each class in a place, so that enough of every one is visible; tries until that is so.

    Decoys come last, behind all stickers and where they overlap least, so they change no mask. shape: (H, W). symbols:
    {class id: symbol}. r: RandomState.
    """
    height, width = shape
    side = min(shape)
    while True:
        stickers: list[Sticker] = []
        places: list[tuple[float, float, float]] = []
        for class_id in class_ids:
            size = side * r.uniform(*SIDE[len(class_ids)])
            half = 0.45 * size
            spots = [(r.uniform(half, width - half), r.uniform(half, height - half)) for _ in range(OVERLAP_TRIES)]
            x, y = min(spots, key=lambda spot: sum(_measure_overlap(spot, half, place) for place in places))
            places.append((x, y, half))
            stickers.append(cut_out(symbols[class_id], shape, size, (x, y), r, class_id))
        owner = np.zeros(shape, np.uint8)
        for n, sticker in enumerate(stickers, 1):
            owner[sticker.cover >= CELLS**2 // 2] = n
        seen = np.bincount(owner.ravel(), minlength=len(stickers) + 1)[1:]
        if all(_shows_enough(s, sticker, shape) for s, sticker in zip(seen, stickers, strict=True)):
            decoys = [_place_decoy(shape, places, r) for _ in range(r.randint(*DECOYS) if with_decoys else 0)]
            return Scene(shape, stickers, owner, decoys)


def _place_decoy(shape: tuple[int, int], places: list[tuple[float, float, float]], r) -> Sticker:
    """A shape of no class, where it overlaps least with the squares in `places`; adds its own square to them.

    places: (x, y, half the side) of each.
    """
    height, width = shape
    size = min(shape) * r.uniform(*DECOY_SIDE)
    half = 0.5 * size
    spots = [(r.uniform(half, width - half), r.uniform(half, height - half)) for _ in range(DECOY_TRIES)]
    x, y = min(spots, key=lambda spot: sum(_measure_overlap(spot, half, place) for place in places))
    places.append((x, y, half))
    return cut_out(Symbol("decoy", int(r.choice(CLUTTER_CODES))), shape, size, (x, y), r)


def _measure_overlap(spot: tuple[float, float], half: float, place: tuple[float, float, float]) -> float:
    """The overlap of two squares, 0 if they are apart, in pixels squared.

    One has the centre `spot` and half the side `half`; `place` is the (x, y, half the side) of the other.
    """
    wide = half + place[2] - abs(spot[0] - place[0])
    high = half + place[2] - abs(spot[1] - place[1])
    return max(wide, 0.0) * max(high, 0.0)


def _shows_enough(seen: int, sticker: Sticker, shape: tuple[int, int]) -> bool:
    """Whether `seen` pixels are enough of a sticker, and enough of the picture."""
    own = np.count_nonzero(sticker.cover >= CELLS**2 // 2)
    return seen >= VISIBLE * own and seen >= LEAST_AREA * shape[0] * shape[1]
