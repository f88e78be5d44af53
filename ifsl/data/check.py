"""What `python -m ifsl.download check` looks at: lists, pictures, masks, and whether they say the same (chapter 13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, count
from .classes import FOLDS, SPLITS
from .coco import plan_all
from .fetch import compute_digest
from .lists import DERIVED_MARK
from .sources import published_lists
from .workers import spread

MANY = 2000  # masks; fewer are read here before other processes have even started
OPENED = 64  # pictures that `check` decodes, at most; of the others it reads the size

HOMES = {
    "pascal": {"pictures": ("VOC2012/JPEGImages",), "masks": ("VOC2012/SegmentationClassAug",)},
    "coco": {
        "pictures": ("COCO2014/train2014", "COCO2014/val2014"),
        "masks": ("COCO2014/annotations/train2014", "COCO2014/annotations/val2014"),
    },
}
"""The folders of a benchmark, below the root."""
SUFFIXES = {"pictures": ".jpg", "masks": ".png"}


@dataclass
class Report:
    """What `check` found, in lines, and whether an evaluation would be right: nothing missing, nothing wrong."""

    lines: list[str] = field(default_factory=list)
    complete: bool = True

    def complain(self, what: str, faults: list[str]) -> None:
        """Add the first of the faults, and how many there are."""
        if faults:
            more = f" (and {len(faults) - 1:,} more)" if len(faults) > 1 else ""
            self.lines.append(f"{what}: {faults[0]}{more}")
            self.complete = False


class Pair(NamedTuple):
    """A picture, its mask, and the classes that the lists name for it."""

    picture: Path
    mask: Path
    class_ids: list[int]


def check(root: Path, name: str, workers: int | None = None) -> Report:
    """Look at everything that a benchmark needs, for each split.

    If there are lists, every mask that they name is read, and the size of its picture; up to 64 pictures are decoded.
    An object is a class in an image.
    """
    from .benchmarks import Benchmark  # imports torch, which fetching does without

    report = Report()
    benches, faults = [], []
    for split, fold in product(SPLITS, range(FOLDS)):
        try:
            benches.append(Benchmark(name, root, fold, split))
        except InputError as error:
            faults.append(str(error))
    report.complain(f"{name} lists", list(dict.fromkeys(faults)))
    images = {image for bench in benches for image, _ in bench.entries}
    if not images:
        report.lines += [f"{name} {_count_files(root, name, what)}" for what in HOMES[name]]
        return report
    listed = next(bench for bench in benches if bench.entries)
    report.lines.append(f"{name} lists: {identify_lists(listed.lists, name)}, {count(len(images), 'image')}")
    try:
        listed.check_layout()
    except InputError as error:
        report.complain(f"{name} files", [str(error)])
        return report
    for split in SPLITS:
        _check_split(report, f"{name} {split}", [bench for bench in benches if bench.split == split], workers)
    report.complain(f"{name} lists", _find_shared(benches))
    _report_unlisted(report, root, name, images)
    if name == "coco":
        _check_annotations(report, root, images)
    return report


def _check_split(report: Report, title: str, folds: list, workers: int | None) -> None:
    """Look at the images of a split; folds: its benchmarks, one for each fold whose lists can be read."""
    if not any(fold.entries for fold in folds):
        return
    bench = next(bench for bench in folds if bench.entries)
    classes: dict[str, set[int]] = {}
    for image, c in (entry for fold in folds for entry in fold.entries):
        classes.setdefault(image, set()).add(c)
    images = sorted(classes)
    gone = set(bench.find_missing(images))
    pairs = [Pair(bench.image_path(image), bench.mask_path(image), sorted(classes[image])) for image in images]
    there = [pair for pair in pairs if gone.isdisjoint(pair[:2])]
    look = partial(_look_at, bench.class_names, bench.lists)
    looks = spread(look, there, f"looking at the masks of {title}", "mask", workers if len(there) > MANY else 1)
    lacking = {what: sum(path.suffix == suffix for path in gone) for what, suffix in SUFFIXES.items()}
    objects, unlisted = sum(len(pair.class_ids) for pair in there), sum(more for more, _ in looks)
    report.lines.append(
        f"{title}: {len(images) - lacking['pictures']:,} of {count(len(images), 'image')}, "
        f"{len(images) - lacking['masks']:,} of {count(len(images), 'mask')}, "
        f"{count(len({c for some in classes.values() for c in some}), 'class')}, {count(objects, 'object')} looked at"
    )
    empty = [str(fold.fold) for fold in folds if not fold.entries]
    if empty:
        report.lines.append(f"{title}: left out are folds without an image in these lists ({', '.join(empty)})")
    if unlisted:
        report.lines.append(f"{title}: left out are {count(unlisted, 'object')} of these masks that no list names")
    missing = [path for pair in pairs for path in pair[:2] if path in gone]
    report.complain(
        f"{title} missing", [f"{path} is missing, {bench.remedy(path.parent)}" for path in missing[:1]] + missing[1:]
    )
    whole = [image for image, pair in zip(images, pairs, strict=True) if gone.isdisjoint(pair[:2])]
    report.complain(f"{title} wrong", [fault for _, fault in looks if fault] or _open_some(bench, whole))


def _look_at(names: dict[int, str], lists: Path, pair: Pair) -> tuple[int, str | None]:
    """How many classes a mask shows that no list names, and why mask, picture and lists do not fit, or None."""
    import numpy as np

    from .images import check_mask_size, read_mask
    from .palettes import explain_absence

    try:
        mask = read_mask(pair.mask, len(names))
        check_mask_size(pair.picture, pair.mask, mask.shape)
    except InputError as error:
        return 0, str(error)
    shown = set(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[: len(names) + 1]).tolist()) - {0}
    absent = [c for c in pair.class_ids if c not in shown]
    fault = explain_absence(pair.mask, mask, absent[0], names, lists) if absent else None
    return len(shown.difference(pair.class_ids)), fault


def _open_some(bench, images: list[str]) -> list[str]:
    """Decode up to OPENED pairs of picture and mask, evenly spread over `images`; returns what does not fit."""
    faults = []
    for image in images[:: -(-len(images) // OPENED) or 1]:
        try:
            bench.read_pair(image)
        except InputError as error:
            faults.append(str(error))
    return faults


def _find_shared(benches: list) -> list[str]:
    """Images that the lists of one fold have for training and for testing."""
    faults = []
    images = {(bench.split, bench.fold): {image for image, _ in bench.entries} for bench in benches}
    for fold in range(FOLDS):
        shared = images.get(("trn", fold), set()) & images.get(("val", fold), set())
        if shared:
            faults.append(
                f"fold {fold} trains on {count(len(shared), 'image')} that it tests, such as {min(shared)}; fetch or "
                "derive the lists again"
            )
    return faults


def _report_unlisted(report: Report, root: Path, name: str, images: set[str]) -> None:
    """Say how many files of a benchmark's folders no list names."""
    stems = {Path(image).name.removesuffix(".jpg") for image in images}
    for what, homes in HOMES[name].items():
        for home in homes:
            number = sum(path.stem not in stems for path in (root / home).glob(f"*{SUFFIXES[what]}"))
            if number:
                report.lines.append(f"{name}: left out are {number:,} {what} in {root / home} that no list names")


