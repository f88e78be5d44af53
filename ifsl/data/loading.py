"""Loading many episodes: the fixed test episodes, endless training episodes, and batches of either (chapters 02, 11).

Letters: B episodes in a batch, N ways, K shots, S image side, H W size of a query's picture.
"""

import multiprocessing
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import InputError, is_int, shown
from ..tasks import check_setting
from .benchmarks import Benchmark, check_size
from .episodes import Draw, Episode
from .workers import can_start_processes, cores, end_with_parent

TEST_EPISODES = 1000

SHARED_MEMORY = "/dev/shm"
MANY = 1 << 16  # processes: no limit
AHEAD = 3  # batches of a process that lie in shared memory: two that wait and one that is taken
PLANES, BYTES = 4, 4  # of an image: three colours and a mask, in floats
PICTURE = 3_000_000  # bytes of a query as it is on disk and of its mask, more than most have


class TestEpisodes(Dataset):
    """The fixed test episodes 0 … episodes - 1. With object sizes there are at most as many as `count_queries` says."""

    __test__ = False  # pytest: this is no test case

    def __init__(
        self,
        bench: Benchmark,
        way: int = 1,
        shot: int = 1,
        episodes: int = TEST_EPISODES,
        size: int = 400,
        void_ignore: bool = False,
        task: str = "fs-cs",
        own_size: bool = False,
        augment: str | None = None,
        objects: str | None = None,
    ):
        if not is_int(episodes) or episodes < 1:
            raise InputError(f"episodes is {shown(episodes)}; give a whole number from 1.")
        check_size(size)
        self.bench, self.size, self.void_ignore, self.own_size = bench, size, void_ignore, own_size
        self.way, self.shot, self.task, self.augment, self.objects = way, shot, task, augment, objects
        # All names are drawn now, which is cheap, so that an impossible draw fails before a long run begins.
        check_setting(augment, objects, way, task)
        if objects:
            episodes = min(episodes, bench.count_queries(objects, shot))
        self.draws = [bench.draw(index, way, shot, task=task, objects=objects) for index in range(episodes)]
        bench.check_files(image for draw in self.draws for image in (draw.query, *sum(draw.support, [])))
        if augment:
            bench.measure(image for draw in self.draws for image in sum(draw.support, []))
            self.draws = [bench.draw(index, way, shot, task=task, augment=augment) for index in range(episodes)]

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, index: int) -> Episode:
        return self.bench.read(self.draws[index], self.size, void_ignore=self.void_ignore, own_size=self.own_size)


class TrainEpisodes(Dataset):
    """Training episodes, addressed by (epoch, position).

    Each (seed, epoch, position) has a random stream of its own, so the episodes of a step depend neither on the number
    of workers nor on where a run was interrupted. K is 1, as published, unless `shot` says otherwise.
    """

    def __init__(
        self,
        bench: Benchmark,
        way: int = 1,
        shot: int = 1,
        size: int = 400,
        seed: int = 0,
        void_ignore: bool = False,
        task: str = "fs-cs",
    ):
        check_size(size)
        if not is_int(seed) or not 0 <= seed < 2**32:
            raise InputError(f"seed is {shown(seed)}; give a whole number from 0.")
        self.bench, self.way, self.shot, self.size, self.seed = bench, way, shot, size, seed
        self.void_ignore, self.task = void_ignore, task
        bench.draw(0, way, shot, task=task)  # what cannot be drawn or read fails before a long run begins
        bench.check_files(image for image, _ in bench.entries)

    def __len__(self) -> int:
        return len(self.bench)

    def draw(self, epoch: int, position: int) -> Draw:
        """Draw one training episode by name; `position` counts through the entries (Pascal) or the draws (COCO)."""
        stream = np.random.RandomState([self.seed, epoch, position])
        return self.bench.draw(position, self.way, self.shot, stream, self.task)

    def __getitem__(self, address: tuple[int, int]) -> Episode:
        return self.bench.read(self.draw(*address), self.size, training=True, void_ignore=self.void_ignore)


class EpochSampler(Sampler):
    """Endless shuffled addresses (epoch, position) of `TrainEpisodes`, the same ones for the same seed.

    start: how many addresses to skip at the beginning, to continue an interrupted run. rank, world: process `rank` of
    `world` takes every world-th address.
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
    batch = {
        name: torch.stack([getattr(episode, name) for episode in episodes])
        for name in ("query", "supports", "masks", "presence", "classes")
    }
    query_masks = [episode.query_mask for episode in episodes]
    batch["query_masks"] = query_masks if episodes[0].picture is not None else torch.stack(query_masks)
    batch["sizes"] = [episode.size for episode in episodes]
    batch["draws"] = [episode.draw for episode in episodes]
    batch["pictures"] = [episode.picture for episode in episodes]
    return batch


def group_equal(draws: list[Draw], batch: int) -> list[list[int]]:
    """The positions of neighbouring episodes with as many ways and shots as each other, in groups of at most `batch`.

    Augmented episodes have more supports than others. No group has more of them than `batch` of the smallest episodes
    have together, unless a single one does: so a batch needs no more memory.
    """
    shapes = [(len(draw.classes), len(draw.support[0])) for draw in draws]
    room = batch * min((way * shot for way, shot in shapes), default=0)
    groups: list[list[int]] = []
    for position, (way, shot) in enumerate(shapes):
        fits = position > 0 and shapes[position - 1] == (way, shot) and (len(groups[-1]) + 1) * way * shot <= room
        if fits:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def count_workers(episodes: Dataset, batch: int) -> int:
    """How many processes can read ahead: none where they cannot start, or where shared memory is small.

    Each keeps three batches in shared memory, of which a container often has 64 MB and no more.
    """
    if multiprocessing.get_start_method() != "fork" and not can_start_processes():
        return 0
    try:
        disk = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):  # not on this system
        return MANY
    images = 1 + getattr(episodes, "way", 1) * getattr(episodes, "shot", 1)
    if draws := getattr(episodes, "draws", None):
        images = 1 + max(sum(map(len, draw.support)) for draw in draws)
    a_batch = batch * (images * PLANES * getattr(episodes, "size", 0) ** 2 * BYTES + PICTURE)
    return int(disk.f_bavail * disk.f_frsize // (AHEAD * a_batch))


def loader(
    episodes: Dataset,
    batch: int = 12,
    workers: int | None = None,
    sampler: Sampler | None = None,
    augmented: bool = False,
) -> DataLoader:
    """Batches of episodes (see `collate`), read ahead by `workers` processes (default: one per core, 8 at most).

    augmented: whether `TestEpisodes` differ in N and K, so that only equal ones can share a batch (`group_equal`).
    """
    if not is_int(batch) or batch < 1:
        raise InputError(f"The batch size is {shown(batch)}; give a whole number from 1.")
    workers = min(8, cores()) if workers is None else workers
    if not is_int(workers) or workers < 0:
        raise InputError(f"workers is {shown(workers)}; give a whole number from 0.")
    workers = min(workers, count_workers(episodes, batch))
    if augmented:
        batches = {"batch_sampler": group_equal(episodes.draws, batch)}
    else:
        batches = {"batch_size": batch, "sampler": sampler}
    return DataLoader(
        episodes,
        **batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        worker_init_fn=end_with_parent,
    )
