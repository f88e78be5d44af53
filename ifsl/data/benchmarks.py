"""Pascal-5i and COCO-20i: their images, and how episodes are drawn from the lists and read into tensors (chapter 02).

A test episode is fixed by its index, so that every learner gets the same 1,000. Training draws in the same way from
another random stream. Source: the published protocol of Kang & Cho, CVPR 2022, for both tasks, FS-CS and FS-S.

Letters: N ways, K shots, S image side, H W size of a picture.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError, count, is_int, reading, shown
from ..tasks import check_setting, check_shot, check_task
from . import augmented
from .augmented import GIVEN
from .classes import CLASSES, COCO_NAMES, FOLDS, PASCAL_NAMES, SPLITS, fold_classes
from .episodes import Draw, Episode
from .files import read_text
from .images import VOID, explain_sizes, read_image, read_mask, resize_nearest, to_tensor
from .lists import DERIVED_MARK, read_coco_list, read_pascal_list
from .palettes import explain_absence
from .workers import cores


class Benchmark:
    """One fold and split of a benchmark: which images show which class, where they are, and the episodes made of them.

    name: "pascal" or "coco".
    root: the folder that holds VOC2012 or COCO2014.
    fold: 0 … 3.
    split: "trn" (training) or "val" (testing).
    lists: a folder of list files to read instead of `<root>/splits`.

    class_ids: ascending ids of the split's classes, counted from 1 over the whole benchmark.
    entries: list of (image name, class id); an image has one entry for each of its classes.
    images_of: {class id: its image names, in the order of the list}.

    An image name is `2007_000033` in Pascal and `val2014/COCO_val2014_000000429717.jpg` in COCO. The constructor reads
    the lists only; an image file is opened when an episode is read. Raises `InputError` for impossible arguments and
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
        self.class_ids = fold_classes(name, fold, split)
        with reading(self.root):
            self.lists = self._find_lists(lists)
            self.entries = self._read_pascal_lists() if name == "pascal" else self._read_coco_list()
        self.images_of: dict[int, list[str]] = {c: [] for c in self.class_ids}
        for image, c in self.entries:
            self.images_of[c].append(image)
        if self.source != GIVEN:  # lists derived from a part of the images may lack classes
            self.images_of = {c: images for c, images in self.images_of.items() if images}
            self.class_ids = list(self.images_of)
        self._shares: dict[str, dict[int, float]] = {}  # of the masks that have been measured
        self._queries: dict[tuple[str, int], list[tuple[str, int]]] = {}  # by object size and shot

    def __repr__(self) -> str:
        return f"Benchmark({self.name!r}, root={str(self.root)!r}, fold={self.fold}, split={self.split!r})"

    def __len__(self) -> int:
        """Episodes of a training epoch: every entry once (Pascal), as many draws as distinct images (COCO)."""
        return len(self.entries) if self.name == "pascal" else len({image for image, _ in self.entries})

    # Episodes ---------------------------------------------------------------------------------------------------------

    def episode(
        self,
        index: int,
        way: int = 1,
        shot: int = 1,
        size: int = 400,
        task: str = "fs-cs",
        own_size: bool = False,
        augment: str | None = None,
        objects: str | None = None,
    ) -> Episode:
        """Test episode `index` as tensors; see `draw` and `read`."""
        draw = self.draw(index, way, shot, task=task, augment=augment, objects=objects)
        return self.read(draw, size, own_size=own_size)

    def draw(
        self,
        index: int,
        way: int = 1,
        shot: int = 1,
        stream: np.random.RandomState | None = None,
        task: str = "fs-cs",
        augment: str | None = None,
        objects: str | None = None,
    ) -> Draw:
        """Draw episode `index`, with `way` classes of `shot` supports each, by name.

        stream: the random numbers to draw with. By default NumPy's legacy stream seeded with `index`, which gives the
        published test episodes. task: "fs-cs", or "fs-s", where the one class is always the query's, and a support may
        come twice, as published. augment: "partial" or "full", to let each support serve other classes that it shows
        too, which can add shots and ways (`augmented.augment_supports`; it reads the masks). objects: "0-5", "5-10",
        "10-15" or "0-15", for queries whose object covers so many % of the picture; the one class is the query's.
        Raises `InputError` for an impossible way, shot, index, task or setting.
        """
        self._check_drawable(index, way, shot, task)
        check_setting(augment, objects, way, task)
        ids = self.class_ids
        stream = np.random.RandomState(index) if stream is None else stream

        # Step 1: the query, and the class it is listed under.
        if objects:
            queries = self.queries(objects, shot)
            query, query_class = queries[index % len(queries)]
        elif self.name == "pascal":
            query, query_class = self.entries[index % len(self.entries)]
        else:
            query_class = _choose(stream, ids)
            query = _choose(stream, self._listed_images(query_class))

        # Step 2: the ways. The query's class has probability 1/2 and the others share the rest, so at N = 1 about half
        # of the queries do not show the class.
        if task == "fs-s" or objects:
            classes = [query_class]
        else:
            p = [0.5 if c == query_class else 0.5 / (len(ids) - 1) for c in ids]
            classes = stream.choice(ids, way, p=p, replace=False).tolist()

        # Step 3: the supports of each way.
        support = [self.draw_supports(stream, c, query, shot, repeated=task == "fs-s") for c in classes]
        if augment:
            used = classes if augment == "partial" else ids
            least = augmented.LEAST_SHARE[self.name]
            classes, support = augmented.augment_supports(classes, support, self.shares, used, least, stream)
        return Draw(int(index), query, support, classes, task)

    def _check_drawable(self, index: int, way: int, shot: int, task: str) -> None:
        """Raise `InputError` for an episode that these lists cannot give."""
        classes = len(self.class_ids)
        if not is_int(index) or not 0 <= index < 2**32:
            raise InputError(f"index is {shown(index)}; give a whole number from 0.")
        check_task(task)
        self._check_not_empty()
        if classes < 2 and task == "fs-cs":  # only lists derived from few images have so few
            raise InputError(
                f"{self.lists} has images of one class of fold {self.fold}; derive lists from more images."
            )
        if not is_int(way) or not 1 <= way <= classes:
            raise InputError(f"way is {shown(way)}; this fold has {classes} classes, give 1…{classes}.")
        check_shot(shot)
        check_task(task, way)

    def draw_supports(
        self, stream: np.random.RandomState, class_id: int, query: str, shot: int, repeated: bool = False
    ) -> list[str]:
        """Draw `shot` images of a class, none of them the query; raises `InputError` if there are too few.

        repeated: whether an image may be drawn again.
        """
        images = self._listed_images(class_id)
        enough = len(set(images) - {query})
        if enough < (1 if repeated else shot):
            lower = f"lower shot to {enough} or " if enough else ""
            raise InputError(
                f"Class {class_id} ({self.class_names[class_id]}) has {count(enough, 'image')} besides the query "
                f"{query}, too few for {count(shot, 'shot')}; {lower}add images to {self.lists / self.split}."
            )
        support: list[str] = []
        while len(support) < shot:
            image = _choose(stream, images)
            if image != query and (repeated or image not in support):
                support.append(image)
        return support

    def read(
        self,
        draw: Draw,
        size: int = 400,
        training: bool = False,
        void_ignore: bool = False,
        own_size: bool = False,
    ) -> Episode:
        """Read the images and masks of a drawn episode.

        size: the side S in pixels that images are resized to. training: resize the query's mask to S as well, and keep
        no picture. void_ignore: keep the void pixels of the query's mask as 255, so that losses and metrics leave them
        out; by default they count as background, as published. In a support mask, void is always background.
        In FS-S a query is tested at S x S too, unless own_size asks for the size of its picture; and the void pixels of
        Pascal are always left out of the metrics and never out of the loss. Raises `InputError` for files that are
        missing, broken or do not fit each other.
        """
        check_size(size)
        fss = draw.task == "fs-s"
        picture, class_mask = self.read_pair(draw.query)
        self._check_listed(draw.query, class_mask, self.classes_of.get(draw.query, []))
        way_mask = np.zeros_like(class_mask)
        for n, c in enumerate(draw.classes, start=1):
            way_mask[class_mask == c] = n
        if void_ignore or fss and self.name == "pascal" and not training:
            way_mask[class_mask == VOID] = VOID
        if training or fss and not own_size:
            way_mask, picture = resize_nearest(way_mask, size), picture.resize((size, size), Image.Resampling.BILINEAR)
        pairs = [
            self._read_support(image, c, size)
            for c, images in zip(draw.classes, draw.support, strict=True)
            for image in images
        ]
        way, shot = len(draw.classes), len(draw.support[0])
        return Episode(
            draw=draw,
            class_names=[self.class_names[c] for c in draw.classes],
            query=to_tensor(picture, size),
            supports=torch.stack([image for image, _ in pairs]).unflatten(0, (way, shot)),
            masks=torch.stack([mask for _, mask in pairs]).unflatten(0, (way, shot)),
            query_mask=torch.from_numpy(way_mask),
            presence=torch.tensor([bool((class_mask == c).any()) for c in draw.classes]),
            classes=torch.tensor(draw.classes),
            size=way_mask.shape,
            picture=None if training else np.asarray(picture),
        )

    def read_pair(self, image: str) -> tuple[Image.Image, np.ndarray]:
        """An RGB picture and its class-id mask (H, W) uint8; raises `InputError` if either is missing or unfit."""
        image_path, mask_path = self.image_path(image), self.mask_path(image)
        mask = read_mask(mask_path, len(self.class_names))
        picture = read_image(image_path, stored=mask.shape)
        if mask.shape != (picture.height, picture.width):
            raise InputError(explain_sizes(mask_path, mask.shape, image_path, (picture.height, picture.width)))
        return picture, mask

    def _read_support(self, image: str, class_id: int, size: int) -> tuple[Tensor, Tensor]:
        """A support image (3, S, S) and its binary mask (S, S) of one class."""
        picture, class_mask = self.read_pair(image)
        self._check_listed(image, class_mask, [class_id])
        inside = resize_nearest(class_mask, size) == class_id
        return to_tensor(picture, size), torch.from_numpy(inside.astype(np.float32))

    @cached_property
    def classes_of(self) -> dict[str, list[int]]:
        """{image name: the class ids that it is listed under}."""
        classes: dict[str, list[int]] = {}
        for image, c in self.entries:
            classes.setdefault(image, []).append(c)
        return classes

    def _check_listed(self, image: str, mask: np.ndarray, class_ids: list[int]) -> None:
        """Raise `InputError` unless the mask of an image shows these classes: the lists say that it does."""
        for c in class_ids:
            if not (mask == c).any():
                raise InputError(explain_absence(self.mask_path(image), mask, c, self.class_names, self.lists))

    def _listed_images(self, class_id: int) -> list[str]:
        """The images of a class; raises `InputError` if the lists have none."""
        if not self.images_of[class_id]:
            where = self.lists / self.split
            raise InputError(
                f"Class {class_id} ({self.class_names[class_id]}) has no image in {where}; complete the lists."
            )
        return self.images_of[class_id]

    # What the masks show, and queries by object size ------------------------------------------------------------------

    def shares(self, image: str) -> dict[int, float]:
        """{class id: share of all pixels} of an image's mask, ascending; each mask is read once."""
        if image not in self._shares:
            self._shares[image] = augmented.measure_mask(self.mask_path(image))
        return self._shares[image]

    def measure(self, images: Iterable[str]) -> None:
        """Read the masks of many images for `shares`, several at a time; raises `InputError` for a missing one."""
        new = [image for image in dict.fromkeys(images) if image not in self._shares]
        with ThreadPoolExecutor(cores()) as pool:
            found = pool.map(augmented.measure_mask, map(self.mask_path, new))
            self._shares |= dict(zip(new, found, strict=True))

    def queries(self, objects: str, shot: int = 1) -> list[tuple[str, int]]:
        """The (image, class id) queries whose object has a size of `OBJECTS`, in the order in which they are tested.

        They are those of the published list `<lists>/custom/<objects>/fold<F>.txt` (`.pkl` for coco) if it is there.
        Otherwise they are derived: the entries of the test list whose class covers such a share of the picture. The
        order is shuffled, the same in every call. Supports are drawn from the ordinary lists, and a class with fewer
        than shot + 1 images there is left out. Raises `InputError` for the training split and where no query is left.
        """
        check_setting(None, objects)
        check_shot(shot)
        if self.split != "val":
            raise InputError("Object sizes are for testing; give a benchmark with split val.")
        if (objects, shot) not in self._queries:
            path = self._custom_list(objects, self.fold)
            if path is not None:
                entries = augmented.read_queries(path, self.class_ids, shot)
            else:
                self.measure(image for image, _ in self.entries)
                entries = augmented.pick_queries(self.entries, self.shares, objects)
            often = {c for c, images in self.images_of.items() if len(set(images)) > shot}
            queries = [(image, c) for image, c in entries if c in often]
            if not queries:
                raise InputError(
                    f"No query of fold {self.fold} has an object of {objects} % of its picture and a class of "
                    f"{shot + 1} images; choose another size, fold or shot."
                )
            np.random.RandomState(0).shuffle(queries)
            self._queries[objects, shot] = queries
        return self._queries[objects, shot]

    def count_queries(self, objects: str, shot: int = 1) -> int:
        """How many episodes an object size has at most.

        With published lists this is the length of the longest of the four folds, as published: a shorter one begins
        again. With derived lists each query comes once.
        """
        lengths = [len(self.queries(objects, shot))]
        if self.queries_source(objects) == GIVEN:
            for fold in range(FOLDS):
                path, ids = self._custom_list(objects, fold), fold_classes(self.name, fold, "val")
                lengths += [len(augmented.read_queries(path, ids, shot))] if path is not None else []
        return max(lengths)

    def queries_source(self, objects: str) -> str:
        """Where the queries of an object size are from, in words."""
        return augmented.DERIVED_QUERIES if self._custom_list(objects, self.fold) is None else GIVEN

    def _custom_list(self, objects: str, fold: int) -> Path | None:
        """The published list of an object size, None if it is not there."""
        path = self.lists / "custom" / objects / f"fold{fold}.{'txt' if self.name == 'pascal' else 'pkl'}"
        with reading(path):
            return path if path.is_file() else None

    # Lists ------------------------------------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """Where the lists are from: "as given", or "derived, not the published lists"."""
        return "derived, not the published lists" if (self.lists / DERIVED_MARK).is_file() else GIVEN

    def list_path(self, fold: int) -> Path:
        """The list file of a fold; raises `InputError` if it is not there."""
        path = self.lists / self.split / f"fold{fold}.{'txt' if self.name == 'pascal' else 'pkl'}"
        if not path.is_file():
            raise InputError(f"The list {path} is missing; {self._remedy_for_lists()}.")
        return path

    def _find_lists(self, lists: str | Path | None) -> Path:
        base = self.root / "splits" if lists is None else Path(lists)
        for folder in (base / self.name, base):
            if (folder / self.split).is_dir():
                return folder
        if lists is not None:
            raise InputError(
                f"{base} has no folder {self.split} of list files; point lists at a folder laid out as splits."
            )
        raise InputError(f"There are no lists of {self.name} under {base}; {self._remedy_for_lists()}.")

    def _remedy_for_lists(self) -> str:
        """What to do about lists that are missing: the end of a message."""
        if self.root.name == "tiny":
            return f"run `python -m ifsl.tiny --root {self.root}`"
        return f"run `python -m ifsl.download lists --root {self.root}`, or give the folder that has them"

    def _read_pascal_lists(self) -> list[tuple[str, int]]:
        # A trn list holds the images of its own fold's classes: training reads those of the three other folds.
        folds = [self.fold] if self.split == "val" else [f for f in range(FOLDS) if f != self.fold]
        return [
            entry
            for fold in folds
            for entry in read_pascal_list(self.list_path(fold), fold_classes("pascal", fold, "val"))
        ]

    def _read_coco_list(self) -> list[tuple[str, int]]:
        path = self.list_path(self.fold)
        images_of = read_coco_list(path)
        extra = sorted(c for c, images in images_of.items() if images and c not in self.class_ids)
        if extra:
            raise InputError(f"{path} lists images of class {extra[0]}, not one of fold {self.fold}; fetch it again.")
        return [(image, c) for c in self.class_ids for image in images_of.get(c, [])]

    # Files ------------------------------------------------------------------------------------------------------------

    @cached_property
    def class_names(self) -> dict[int, str]:
        """{class id: name} of all classes of the benchmark.

        If the classes of a root are not the benchmark's own, `VOC2012/classes.txt` or `COCO2014/classes.txt` names
        them, one name a line.
        """
        names = PASCAL_NAMES if self.name == "pascal" else COCO_NAMES
        own = self.root / self.folder / "classes.txt"
        with reading(own):
            if own.is_file():
                names = [line for line in read_text(own).splitlines() if line.strip()]
        if len(names) != CLASSES[self.name]:
            raise InputError(f"{own} names {len(names)} classes; give {CLASSES[self.name]}, a name a line.")
        return dict(enumerate(names, start=1))

    def image_path(self, image: str) -> Path:
        """The file of an image."""
        return self.root / self.folder / (f"JPEGImages/{image}.jpg" if self.name == "pascal" else image)

    def mask_path(self, image: str) -> Path:
        """The file of an image's class-id mask."""
        home = "SegmentationClassAug" if self.name == "pascal" else "annotations"
        return self.root / self.folder / home / f"{image.removesuffix('.jpg')}.png"

    def _check_not_empty(self) -> None:
        """Raise `InputError` if no image is listed, which only derived lists allow."""
        if not self.entries:
            raise InputError(
                f"The derived lists {self.lists / self.split} have no image of the classes of fold {self.fold}; choose "
                "another fold, or derive lists from more images."
            )

    def check_layout(self) -> None:
        """Raise `InputError` if the folders of images and masks are missing: a cheap check before a long run."""
        self._check_not_empty()
        image = self.entries[0][0]
        with reading(self.root):
            nested = next(self.root.glob(f"*/{self.folder}"), None)
            if not (self.root / self.folder).is_dir() and nested is not None:
                raise InputError(
                    f"{nested} lies one folder too deep; give {nested.parent} as the data path or move it up."
                )
            for path, what in ((self.image_path(image).parent, "images"), (self.mask_path(image).parent, "masks")):
                if not path.is_dir():
                    raise InputError(f"The folder {path} of {what} is missing; {self.remedy(path)}.")

    def check_files(self, images: Iterable[str]) -> None:
        """Raise `InputError` if one of these images or its mask is missing: a cheap check before a long run."""
        gone = self.find_missing(images)
        if gone:
            others = f" and {len(gone) - 1:,} other files are" if len(gone) > 1 else " is"
            raise InputError(f"{gone[0]}{others} missing, which the lists name; {self.remedy(gone[0].parent)}.")

    def find_missing(self, images: Iterable[str]) -> list[Path]:
        """The image and mask files of these images that are not there. Each folder is listed once."""
        there: dict[Path, set[str]] = {}
        gone = []
        for image in dict.fromkeys(images):
            for path in (self.image_path(image), self.mask_path(image)):
                if path.parent not in there:
                    with reading(path.parent):
                        there[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
                if path.name not in there[path.parent]:
                    gone.append(path)
        return gone

    def remedy(self, folder: Path) -> str:
        """What to do about a folder of images or masks that is missing or incomplete: the end of a message."""
        if self.root.name == "tiny":
            return f"run `python -m ifsl.tiny --root {self.root}`"
        if folder.parent.name == "annotations":
            return f"run `python -m ifsl.download masks --root {self.root}`"
        short = folder.name == "SegmentationClassAug" and folder.with_name("SegmentationClass").is_dir()
        note = "SegmentationClass has too few masks and cannot take its place, " if short else ""
        return f"{note}run `python -m ifsl.download {self.name} --root {self.root}` or see data/README.md"


def check_size(size: int) -> None:
    """Raise `InputError` for a side that images cannot be resized to."""
    if not is_int(size) or not 32 <= size <= 4096:
        raise InputError(f"size is {shown(size)}; give the image side in pixels, 32…4096.")


def _choose(stream: np.random.RandomState, items: list):
    """One of `items`, the same as `stream.choice(items, 1, replace=False)[0]` would draw.

    `choice` without replacement takes the head of a permutation of the positions. Asking for a position rather than an
    item spares NumPy copying a list of thousands of names.
    """
    return items[stream.choice(len(items), 1, replace=False)[0]]