def _check_annotations(report: Report, root: Path, images: set[str]) -> None:
    """Say what COCO's annotation files hold and what of it is in no mask, if they are there."""
    if not list((root / "COCO2014" / "annotations").glob("instances_*2014.json")):
        return
    try:
        plans = plan_all(root)
    except InputError as error:
        report.complain("coco annotations", [str(error)])
        return
    stems = {Path(image).stem for image in images}
    for plan in plans:
        report.lines.append(
            f"coco annotations: {count(plan.objects, 'object')} of {count(len(plan.tasks), 'image')} in "
            f"{plan.annotations}"
        )
        report.lines += [f"coco annotations: left out, {line}" for line in plan.describe_left_out()]
        report.complain(
            "coco annotations",
            [f"{fault}, but the lists name it" for stem, fault in plan.faults.items() if stem in stems],
        )


def identify_lists(folder: Path, name: str) -> str:
    """Which lists a folder has, in words: the published ones, derived ones, or neither."""
    if (folder / DERIVED_MARK).is_file():
        return "derived, not the published lists"
    files = [(folder / file.name.removeprefix(f"{name}/"), file) for file in published_lists(name)]
    same = all(path.is_file() and compute_digest(path, file) == file.digest for path, file in files)
    return "the published lists" if same else "neither the published lists nor derived here"


def _count_files(root: Path, name: str, what: str) -> str:
    """How many pictures or masks are in the folders for them, in words."""
    found = [
        f"{sum(1 for _ in (root / home).glob(f'*{SUFFIXES[what]}')):,} in {root / home}" for home in HOMES[name][what]
    ]
    return f"{what}: {', '.join(found)}"
