"""Real data: fetches Pascal VOC 2012, SBD, COCO 2014 and the published lists, and brings them into the layout that the
benchmarks read (chapter 13). See data/README.md.

    python -m ifsl.download pascal     pictures and masks of Pascal-5i
    python -m ifsl.download coco       pictures and annotations of COCO-20i
    python -m ifsl.download masks      COCO's annotations to class-id masks
    python -m ifsl.download lists      the published image lists
    python -m ifsl.download derive     lists made from the masks, where the published ones cannot be had
    python -m ifsl.download check      what is there, what is missing

The data lie in --root, by default data. What was broken off goes on when the command is given again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from ..errors import InputError
from .benchmarks import CLASSES, FOLDS, SPLITS, Benchmark
from .fetch import Remote, fetch, settle, unpack
from .lists import derive, fetch_lists, origin
from .workers import spread

ROOT = "data"
MAX_PIXELS = 50_000_000  # an annotation file that claims a larger picture is not believed
LOOKED_AT = 64  # pairs of picture and mask that `check` opens


@dataclass(frozen=True)
class Archive:
    """An archive and what is kept of it.

    folder: below the root, where its files go; wanted: names of the members, group 1 is the name in the folder; count
    and unpacked: how many there are, and their bytes, about; there: what matches them in the folder.
    """

    remote: Remote
    folder: str
    wanted: str
    count: int
    unpacked: int
    there: tuple[str, ...]

    def is_there(self, root: Path, count: int | None = None) -> bool:
        """Whether the folder has all files."""
        return sum(1 for glob in self.there for _ in (root / self.folder).glob(glob)) >= (count or self.count)

    def path(self, root: Path) -> Path:
        """Where the archive itself lies until it is unpacked."""
        return root / "downloads" / self.remote.name


VOC = Archive(
    Remote(
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012",
        "VOCtrainval_11-May-2012.tar",
        1_999_639_040,
        "sha256:e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    ),
    "VOC2012",
    r"VOCdevkit/VOC2012/(JPEGImages/\w+\.jpg|SegmentationClass/\w+\.png|ImageSets/Segmentation/val\.txt)",
    17_125 + 2_913 + 1,
    1_950_000_000,
    ("JPEGImages/*.jpg", "SegmentationClass/*.png", "ImageSets/Segmentation/val.txt"),
)
SBD = Archive(
    Remote(
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours",
        "benchmark.tgz",
        1_419_539_633,
        "md5:82b4d87ceb2ed10f6038a1cba92111cb",
    ),
    "VOC2012/SegmentationClassAug",
    r"benchmark_RELEASE/dataset/cls/(\w+)\.mat",
    11_355,
    150_000_000,
    ("*.png",),
)
AUGMENTED = 12_031
"""Masks in SegmentationClassAug: VOC's own 2,913 and the 9,118 of SBD's that VOC has none for."""

COCO_BASE = "http://images.cocodataset.org"
COCO = (
    Archive(
        Remote(
            f"{COCO_BASE}/zips",
            "train2014.zip",
            13_510_573_713,
            "sha256:ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
        ),
        "COCO2014/train2014",
        r"train2014/(COCO_train2014_\d{12}\.jpg)",
        82_783,
        13_600_000_000,
        ("*.jpg",),
    ),
    Archive(
        Remote(
            f"{COCO_BASE}/zips",
            "val2014.zip",
            6_645_013_297,
            "sha256:fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
        ),
        "COCO2014/val2014",
        r"val2014/(COCO_val2014_\d{12}\.jpg)",
        40_504,
        6_700_000_000,
        ("*.jpg",),
    ),
    Archive(
        Remote(
            f"{COCO_BASE}/annotations",
            "annotations_trainval2014.zip",
            252_872_794,
            "sha256:031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
        ),
        "COCO2014/annotations",
        r"annotations/(instances_(?:train|val)2014\.json)",
        2,
        500_000_000,
        ("instances_*2014.json",),
    ),
)
"""The largest first: then the archives never need more disk than the first of them."""


# Commands -------------------------------------------------------------------------------------------------------------


def fetch_pascal(root: Path, mirror: str | None = None) -> None:
    """Pictures and masks of VOC 2012, and SegmentationClassAug.

    SegmentationClassAug is made from VOC's own masks and, where VOC has none, those of SBD (Hariharan et al., *Semantic
    Contours from Inverse Detectors*, ICCV 2011): VOC's have void pixels round the objects, SBD's have not.
    """
    voc, sbd = not VOC.is_there(root), not SBD.is_there(root, AUGMENTED)
    make_room(root, [archive for archive, lacking in ((VOC, voc), (SBD, sbd)) if lacking])
    if voc:
        get(VOC, root, mirror)
    if sbd:
        part = part_of(root, SBD)
        own = sorted((root / VOC.folder / "SegmentationClass").glob("*.png"))
        try:
            part.mkdir(parents=True, exist_ok=True)
            for mask in own:
                shutil.copyfile(mask, part / "copy")
                os.replace(part / "copy", part / mask.name)
        except OSError as error:
            raise InputError(f"Masks cannot be written to {part} ({error}); make room and run this again.") from error
        get(SBD, root, mirror, suffix=".png", write=_mat_to_png)


def fetch_coco(root: Path, mirror: str | None = None) -> None:
    """Pictures and annotations of COCO 2014 (Lin et al., *Microsoft COCO*, ECCV 2014)."""
    lacking = [archive for archive in COCO if not archive.is_there(root)]
    make_room(root, lacking)
    for archive in lacking:
        get(archive, root, mirror)


def make_room(root: Path, archives: list[Archive]) -> None:
    """Say what will be fetched and how much disk that needs; raise `InputError` if there is not so much."""
    peak = stays = left = 0
    for archive in archives:
        path = archive.path(root)
        have = sum(p.stat().st_size for p in (path, path.with_name(f"{path.name}.part")) if p.exists())
        left += archive.remote.size - have
        peak = max(peak, stays + archive.remote.size - have + archive.unpacked)
        stays += archive.unpacked
    if not archives:
        return
    home = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(home).free
    need = f"{left / 1e9:.1f} GB to fetch; {peak / 1e9:.1f} GB of disk needed for it, {stays / 1e9:.1f} GB afterwards"
    if free < peak:
        raise InputError(f"{need}, but {home} has {free / 1e9:.1f} GB free; make room or give --root another disk.")
    print(f"{need}; {free / 1e9:.1f} GB free.", flush=True)


def get(
    archive: Archive,
    root: Path,
    mirror: str | None,
    suffix: str = "",
    write: Callable[[BinaryIO, Path], None] | None = None,
) -> None:
    """Fetch an archive and unpack it. Its folder appears, or gets what it lacks, when all is there."""
    path, part = archive.path(root), part_of(root, archive)
    fetch(archive.remote, path, mirror)
    unpack(path, part, archive.wanted, archive.count, 2 * archive.unpacked, suffix, write)
    settle(part, part.with_suffix(""))
    path.unlink()


def part_of(root: Path, archive: Archive) -> Path:
    """The folder that an archive is unpacked into first, on the same disk as its own, which may be a link."""
    folder = (root / archive.folder).resolve()
    return folder.with_name(f"{folder.name}.part")


def _mat_to_png(file: BinaryIO, target: Path) -> None:
    """A mask of SBD, MATLAB's structure GTcls with the field Segmentation (H, W) of class ids, to a grey PNG."""
    from scipy.io import loadmat

    try:
        mask = np.asarray(loadmat(BytesIO(file.read()), variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0])
        if mask.ndim != 2 or mask.max() > CLASSES["pascal"]:
            raise ValueError(f"shape {mask.shape}, values up to {mask.max()}")
    except Exception as error:  # a broken .mat can fail in any way
        raise InputError(f"{target.stem} is no mask of SBD ({error}); fetch the archive again.") from error
    Image.fromarray(mask.astype(np.uint8)).save(target, format="PNG")


