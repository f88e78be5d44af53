"""EMAT's two further evaluation settings: support sets that use more of their annotations, and queries by object size.

As drawn, a support is annotated with the one class of its way, whatever else it shows. A partially augmented set also
uses what its supports show of the other ways, a fully augmented one what they show of any test class. Queries by object
size have an object that covers 0-5, 5-10, 10-15 or 0-15 % of the picture.

Source: Carrión-Ojeda, Roth & Schaub-Meyer, *Efficient Masked Attention Transformer for Few-Shot Classification and
Segmentation*, GCPR 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from ..errors import InputError
from .images import VOID, read_mask
from .lists import read_coco_list, read_pascal_list

LEAST_SHARE = {"pascal": 0.07, "coco": 0.03}
"""Benchmark: the share of the pixels that a class must exceed for its support to become a support of that class."""

GIVEN = "as given"
DERIVED_QUERIES = "derived from the masks, not the published lists"


def measure_mask(path: Path) -> dict[int, float]:
    """{class id: share of all pixels} of a mask, ascending, without the background and void.

    Void pixels count among all pixels. Raises `InputError` for a mask that is missing or broken.
    """
    return measure(read_mask(path, VOID))


def measure(mask: np.ndarray) -> dict[int, float]:
    """{class id: share of all pixels} of a class-id mask (H, W); see `measure_mask`."""
    counts = np.bincount(mask.ravel(), minlength=VOID + 1)
    return {c: counts[c] / mask.size for c in range(1, VOID) if counts[c]}


def augment_supports(
    classes: list[int],
    support: list[list[str]],
    shares: Callable[[str], dict[int, float]],
    used: Collection[int],
    least: float,
    stream: np.random.RandomState,
) -> tuple[list[int], list[list[str]]]:
    """Let each support serve all classes that it shows; returns the classes and the supports of the final ways.

    classes: N class ids; support: K names for each; shares: gives the {class id: share of the pixels} of an image, in
    ascending order; used: the classes that count; least: the share that a class must exceed; stream: continues after
    the draws of the episode.

    A class that is no way yet becomes one at the end. Then every way is filled up to the largest number of shots with
    repeats of its own. Only the drawn supports are searched, and an image may serve a way twice.
    """
    ways, shots = list(classes), [list(images) for images in support]
    for own, images in zip(classes, support, strict=True):
        for image in images:
            for c, share in shares(image).items():
                if c == own or c not in used or share <= least:
                    continue
                if c not in ways:
                    ways.append(c)
                    shots.append([])
                shots[ways.index(c)].append(image)
    most = max(map(len, shots))
    for images in shots:
        while len(images) < most:
            images.append(images[stream.randint(len(images))])
    return ways, shots


def pick_queries(
    entries: list[tuple[str, int]], shares: Callable[[str], dict[int, float]], objects: str
) -> list[tuple[str, int]]:
    """The (image, class id) entries whose class covers more than the first and at most the second number of % of it.

    shares: as for `augment_supports`; objects: the two numbers, such as "5-10".
    """
    low, high = (int(percent) / 100 for percent in objects.split("-"))
    return [(image, c) for image, c in entries if low < shares(image).get(c, 0) <= high]


def read_queries(path: Path, class_ids: list[int], shot: int) -> list[tuple[str, int]]:
    """The (image, class id) entries of a published list of queries; the formats are those of the ordinary lists.

    Of a list of coco, only classes with at least shot + 1 images count, as published. Raises `InputError` for a broken
    list or another fold's.
    """
    if path.suffix == ".txt":
        return read_pascal_list(path, class_ids)
    images_of = {c: images for c, images in read_coco_list(path).items() if images}
    strays = set(images_of) - set(class_ids)
    if strays:
        raise InputError(f"{path} lists images of class {min(strays)}, which this fold does not test; fetch it again.")
    return [(image, c) for c, images in images_of.items() if len(images) > shot for image in images]
