"""One page that shows the tiny benchmark: classes by fold, pictures with masks (python -m ifsl.tiny --sheet)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.classes import FOLDS, fold_classes
from ..data.files import write_whole
from ..errors import InputError, writing
from .make import check_seed
from .paint import paint_background, paint_sticker, to_pixels
from .scenes import Plan, arrange_pascal, find_void_line, paint_plan, plan_pascal
from .stickers import Look, Scene, Symbol, cut_out, find_font
from .symbols import COCO_SYMBOLS, PASCAL_SYMBOLS, list_coco_looks, list_pascal_looks

WIDTH = 1500  # of the page, pixels
MARGIN = 36
FOLD_LABEL = 58  # space for "fold 0" to the left of a row
GAP = 10
PASCAL_TILE, COCO_TILE = 118, 59
CAPTION = 20
PAPER, INK, PALE = (252, 251, 248), (45, 48, 56), (120, 124, 134)
WAYS = ((230, 159, 0), (86, 180, 233), (0, 158, 115))  # Okabe and Ito, as in all plots of the course
COLUMNS, ROWS = 2, 4  # of pictures
COLOURS = 256  # in the file: a palette keeps it small


def write_sheet(file: str | Path, seed: int = 0) -> Path:
    """Write the page to a PNG file; raises `InputError` if it cannot be written, and for an impossible seed."""
    file = Path(file)
    if file.suffix.lower() != ".png":
        raise InputError(f"{file} is no name of a PNG file; give --sheet a name that ends in .png.")
    check_seed(seed)
    page = make_sheet(seed)
    page = page.quantize(palette=_choose_palette(page), dither=Image.Dither.FLOYDSTEINBERG)
    with writing(file, "give --sheet another name"):
        write_whole(file, partial(page.save, format="PNG", optimize=True))
    return file


def make_sheet(seed: int = 0) -> Image.Image:
    """The page, WIDTH pixels wide."""
    pascal_top, head = MARGIN + 34, _load_font(19, bold=True)
    pascal_bottom = pascal_top + FOLDS * (PASCAL_TILE + CAPTION + GAP)
    coco_top = pascal_bottom + 44
    page = Image.new("RGB", (WIDTH, coco_top + FOLDS * (COCO_TILE + CAPTION + GAP) + MARGIN // 2), PAPER)
    pen = ImageDraw.Draw(page)
    left = MARGIN + FOLD_LABEL + 5 * (PASCAL_TILE + GAP) + 2 * GAP
    pen.text((MARGIN, MARGIN - 8), "20 classes in the layout of VOC 2012", font=head, fill=INK)
    pen.text((left, MARGIN - 8), "pictures and their masks", font=head, fill=INK)
    pen.text((MARGIN, pascal_bottom + 6), "80 classes in the layout of COCO 2014", font=head, fill=INK)
    _paste_classes(page, pascal_top, "pascal", PASCAL_SYMBOLS, list_pascal_looks, PASCAL_TILE, seed)
    _paste_pictures(page, left, pascal_top, pascal_bottom, seed)
    _paste_classes(page, coco_top, "coco", COCO_SYMBOLS, list_coco_looks, COCO_TILE, seed)
    return page


def _paste_classes(
    page: Image.Image,
    top: int,
    name: str,
    symbols: tuple[Symbol, ...],
    list_looks: Callable[[int], list[Look]],
    tile: int,
    seed: int,
) -> None:
    """Paste a row of class tiles for each fold, from `top` down."""
    pen = ImageDraw.Draw(page)
    text, small = _load_font(13, bold=True), _load_font(13 if tile > 80 else 10)
    for fold in range(FOLDS):
        y = top + fold * (tile + CAPTION + GAP)
        pen.text((MARGIN, y + tile // 2), f"fold {fold}", font=text, fill=PALE, anchor="lm")
        for column, c in enumerate(fold_classes(name, fold, "val")):
            x = MARGIN + FOLD_LABEL + column * (tile + GAP)
            _paste(page, _make_class_tile(symbols[c - 1], list_looks(c), tile, seed), (x, y), tile // 9)
            pen.text((x + tile // 2, y + tile + 4), symbols[c - 1].name, font=small, fill=INK, anchor="ma")


def _paste_pictures(page: Image.Image, left: int, top: int, bottom: int, seed: int) -> None:
    """Paste pictures beside their masks, in a grid between left, top and bottom."""
    pen, text = ImageDraw.Draw(page), _load_font(13)
    cell = (WIDTH - MARGIN - left - (COLUMNS - 1) * 2 * GAP) // COLUMNS
    step = (bottom - top) // ROWS
    high, wide = step - CAPTION - GAP, (cell - GAP // 2) // 2
    for place, plan in enumerate(_choose_plans(seed, COLUMNS * ROWS)):
        x, y = left + place % COLUMNS * (cell + 2 * GAP), top + place // COLUMNS * step
        scene = arrange_pascal(plan)
        picture = paint_plan(plan, scene)
        scale = min(wide / plan.shape[1], high / plan.shape[0])
        size = round(plan.shape[1] * scale), round(plan.shape[0] * scale)
        for side, image in enumerate((picture, _tint_stickers(picture, scene))):
            small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
            _paste(page, small, (x + side * (size[0] + GAP // 2), y), 8)
        for way, c in zip(WAYS, plan.class_ids, strict=False):
            pen.ellipse((x + 2, y + size[1] + 6, x + 13, y + size[1] + 17), fill=way)
            pen.text((x + 19, y + size[1] + 4), PASCAL_SYMBOLS[c - 1].name, font=text, fill=INK)
            x += 34 + round(text.getlength(PASCAL_SYMBOLS[c - 1].name))


def _load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(find_font(bold)), size)


def _make_rounded_mask(shape: tuple[int, int], radius: int) -> Image.Image:
    """A mask (width, height) with round corners, smooth because it is made four times as large and shrunk."""
    width, height = shape
    large = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(large).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), 4 * radius, fill=255)
    return large.resize(shape, Image.Resampling.LANCZOS)


def _paste(page: Image.Image, picture: Image.Image, at: tuple[int, int], radius: int) -> None:
    page.paste(picture, at, _make_rounded_mask(picture.size, radius))


def _make_class_tile(symbol: Symbol, looks: list[Look], side: int, seed: int) -> Image.Image:
    """One class on its own, a sticker for each of its looks: a square picture of `side` pixels."""
    large = 3 * side  # shrunk at the end, which makes it smooth
    r = np.random.RandomState((seed, symbol.code))
    canvas = paint_background((large, large), r, evening=0)
    size, ring = (0.70, 0.0) if len(looks) == 1 else (0.50, 0.24)  # of a sticker; of the circle round which they lie
    for n, look in enumerate(looks):
        angle = 2 * math.pi * (n / len(looks) + 3 / 8)  # the first at the top left
        at = large * (0.5 + ring * math.cos(angle)), large * (0.5 - ring * math.sin(angle))
        sticker = cut_out(symbol, (large, large), size * large, at, r, turn=14)
        sticker.look = look
        paint_sticker(canvas, sticker, (-math.sqrt(0.5), -math.sqrt(0.5)), r)
    return Image.fromarray(to_pixels(canvas)).resize((side, side), Image.Resampling.LANCZOS)


def _tint_stickers(picture: np.ndarray, scene: Scene) -> np.ndarray:
    """The picture (H, W, 3) in grey, each sticker in the colour of its way, the void line white."""
    grey = picture.mean(2, keepdims=True)
    out = np.repeat(0.3 * grey + 0.7 * 255, 3, axis=2)
    for n, way in enumerate(WAYS, start=1):
        out[scene.owner == n] = (0.3 * grey + 0.7 * np.array(way))[scene.owner == n]
    out[find_void_line(scene.owner)] = 255
    return out.astype(np.uint8)


def _choose_plans(seed: int, count: int) -> list[Plan]:
    """Plans of pictures that are wide and show two or three classes."""
    plans = plan_pascal("val", 200, seed)
    wide = [p for p in plans if 0.68 < p.shape[0] / p.shape[1] < 0.74 and len(p.class_ids) > 1]
    return wide[:count]


def _choose_palette(page: Image.Image) -> Image.Image:
    """An image with the page's best palette: median cut, then a few rounds of k-means (Pillow's own takes a minute)."""
    start = page.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    sample = np.asarray(page, np.float32).reshape(-1, 3)[::31]
    centres = np.array(start.getpalette()[: 3 * COLOURS], np.float32).reshape(-1, 3)
    for _ in range(6):
        nearest = np.argmin((centres**2).sum(1) - 2 * sample @ centres.T, axis=1)
        members = np.bincount(nearest, minlength=len(centres))
        sums = np.stack([np.bincount(nearest, sample[:, k], len(centres)) for k in range(3)], axis=1)
        centres = np.where(members[:, None] > 0, sums / np.maximum(members, 1)[:, None], centres).astype(np.float32)
    start.putpalette(np.rint(centres).astype(np.uint8).tobytes())
    return start