# What is there --------------------------------------------------------------------------------------------------------


HOMES = {
    "pascal": {"pictures": ("VOC2012/JPEGImages",), "masks": ("VOC2012/SegmentationClassAug",)},
    "coco": {
        "pictures": ("COCO2014/train2014", "COCO2014/val2014"),
        "masks": ("COCO2014/annotations/train2014", "COCO2014/annotations/val2014"),
    },
}
"""Folders of a benchmark, below the root."""


def check(root: Path, name: str) -> tuple[list[str], bool]:
    """What of a benchmark is there, a line each for lists, pictures, masks and their fit; and whether that is all.

    Where there are lists, all pictures and masks that they name are looked for, and up to 64 pairs of them are opened.
    """
    try:
        benches = [Benchmark(name, root, fold, split) for split in SPLITS for fold in range(FOLDS)]
    except InputError as error:
        counts = [_count(root, name, what) for what in HOMES[name]]
        return [f"{name} lists: {error}", *(f"{name} {line}" for line in counts)], False
    bench = benches[0]
    images = sorted({image for one in benches for image, _ in one.entries})
    lines = [f"lists: {origin(bench.lists, name)}, {len(images):,} images"]
    try:
        bench.check_layout()
    except InputError as error:
        return [f"{name} {line}" for line in (*lines, f"files: {error}")], False
    gone = bench.missing(images)
    for what, suffix in (("pictures", ".jpg"), ("masks", ".png")):
        lacking = [path for path in gone if path.suffix == suffix]
        first = f"; {lacking[0]} is the first that is missing, {bench.remedy(lacking[0].parent)}" if lacking else ""
        lines.append(f"{what}: {len(images) - len(lacking):,} of {len(images):,} in the lists{first}")
    without = {path.stem for path in gone}
    opened, unfit = _open_some(bench, [image for image in images if Path(image).stem not in without])
    lines.append("; ".join([f"pairs: {opened - len(unfit)} of {opened} opened fit each other", *unfit[:1]]))
    return [f"{name} {line}" for line in lines], not gone and not unfit


