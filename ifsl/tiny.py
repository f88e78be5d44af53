"""Draws the tiny benchmark: 20 and 80 classes of symbol stickers in the file layout of VOC 2012 and COCO 2014.

    python -m ifsl.tiny [--root data/tiny] [--seed 0]
    python -m ifsl.tiny --sheet FILE.png

What a picture looks like is in `ifsl.stickers`; here is how many there are, which classes they show, and where the
files go. Nothing else in the package knows whether it reads this benchmark or the real ones.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .benchmarks import FOLDS, fold_classes
from .errors import InputError
from .stickers import TEXTURES, Look, Scene, Symbol, arrange, paint

VERSION = 1  # of the drawing: raised whenever a picture, mask or list would come out differently
STAMP = "tiny.json"
PASCAL_SIZE = (1000, 300)  # pictures for training, for testing
COCO_SIZE = (720, 320)
PASCAL_LONG = (256, 320)  # longer side of a picture, least and most, pixels
COCO_LONG = (192, 256)
ASPECT = (0.68, 1.0)  # shorter side over longer
HOW_MANY = (0.45, 0.35, 0.20)  # share of the pictures that show 1, 2, 3 classes
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


def pascal_look(class_id: int) -> Look:
    """Classes of a fold are a fifth of the colour circle apart and differ in texture; so do neighbours in hue."""
    fold, place = divmod(class_id - 1, 5)
    return Look(place / 5 + fold / 20, TEXTURES[(place + fold) % len(TEXTURES)], dark=(place + fold) % 2 == 0)


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


def _draw_pascal(plan: Plan, root: Path) -> list[int]:
    """Draws one picture and its mask; returns the classes the mask shows, ascending."""
    scene = scene_of(plan, PASCAL_SYMBOLS)
    looks = {c: pascal_look(c) for c in plan.class_ids}
    picture = paint(scene, looks, np.random.RandomState((*plan.key, 1)))
    mask = np.where(void_line(scene.owner), np.uint8(VOID), class_mask(scene))
    Image.fromarray(picture).save(root / "JPEGImages" / f"{plan.name}.jpg", quality=QUALITY)
    Image.fromarray(mask).save(root / "SegmentationClassAug" / f"{plan.name}.png")
    return [int(c) for c in np.unique(mask) if c not in (0, VOID)]


# ------------------------------------------------------------------------------------------------- whole benchmarks


class _Crew:
    """Runs draw(plan, folder) for many plans, in order, on all cores, with one progress bar for everything."""

    def __init__(self, total: int, workers: int):
        self.bar = tqdm(total=total, desc="drawing the tiny benchmark", unit="picture", leave=False)
        spawn = multiprocessing.get_context("spawn")  # safe beside the threads of torch
        self.pool = ProcessPoolExecutor(workers, mp_context=spawn) if workers > 1 else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
        self.bar.close()

    def draw(self, draw, plans: list[Plan], folder: Path) -> list:
        folders = [folder] * len(plans)
        run = map(draw, plans, folders) if self.pool is None else self.pool.map(draw, plans, folders, chunksize=8)
        results = []
        for result in run:
            results.append(result)
            self.bar.update()
        return results


def _write_pascal(root: Path, sizes: tuple[int, int], seed: int, crew: _Crew) -> None:
    home = root / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (home / folder).mkdir(parents=True)
    (home / "classes.txt").write_text("".join(f"{s.name}\n" for s in PASCAL_SYMBOLS), encoding="utf-8")
    for split, count in zip(("trn", "val"), sizes, strict=True):
        plans = pascal_plans(split, count, seed)
        shown = dict(zip((p.name for p in plans), crew.draw(_draw_pascal, plans, home), strict=True))
        entries = [(name, c) for name, classes in shown.items() for c in classes]
        if split == "trn":
            entries.sort(key=lambda entry: entry[1])  # as in the published lists: by class in trn, by image in val
        folder = root / "splits" / "pascal" / split
        folder.mkdir(parents=True)
        for fold in range(FOLDS):
            own = fold_classes("pascal", fold, "val")
            lines = [f"{name}__{c:02d}\n" for name, c in entries if c in own]
            (folder / f"fold{fold}.txt").write_text("".join(lines), encoding="utf-8")


def _stamp(seed: int, pascal: tuple[int, int], coco: tuple[int, int]) -> dict:
    return {"version": VERSION, "seed": seed, "pascal": list(pascal), "coco": list(coco)}


def _read_stamp(root: Path) -> dict | None:
    """What a finished benchmark at root says it is; None where there is nothing yet. Raises `InputError`."""
    if not os.path.lexists(root):
        return None
    if not root.is_dir():
        raise InputError(f"{root} is no folder; give --root another name.")
    try:
        if (root / STAMP).is_file():
            return json.loads((root / STAMP).read_text(encoding="utf-8"))
        if not any(root.iterdir()):
            return None
    except (OSError, ValueError) as error:
        raise InputError(f"{root} cannot be read ({error}); delete it or give --root another name.") from error
    raise InputError(f"{root} holds files that are not the tiny benchmark; give --root an empty folder or a new name.")


def draw_tiny(
    root: str | Path = "data/tiny",
    seed: int = 0,
    pascal: tuple[int, int] = PASCAL_SIZE,
    coco: tuple[int, int] = COCO_SIZE,
    workers: int | None = None,
) -> Path:
    """Draws the tiny benchmark into root, unless just that is there already; returns root.

    pascal, coco: numbers of training and test pictures; workers: processes, by default one a core.
    It is drawn into a folder beside root that takes root's name when all is done. A benchmark of another version, seed
    or size is replaced. Raises `InputError` where root cannot be written or holds anything else.
    """
    root = Path(root)
    stamp = _stamp(seed, pascal, coco)
    if _read_stamp(root) == stamp:
        return root
    if not 0 <= seed < 2**32:
        raise InputError(f"There is no seed {seed}; give --seed a whole number from 0 to 4294967295.")
    try:
        root.absolute().parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.absolute().parent))
    except OSError as error:
        raise InputError(f"{root} cannot be written ({error.strerror}); give --root a folder that can.") from error
    try:
        os.chmod(part, 0o755)
        with _Crew(sum(pascal), workers or len(os.sched_getaffinity(0))) as crew:
            _write_pascal(part, pascal, seed, crew)
        (part / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        _put_in_place(part, root, stamp)
    except OSError as error:
        raise InputError(f"{root} cannot be written ({error.strerror}); make room or give --root another folder.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _put_in_place(part: Path, root: Path, stamp: dict) -> None:
    """Gives the finished folder its name. Where another process was faster with the same, that one stays."""
    old = _read_stamp(root)
    if old == stamp:
        return
    if old is not None:
        away = Path(tempfile.mkdtemp(prefix=f".{root.name}-old-", dir=part.parent))
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
    options = parser.parse_args(arguments)
    try:
        print(f"The tiny benchmark is in {draw_tiny(options.root, options.seed)}.")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
