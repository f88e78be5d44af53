"""Draws the tiny benchmark: 20 and 80 classes of symbol stickers in the file layout of VOC 2012 and COCO 2014.

    python -m ifsl.tiny [--root data/tiny] [--seed 0]
    python -m ifsl.tiny --sheet FILE.png

What a picture looks like is in `ifsl.stickers`; here is how many there are, which classes they show, and where the
files go. Nothing else in the package knows whether it reads this benchmark or the real ones.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import pickle
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.classes import FOLDS, fold_classes
from ..data.coco import rasterise
from ..data.workers import spread
from ..errors import InputError
from .stickers import TEXTURES, Look, Scene, Symbol, arrange, paint

VERSION = 3  # of the drawing: raised whenever a picture, mask or list would come out differently
STAMP = "tiny.json"
PASCAL_SIZE = (1000, 300)  # pictures for training, for testing
COCO_SIZE = (640, 400)
PASCAL_LONG = (256, 320)  # longer side of a picture, least and most, pixels
COCO_LONG = (192, 256)
ASPECT = (0.68, 1.0)  # shorter side over longer
HOW_MANY = (0.45, 0.35, 0.20)  # share of the pictures that show 1, 2, 3 classes
TWICE = 0.25  # share of the COCO pictures in which one class has two stickers
COCO_SPLITS = ("train2014", "val2014")
VOID = 255  # pixels along the outline of an object, in Pascal masks
QUALITY = 92  # of the JPEG files

PASCAL_SYMBOLS = (
    Symbol("plane", 0x2708),
    Symbol("umbrella", 0x2602),
    Symbol("phone", 0x260E, "hole"),
    Symbol("star", 0x2605),
    Symbol("heart", 0x2665),
    Symbol("shamrock", 0x2618),
    Symbol("cloud", 0x2601),
    Symbol("skull", 0x2620, "line"),
    Symbol("gear", 0x2699),
    Symbol("scissors", 0x2702),
    Symbol("anchor", 0x2693),
    Symbol("sun", 0x2600),
    Symbol("knight", 0x265E, "hole"),
    Symbol("cup", 0x2615, "line"),
    Symbol("notes", 0x266B),
    Symbol("snowflake", 0x2744),
    Symbol("yinyang", 0x262F, "hole"),
    Symbol("flower", 0x273F),
    Symbol("flag", 0x2691),
    Symbol("recycle", 0x267B),
)
COCO_SYMBOLS = PASCAL_SYMBOLS + (
    Symbol("mouse", 0x1F42D, "line"),
    Symbol("cow", 0x1F42E, "line"),
    Symbol("cat", 0x1F431, "line"),
    Symbol("monkey", 0x1F435, "line"),
    Symbol("smile", 0x263B, "hole"),
    Symbol("frown", 0x2639, "line"),
    Symbol("cool", 0x1F60E, "line"),
    Symbol("imp", 0x1F608, "line"),
    Symbol("envelope", 0x2709, "line"),
    Symbol("pencil", 0x270F, "line"),
    Symbol("nib", 0x2712, "hole"),
    Symbol("keyboard", 0x2328, "line"),
    Symbol("warning", 0x26A0, "line"),
    Symbol("atom", 0x269B, "line"),
    Symbol("urn", 0x26B1, "line"),
    Symbol("coffin", 0x26B0, "line"),
    Symbol("coin", 0x26C0, "line"),
    Symbol("drum", 0x26C3, "line"),
    Symbol("reel", 0x2707, "line"),
    Symbol("victory", 0x270C, "line"),
    Symbol("hand", 0x261B, "hole"),
    Symbol("radiation", 0x2622, "line"),
    Symbol("biohazard", 0x2623),
    Symbol("peace", 0x262E, "line"),
    Symbol("wheel", 0x2638),
    Symbol("snowman", 0x2603, "line"),
    Symbol("moon", 0x263D, "line"),
    Symbol("king", 0x265A, "hole"),
    Symbol("queen", 0x265B, "hole"),
    Symbol("rook", 0x265C, "hole"),
    Symbol("bishop", 0x265D, "hole"),
    Symbol("pawn", 0x265F, "hole"),
    Symbol("spade", 0x2660),
    Symbol("club", 0x2663),
    Symbol("die", 0x2684, "line"),
    Symbol("hammers", 0x2692),
    Symbol("alembic", 0x2697),
    Symbol("scales", 0x2696, "line"),
    Symbol("swords", 0x2694),
    Symbol("wheelchair", 0x267F),
    Symbol("lily", 0x269C),
    Symbol("tulip", 0x2698),
    Symbol("house", 0x2302, "line"),
    Symbol("knot", 0x2318),
    Symbol("leaf", 0x2767),
    Symbol("vine", 0x2766),
    Symbol("steam", 0x2668, "line"),
    Symbol("benzene", 0x232C, "line"),
    Symbol("nut", 0x23E3, "line"),
    Symbol("arrow", 0x27A1),
    Symbol("tick", 0x2714),
    Symbol("burst", 0x2739),
    Symbol("spark", 0x2738),
    Symbol("maltese", 0x2720),
    Symbol("asterisk", 0x2731),
    Symbol("quatrefoil", 0x2724),
    Symbol("medal", 0x272A, "hole"),
    Symbol("daisy", 0x2741, "line"),
    Symbol("rosette", 0x2742, "line"),
    Symbol("card", 0x1F0A0, "line"),
)


def pascal_look(class_id: int) -> Look:
    """Classes of a fold are a fifth of the colour circle apart and differ in texture; so do neighbours in hue."""
    fold, place = divmod(class_id - 1, 5)
    return Look(place / 5 + fold / 20, TEXTURES[(place + fold) % len(TEXTURES)], dark=(place + fold) % 2 == 0)


def coco_look(class_id: int) -> Look:
    """The 20 classes of a fold share out five textures and, for each, four hues; no look comes twice."""
    place, fold = divmod(class_id - 1, FOLDS)
    group, kind = divmod(place, len(TEXTURES))
    return Look((group / 4 + fold / 16 + kind / 20) % 1, TEXTURES[kind], dark=(group + fold) % 2 == 0)


def category(class_id: int) -> int:
    """COCO category id of a class: with gaps, as in the real annotations."""
    return class_id + (class_id - 1) // 8


@dataclass(frozen=True)
class Plan:
    """What one picture will show: its name, (H, W), class ids from the back to the front, and the key of its seed."""

    name: str
    shape: tuple[int, int]
    class_ids: tuple[int, ...]
    key: tuple[int, ...]


def _plans(names: Iterable[str], classes: int, long_side: tuple[int, int], key: tuple[int, ...]) -> list[Plan]:
    """Deals classes to pictures from a shuffled deck, so that all classes come up equally often."""
    r = np.random.RandomState(key)  # the legacy stream: NumPy promises that it never changes
    deck: list[int] = []
    plans = []
    for index, name in enumerate(names):
        count = 1 + int(np.searchsorted(np.cumsum(HOW_MANY)[:-1], r.random_sample(), side="right"))
        long = int(r.randint(long_side[0], long_side[1] + 1))
        short = round(long * r.uniform(*ASPECT))
        chosen: list[int] = []
        while len(chosen) < count:
            if not deck:
                deck = [int(c) + 1 for c in r.permutation(classes)]
            card = next((c for c in deck if c not in chosen), None)
            if card is None:  # only when the deck's rest is in the picture already
                deck += [int(c) + 1 for c in r.permutation(classes)]
                continue
            deck.remove(card)
            chosen.append(card)
        shape = (long, short) if r.random_sample() < 0.35 else (short, long)
        plans.append(Plan(name, shape, tuple(chosen), (*key, index)))
    return plans


def pascal_plans(split: str, count: int, seed: int) -> list[Plan]:
    """Plans of the Pascal part: split "trn" or "val", names such as 2007_000001 and 2008_000001."""
    year, part = (2007, 1) if split == "trn" else (2008, 2)
    names = (f"{year}_{n:06d}" for n in range(1, count + 1))
    return _plans(names, len(PASCAL_SYMBOLS), PASCAL_LONG, (seed, 0, part))


def coco_plans(split: str, count: int, seed: int) -> list[Plan]:
    """Plans of the COCO part: split "trn" or "val"; a class may stand in a picture twice."""
    part = 1 + ("trn", "val").index(split)
    # Numbers have gaps and differ between the parts, as in the real set.
    names = (f"COCO_{COCO_SPLITS[part - 1]}_{100_000 * part + 7 * n:012d}" for n in range(1, count + 1))
    plans = _plans(names, len(COCO_SYMBOLS), COCO_LONG, (seed, 1, part))
    r = np.random.RandomState((seed, 2, part))
    twice = r.random_sample(count) < TWICE
    return [
        replace(plan, class_ids=(*plan.class_ids, plan.class_ids[0])) if two else plan
        for plan, two in zip(plans, twice, strict=True)
    ]


def void_line(owner: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool with a neighbour, one of eight, that belongs to another sticker or to none."""
    height, width = owner.shape
    framed = np.pad(owner, 1, mode="edge")
    line = np.zeros(owner.shape, bool)
    for dy in range(3):
        for dx in range(3):
            line |= framed[dy : dy + height, dx : dx + width] != owner
    return line


