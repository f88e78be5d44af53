"""Drawing an episode, reading it into tensors, and loading many of them (chapter 02).

Test episodes are fixed by their index, so that every method sees the same 1,000; training draws the same way from a
stream of its own. Source: the published protocol of Kang & Cho, CVPR 2022.

Letters: B episodes, N ways, K shots, S image side, H W picture size.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import InputError, is_int, shown
from ..learners.maps import VOID
from .benchmarks import Benchmark
from .workers import end_with_parent

TEST_EPISODES = 1000
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
MAX_PIXELS = 50_000_000  # a picture that claims more is not read


@dataclass(frozen=True)
class Draw:
    """An episode by name: the query, K support names for each of N ways, and the N class ids."""

    index: int
    query: str
    support: list[list[str]]
    classes: list[int]


def draw(
    bench: Benchmark,
    index: int,
    way: int = 1,
    shot: int = 1,
    stream: np.random.RandomState | None = None,
    always_present: bool = False,
) -> Draw:
    """Draw episode `index` with `way` classes of `shot` supports each.

    stream: where the draws come from; by default the legacy NumPy stream seeded with `index`, which gives the published
    test episodes. always_present: conventional few-shot segmentation, where the query's class is always among the ways
    (the ways are redrawn until it is). Raises `InputError` for a way, shot or index that cannot be.
    """
    ids = bench.class_ids
    if not is_int(index) or not 0 <= index < 2**32:
        raise InputError(f"index is {shown(index)}; give a whole number from 0.")
    if len(ids) < 2:  # only lists derived from few images have so few
        raise InputError(f"{bench.lists} has images of one class of fold {bench.fold}; derive lists from more images.")
    if not is_int(way) or not 1 <= way <= len(ids):
        raise InputError(f"way is {shown(way)}; this fold has {len(ids)} classes, give 1…{len(ids)}.")
    if not is_int(shot) or shot < 1:
        raise InputError(f"shot is {shown(shot)}; give a whole number from 1.")
    stream = np.random.RandomState(index) if stream is None else stream

    if bench.name == "pascal":
        query, query_class = bench.entries[index % len(bench.entries)]
    else:
        query_class = choose(stream, ids)
        query = choose(stream, images_of(bench, query_class))

    # The query's class has half of the chance, the others share the rest: at N = 1 half of the queries show no target.
    chance = [0.5 if c == query_class else 0.5 / (len(ids) - 1) for c in ids]
    classes = stream.choice(ids, way, p=chance, replace=False).tolist()
    while always_present and query_class not in classes:
        classes = stream.choice(ids, way, p=chance, replace=False).tolist()
    support = [draw_supports(bench, stream, c, query, shot) for c in classes]
    return Draw(int(index), query, support, classes)


def draw_supports(bench: Benchmark, stream: np.random.RandomState, c: int, query: str, shot: int) -> list[str]:
    """`shot` distinct images of class `c`, none of them the query."""
    images = images_of(bench, c)
    enough = len(set(images) - {query})
    if enough < shot:
        raise InputError(
            f"Class {c} ({bench.class_names[c]}) has {enough} images besides the query {query}, too few for {shot} "
            f"shots; lower shot to {max(enough, 1)} or add images to {bench.lists / bench.split}."
        )
    kept: list[str] = []
    while len(kept) < shot:
        image = choose(stream, images)
        if image != query and image not in kept:
            kept.append(image)
    return kept


def images_of(bench: Benchmark, c: int) -> list[str]:
    """The images of a class; raises `InputError` if the lists have none."""
    if not bench.images_of[c]:
        where = bench.lists / bench.split
        raise InputError(f"Class {c} ({bench.class_names[c]}) has no image in {where}; complete the lists.")
    return bench.images_of[c]


def choose(stream: np.random.RandomState, items: list):
    """One of `items`, drawn as `stream.choice(items, 1, replace=False)[0]` draws it.

    `choice` without replacement takes the head of a permutation of the positions; asking for the position spares NumPy
    the copy of a list of thousands of names.
    """
    return items[stream.choice(len(items), 1, replace=False)[0]]


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode:
    """An episode as tensors.

    draw: its names; class_names: N names; query: (3, S, S) and supports: (N, K, 3, S, S) normalised images; masks:
    (N, K, S, S) float of 0 and 1; query_mask: (H, W) uint8, 0 background, n for way n (255 void, where it was asked
    for), at the query's own size or, in training, (S, S); presence: (N,) bool; classes: (N,) absolute class ids; size:
    (H, W) of the query's picture; picture: (H, W, 3) uint8, the query as it is on disk, None in training.
    """

    draw: Draw
    class_names: list[str]
    query: Tensor
    supports: Tensor
    masks: Tensor
    query_mask: Tensor
    presence: Tensor
    classes: Tensor
    size: tuple[int, int]
    picture: np.ndarray | None


def read(bench: Benchmark, drawn: Draw, size: int = 400, training: bool = False, void_ignore: bool = False) -> Episode:
    """Read the pictures and masks of a drawn episode.

    size: the side S in pixels that images are resized to. training: resize the query's mask to S too, and keep no
    picture. void_ignore: keep void pixels of the query's mask as 255 (losses and metrics leave them out); by default
    void counts as background everywhere, as published. A support mask knows foreground and the rest: void is the rest.
    Raises `InputError` for files that are missing, broken or do not fit each other.
    """
    check_size(size)
    picture, class_mask = read_pair(bench, drawn.query)
    way_mask = np.zeros_like(class_mask)
    for n, c in enumerate(drawn.classes, start=1):
        way_mask[class_mask == c] = n
    if void_ignore:
        way_mask[class_mask == VOID] = VOID
    presence = [bool((class_mask == c).any()) for c in drawn.classes]
    pairs = [
        support_pair(bench, image, c, size)
        for c, images in zip(drawn.classes, drawn.support, strict=True)
        for image in images
    ]
    way, shot = len(drawn.classes), len(drawn.support[0])
    return Episode(
        draw=drawn,
        class_names=[bench.class_names[c] for c in drawn.classes],
        query=to_tensor(picture, size),
        supports=torch.stack([image for image, _ in pairs]).unflatten(0, (way, shot)),
        masks=torch.stack([mask for _, mask in pairs]).unflatten(0, (way, shot)),
        query_mask=torch.from_numpy(nearest(way_mask, size) if training else way_mask),
        presence=torch.tensor(presence),
        classes=torch.tensor(drawn.classes),
        size=class_mask.shape,
        picture=None if training else np.asarray(picture),
    )


def check_size(size: int) -> None:
    """Raise `InputError` for an image side that pictures are not resized to."""
    if not is_int(size) or not 32 <= size <= 4096:
        raise InputError(f"size is {shown(size)}; give the image side in pixels, 32…4096.")


def support_pair(bench: Benchmark, image: str, c: int, size: int) -> tuple[Tensor, Tensor]:
    """A support image (3, S, S) and its binary mask (S, S) of class `c`."""
    picture, class_mask = read_pair(bench, image)
    return to_tensor(picture, size), torch.from_numpy((nearest(class_mask, size) == c).astype(np.float32))


def read_pair(bench: Benchmark, image: str) -> tuple[Image.Image, np.ndarray]:
    """A picture (RGB) and its class-id mask (H, W) uint8; raises `InputError` if either is missing or unfit."""
    image_path, mask_path = bench.image_path(image), bench.mask_path(image)
    mask = read_mask(mask_path, len(bench.class_names))
    picture = read_picture(image_path, stored=mask.shape)
    if mask.shape != (picture.height, picture.width):
        raise InputError(
            f"{mask_path} is {mask.shape[1]} x {mask.shape[0]} pixels, its picture {image_path.name} {picture.width} x "
            f"{picture.height}; make the mask of the same size."
        )
    return picture, mask


def read_picture(path: str | Path, stored: tuple[int, int] | None = None) -> Image.Image:
    """An RGB picture, upright as its EXIF orientation says; raises `InputError` for a missing or broken file.

    stored: (H, W) of a mask. The masks of the data sets are made for the pixels as they are stored: where the picture
    is stored in just that size, it is left as it is.
    """
    with opened(path) as picture:
        if (picture.height, picture.width) != stored:
            picture = ImageOps.exif_transpose(picture)
        return picture.convert("RGB")


def read_mask(path: str | Path, classes: int) -> np.ndarray:
    """A class-id mask (H, W) uint8 from a palette or grey PNG, values 0…classes and 255.

    Raises `InputError` for a file that is missing, broken, coloured, or holds other values.
    """
    with opened(path) as picture:
        if picture.mode not in ("P", "L", "1"):
            raise InputError(f"{path} has mode {picture.mode}; a mask is a palette or grey PNG of class ids.")
        mask = np.array(picture, dtype=np.uint8)
    stray = mask[(mask > classes) & (mask != VOID)]
    if stray.size:
        raise InputError(f"{path} holds the value {stray[0]}; a mask holds 0…{classes} and 255 for void.")
    return mask


class opened:
    """Open a picture file; every failure is one `InputError` that names it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __enter__(self) -> Image.Image:
        try:
            self.picture = Image.open(self.path)
            if self.picture.width * self.picture.height > MAX_PIXELS:
                raise InputError(
                    f"{self.path} claims {self.picture.width} x {self.picture.height} pixels; resize it to fewer than "
                    f"{MAX_PIXELS // 1_000_000} million."
                )
            self.picture.load()
        except FileNotFoundError:
            raise InputError(f"{self.path} is missing; see data/README.md for what goes where.") from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path} is no whole picture ({error}); fetch or make it again.") from error
        return self.picture

    def __exit__(self, *_) -> None:
        self.picture.close()


