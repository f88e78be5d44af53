"""Pascal-5i and COCO-20i: classes, folds, image lists, and where files lie (chapter 02).

Source: Shaban et al., *One-Shot Learning for Semantic Segmentation*, BMVC 2017 (Pascal-5i); Nguyen & Todorovic,
*Feature Weighting and Boosting for Few-Shot Segmentation*, ICCV 2019 (COCO-20i); Kang & Cho, CVPR 2022 (the lists).
"""

import os
import pickle
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, is_int, shown

if TYPE_CHECKING:
    from .episodes import Draw, Episode

FOLDS = 4
SPLITS = ("trn", "val")
CLASSES = {"pascal": 20, "coco": 80}
DERIVED = "DERIVED"  # the file that marks a folder of lists made by `ifsl.download derive`
GIVEN = "as given"

# fmt: off
PASCAL_NAMES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
COCO_NAMES = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
]
# fmt: on


def fold_classes(name: str, fold: int, split: str) -> list[int]:
    """Ascending ids of the classes that fold `fold` trains on ("trn") or tests on ("val").

    Pascal-5i tests five neighbours, 5f + 1 … 5f + 5; COCO-20i every fourth class, f + 1, f + 5, f + 9 …
    """
    every = range(1, CLASSES[name] + 1)
    test = [c for c in every if ((c - 1) // 5 if name == "pascal" else (c - 1) % FOLDS) == fold]
    return test if split == "val" else [c for c in every if c not in test]


class Benchmark:
    """One fold and split of a benchmark: which images show which class, and where they are.

    name: "pascal" or "coco"; root: the folder that holds VOC2012 or COCO2014; fold: 0 … 3; split: "trn" or "val";
    lists: a folder of list files to read instead of `<root>/splits`.

    class_ids: ascending ids of the split's classes, counted from 1 over the whole benchmark.
    entries: list of (image name, class id); an image stands once under each of its classes.
    images_of: {class id: its image names, in list order}.

    An image name is `2007_000033` in Pascal and `val2014/COCO_val2014_000000429717.jpg` in COCO. Only the lists are
    read here; images and masks are looked for when an episode is read. Raises `InputError` for impossible arguments and
    for lists that are missing or broken.
    """

    def __init__(
        self,
        name: str,
        root: str | Path = "data/tiny",
        fold: int = 0,
        split: str = "val",
        lists: str | Path | None = None,
    ):
        for given, option in ((root, "root"), (lists, "lists")):
            if not isinstance(given, str | Path) and not (given is None and option == "lists"):
                raise InputError(f"{option} is {shown(given)}; give the path of a folder.")
        if not isinstance(name, str) or name not in CLASSES:
            raise InputError(f"There is no benchmark {shown(name)}; choose pascal or coco.")
        if not is_int(fold) or fold not in range(FOLDS):
            raise InputError(f"There is no fold {shown(fold)}; choose 0, 1, 2 or 3.")
        if split not in SPLITS:
            raise InputError(f"There is no split {shown(split)}; choose trn (training) or val (testing).")
        self.name, self.root, self.fold, self.split = name, Path(root), fold, split
        self.folder = "VOC2012" if name == "pascal" else "COCO2014"
        self.lists = self._find_lists(lists)
        self.class_ids = fold_classes(name, fold, split)
        self.entries = self._read_pascal() if name == "pascal" else self._read_coco()
        self.images_of: dict[int, list[str]] = {c: [] for c in self.class_ids}
        for image, c in self.entries:
            self.images_of[c].append(image)
        if self.source != GIVEN:  # lists derived from a part of the images may lack classes; published ones do not
            self.images_of = {c: images for c, images in self.images_of.items() if images}
            self.class_ids = list(self.images_of)

    def __repr__(self) -> str:
        return f"Benchmark({self.name!r}, root={str(self.root)!r}, fold={self.fold}, split={self.split!r})"

    def __len__(self) -> int:
        """Episodes of a training epoch: every entry once (Pascal), as many draws as distinct images (COCO)."""
        return len(self.entries) if self.name == "pascal" else len({image for image, _ in self.entries})

    @property
    def source(self) -> str:
        """Where the lists are from: "as given", or "derived, not the published lists"."""
        return "derived, not the published lists" if (self.lists / DERIVED).is_file() else GIVEN

    # Lists ------------------------------------------------------------------------------------------------------------

    def _find_lists(self, lists: str | Path | None) -> Path:
        base = self.root / "splits" if lists is None else Path(lists)
        for folder in (base / self.name, base):
            if (folder / self.split).is_dir():
                return folder
        if lists is not None:
            raise InputError(
                f"{base} has no folder {self.split} of list files; point lists at a folder laid out as splits."
            )
        remedy = (
            "run `python -m ifsl.tiny` to draw the tiny benchmark"
            if self.root.name == "tiny"
            else f"run `python -m ifsl.download lists --root {self.root}`, or give the folder that has them"
        )
        raise InputError(f"There are no lists of {self.name} under {base}; {remedy}.")

    def list_path(self, fold: int) -> Path:
        """The list file of a fold; raises `InputError` if it is not there."""
        path = self.lists / self.split / f"fold{fold}.{'txt' if self.name == 'pascal' else 'pkl'}"
        if not path.is_file():
            raise InputError(f"The list {path} is missing; fetch or derive the lists of {self.name} again.")
        return path

    def _read_pascal(self) -> list[tuple[str, int]]:
        # A trn list holds the images of its own fold's classes: training reads those of the three other folds.
        folds = [self.fold] if self.split == "val" else [f for f in range(FOLDS) if f != self.fold]
        return [
            entry
            for fold in folds
            for entry in read_pascal_list(self.list_path(fold), fold_classes("pascal", fold, "val"))
        ]

    def _read_coco(self) -> list[tuple[str, int]]:
        path = self.list_path(self.fold)
        images_of = read_coco_list(path)
        extra = sorted(c for c, images in images_of.items() if images and c not in self.class_ids)
        if extra:
            raise InputError(f"{path} lists images of class {extra[0]}, not one of fold {self.fold}; fetch it again.")
        return [(image, c) for c in self.class_ids for image in images_of.get(c, [])]

    # Names ------------------------------------------------------------------------------------------------------------

    @cached_property
    def class_names(self) -> dict[int, str]:
        """{class id: name} of all classes.

        A root whose classes are not the benchmark's own says so in `VOC2012/classes.txt` or `COCO2014/classes.txt`, a
        name a line.
        """
        names = PASCAL_NAMES if self.name == "pascal" else COCO_NAMES
        own = self.root / self.folder / "classes.txt"
        if own.is_file():
            names = read_text(own).splitlines()
        if len(names) != CLASSES[self.name]:
            raise InputError(f"{own} names {len(names)} classes; give {CLASSES[self.name]}, a name a line.")
        return dict(enumerate(names, start=1))

    # Files ------------------------------------------------------------------------------------------------------------

    def image_path(self, image: str) -> Path:
        """Where an image lies."""
        return self.root / self.folder / (f"JPEGImages/{image}.jpg" if self.name == "pascal" else image)

    def mask_path(self, image: str) -> Path:
        """Where the class-id mask of an image lies."""
        home = "SegmentationClassAug" if self.name == "pascal" else "annotations"
        return self.root / self.folder / home / f"{image.removesuffix('.jpg')}.png"

    def check_layout(self) -> None:
        """Raise `InputError` if the folders of images and masks are not where they belong: cheap, before a long run."""
        nested = next(self.root.glob(f"*/{self.folder}"), None)
        if not (self.root / self.folder).is_dir() and nested is not None:
            raise InputError(f"{nested} lies one folder too deep; give {nested.parent} as the data path or move it up.")
        image = self.entries[0][0]
        for path, what in ((self.image_path(image).parent, "images"), (self.mask_path(image).parent, "masks")):
            if not path.is_dir():
                raise InputError(f"The folder {path} of {what} is missing; {self.remedy(path)}.")

    def check_files(self, images: Iterable[str]) -> None:
        """Raise `InputError` if one of these images or its mask is not there: cheap, before a long run."""
        gone = self.missing(images)
        if gone:
            others = f" and {len(gone) - 1:,} other files are" if len(gone) > 1 else " is"
            raise InputError(f"{gone[0]}{others} missing, which the lists name; {self.remedy(gone[0].parent)}.")

    def missing(self, images: Iterable[str]) -> list[Path]:
        """The files of these images, pictures and masks, that are not there. Each folder is read once."""
        there: dict[Path, set[str]] = {}
        gone = []
        for image in dict.fromkeys(images):
            for path in (self.image_path(image), self.mask_path(image)):
                if path.parent not in there:
                    there[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
                if path.name not in there[path.parent]:
                    gone.append(path)
        return gone

    def remedy(self, folder: Path) -> str:
        """What to do where a folder of images or masks is missing or not complete."""
        if self.root.name == "tiny":
            return f"run `python -m ifsl.tiny --root {self.root}`"
        if folder.parent.name == "annotations":
            return f"run `python -m ifsl.download masks --root {self.root}`"
        short = folder.name == "SegmentationClassAug" and folder.with_name("SegmentationClass").is_dir()
        note = "SegmentationClass has too few masks and cannot take its place, " if short else ""
        return f"{note}run `python -m ifsl.download {self.name} --root {self.root}` or see data/README.md"

    # Episodes: the two methods that let a reader write bench.draw(…); what they do is in episodes.py ------------------

    def draw(self, index: int, way: int, shot: int) -> "Draw":
        """The names of test episode `index`; see `ifsl.episodes.draw`."""
        from .episodes import draw

        return draw(self, index, way, shot)

    def episode(self, index: int, way: int, shot: int, size: int = 400) -> "Episode":
        """Test episode `index` as tensors; see `ifsl.episodes.read`."""
        from .episodes import read

        return read(self, self.draw(index, way, shot), size)


def read_pascal_list(path: Path, class_ids: list[int]) -> list[tuple[str, int]]:
    """Lines such as `2007_000033__01` to (image, class id); raises `InputError` for a line that is none."""
    entries = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        match = re.fullmatch(r"([\w\-.]+?)__(\d{1,3})", line.strip(), flags=re.ASCII)
        if not line.strip():
            continue
        if match is None or int(match[2]) not in class_ids:
            raise InputError(
                f"{path}, line {number}: {line.strip()[:60]!r} is no `image__class` with a class of "
                f"{class_ids[0]}…{class_ids[-1]}; fetch or derive the list again."
            )
        entries.append((match[1], int(match[2])))
    if not entries:
        raise InputError(f"{path} lists no image; fetch or derive the list again.")
    return entries


def read_text(path: Path) -> str:
    """A text file; raises `InputError` if it cannot be read or is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}); fetch or derive it again.") from error


class PlainUnpickler(pickle._Unpickler):
    """Reads dict, list, str and int. A pickle can name any function to call: this one looks up none.

    It is Python's own reader, because the one in C clears as much memory as a file of 20 bytes asks for. Tuples are
    refused: as keys, nested in themselves, they take for ever to be looked up.
    """

    def refuse(self):
        raise pickle.UnpicklingError("it holds a tuple or a set")

    refused = pickle.TUPLE + pickle.TUPLE1 + pickle.TUPLE2 + pickle.TUPLE3 + pickle.FROZENSET
    dispatch = pickle._Unpickler.dispatch | dict.fromkeys(refused, refuse)

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid):
        raise pickle.UnpicklingError("it asks for an object outside the file")


def read_coco_list(path: Path) -> dict[int, list[str]]:
    """A pickle of {class 0…79: [path such as `val2014/COCO_val2014_000000429717.jpg`]} to {class id 1…80: [path]}.

    Raises `InputError` for a file that holds anything besides that.
    """
    refusal = f"{path} is no list of COCO images ({{}}); fetch or derive it again, and do not trust where it came from."
    try:
        with open(path, "rb") as file:
            held = PlainUnpickler(file).load()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    except Exception as error:  # a broken pickle can fail in any way
        raise InputError(refusal.format(str(error) or type(error).__name__)) from error
    if not isinstance(held, dict):
        raise InputError(refusal.format(f"it holds a {type(held).__name__}"))
    for c, images in held.items():
        if type(c) is not int or not 0 <= c < CLASSES["coco"] or not isinstance(images, list):
            raise InputError(refusal.format(f"entry {shown(c)}"))
        for image in images:
            if not isinstance(image, str) or not re.fullmatch(r"(train|val)2014/COCO_\w+\.jpg", image, flags=re.ASCII):
                raise InputError(refusal.format(f"path {shown(image)}"))
    if not any(held.values()):
        raise InputError(refusal.format("it lists no image"))
    return {c + 1: images for c, images in held.items()}