def class_mask(scene: Scene) -> np.ndarray:
    """Class of each pixel (H, W) uint8, 0 where there is none."""
    return np.array([0, *(sticker.class_id for sticker in scene.stickers)], np.uint8)[scene.owner]


def scene_of(plan: Plan, symbols: tuple[Symbol, ...]) -> Scene:
    """The stickers of a picture, laid out."""
    table = dict(enumerate(symbols, start=1))
    return arrange(plan.shape, table, list(plan.class_ids), np.random.RandomState((*plan.key, 0)))


def _draw_pascal(home: Path, plan: Plan) -> list[int]:
    """Draws one picture and its mask; returns the classes the mask shows, ascending."""
    scene = scene_of(plan, PASCAL_SYMBOLS)
    looks = {c: pascal_look(c) for c in plan.class_ids}
    picture = paint(scene, looks, np.random.RandomState((*plan.key, 1)))
    mask = np.where(void_line(scene.owner), np.uint8(VOID), class_mask(scene))
    Image.fromarray(picture).save(home / "JPEGImages" / f"{plan.name}.jpg", quality=QUALITY)
    Image.fromarray(mask).save(home / "SegmentationClassAug" / f"{plan.name}.png")
    return [int(c) for c in np.unique(mask) if c not in (0, VOID)]


