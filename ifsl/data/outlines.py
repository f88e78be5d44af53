"""The outline of an object in COCO's annotations: polygons or run lengths, looked at before they are painted.

pycocotools reads what it is given: run lengths that do not add up leave a part of the mask as the memory was, and a
corner far away ends the process.

Letters: H W size of the image.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import is_int, shown

CORNERS = 6  # numbers of three corners, the fewest that enclose anything
AROUND = 1  # how many widths or heights of the image a corner may lie outside of it; what is outside is cut off


def find_outline_fault(outline: object, shape: tuple[int, int]) -> str | None:
    """What makes a COCO segmentation impossible for an image of (H, W), as a part of a sentence, or None."""
    if outline in (None, "", {}, [], [[]]):
        return "it has no outline, perhaps a box alone"
    if isinstance(outline, dict):
        return _find_runs_fault(outline, shape)
    if not isinstance(outline, list) or not all(isinstance(polygon, list) for polygon in outline):
        return "its outline is neither a list of polygons nor run lengths"
    polygons = [polygon for polygon in outline if len(polygon) >= CORNERS]
    if not polygons:
        return "its polygons have fewer than three corners"
    return next(filter(None, (_find_polygon_fault(polygon, shape) for polygon in polygons)), None)


def _find_polygon_fault(polygon: list, shape: tuple[int, int]) -> str | None:
    """What is wrong with the corners x0, y0, x1, y1 … of one polygon."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in polygon):
        return "a corner is no number"
    if len(polygon) % 2:
        return f"a polygon has {len(polygon)} numbers, x and y of each corner need an even count"
    for values, length, axis in ((polygon[::2], shape[1], "x"), (polygon[1::2], shape[0], "y")):
        low, high = -AROUND * length, (1 + AROUND) * length
        # "not in between" finds NaN, too
        stray = next((value for value in values if not low <= value <= high), None)
        if stray is not None:
            return f"a corner has {axis} = {shown(stray)}, the image is {shape[1]} x {shape[0]}"
    return None


def is_share(outline: object) -> bool:
    """Whether all corners are from 0 to 1: shares of the image's size instead of pixels, which would mark nothing."""
    try:
        return all(0 <= value <= 1 for polygon in outline for value in polygon)
    except TypeError:  # no polygons
        return False


def _find_runs_fault(outline: dict, shape: tuple[int, int]) -> str | None:
    """What is wrong with run lengths, {"size": [H, W], "counts": numbers or packed into a text}."""
    counts, size = outline.get("counts"), outline.get("size")
    if not isinstance(size, list | tuple) or list(size) != list(shape):
        return f"its run lengths are for [height, width] {shown(size)}, the image has {list(shape)}"
    if isinstance(counts, str):
        counts = unpack_counts(counts)
    if not isinstance(counts, list) or not all(is_int(count) and count >= 0 for count in counts):
        return "its run lengths are no list of whole numbers from 0"
    if sum(counts) != math.prod(shape):
        return f"its run lengths add up to {shown(sum(counts))} pixels, the image has {math.prod(shape)}"
    return None


def unpack_counts(text: str) -> list[int] | None:
    """The run lengths in COCO's packed form; None if it is none.

    Five bits of a number are in each character, the lowest first, and a sixth bit says that more follow. From the third
    number on, each is the difference to the one before the last.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return None if shift else counts


def decode_outline(outline: list | dict, shape: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) bool inside a COCO segmentation without fault: polygons, or run lengths as numbers or packed.

    A polygon of fewer than three corners encloses nothing and is passed over.
    """
    from pycocotools import mask as coco

    height, width = shape
    if isinstance(outline, list):
        runs = coco.merge(coco.frPyObjects([polygon for polygon in outline if len(polygon) >= CORNERS], height, width))
    else:
        runs = coco.frPyObjects(outline, height, width) if isinstance(outline["counts"], list) else outline
    return np.asarray(coco.decode([runs])[..., 0]).astype(bool)
