"""What each picture of the tiny benchmark shows, and painting it with its mask or its annotations.

What stickers look like and where they go is in `stickers` and `paint`; which files there are is in `make`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from .paint import paint_scene
from .stickers import Look, Scene, Symbol, arrange
from .symbols import COCO_SYMBOLS, PASCAL_SYMBOLS, list_coco_looks, list_pascal_looks, to_category_id

PASCAL_LONG = (256, 320)  # longer side of a picture, least and most, pixels
COCO_LONG = (192, 256)
ASPECT = (0.68, 1.0)  # shorter side over longer
HOW_MANY = (0.45, 0.35, 0.20)  # share of the pictures that show 1, 2, 3 classes
TWICE = 0.25  # share of the COCO pictures in which one class has two stickers
COCO_PARTS = {"trn": "train2014", "val": "val2014"}
QUALITY = 92  # of the JPEG files


# Plans ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What one picture will show: its name, (H, W), class ids from the back to the front, and the key of its seed.

    easy: every class has one look, and there are no decoys.
    """

    name: str
    shape: tuple[int, int]
    class_ids: tuple[int, ...]
    key: tuple[int, ...]
    easy: bool = False


def plan_pascal(split: str, count: int, seed: int, easy: bool = False) -> list[Plan]:
    """Plans of the Pascal part: split "trn" or "val", names such as 2007_000001 and 2008_000001."""
    year, part = (2007, 1) if split == "trn" else (2008, 2)
    names = (f"{year}_{n:06d}" for n in range(1, count + 1))
    plans = _plan(names, len(PASCAL_SYMBOLS), PASCAL_LONG, (seed, 0, part))
    return [replace(plan, easy=easy) for plan in plans]


def plan_coco(split: str, count: int, seed: int, easy: bool = False) -> list[Plan]:
    """Plans of the COCO part: split "trn" or "val"; a picture may show a class twice."""
    part = 1 + list(COCO_PARTS).index(split)
    # Numbers have gaps and differ between the parts, as in the real set.
    names = (f"COCO_{COCO_PARTS[split]}_{100_000 * part + 7 * n:012d}" for n in range(1, count + 1))
    plans = _plan(names, len(COCO_SYMBOLS), COCO_LONG, (seed, 1, part))
    r = np.random.RandomState((seed, 2, part))
    twice = r.random_sample(count) < TWICE
    return [
        replace(plan, easy=easy, class_ids=(*plan.class_ids, plan.class_ids[0]) if two else plan.class_ids)
        for plan, two in zip(plans, twice, strict=True)
    ]


def _plan(names: Iterable[str], classes: int, long_side: tuple[int, int], key: tuple[int, ...]) -> list[Plan]:
    """Deal classes to pictures from a shuffled deck, so that all classes come up equally often."""
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
            if card is None:  # only if all cards that are left are in the picture already
                deck += [int(c) + 1 for c in r.permutation(classes)]
                continue
            deck.remove(card)
            chosen.append(card)
        shape = (long, short) if r.random_sample() < 0.35 else (short, long)
        plans.append(Plan(name, shape, tuple(chosen), (*key, index)))
    return plans


# Scenes and masks -----------------------------------------------------------------------------------------------------


def arrange_pascal(plan: Plan) -> Scene:
    """The scene of a planned picture of Pascal classes."""
    return _arrange(plan, PASCAL_SYMBOLS, list_pascal_looks)


def arrange_coco(plan: Plan) -> Scene:
    """The scene of a planned picture of COCO classes."""
    return _arrange(plan, COCO_SYMBOLS, list_coco_looks)


def _arrange(plan: Plan, symbols: tuple[Symbol, ...], list_looks: Callable[[int], list[Look]]) -> Scene:
    """Put the stickers of a planned picture in their places, and give each one of the looks of its class.

    A decoy takes a look of a class that the picture shows: the very look of a sticker, or one of its other looks.
    """
    table = dict(enumerate(symbols, start=1))
    scene = arrange(plan.shape, table, list(plan.class_ids), np.random.RandomState((*plan.key, 0)), not plan.easy)
    r = np.random.RandomState((*plan.key, 2))  # a stream of its own: looks change no mask
    for sticker in scene.stickers + scene.decoys:
        looks = list_looks(sticker.class_id or int(r.choice(plan.class_ids)))
        looks = looks[:1] if plan.easy else looks
        sticker.look = looks[r.randint(len(looks))]
    return scene


def find_void_line(owner: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool with a neighbour, one of eight, that belongs to another sticker or to none."""
    height, width = owner.shape
    framed = np.pad(owner, 1, mode="edge")
    line = np.zeros(owner.shape, bool)
    for dy in range(3):
        for dx in range(3):
            line |= framed[dy : dy + height, dx : dx + width] != owner
    return line


def make_class_mask(scene: Scene) -> np.ndarray:
    """The class of each pixel (H, W) uint8, 0 for the background."""
    return np.array([0, *(sticker.class_id for sticker in scene.stickers)], np.uint8)[scene.owner]


def paint_plan(plan: Plan, scene: Scene) -> np.ndarray:
    """The picture (H, W, 3) uint8 of a planned scene."""
    return paint_scene(scene, np.random.RandomState((*plan.key, 1)))


def paint_pascal(home: Path, void: int, plan: Plan) -> list[int]:
    """Write one picture and its mask below `home`; returns the classes that the mask shows, ascending.

    void: the mask's value along the outlines of the objects.
    """
    scene = arrange_pascal(plan)
    mask = np.where(find_void_line(scene.owner), np.uint8(void), make_class_mask(scene))
    Image.fromarray(paint_plan(plan, scene)).save(home / "JPEGImages" / f"{plan.name}.jpg", quality=QUALITY)
    Image.fromarray(mask).save(home / "SegmentationClassAug" / f"{plan.name}.png")
    return [int(c) for c in np.unique(mask) if c not in (0, void)]


def paint_coco(folder: Path, plan: Plan) -> list[dict]:
    """Write one picture into `folder`; returns its objects as instances_*.json has them, from the back to the front."""
    from pycocotools import mask as coco

    scene = arrange_coco(plan)
    Image.fromarray(paint_plan(plan, scene)).save(folder / f"{plan.name}.jpg", quality=QUALITY)
    objects = []
    for n, sticker in enumerate(scene.stickers, start=1):
        runs = coco.encode(np.asfortranarray(scene.owner == n, np.uint8))
        objects.append(
            {
                "category_id": to_category_id(sticker.class_id),
                "iscrowd": 0,
                "segmentation": {"size": list(scene.shape), "counts": runs["counts"].decode("ascii")},
                "area": int(coco.area(runs)),
                "bbox": [float(edge) for edge in coco.toBbox(runs)],
            }
        )
    return objects