def _draw_coco(folder: Path, plan: Plan) -> list[dict]:
    """Draws one picture; returns what instances_*.json says of its objects, from the back to the front."""
    from pycocotools import mask as coco

    scene = scene_of(plan, COCO_SYMBOLS)
    looks = {c: coco_look(c) for c in plan.class_ids}
    picture = paint(scene, looks, np.random.RandomState((*plan.key, 1)))
    Image.fromarray(picture).save(folder / f"{plan.name}.jpg", quality=QUALITY)
    found = []
    for n, sticker in enumerate(scene.stickers, start=1):
        runs = coco.encode(np.asfortranarray(scene.owner == n, np.uint8))
        found.append(
            {
                "category_id": category(sticker.class_id),
                "iscrowd": 0,
                "segmentation": {"size": list(scene.shape), "counts": runs["counts"].decode("ascii")},
                "area": int(coco.area(runs)),
                "bbox": [float(edge) for edge in coco.toBbox(runs)],
            }
        )
    return found


# ------------------------------------------------------------------------------------------------- whole benchmarks


def _write_pascal(root: Path, sizes: tuple[int, int], seed: int, workers: int | None) -> None:
    home = root / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (home / folder).mkdir(parents=True)
    _write_names(home, PASCAL_SYMBOLS)
    trn, val = (pascal_plans(split, count, seed) for split, count in zip(("trn", "val"), sizes, strict=True))
    shown = spread(partial(_draw_pascal, home), trn + val, "drawing the Pascal pictures", "picture", workers)
    entries = [(plan.name, c) for plan, classes in zip(trn + val, shown, strict=True) for c in classes]
    # As in the published lists: by class in trn, by image in val.
    in_trn = {plan.name for plan in trn}
    _write_pascal_lists(root, "trn", sorted((e for e in entries if e[0] in in_trn), key=lambda entry: entry[1]))
    _write_pascal_lists(root, "val", [e for e in entries if e[0] not in in_trn])


