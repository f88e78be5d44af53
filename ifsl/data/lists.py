"""The image lists of a benchmark: which images show which class, in the published file formats (chapter 02).

Source of the formats: the public repository of Kang & Cho, CVPR 2022.
"""

import pickle
import re
from pathlib import Path

from ..errors import InputError, shown
from .classes import CLASSES, FOLDS, fold_classes
from .files import read_text

DERIVED_MARK = "DERIVED"
"""The file that marks a folder of lists as made by `python -m ifsl.download derive`."""

STAMP = "tiny.json"
"""The file in which a tiny benchmark says how it was made: version, seed and sizes."""

NAME = r"[^/\\\x00-\x1f\x7f\ud800-\udfff]+"
"""What the name of an image may be made of: letters of any script and spaces, but nothing that leaves its folder."""


def read_pascal_list(path: Path, class_ids: list[int]) -> list[tuple[str, int]]:
    """The (image, class id) entries of a Pascal list, which has lines such as `2007_000033__01`.

    class_ids: the classes that the list may name. Raises `InputError` for a line of another form or class, and for an
    empty list; a list beside DERIVED may be empty, because its images may show few of the classes.
    """
    entries = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        match = re.fullmatch(rf"({NAME})__([0-9]{{1,3}})", line.strip())
        if not line.strip():
            continue
        if match is None or int(match[2]) not in class_ids:
            raise InputError(
                f"{path}, line {number}: {line.strip()[:60]!r} is no `image__class` with a class of "
                f"{class_ids[0]}…{class_ids[-1]}; fetch or derive the list again."
            )
        entries.append((match[1], int(match[2])))
    if not entries and not is_derived(path):
        raise InputError(f"{path} lists no image; fetch or derive the list again.")
    return entries


def read_coco_list(path: Path) -> dict[int, list[str]]:
    """The {class id 1…80: [image]} of a COCO list.

    The file is a pickled {class 0…79: [path such as `val2014/COCO_val2014_000000429717.jpg`]}. Raises `InputError` for
    a file that holds anything else, and for an empty list that is not derived.
    """
    refusal = f"{path} is no list of COCO images ({{}}); fetch or derive it again, and do not trust where it came from."
    try:
        with open(path, "rb") as file:
            content = PlainUnpickler(file).load()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    except Exception as error:  # a broken pickle can fail in any way
        raise InputError(refusal.format(str(error) or type(error).__name__)) from error
    if not isinstance(content, dict):
        raise InputError(refusal.format(f"it holds a {type(content).__name__}"))
    for c, images in content.items():
        if type(c) is not int or not 0 <= c < CLASSES["coco"] or not isinstance(images, list):
            raise InputError(refusal.format(f"entry {shown(c)}"))
        for image in images:
            if not isinstance(image, str) or not re.fullmatch(rf"(train|val)2014/{NAME}\.jpg", image):
                raise InputError(refusal.format(f"path {shown(image)} is not train2014/ or val2014/ and a .jpg's name"))
    if not any(content.values()) and not is_derived(path):
        raise InputError(refusal.format("it lists no image"))
    return {c + 1: images for c, images in content.items()}


def is_derived(path: Path) -> bool:
    """Whether a list file, `<folder>/<split>/<list>`, is one of those that `derive` made."""
    return (path.parents[1] / DERIVED_MARK).is_file()


def check_name(stem: str, where: str | Path) -> None:
    """Raise `InputError` for the name of an image that a list could not give back as it is."""
    if stem != stem.strip() or not re.fullmatch(NAME, stem):
        raise InputError(
            f"The image {stem!r} in {where} cannot be listed, because of its name; rename it, without spaces "
            "at its ends and without control characters."
        )


class PlainUnpickler(pickle._Unpickler):
    """Reads dicts, lists, strings and integers. A pickle can call any function by name; this reader calls none.

    It extends the reader that is written in Python, because the one in C allocates as much memory as a file of 20 bytes
    asks for. Tuples are refused: as keys that contain themselves over and over, they take forever to hash.
    """

    def refuse(self):
        raise pickle.UnpicklingError("it holds a tuple or a set")

    refused = pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3 + pickle.FROZENSET
    dispatch = pickle._Unpickler.dispatch | dict.fromkeys(refused, refuse)

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid):
        raise pickle.UnpicklingError("it asks for an object outside the file")


def write_lists(folder: Path, name: str, split: str, entries: list[tuple[str, int]]) -> None:
    """Write (image, class id) entries as the four list files of a split, in the published formats and order.

    The files are `<folder>/<split>/fold0 … fold3`, `.txt` for pascal and `.pkl` for coco. The folder `<folder>/<split>`
    must not exist yet.
    """
    (folder / split).mkdir(parents=True)
    for fold in range(FOLDS):
        path = folder / split / f"fold{fold}"
        if name == "pascal":
            path.with_suffix(".txt").write_text(_pascal_text(fold, split, entries), encoding="utf-8")
        else:
            table = _coco_table(fold, split, entries)
            path.with_suffix(".pkl").write_bytes(pickle.dumps(table, protocol=3))


def _pascal_text(fold: int, split: str, entries: list[tuple[str, int]]) -> str:
    """The lines of a Pascal list: the fold's own five classes in trn too; trn in order of class, val as given."""
    classes = fold_classes("pascal", fold, "val")
    listed = [(image, c) for image, c in entries if c in classes]
    if split == "trn":
        listed.sort(key=lambda entry: entry[1])
    return "".join(f"{image}__{c:02d}\n" for image, c in listed)


def _coco_table(fold: int, split: str, entries: list[tuple[str, int]]) -> dict[int, list[str]]:
    """The {class 0…79: [image]} of a COCO list; classes of other folds have no images."""
    table: dict[int, list[str]] = {c: [] for c in range(CLASSES["coco"])}
    classes = fold_classes("coco", fold, split)
    for image, c in entries:
        if c in classes:
            table[c - 1].append(image)
    return table
