"""COCO's annotations as class-id masks (chapter 13).

Source: Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014, and its annotation format.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import InputError, writing
from .files import MAX_PIXELS, write_whole
from .workers import spread


class MaskTask(NamedTuple):
    """One mask to write: its file, its (H, W), and the (class id, COCO segmentation) of its objects, topmost last."""

    target: Path
    shape: tuple[int, int]
    objects: list[tuple[int, list | dict]]


def rasterise_all(root: Path, workers: int | None = None) -> int:
    """Write the masks of both parts of COCO 2014; returns how many were written."""
    folder = root / "COCO2014" / "annotations"
    files = sorted(folder.glob("instances_*2014.json"))
    if not files:
        raise InputError(f"{folder} has no instances_*2014.json; run `python -m ifsl.download coco --root {root}`.")
    return sum(rasterise(file, workers=workers) for file in files)


def rasterise(annotations: str | Path, target: str | Path | None = None, workers: int | None = None) -> int:
    """Write the class-id mask of every image of an instances_*.json; returns how many were written.

    annotations: instances_<split>.json. target: folder for the PNG files, by default `<split>` beside it. workers:
    processes, by default one per core. A mask has one byte per pixel: 0 for background, 1 … 80 for the rank of the
    category among the ascending category ids.

    Which object is on top: objects are painted in the order of the file, a later one over an earlier one. Crowd regions
    (iscrowd = 1) are left out, so they count as background. Of the rules we tried, this one agrees with the published
    lists: on 313 images, all 800 (image, class) pairs of at least 2,048 pixels are listed, and the 8 further pairs that
    are listed have 1,906 to 2,009 pixels.

    Masks that exist are kept, and each appears under its name only when it is complete, so an interrupted run can be
    repeated. Raises `InputError` for a file that cannot be read or is no such annotation file.
    """
    annotations = Path(annotations)
    folder = Path(target) if target is not None else annotations.parent / annotations.stem.removeprefix("instances_")
    tasks = [task for task in _plan_masks(annotations, folder) if not task.target.exists()]
    with writing(f"The folder {folder} of masks", "make room or name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        spread(_write_mask, tasks, f"masks of {folder.name}", "mask", workers)
    return len(tasks)


def _plan_masks(annotations: Path, folder: Path) -> list[MaskTask]:
    """One task per image, in the order of the file."""
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
    """Paint the objects of one image over each other and write the mask."""
    mask = np.zeros(task.shape, np.uint8)
    for class_id, segmentation in task.objects:
        try:
            mask[_decode(segmentation, task.shape)] = class_id
        except Exception as error:  # pycocotools raises bare Exception
            raise InputError(
                f"An object of {task.target.stem} has a broken outline ({error}); fetch the annotation file again."
            ) from error
    write_whole(task.target, partial(Image.fromarray(mask).save, format="PNG"), sync=False)


def _decode(segmentation: list | dict, shape: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) bool inside a COCO segmentation: polygons, or run lengths as numbers or packed."""
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