def _write_names(home: Path, symbols: tuple[Symbol, ...]) -> None:
    (home / "classes.txt").write_text("".join(f"{symbol.name}\n" for symbol in symbols), encoding="utf-8")


def _write_pascal_lists(root: Path, split: str, entries: list[tuple[str, int]]) -> None:
    folder = root / "splits" / "pascal" / split
    folder.mkdir(parents=True)
    for fold in range(FOLDS):
        own = fold_classes("pascal", fold, "val")  # in the trn lists too
        lines = [f"{name}__{c:02d}\n" for name, c in entries if c in own]
        (folder / f"fold{fold}.txt").write_text("".join(lines), encoding="utf-8")


def _write_coco(root: Path, sizes: tuple[int, int], seed: int, workers: int | None) -> None:
    home = root / "COCO2014"
    (home / "annotations").mkdir(parents=True)
    _write_names(home, COCO_SYMBOLS)
    for split, part, count in zip(("trn", "val"), COCO_SPLITS, sizes, strict=True):
        (home / part).mkdir()
        plans = coco_plans(split, count, seed)
        drawn = spread(partial(_draw_coco, home / part), plans, f"drawing the COCO {part} pictures", "picture", workers)
        file = home / "annotations" / f"instances_{part}.json"
        file.write_text(json.dumps(_instances(plans, drawn, part)) + "\n", encoding="utf-8")
        rasterise(file, workers=workers)
        images_of: dict[int, list[str]] = {c: [] for c in range(1, len(COCO_SYMBOLS) + 1)}
        for plan in plans:
            for c in sorted(set(plan.class_ids)):
                images_of[c].append(f"{part}/{plan.name}.jpg")
        _write_coco_lists(root, split, images_of)


def _write_coco_lists(root: Path, split: str, images_of: dict[int, list[str]]) -> None:
    folder = root / "splits" / "coco" / split
    folder.mkdir(parents=True)
    for fold in range(FOLDS):
        own = fold_classes("coco", fold, split)
        table = {c - 1: images if c in own else [] for c, images in images_of.items()}
        (folder / f"fold{fold}.pkl").write_bytes(pickle.dumps(table, protocol=3))


def _instances(plans: list[Plan], drawn: list[list[dict]], part: str) -> dict:
    """What an instances_*.json holds, for pictures and the objects found in them."""
    images = [
        {"id": _number(plan), "file_name": f"{plan.name}.jpg", "height": plan.shape[0], "width": plan.shape[1]}
        for plan in plans
    ]
    objects = [{"image_id": _number(plan), **one} for plan, found in zip(plans, drawn, strict=True) for one in found]
    return {
        "info": {"description": f"tiny benchmark, {part}", "version": str(VERSION)},
        "licenses": [],
        "images": images,
        "annotations": [{"id": n, **one} for n, one in enumerate(objects, start=1)],
        "categories": [
            {"id": category(c), "name": symbol.name, "supercategory": "symbol"}
            for c, symbol in enumerate(COCO_SYMBOLS, start=1)
        ],
    }