def _count(root: Path, name: str, what: str) -> str:
    suffix = {"pictures": "*.jpg", "masks": "*.png"}[what]
    found = [f"{sum(1 for _ in (root / home).glob(suffix)):,} in {root / home}" for home in HOMES[name][what]]
    return f"{what}: {', '.join(found)}"


def _open_some(bench: Benchmark, images: list[str]) -> tuple[int, list[str]]:
    """How many pairs were opened, evenly spread over `images`, and what is wrong with those that do not fit."""
    from .episodes import read_pair  # with it comes torch, which whoever draws or fetches does without

    some = images[:: -(-len(images) // LOOKED_AT) or 1]
    unfit = []
    for image in some:
        try:
            read_pair(bench, image)
        except InputError as error:
            unfit.append(str(error))
    return len(some), unfit


# COCO's masks ---------------------------------------------------------------------------------------------------------


def rasterise_all(root: Path, workers: int | None = None) -> int:
    """The masks of both parts of COCO 2014; returns how many were written."""
    folder = root / "COCO2014" / "annotations"
    files = sorted(folder.glob("instances_*2014.json"))
    if not files:
        raise InputError(f"{folder} has no instances_*2014.json; run `python -m ifsl.download coco --root {root}`.")
    return sum(rasterise(file, workers=workers) for file in files)


class MaskTask(NamedTuple):
    """One mask to be written: target file, (H, W), and (class id, COCO segmentation), what covers the others last."""

    target: Path
    shape: tuple[int, int]
    objects: list[tuple[int, list | dict]]


def rasterise(annotations: str | Path, target: str | Path | None = None, workers: int | None = None) -> int:
    """Writes the class-id mask of every image of an instances_*.json; returns how many were written.

    annotations: instances_<split>.json; target: folder for the PNG files, by default `<split>` beside it; workers:
    processes, by default one a core. A mask is one byte a pixel: 0 background, 1 … 80 the place of the category in
    ascending category ids.

    What covers what: objects are laid down in the order of the file, a later one over an earlier one, and crowd regions
    (iscrowd = 1) are left out, so that they count as background. Of the rules tried, this one agrees with the published
    lists: on 313 images, all 800 (image, class) pairs of at least 2,048 pixels are listed, and the 8 further pairs that
    are listed have 1,906 to 2,009 pixels.

    Masks that are there already are kept, and each appears under its name only when it is whole, so a broken run can be
    repeated. Raises `InputError` for a file that cannot be read or is no such annotation file.
    """
    annotations = Path(annotations)
    folder = Path(target) if target is not None else annotations.parent / annotations.stem.removeprefix("instances_")
    tasks = [task for task in _mask_tasks(annotations, folder) if not task.target.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        spread(_write_mask, tasks, f"masks of {folder.name}", "mask", workers)
    except OSError as error:
        raise InputError(f"Masks cannot be written to {folder} ({error}); make room or name another folder.") from error
    return len(tasks)


def _mask_tasks(annotations: Path, folder: Path) -> list[MaskTask]:
    """One task an image, in the order of the file."""
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        rank = {c: place for place, c in enumerate(sorted(c["id"] for c in content["categories"]), start=1)}
        tasks = {
            image["id"]: MaskTask(
                folder / f"{Path(image['file_name']).stem}.png", (int(image["height"]), int(image["width"])), []
            )
            for image in content["images"]
        }
        for found in content["annotations"]:
            if not found.get("iscrowd"):
                tasks[found["image_id"]].objects.append((rank[found["category_id"]], found["segmentation"]))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{annotations} cannot be read as JSON ({error}); fetch it again.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{annotations} is no COCO instances file (at {error}); fetch it again.") from error
    large = next((task for task in tasks.values() if not 0 < task.shape[0] * task.shape[1] <= MAX_PIXELS), None)
    if large is not None:
        raise InputError(f"{annotations} claims {large.shape} pixels for {large.target.stem}; fetch it again.")
    if len(rank) > 254:  # a mask has one byte a pixel, and 255 means void
        raise InputError(f"{annotations} has {len(rank)} categories; a mask holds at most 254.")
    return list(tasks.values())


def _write_mask(task: MaskTask) -> None:
    mask = np.zeros(task.shape, np.uint8)
    for class_id, segmentation in task.objects:
        try:
            mask[_inside(segmentation, task.shape)] = class_id
        except Exception as error:  # pycocotools raises bare Exception
            raise InputError(
                f"An object of {task.target.stem} has a broken outline ({error}); fetch the annotation file again."
            ) from error
    part = task.target.with_suffix(".part")
    Image.fromarray(mask).save(part, format="PNG")
    os.replace(part, task.target)


def _inside(segmentation: list | dict, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) bool inside a COCO segmentation: polygons, or run lengths as numbers or packed."""
    from pycocotools import mask as coco

    height, width = shape
    if isinstance(segmentation, list) and any(len(polygon) < 6 for polygon in segmentation):
        raise ValueError("a polygon has fewer than three corners")
    packed = isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list)
    runs = segmentation if packed else coco.frPyObjects(segmentation, height, width)
    if isinstance(runs, list):
        runs = coco.merge(runs)
    inside = np.asarray(coco.decode([runs])[..., 0]).astype(bool)
    if inside.shape != shape:
        raise ValueError(f"it is {inside.shape[1]} x {inside.shape[0]} pixels, the image {width} x {height}")
    return inside


# The command line -----------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the list of all options."""

    def error(self, message: str):
        self.exit(2, f"{message}; see python -m ifsl.download --help\n")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 2 for what cannot be used or is missing, 130 after Ctrl-C."""
    parser = Parser(
        prog="python -m ifsl.download", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("pascal", "coco", "masks", "lists", "derive", "check"))
    parser.add_argument("benchmark", nargs="?", choices=tuple(CLASSES), help="for lists, derive, check (default: both)")
    parser.add_argument("--root", default=ROOT, type=Path, help="folder of the data (default: %(default)s)")
    parser.add_argument("--mirror", metavar="URL", help="fetch from there instead: URL/<file name>")
    parser.add_argument("--workers", type=int, help="processes for masks and derive (default: one a core)")
    options = parser.parse_args(arguments)
    if options.benchmark and options.what in ("pascal", "coco", "masks"):
        parser.error(f"{options.what} takes no benchmark, leave out {options.benchmark}")
    if options.workers is not None and options.workers < 1:
        parser.error(f"--workers is {options.workers}, give a whole number from 1")
    try:
        return run(options.what, options.root, options.benchmark, options.mirror, options.workers)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or options.root} cannot be read or written ({error.strerror}).", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; give the command again to go on.", file=sys.stderr)
        return 130


def run(what: str, root: Path, benchmark: str | None, mirror: str | None, workers: int | None) -> int:
    """One command; returns the exit status."""
    names = [benchmark] if benchmark else list(CLASSES)
    if what == "pascal":
        fetch_pascal(root, mirror)
        print(f"VOC 2012 is in {root / 'VOC2012'}; next: python -m ifsl.download lists --root {root}")
    elif what == "coco":
        fetch_coco(root, mirror)
        print(f"COCO 2014 is in {root / 'COCO2014'}; next: python -m ifsl.download masks --root {root}")
    elif what == "masks":
        print(f"{rasterise_all(root, workers):,} masks were written to {root / 'COCO2014' / 'annotations'}.")
    elif what == "lists":
        for name in names:
            print(f"The published lists of {name} are in {fetch_lists(root, name, mirror)}.")
    elif what == "derive":
        for name in names:
            print(f"{name}: {derive(root, name, workers)}. These lists are derived, not the published ones.")
    else:
        reports = [check(root, name) for name in names]
        print("\n".join(line for lines, _ in reports for line in lines))
        return 0 if all(good for _, good in reports) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
