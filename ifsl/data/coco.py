"""COCO's annotations as class-id masks (chapter 13).

Source: Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014, and its annotation format.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import InputError, count, shown, writing
from .classes import CLASSES
from .files import MAX_PIXELS, write_whole
from .lists import check_name
from .outlines import decode_outline, find_outline_fault, is_share
from .workers import spread

NO_CROWD = (0, None, "0", "")  # False is 0
MOST_CROWDS = 0.5  # of the objects; COCO has one crowd region in eighty objects


class Object(NamedTuple):
    """An object to paint: the id of its annotation, its class (None: of a category that the file lacks), its outline.

    outline: a COCO segmentation, which is a list of polygons or a dict of run lengths, or anything else where the
    annotation is wrong.
    """

    number: object
    class_id: int | None
    outline: object


class MaskTask(NamedTuple):
    """One mask to write: its file, its (H, W), and its objects, topmost last."""

    target: Path
    shape: tuple[int, int]
    objects: list[Object]


@dataclass
class Plan:
    """What an annotation file asks for: a task for each image that can be painted, and what is left out.

    categories: {id: name}. faults: {name of an image without a task: its first object that cannot be painted, and why};
    crowds: how many objects were left out as crowd regions (iscrowd = 1); strangers: the annotations of images that the
    file does not have.
    """

    annotations: Path
    categories: dict[object, object]
    tasks: list[MaskTask]
    faults: dict[str, str]
    crowds: int
    strangers: list

    @property
    def objects(self) -> int:
        """How many objects the tasks have."""
        return sum(len(task.objects) for task in self.tasks)

    def describe_left_out(self) -> list[str]:
        """A sentence for each kind of thing that is left out."""
        lines = []
        if self.crowds:
            lines.append(
                f"{self.annotations}: {count(self.crowds, 'crowd region')} (iscrowd 1) left out, as published; they "
                "count as background."
            )
        if self.strangers:
            lines.append(
                f"{self.annotations}: {count(len(self.strangers), 'object')} left out, of images that the file does "
                f"not have; the first is annotation {shown(self.strangers[0])}."
            )
        if self.faults:
            first, *others = self.faults.values()
            lines.append(
                f"{self.annotations}: {count(len(self.faults), 'image')} left out, without a mask: {first}"
                f"{f' and {len(others):,} more' if others else ''}; correct such annotations and run masks again."
            )
        return lines


def rasterise_all(root: Path, workers: int | None = None) -> str:
    """Write the masks of both parts of COCO 2014; returns what was written and what was left out, in words."""
    plans = plan_all(root)
    written = sum(_write_masks(plan, workers) for plan in plans)
    objects, kept = sum(plan.objects for plan in plans), sum(len(plan.tasks) for plan in plans) - written
    lines = [f"{written:,} masks were written to {root / 'COCO2014' / 'annotations'}, of {objects:,} objects in all."]
    if kept:
        lines.append(f"{kept:,} masks were there and are kept; delete them if an annotation file has changed.")
    return "\n".join(lines + [line for plan in plans for line in plan.describe_left_out()])


def plan_all(root: Path) -> list[Plan]:
    """A plan for each annotation file of a root; raises `InputError` if there are none, or if their categories differ.

    A class is the rank of its category in its file: it must be the same one in training and testing.
    """
    folder = root / "COCO2014" / "annotations"
    files = sorted(folder.glob("instances_*2014.json"))
    if not files:
        raise InputError(f"{folder} has no instances_*2014.json; run `python -m ifsl.download coco --root {root}`.")
    plans = [plan_masks(file, _mask_folder(file)) for file in files]
    for plan in plans[1:]:
        if plan.categories != plans[0].categories:
            raise InputError(
                f"{plans[0].annotations} and {plan.annotations} have other categories or names of them, so a class "
                "would not have one number; give both the same categories."
            )
    return plans


def rasterise(annotations: str | Path, target: str | Path | None = None, workers: int | None = None) -> int:
    """Write the class-id mask of every image of an instances_*.json; returns how many were written.

    annotations: instances_<split>.json. target: folder for the PNG files, by default `<split>` beside it. workers:
    processes, by default one per core. A mask has one byte per pixel: 0 for background, 1 … 80 for the rank of the
    category among the ascending category ids.

    Which object is on top: objects are painted in the order of the file, a later one over an earlier one. Crowd regions
    (iscrowd = 1) are left out, so they count as background. Of the rules we tried, this one agrees with the published
    lists: on 313 images, all 800 (image, class) pairs of at least 2,048 pixels are listed, and the 8 further pairs that
    are listed have 1,906 to 2,009 pixels.

    An image with an object that cannot be painted gets no mask: a mask without the object would say that its class is
    absent. Masks that exist are kept, and each appears under its name only when it is complete, so an interrupted run
    can be repeated. Raises `InputError` for a file that cannot be read or is no such annotation file, and if nothing in
    it can be painted.
    """
    annotations = Path(annotations)
    folder = Path(target) if target is not None else _mask_folder(annotations)
    return _write_masks(plan_masks(annotations, folder), workers)


def _mask_folder(annotations: Path) -> Path:
    """Where the masks of an annotation file go by default."""
    return annotations.parent / annotations.stem.removeprefix("instances_")


def _write_masks(plan: Plan, workers: int | None) -> int:
    """Write the masks of a plan that are not there yet; returns how many."""
    tasks = [task for task in plan.tasks if not task.target.exists()]
    if not tasks:
        return 0
    folder = tasks[0].target.parent
    with writing(f"The folder {folder} of masks", "make room or name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        spread(_write_mask, tasks, f"masks of {folder.name}", "mask", workers)
    return len(tasks)


def plan_masks(annotations: Path, folder: Path) -> Plan:
    """One task per image, in the order of the file; raises `InputError` for a file that cannot be right as a whole."""
    try:
        content = json.loads(annotations.read_text(encoding="utf-8-sig"))
        categories = sorted(c["id"] for c in content["categories"])
        names = {c["id"]: c.get("name") for c in content["categories"]}
        rank = {c: place for place, c in enumerate(categories, start=1)}
        tasks = _plan_images(annotations, folder, content["images"])
        crowds, strangers = 0, []
        for found in content["annotations"]:
            if found["image_id"] not in tasks:
                strangers.append(found.get("id"))
            elif found.get("iscrowd") not in NO_CROWD:
                crowds += 1
            else:
                one = Object(found.get("id"), rank.get(found["category_id"]), found.get("segmentation"))
                tasks[found["image_id"]].objects.append(one)
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{annotations} cannot be read as JSON ({error}); fetch it again.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{annotations} is no COCO instances file (at {error}); fetch it again.") from error
    if len(rank) < len(categories):
        twice = Counter(categories).most_common(1)[0][0]
        raise InputError(f"{annotations} has two categories with the id {shown(twice)}; give each its own.")
    if len(rank) > CLASSES["coco"]:
        raise InputError(
            f"{annotations} has {len(rank)} categories; COCO-20i has {CLASSES['coco']}, remove the others."
        )
    objects = sum(len(task.objects) for task in tasks.values())
    if crowds > MOST_CROWDS * (objects + crowds):
        raise InputError(
            f"{annotations}: {crowds:,} of {objects + crowds:,} objects are marked as crowd regions (iscrowd 1), which "
            "are left out of the masks; some tools mark brushed objects so, set iscrowd to 0 for single objects."
        )
    faults = {task.target.stem: fault for task in tasks.values() if (fault := _find_fault(task))}
    whole = [task for task in tasks.values() if task.target.stem not in faults]
    plan = Plan(annotations, names, whole, faults, crowds, strangers)
    if tasks and not plan.objects:
        first = next(iter(faults.values()), None) or (
            f"annotation {shown(strangers[0])} belongs to an image that the file does not have"
            if strangers
            else f"it has {count(len(tasks), 'image')} and no object"
        )
        raise InputError(
            f"{annotations} has nothing to paint: {first}; correct the annotations or fetch the file again."
        )
    return plan


def _plan_images(annotations: Path, folder: Path, images: list[dict]) -> dict[object, MaskTask]:
    """{image id: its task, without objects yet}; raises `InputError` if two images have one id or one name."""
    tasks: dict[object, MaskTask] = {}
    owners: dict[str, object] = {}
    for image in images:
        number, shape = image["id"], (int(image["height"]), int(image["width"]))
        stem = Path(image["file_name"].replace("\\", "/")).stem  # some tools write a path, as Windows has it
        check_name(stem, annotations)
        if min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
            raise InputError(f"{annotations} claims {shown(shape)} pixels for {stem}; fetch it again.")
        if owners.setdefault(stem, number) != number:
            raise InputError(
                f"{annotations} gives the name {stem} to the images {shown(owners[stem])} and {shown(number)}, so one "
                "mask would lose the objects of the other; give each image a name of its own."
            )
        if number in tasks and tasks[number].target.stem != stem:
            raise InputError(
                f"{annotations} gives the id {shown(number)} to the images {tasks[number].target.stem} and {stem}, so "
                "one would lose its objects; give each image an id of its own."
            )
        tasks[number] = MaskTask(folder / f"{stem}.png", shape, [])
    return tasks


def _write_mask(task: MaskTask) -> None:
    """Paint the objects of one image over each other and write the mask."""
    mask = np.zeros(task.shape, np.uint8)
    for one in task.objects:
        mask[decode_outline(one.outline, task.shape)] = one.class_id
    write_whole(task.target, partial(Image.fromarray(mask).save, format="PNG"), sync=False)


def _find_fault(task: MaskTask) -> str | None:
    """Why an image can get no mask: the first of its objects that cannot be painted, and what is wrong with it."""
    for one in task.objects:
        unknown = "its category is not in the file" if one.class_id is None else None
        if fault := unknown or find_outline_fault(one.outline, task.shape):
            return f"annotation {shown(one.number)} of {task.target.stem} cannot be right ({fault})"
    if task.objects and all(is_share(one.outline) for one in task.objects):
        first = f"annotation {shown(task.objects[0].number)} of {task.target.stem}"
        return f"{first} cannot be right (its corners are from 0 to 1, shares of the image in place of pixels)"
    return None
