"""Masks that say something else than the lists: the palette of VOC, and guesses at what went wrong (chapter 13)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..learners.maps import VOID
from .classes import CLASSES

COCO_CATEGORIES = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
"""The ids of the categories in COCO's annotation files, which are not counted through: class c has entry c - 1."""


@cache
def voc_palette() -> bytes:
    """The 256 colours of VOC's masks, red, green and blue of each: the bits of the number, spread over the three."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (numbers >> (3 * bit + channel) & 1) << (7 - bit)
    return colours.astype(np.uint8).tobytes()


def find_moved_colour(image: Image.Image, classes: int) -> tuple[int, int] | None:
    """A value of a palette image that has the colour of another class in VOC's palette, and that class; else None.

    Every value in use must have a colour of the classes 0 … `classes` or of void. Other palettes mean something else,
    and greys are in many of them.
    """
    palette, published = bytes(image.getpalette("RGB") or b""), voc_palette()
    if palette[: 3 * (classes + 1)] == published[: 3 * (classes + 1)]:
        return None
    named = {published[3 * c : 3 * c + 3]: c for c in (*range(classes + 1), VOID)}
    used = np.flatnonzero(image.histogram()).tolist()
    classes_of = {value: named.get(palette[3 * value : 3 * value + 3]) for value in used}
    if None in classes_of.values():
        return None
    moved = ((value, c) for value, c in classes_of.items() if c != value and len(set(published[3 * c : 3 * c + 3])) > 1)
    return next(moved, None)


def explain_absence(path: Path, mask: np.ndarray, class_id: int, names: dict[int, str], lists: Path) -> str:
    """A sentence for a mask (H, W) uint8 without a class that its image is listed under, with the likely cause.

    names: {class id: name} of the benchmark's classes; lists: the folder of the lists.
    """
    values = np.unique(mask).tolist()
    held = ", ".join(map(str, values[:8])) + (" …" if len(values) > 8 else "")
    return (
        f"{path} holds {held} and not {class_id} ({names[class_id]}), which {lists} lists the image under; "
        f"{guess_cause(values, class_id, len(names))}."
    )


def guess_cause(values: list[int], class_id: int, classes: int) -> str:
    """Why a mask may lack a class, and what to do, from the values that it holds."""
    category = COCO_CATEGORIES[class_id - 1] if classes == CLASSES["coco"] else class_id
    if values == [0]:
        return "nothing is marked in it, make the mask again"
    if set(values) <= {0, VOID}:
        return "it seems to be white where the object is, write the class id there instead of 255, which means void"
    if set(values) <= {0, 1, VOID}:
        return "it seems to be 1 where the object is, write the class id there"
    if category != class_id and category in values:
        return f"{category} is the id of this category in COCO's annotations, write its rank among the 80 instead"
    if class_id - 1 in values and (class_id > 1 or VOID in values):
        return "its ids seem to be counted from 0, count them from 1, 0 is the background"
    if class_id + 1 in values:
        return "its ids seem to be counted from 2, count them from 1"
    return "the mask may belong to another image, have a palette in another order, or the lists to other masks"
