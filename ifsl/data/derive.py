"""Making image lists from the masks, for when the published ones cannot be had (chapter 13)."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from ..errors import InputError, writing
from .classes import CLASSES
from .files import read_text
from .lists import DERIVED, write_lists
from .workers import spread

LEAST_PIXELS = 2048  # of a class, for an image to be listed under it
LEAST_IMAGES = 2  # of a class, for the class to be listed: a query and a support

Pairs = list[tuple[str, Path]]
"""Image names as the lists have them, each with its mask."""


def derive_lists(root: Path, name: str, workers: int | None = None) -> str:
    """Make the lists of a benchmark from its masks; returns what was made, in words.

    An image is listed under a class that covers at least 2,048 of its pixels. Training gets the images of train2014
    (Pascal: those that VOC's val.txt does not name), testing those of val2014 (those that it names). A class with a
    single image is left out, because an episode needs a query and a support. The folder `<root>/splits/<name>` then
    holds the file DERIVED, so that every result made with these lists can say so. Raises `InputError` if there are no
    masks, or if the folder holds lists that were not derived.
    """
    folder = root / "splits" / name
    if folder.exists() and not (folder / DERIVED).is_file():
        raise InputError(f"{folder} holds lists that were not derived; move them away first.")
    pairs_of = _find_pascal_images(root) if name == "pascal" else _find_coco_images(root)
    part = folder.with_name(f"{name}.derived")
    with writing(f"The folder {folder} of lists", "make room and run this again"):
        shutil.rmtree(part, ignore_errors=True)
        made = [_derive_split(part, name, split, pairs, workers) for split, pairs in pairs_of.items()]
        (part / DERIVED).write_text("Derived from the masks, not the published lists.\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(part, folder)
    return "; ".join(made)


def _derive_split(folder: Path, name: str, split: str, pairs: Pairs, workers: int | None) -> str:
    """Write the lists of one split into `folder`; returns how much they list, in words."""
    areas = spread(_measure, [mask for _, mask in pairs], f"measuring the masks of {split}", "mask", workers)
    entries = [
        (image, c)
        for (image, _), area in zip(pairs, areas, strict=True)
        for c in range(1, CLASSES[name] + 1)
        if area[c] >= LEAST_PIXELS
    ]
    often = {c for c, count in Counter(c for _, c in entries).items() if count >= LEAST_IMAGES}
    entries = [entry for entry in entries if entry[1] in often]
    write_lists(folder, name, split, entries)
    listed = len({image for image, _ in entries})
    return f"{split} has {listed:,} of {len(pairs):,} images, {len(often)} of {CLASSES[name]} classes"


def _find_pascal_images(root: Path) -> dict[str, Pairs]:
    """The images of each split that have a mask: {"trn": pairs, "val": pairs}."""
    home = root / "VOC2012"
    val_file = home / "ImageSets" / "Segmentation" / "val.txt"
    if not val_file.is_file():
        raise InputError(f"{val_file} is missing, which names the test images; it is part of VOC 2012's archive.")
    val = set(read_text(val_file).split())
    pairs = _find_pairs(home / "JPEGImages", home / "SegmentationClassAug", "")
    return {"trn": [pair for pair in pairs if pair[0] not in val], "val": [pair for pair in pairs if pair[0] in val]}


def _find_coco_images(root: Path) -> dict[str, Pairs]:
    """The images of each split that have a mask: {"trn": pairs, "val": pairs}."""
    home = root / "COCO2014"
    parts = {"trn": "train2014", "val": "val2014"}
    return {split: _find_pairs(home / part, home / "annotations" / part, part) for split, part in parts.items()}


def _find_pairs(pictures: Path, masks: Path, prefix: str) -> Pairs:
    """Every mask that has a picture, in order of name."""
    for folder in (pictures, masks):
        if not folder.is_dir():
            raise InputError(f"The folder {folder} is missing; see data/README.md for what goes where.")
    there = set(os.listdir(pictures))
    stems = sorted(path.stem for path in masks.glob("*.png") if f"{path.stem}.jpg" in there)
    return [(f"{prefix}/{stem}.jpg" if prefix else stem, masks / f"{stem}.png") for stem in stems]


def _measure(mask: Path) -> np.ndarray:
    """How many pixels of a mask have each of the values 0 … 255."""
    from .images import read_mask  # imports torch, which fetching and drawing do without

    return np.bincount(read_mask(mask, 255).ravel(), minlength=256)
