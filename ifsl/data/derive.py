"""Making image lists from the masks, for when the published ones cannot be had (chapter 13)."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError, count, writing
from .classes import CLASSES
from .files import read_text
from .lists import DERIVED_MARK, check_name, write_lists
from .workers import spread

LEAST_PIXELS = 2048  # of a class, for an image to be listed under it
LEAST_IMAGES = 2  # of a class, for the class to be listed: a query and a support

Pairs = list[tuple[str, Path]]
"""Image names as the lists have them, each with its mask."""


class Found(NamedTuple):
    """The images of a split that have a mask, and what the folders hold besides, in words."""

    pairs: Pairs
    left_out: list[str]


def derive_lists(root: Path, name: str, workers: int | None = None) -> str:
    """Make the lists of a benchmark from its masks; returns what was made and what was left out, in words.

    An image is listed under a class that covers at least 2,048 of its pixels. Training gets the images of train2014
    (Pascal: those that VOC's val.txt does not name), testing those of val2014 (those that it names). A class with a
    single image is left out, because an episode needs a query and a support. The folder `<root>/splits/<name>` then
    holds the file DERIVED, so that every result made with these lists can say so. Raises `InputError` if there are no
    masks, if a split comes out empty, or if the folder holds lists that were not derived.
    """
    folder = root / "splits" / name
    if not (folder / DERIVED_MARK).is_file() and any(path.is_file() for path in folder.rglob("*")):
        raise InputError(f"{folder} holds lists that were not derived; move them away first.")
    found = _find_pascal_images(root) if name == "pascal" else _find_coco_images(root)
    part = folder.with_name(f"{name}.derived")
    with writing(f"The folder {folder} of lists", "make room and run this again"):
        shutil.rmtree(part, ignore_errors=True)
        try:
            made = [_derive_split(part, name, split, one, workers) for split, one in found.items()]
        except InputError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        (part / DERIVED_MARK).write_text("Derived from the masks, not the published lists.\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(part, folder)
    listed, left_out = ["; ".join(text) for text in zip(*made, strict=True)]
    return f"{listed}. Left out: {left_out}"


def _derive_split(folder: Path, name: str, split: str, found: Found, workers: int | None) -> tuple[str, str]:
    """Write the lists of one split into `folder`; returns what they list and what was left out, in words."""
    pairs = found.pairs
    for _, mask in pairs:
        check_name(mask.stem, mask.parent)
    measure = partial(_measure, CLASSES[name])
    areas = spread(measure, [mask for _, mask in pairs], f"measuring the masks of {split}", "mask", workers)
    entries = [
        (image, c)
        for (image, _), area in zip(pairs, areas, strict=True)
        for c in range(1, CLASSES[name] + 1)
        if area[c] >= LEAST_PIXELS
    ]
    often = {c for c, images in Counter(c for _, c in entries).items() if images >= LEAST_IMAGES}
    single = {c for _, c in entries} - often
    entries = [entry for entry in entries if entry[1] in often]
    largest = [area[1:-1].max() for area in areas]  # of a class; the last value is void
    left_out = found.left_out + [
        f"{count(number, what)} {why}"
        for number, what, why in (
            (largest.count(0), "image", "whose mask shows no class"),
            (sum(0 < most < LEAST_PIXELS for most in largest), "image", f"with under {LEAST_PIXELS:,} pixels a class"),
            (len(single), "class", "with a single image"),
        )
        if number
    ]
    why = f"{split}: {', '.join(left_out) or 'nothing'}"
    if not entries:
        raise InputError(
            f"No image of {split} can be listed under a class, of {count(len(pairs), 'image')} with a mask; look at "
            f"names and masks (left out in {why})."
        )
    write_lists(folder, name, split, entries)
    listed = len({image for image, _ in entries})
    return f"{split} has {listed:,} of {len(pairs):,} images, {len(often)} of {CLASSES[name]} classes", why


def _find_pascal_images(root: Path) -> dict[str, Found]:
    """The images of each split that have a mask."""
    home = root / "VOC2012"
    val_file = home / "ImageSets" / "Segmentation" / "val.txt"
    if not val_file.is_file():
        raise InputError(f"{val_file} is missing, which names the test images; it is part of VOC 2012's archive.")
    pairs, left_out = _find_pairs(home / "JPEGImages", home / "SegmentationClassAug", "")
    val, strangers = _read_val_names(val_file, home / "JPEGImages")
    unknown = [f"{count(strangers, 'name')} of {val_file.name} without a picture"] if strangers else []
    return {
        "trn": Found([pair for pair in pairs if _plain(pair[0]) not in val], left_out),
        "val": Found([pair for pair in pairs if _plain(pair[0]) in val], unknown),
    }


def _read_val_names(val_file: Path, pictures: Path) -> tuple[set[str], int]:
    """The test images that VOC's val.txt names, one a line, and how many of the names have no picture.

    A name that is not understood would put a test image among the training images. Therefore `InputError` is raised for
    lines that hold more than the name of a picture.
    """
    there = {_plain(Path(name).stem) for name in os.listdir(pictures)}
    names = {_plain(line.strip()) for line in read_text(val_file).split("\n") if line.strip()}
    for name in sorted(names - there):
        parts = {name.split()[0], *name.replace("\\", "/").split()}
        stems = {Path(part).stem for part in parts} | {Path(name.replace("\\", "/")).stem}
        if stems & there or name.casefold() in {one.casefold() for one in there}:
            raise InputError(
                f"{val_file} holds the line {name[:80]!r}, which is not the name of a picture, although "
                f"{pictures} has one much like it; write one name a line, without folder and .jpg."
            )
    return names & there, len(names - there)


def _plain(name: str) -> str:
    """A name in the one form of Unicode that names are compared in; disks and lists may have letters in another."""
    return unicodedata.normalize("NFC", name)


def _find_coco_images(root: Path) -> dict[str, Found]:
    """The images of each split that have a mask."""
    home = root / "COCO2014"
    parts = {"trn": "train2014", "val": "val2014"}
    return {split: _find_pairs(home / part, home / "annotations" / part, part) for split, part in parts.items()}


def _find_pairs(pictures: Path, masks: Path, prefix: str) -> Found:
    """Every mask that has a picture, in order of name."""
    for folder in (pictures, masks):
        if not folder.is_dir():
            raise InputError(f"The folder {folder} is missing; see data/README.md for what goes where.")
    there = {name.removesuffix(".jpg") for name in os.listdir(pictures) if name.endswith(".jpg")}
    marked = {path.stem for path in masks.glob("*.png")}
    left_out = [
        f"{count(len(stems), what)} without {other} in {folder.name} ({min(stems)!r})"
        for stems, what, other, folder in (
            (marked - there, "mask", "a .jpg of its name", pictures),
            (there - marked, "picture", "a mask", masks),
        )
        if stems
    ]
    stems = sorted(marked & there)
    return Found([(f"{prefix}/{stem}.jpg" if prefix else stem, masks / f"{stem}.png") for stem in stems], left_out)


def _measure(classes: int, mask: Path) -> np.ndarray:
    """How many pixels of a mask have each of the values 0 … 255."""
    from .images import read_mask  # imports torch, which fetching and drawing do without

    return np.bincount(read_mask(mask, classes).ravel(), minlength=256)