def to_tensor(picture: Image.Image, size: int) -> Tensor:
    """An RGB picture to a (3, S, S) float tensor: bilinear resize, 0…1, ImageNet mean and deviation."""
    pixels = np.array(picture.resize((size, size), Image.Resampling.BILINEAR))
    return (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - MEAN) / STD


def to_picture(image: Tensor) -> np.ndarray:
    """The way back, for looking at: (3, S, S) normalised to (S, S, 3) uint8."""
    pixels = image.cpu().permute(1, 2, 0).numpy() * STD.flatten().numpy() + MEAN.flatten().numpy()
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def nearest(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (H, W) to (S, S), each pixel from its nearest, as `torch.nn.functional.interpolate` finds it."""
    return F.interpolate(torch.from_numpy(mask)[None, None], (size, size), mode="nearest")[0, 0].numpy()


# Loading --------------------------------------------------------------------------------------------------------------


class TestEpisodes(Dataset):
    """The fixed test episodes 0 … episodes − 1."""

    __test__ = False  # pytest: this is no test case

    def __init__(
        self,
        bench: Benchmark,
        way: int = 1,
        shot: int = 1,
        episodes: int = TEST_EPISODES,
        size: int = 400,
        void_ignore: bool = False,
        always_present: bool = False,
    ):
        if not is_int(episodes) or episodes < 1:
            raise InputError(f"episodes is {shown(episodes)}; give a whole number from 1.")
        check_size(size)
        self.bench, self.size, self.void_ignore = bench, size, void_ignore
        # Drawn ahead: names are cheap, and what cannot be drawn is known before a long run begins.
        self.draws = [draw(bench, index, way, shot, always_present=always_present) for index in range(episodes)]
        bench.check_files(image for d in self.draws for image in (d.query, *sum(d.support, [])))

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, index: int) -> Episode:
        return read(self.bench, self.draws[index], self.size, void_ignore=self.void_ignore)


class TrainEpisodes(Dataset):
    """Training episodes, addressed by (epoch, position): every (seed, epoch, position) is one stream of its own.

    So the data of a step depend neither on the number of workers nor on where a run was interrupted. K is 1 as
    published unless `shot` says otherwise.
    """

    def __init__(
        self,
        bench: Benchmark,
        way: int = 1,
        shot: int = 1,
        size: int = 400,
        seed: int = 0,
        void_ignore: bool = False,
        always_present: bool = False,
    ):
        check_size(size)
        if not is_int(seed) or not 0 <= seed < 2**32:
            raise InputError(f"seed is {shown(seed)}; give a whole number from 0.")
        self.bench, self.way, self.shot, self.size, self.seed = bench, way, shot, size, seed
        self.void_ignore, self.always_present = void_ignore, always_present
        draw(bench, 0, way, shot)  # what cannot be drawn or read is known before a long run begins
        bench.check_files(image for image, _ in bench.entries)

    def __len__(self) -> int:
        return len(self.bench)

    def draw(self, epoch: int, position: int) -> Draw:
        """The names of one training episode; `position` counts through the entries (Pascal) or the draws (COCO)."""
        stream = np.random.RandomState([self.seed, epoch, position])
        return draw(self.bench, position, self.way, self.shot, stream, self.always_present)

    def __getitem__(self, address: tuple[int, int]) -> Episode:
        return read(self.bench, self.draw(*address), self.size, training=True, void_ignore=self.void_ignore)


class EpochSampler(Sampler):
    """Endless shuffled addresses (epoch, position) of `TrainEpisodes`, the same from the same seed.

    start: how many addresses to leave out at the beginning, to go on where a run was interrupted. rank and world:
    process `rank` of `world` takes every world-th address.
    """

    def __init__(self, length: int, seed: int = 0, start: int = 0, rank: int = 0, world: int = 1):
        self.length, self.seed, self.start, self.rank, self.world = length, seed, start, rank, world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        count = self.start + self.rank
        epoch, order = -1, None
        while True:
            if count // self.length != epoch:
                epoch = count // self.length
                order = np.random.RandomState([self.seed, epoch]).permutation(self.length)
            yield epoch, int(order[count % self.length])
            count += self.world


def collate(episodes: list[Episode]) -> dict:
    """A batch of B episodes.

    query (B, 3, S, S); supports (B, N, K, 3, S, S); masks (B, N, K, S, S); presence (B, N) bool; classes (B, N);
    query_masks: list of B (H, W), or (B, S, S) in training; sizes: list of B (H, W); draws: list of B `Draw`; pictures:
    list of B (H, W, 3) uint8 or None.
    """
    batch = {name: torch.stack([getattr(e, name) for e in episodes]) for name in ("query", "supports", "masks")}
    batch |= {name: torch.stack([getattr(e, name) for e in episodes]) for name in ("presence", "classes")}
    query_masks = [e.query_mask for e in episodes]
    batch["query_masks"] = query_masks if episodes[0].picture is not None else torch.stack(query_masks)
    batch["sizes"] = [e.size for e in episodes]
    batch["draws"] = [e.draw for e in episodes]
    batch["pictures"] = [e.picture for e in episodes]
    return batch


def loader(
    episodes: Dataset, batch: int = 12, workers: int | None = None, sampler: Sampler | None = None
) -> DataLoader:
    """Batches of `collate`d episodes, read ahead by `workers` processes (default: one per core, 8 at most)."""
    if not is_int(batch) or batch < 1:
        raise InputError(f"The batch size is {shown(batch)}; give a whole number from 1.")
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    if not is_int(workers) or workers < 0:
        raise InputError(f"workers is {shown(workers)}; give a whole number from 0.")
    return DataLoader(
        episodes,
        batch_size=batch,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        worker_init_fn=end_with_parent,
    )