def _number(plan: Plan) -> int:
    return int(plan.name.rsplit("_", 1)[1])


def _stamp(seed: int, pascal: tuple[int, int], coco: tuple[int, int]) -> dict:
    return {"version": VERSION, "seed": seed, "pascal": list(pascal), "coco": list(coco)}


def _read_stamp(root: Path) -> dict | None:
    """What a finished benchmark at root says it is; None where there is nothing yet. Raises `InputError`."""
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


def draw_tiny(
    root: str | Path = "data/tiny",
    seed: int = 0,
    pascal: tuple[int, int] = PASCAL_SIZE,
    coco: tuple[int, int] = COCO_SIZE,
    workers: int | None = None,
) -> Path:
    """Draws the tiny benchmark into root, unless just that is there already; returns root.

    pascal, coco: numbers of training and test pictures; workers: processes, by default one a core.
    It is drawn into a folder beside root that takes root's name when all is done; what a drawing that was killed left
    there is deleted. A benchmark of another version, seed or size is replaced. Raises `InputError` where root cannot be
    written or holds anything else.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"There is no seed {seed}; give --seed a whole number from 0 to 4294967295.")
    given, root = Path(root), Path(root).resolve()  # root may be a link to another disk
    stamp = _stamp(seed, pascal, coco)
    if _read_stamp(root) == stamp:
        return given
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        part = _folder_beside(root)
    except OSError as error:
        raise InputError(f"{root} cannot be written ({error.strerror}); give --root a folder that can.") from error
    try:
        os.chmod(part, 0o755)
        _write_pascal(part, pascal, seed, workers)
        _write_coco(part, coco, seed, workers)
        (part / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        _put_in_place(part, root, stamp)
    except OSError as error:
        raise InputError(f"{root} cannot be written ({error}); make room or give --root another folder.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return given


def _folder_beside(root: Path) -> Path:
    """A new folder whose name tells whose it is: `.<root>-<computer>-<process>-<anything>`."""
    return Path(tempfile.mkdtemp(prefix=f".{root.name}-{platform.node()}-{os.getpid()}-", dir=root.parent))


def _sweep(root: Path) -> None:
    """Delete the folders beside root whose process is no more; other computers' on the same disk are left alone."""
    if os.name != "posix":  # elsewhere no signal asks whether a process lives
        return
    before = f".{root.name}-{platform.node()}-"
    for folder in root.parent.glob(f"{glob.escape(before)}*"):
        number = folder.name.removeprefix(before).partition("-")[0]
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OverflowError, PermissionError):  # somebody else's
            pass


def _put_in_place(part: Path, root: Path, stamp: dict) -> None:
    """Gives the finished folder its name. Where another process was faster with the same, that one stays."""
    old = _read_stamp(root)
    if old == stamp:
        return
    if old is not None:
        away = _folder_beside(root)
        os.rename(root, away / "old")
        os.rename(part, root)
        shutil.rmtree(away, ignore_errors=True)
        return
    if root.exists():
        root.rmdir()
    os.rename(part, root)


def ensure_tiny(root: str | Path = "data/tiny") -> Path:
    """Draws the tiny benchmark if it is not at root yet; returns root. For the chapters."""
    return draw_tiny(root)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ifsl.tiny", description="Draw the tiny benchmark.")
    parser.add_argument("--root", default="data/tiny", help="folder to draw into (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other pictures (default: %(default)s)")
    parser.add_argument("--sheet", metavar="FILE.png", help="only draw a page that shows classes and pictures")
    options = parser.parse_args(arguments)
    try:
        if options.sheet is None:
            print(f"The tiny benchmark is in {draw_tiny(options.root, options.seed)}.")
        else:
            from .contact_sheet import write_sheet

            print(f"The contact sheet is {write_sheet(options.sheet, options.seed)}.")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or options.root} cannot be read or written ({error.strerror}).", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
