"""Makes the tiny benchmark: 20 and 80 classes of symbol stickers in the file layout of VOC 2012 and COCO 2014.

What a picture looks like is in `stickers` and `paint`, which classes it shows in `scenes`; here is how many pictures
there are and where the files go. Nothing else in the package knows whether it reads this benchmark or the real ones.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import shutil
import tempfile
from functools import partial
from pathlib import Path

from ..data.coco import rasterise
from ..data.lists import STAMP, write_lists
from ..data.workers import spread
from ..errors import InputError, is_int, shown, writing
from .scenes import COCO_PARTS, Plan, paint_coco, paint_pascal, plan_coco, plan_pascal
from .stickers import Symbol
from .symbols import COCO_SYMBOLS, PASCAL_SYMBOLS, to_category_id

ROOT = "data/tiny"
EASY_ROOT = "data/tiny-easy"
VERSION = 4  # raised whenever a picture, mask or list would come out differently
PASCAL_SIZE = (1000, 300)  # pictures for training, for testing
COCO_SIZE = (640, 400)


def ensure_tiny(root: str | Path = ROOT, easy: bool = False) -> Path:
    """Make the tiny benchmark if it is not at `root` yet; returns root. For the chapters."""
    return make_tiny(root, easy=easy)


def make_tiny(
    root: str | Path = ROOT,
    seed: int = 0,
    pascal: tuple[int, int] = PASCAL_SIZE,
    coco: tuple[int, int] = COCO_SIZE,
    workers: int | None = None,
    easy: bool = False,
) -> Path:
    """Make the tiny benchmark in `root`, unless exactly this one is there already; returns root.

    pascal, coco: numbers of training and test pictures. workers: processes, by default one per core. easy: make the
    easy version, for the first steps of a training run: each class has one look, and there are no decoys.

    The files are written to a folder beside root, which takes root's name when all is done; what a killed process left
    there is deleted. A benchmark of another version, seed or size is replaced. Raises `InputError` if root cannot be
    written, or holds anything else or the easy version in place of the ordinary one, or the other way round.
    """
    check_seed(seed)
    given, root = Path(root), Path(root).resolve()  # root may be a link to another disk
    stamp = {"version": VERSION, "seed": seed, "pascal": list(pascal), "coco": list(coco)}
    if easy:
        stamp["easy"] = True
    there = _read_stamp(root)
    if there == stamp:
        return given
    if there is not None and bool(there.get("easy")) != easy:
        kinds = ("the ordinary tiny benchmark", "its easy version")
        raise InputError(
            f"{root} holds {kinds[not easy]}, not {kinds[easy]}; give --root another folder, or delete this one first."
        )
    with writing(root, "give --root a folder that can"):
        root.parent.mkdir(parents=True, exist_ok=True)
        _delete_abandoned(root)
        part = _make_folder_beside(root)
    try:
        with writing(root, "make room or give --root another folder"):
            os.chmod(part, 0o755)
            _write_pascal(part, pascal, seed, workers, easy)
            _write_coco(part, coco, seed, workers, easy)
            (part / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
            _put_in_place(part, root, stamp)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return given


def check_seed(seed: int) -> None:
    """Raise `InputError` for a number that NumPy takes for no seed."""
    if not is_int(seed) or not 0 <= seed < 2**32:
        raise InputError(f"There is no seed {shown(seed)}; give --seed a whole number from 0 to 4294967295.")


# Files ----------------------------------------------------------------------------------------------------------------


def _write_pascal(root: Path, sizes: tuple[int, int], seed: int, workers: int | None, easy: bool) -> None:
    """Pictures, masks, class names and lists in the layout of VOC 2012."""
    from ..learners.maps import VOID  # imports torch, which the processes that paint do without

    home = root / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (home / folder).mkdir(parents=True)
    _write_class_names(home, PASCAL_SYMBOLS)
    plans = {split: plan_pascal(split, count, seed, easy) for split, count in zip(("trn", "val"), sizes, strict=True)}
    every = plans["trn"] + plans["val"]
    paint = partial(paint_pascal, home, VOID)
    shown = dict(zip(every, spread(paint, every, "painting the Pascal pictures", "picture", workers), strict=True))
    for split, own in plans.items():
        write_lists(root / "splits" / "pascal", "pascal", split, [(plan.name, c) for plan in own for c in shown[plan]])


def _write_coco(root: Path, sizes: tuple[int, int], seed: int, workers: int | None, easy: bool) -> None:
    """Pictures, annotations, masks, class names and lists in the layout of COCO 2014."""
    home = root / "COCO2014"
    (home / "annotations").mkdir(parents=True)
    _write_class_names(home, COCO_SYMBOLS)
    for (split, part), count in zip(COCO_PARTS.items(), sizes, strict=True):
        (home / part).mkdir()
        plans = plan_coco(split, count, seed, easy)
        label = f"painting the COCO {part} pictures"
        objects = spread(partial(paint_coco, home / part), plans, label, "picture", workers)
        file = home / "annotations" / f"instances_{part}.json"
        file.write_text(json.dumps(_make_instances(plans, objects, part)) + "\n", encoding="utf-8")
        rasterise(file, workers=workers)
        entries = [(f"{part}/{plan.name}.jpg", c) for plan in plans for c in sorted(set(plan.class_ids))]
        write_lists(root / "splits" / "coco", "coco", split, entries)


def _write_class_names(home: Path, symbols: tuple[Symbol, ...]) -> None:
    (home / "classes.txt").write_text("".join(f"{symbol.name}\n" for symbol in symbols), encoding="utf-8")


def _make_instances(plans: list[Plan], objects: list[list[dict]], part: str) -> dict:
    """The content of an instances_*.json, from the plans and the objects of each picture."""
    ids = [int(plan.name.rsplit("_", 1)[1]) for plan in plans]
    images = [
        {"id": number, "file_name": f"{plan.name}.jpg", "height": plan.shape[0], "width": plan.shape[1]}
        for number, plan in zip(ids, plans, strict=True)
    ]
    annotations = [{"image_id": number, **one} for number, found in zip(ids, objects, strict=True) for one in found]
    return {
        "info": {"description": f"tiny benchmark, {part}", "version": str(VERSION)},
        "licenses": [],
        "images": images,
        "annotations": [{"id": n, **one} for n, one in enumerate(annotations, start=1)],
        "categories": [
            {"id": to_category_id(c), "name": symbol.name, "supercategory": "symbol"}
            for c, symbol in enumerate(COCO_SYMBOLS, start=1)
        ],
    }


# Folders --------------------------------------------------------------------------------------------------------------


def _read_stamp(root: Path) -> dict | None:
    """The stamp of a finished benchmark at root; None if nothing is there. Raises `InputError` for anything else."""
    if not root.exists():
        return None
    if not root.is_dir():
        raise InputError(f"{root} is no folder; give --root another name.")
    try:
        if not any(root.iterdir()):
            return None
        stamp = json.loads((root / STAMP).read_text(encoding="utf-8")) if (root / STAMP).is_file() else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{root} cannot be read ({error}); delete it or give --root another name.") from error
    if not isinstance(stamp, dict) or "version" not in stamp or "seed" not in stamp:
        raise InputError(f"{root} holds something other than the tiny benchmark; give --root an empty or new folder.")
    return stamp


def _make_folder_beside(root: Path) -> Path:
    """A new folder whose name says which process it belongs to: `.<root>-<computer>-<process>-<anything>`."""
    return Path(tempfile.mkdtemp(prefix=f".{root.name}-{platform.node()}-{os.getpid()}-", dir=root.parent))


def _delete_abandoned(root: Path) -> None:
    """Delete the folders beside root whose process has ended; those of other computers on the same disk are kept."""
    if os.name != "posix":  # elsewhere no signal shows whether a process is alive
        return
    before = f".{root.name}-{platform.node()}-"
    for folder in root.parent.glob(f"{glob.escape(before)}*"):
        number = folder.name.removeprefix(before).partition("-")[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OverflowError, PermissionError):  # not ours
            pass


def _put_in_place(part: Path, root: Path, stamp: dict) -> None:
    """Rename the finished folder to `root`. If another process was faster with the same benchmark, that one stays."""
    old = _read_stamp(root)
    if old == stamp:
        return
    if old is not None:
        away = _make_folder_beside(root)
        os.rename(root, away / "old")
        os.rename(part, root)
        shutil.rmtree(away, ignore_errors=True)
        return
    if root.exists():
        root.rmdir()
    os.rename(part, root)
