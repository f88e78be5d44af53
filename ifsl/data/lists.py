"""Image lists: fetching the published ones, deriving others from the masks, writing either (chapter 13).

Source of the lists: the public repository of Kang & Cho, CVPR 2022, at the commit that their figures were made with.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from ..errors import InputError
from .benchmarks import CLASSES, DERIVED, FOLDS, fold_classes, read_text
from .fetch import Remote, digest, fetch
from .workers import spread

LEAST_PIXELS = 2048  # of a class, for an image to be listed under it
LEAST_IMAGES = 2  # of a class, for it to be listed: a query and a support

LISTS_BASE = (
    "https://raw.githubusercontent.com/dahyun-kang/ifsl/d0b0c0d1b01c036eaae1470585764d1321ec5336/fs-cs/data/splits"
)
# fmt: off
LISTS = {
    "pascal/trn/fold0.txt": (36576, "40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2"),
    "pascal/trn/fold1.txt": (54800, "558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e"),
    "pascal/trn/fold2.txt": (94128, "d07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609"),
    "pascal/trn/fold3.txt": (33376, "ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17"),
    "pascal/val/fold0.txt": (5536, "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df"),
    "pascal/val/fold1.txt": (7216, "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14"),
    "pascal/val/fold2.txt": (11600, "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb"),
    "pascal/val/fold3.txt": (5536, "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a"),
    "coco/trn/fold0.pkl": (3330536, "5a94e113d8c150a7e20723360dd9779eaa1305ccddc28dff4501e29ed3df5c45"),
    "coco/trn/fold1.pkl": (4090562, "69629cdd84fd57b3bb4e281b5bf65440f7ecf9b62eb119f1d8d7fe78b0fb02a8"),
    "coco/trn/fold2.pkl": (4064175, "594adc4b8ebecf9b8b559284f334ff3dd3fa3c150317cbc6ce7917ce81a08c03"),
    "coco/trn/fold3.pkl": (4099479, "07b38ccc9e15ebfd1ab6288eeaad3a5f289bbba3419807212169fd44b89cc5c5"),
    "coco/val/fold0.pkl": (1272708, "96002389be83b4730d13b814398f54eb2baf5c3283598ec2288d60624d6ef9c3"),
    "coco/val/fold1.pkl": (732057, "a34deecdf2858fc436f5ea4d5a2d46b6674ce09f7ebce41c34b694116381fa56"),
    "coco/val/fold2.pkl": (624406, "0f275c5e9bf538f6ef8a95054f6daf2519b53785c4ab7fd07e633dda57dac1e5"),
    "coco/val/fold3.pkl": (602257, "927597bd78036a460abdab243330667af6ceffdb483bc3331ae55d148f00c449"),
}
# fmt: on


# Published ------------------------------------------------------------------------------------------------------------


def fetch_lists(root: Path, name: str, mirror: str | None = None) -> Path:
    """The eight published lists of a benchmark; returns their folder. Derived ones are replaced when all are there."""
    folder = root / "splits" / name
    derived = (folder / DERIVED).is_file()
    target = folder.with_name(f"{name}.part") if derived else folder
    for file in published(name):
        fetch(file, target / file.name.removeprefix(f"{name}/"), mirror)
    if derived:
        shutil.rmtree(folder)
        os.rename(target, folder)
    return folder


def published(name: str) -> list[Remote]:
    """The lists of Kang & Cho, CVPR 2022, in their public repository, at the commit of the published figures."""
    return [
        Remote(LISTS_BASE, file, size, f"sha256:{total}")
        for file, (size, total) in LISTS.items()
        if file.startswith(f"{name}/")
    ]


def origin(folder: Path, name: str) -> str:
    """Where the lists in a folder are from: "published", "derived" or "neither published nor derived"."""
    if (folder / DERIVED).is_file():
        return "derived, not the published lists"
    files = [(folder / file.name.removeprefix(f"{name}/"), file) for file in published(name)]
    same = all(path.is_file() and digest(path, file) == file.digest for path, file in files)
    return "the published lists" if same else "neither the published lists nor derived here"


def derive(root: Path, name: str, workers: int | None = None) -> str:
    """Make lists of a benchmark from its masks; returns what was made, in words.

    An image is listed under a class that covers at least 2,048 of its pixels. Training has the images of train2014
    (Pascal: those that VOC's val.txt does not name), testing those of val2014 (those that it names). A class with a
    single image is left out, because an episode needs a query and a support. The folder `<root>/splits/<name>` then
    holds the file DERIVED, by which the figures made from these lists say so. Raises `InputError` where there are no
    masks or where lists lie that were not derived.
    """
    folder = root / "splits" / name
    if folder.exists() and not (folder / DERIVED).is_file():
        raise InputError(f"{folder} holds lists that were not derived; move them away first.")
    images = _pascal_images(root) if name == "pascal" else _coco_images(root)
    part = folder.with_name(f"{name}.derived")
    made = []
    try:
        shutil.rmtree(part, ignore_errors=True)
        for split, pairs in images.items():
            areas = spread(_areas, [mask for _, mask in pairs], f"measuring the masks of {split}", "mask", workers)
            entries = [
                (image, c)
                for (image, _), area in zip(pairs, areas, strict=True)
                for c in range(1, CLASSES[name] + 1)
                if area[c] >= LEAST_PIXELS
            ]
            often = {c for c, count in Counter(c for _, c in entries).items() if count >= LEAST_IMAGES}
            entries = [entry for entry in entries if entry[1] in often]
            write_lists(part, name, split, entries)
            listed = len({image for image, _ in entries})
            made.append(f"{split} has {listed:,} of {len(pairs):,} images, {len(often)} of {CLASSES[name]} classes")
        (part / DERIVED).write_text("Derived from the masks, not the published lists.\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(part, folder)
    except OSError as error:
        raise InputError(f"The lists {folder} cannot be written ({error}); make room and run this again.") from error
    return "; ".join(made)


def write_lists(folder: Path, name: str, split: str, entries: list[tuple[str, int]]) -> None:
    """Write (image, class id) entries as the four list files of a split, in the published formats and order."""
    (folder / split).mkdir(parents=True)
    for fold in range(FOLDS):
        if name == "pascal":  # a fold's list holds its own five classes in trn too; trn goes by class, val by image
            own = [entry for entry in entries if entry[1] in fold_classes(name, fold, "val")]
            if split == "trn":
                own.sort(key=lambda entry: entry[1])
            text = "".join(f"{image}__{c:02d}\n" for image, c in own)
            (folder / split / f"fold{fold}.txt").write_text(text, encoding="utf-8")
        else:
            own = fold_classes(name, fold, split)
            table = {c - 1: [i for i, k in entries if k == c] if c in own else [] for c in range(1, CLASSES[name] + 1)}
            (folder / split / f"fold{fold}.pkl").write_bytes(pickle.dumps(table, protocol=3))


Pairs = list[tuple[str, Path]]
"""Image names as the lists have them, each with its mask."""


def _pascal_images(root: Path) -> dict[str, Pairs]:
    home = root / "VOC2012"
    named = home / "ImageSets" / "Segmentation" / "val.txt"
    if not named.is_file():
        raise InputError(f"{named} is missing, which names the test images; it is part of VOC 2012's archive.")
    val = set(read_text(named).split())
    pairs = _pairs(home / "JPEGImages", home / "SegmentationClassAug", "")
    return {"trn": [p for p in pairs if p[0] not in val], "val": [p for p in pairs if p[0] in val]}


def _coco_images(root: Path) -> dict[str, Pairs]:
    home = root / "COCO2014"
    parts = {"trn": "train2014", "val": "val2014"}
    return {split: _pairs(home / part, home / "annotations" / part, part) for split, part in parts.items()}


def _pairs(pictures: Path, masks: Path, prefix: str) -> Pairs:
    """Every mask that has a picture, by name."""
    for folder in (pictures, masks):
        if not folder.is_dir():
            raise InputError(f"The folder {folder} is missing; see data/README.md for what goes where.")
    there = set(os.listdir(pictures))
    stems = sorted(path.stem for path in masks.glob("*.png") if f"{path.stem}.jpg" in there)
    return [(f"{prefix}/{stem}.jpg" if prefix else stem, masks / f"{stem}.png") for stem in stems]


def _areas(mask: Path) -> np.ndarray:
    """Pixels of each of the values 0 … 255 in a mask."""
    from .episodes import read_mask  # with it comes torch, which whoever draws or fetches does without

    return np.bincount(read_mask(mask, 255).ravel(), minlength=256)
