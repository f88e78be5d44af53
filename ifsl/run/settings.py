"""The settings of a run with their defaults, and the folder that it is logged in (chapters 11 and 13).

The defaults are those of the published system. A setting has the name of its option on the command line. Nothing here
imports PyTorch, so that `python -m ifsl --help` is there at once.
"""

import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePath

from ..errors import InputError, is_int, is_text, shown
from ..learners import BACKBONE_NAMES, LEARNERS, learner_class
from ..tasks import check_task

BENCHMARKS = ("pascal", "coco")

PRECISIONS = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Our name of a precision: Lightning's."""

OPTIONS = ("width", "published_prior", "frozen_norm")
"""Settings that are options of some learners only; the learner's class says which it has."""


def same(default, where: str = "logpath"):
    """A field that a resumed run shares with the run that it goes on from.

    where: what tells two runs with different values apart, the "logpath" that `name_run` makes or the "path" before it.
    """
    return field(default=default, metadata={"same": where})


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a training run does.

    method, benchmark, datapath, fold, backbone: what is trained, on what; lists: a folder of list files instead of
    `<datapath>/splits`; logpath: the last part of the log folder, by default the method's name.
    way: N, in training and validation; shot: K, in validation (training always has K = 1, as published).
    bsz: episodes in a batch of each process; lr: learning rate, None for the method's own; decay: lower it to 0 along a
    cosine; niter: epochs; steps: optimiser steps instead of epochs.
    weak: learn from class tags; task: fs-cs, or fs-s, where the query always shows the one class; void_ignore: leave
    void pixels out of loss and mIoU instead of counting them as background, as published.
    size: image side in pixels, None for the backbone's own; pretrained: begin with the backbone's ImageNet weights;
    start: a checkpoint of the same learner, whose weights the run begins with instead of random ones.
    width: channels of PFENet, None for its own; published_prior: compute PFENet's prior for several ways with the fault
    of the published code; frozen_norm: keep the pretrained statistics of PANet's batch normalisation in training.
    val_every: steps between validations, None for an epoch; val_episodes: how many episodes each has.
    seed: of the initial weights and of every draw. cache_features: keep the features of each image in memory.
    devices, nodes, precision, workers: where and how it runs. nowandb: no Weights & Biases.

    Raises `InputError` for values that are not allowed, and for options that the learner does not have.
    """

    method: str = same("asnet", "path")
    task: str = same("fs-cs")
    benchmark: str = same("pascal", "path")
    datapath: str = "data/tiny"
    lists: str | None = None
    logpath: str | None = None
    fold: int = same(0, "path")
    backbone: str = same("resnet50", "path")
    way: int = same(1)
    shot: int = same(1)
    bsz: int = 12
    lr: float | None = same(None)
    decay: bool = same(False)
    niter: int = 2000
    steps: int | None = None
    weak: bool = same(False)
    void_ignore: bool = same(False)
    size: int | None = same(None)
    width: int | None = same(None)
    published_prior: bool = same(False)
    frozen_norm: bool = same(False)
    pretrained: bool = same(True)
    start: str | None = same(None)
    val_every: int | None = None
    val_episodes: int = same(1000)
    seed: int = same(0)
    cache_features: bool = False
    devices: str = "1"
    nodes: int = 1
    precision: str = "32"
    workers: int | None = None
    nowandb: bool = False

    def __post_init__(self):
        names = {"method": LEARNERS, "benchmark": BENCHMARKS, "backbone": BACKBONE_NAMES, "precision": PRECISIONS}
        for name, allowed in names.items():
            if getattr(self, name) not in tuple(allowed):
                raise InputError(f"{name} is {shown(getattr(self, name))}; choose one of {', '.join(allowed)}.")
        check_task(self.task)
        for name, kind in type(self).__annotations__.items():
            value = getattr(self, name)
            if kind is bool and not isinstance(value, bool):
                raise InputError(f"{name} is {shown(value)}; give True or False.")
            if kind in (str, str | None) and not (isinstance(value, kind) and value != ""):
                raise InputError(f"{name} is {shown(value)}; give a text in quotes.")
        if not is_int(self.fold) or self.fold not in range(4):
            raise InputError(f"fold is {shown(self.fold)}; choose 0, 1, 2 or 3.")
        for name in ("way", "shot", "bsz", "niter", "steps", "size", "width", "val_every", "val_episodes", "nodes"):
            self._check_whole(name, least=1)
        for name in ("seed", "workers"):
            self._check_whole(name, least=0)
        number = isinstance(self.lr, int | float) and not isinstance(self.lr, bool)
        if self.lr is not None and not (number and 0 < self.lr < 1e9):
            raise InputError(f"lr is {shown(self.lr)}; give a learning rate above 0, such as 0.001.")
        parts = PurePath(self.logpath or "").parts
        if self.logpath is not None and (not parts or ".." in parts or PurePath(self.logpath).is_absolute()):
            raise InputError(f"logpath is {shown(self.logpath)}; give a name for the folder inside logs, such as demo.")
        if not is_text(self.logpath or ""):
            raise InputError(f"logpath is {shown(self.logpath)}, which cannot be written as text; give another name.")
        check_task(self.task, self.way, self.weak, self.void_ignore)
        for name in self.options:
            if name not in learner_class(self.method).options:
                owners = [method for method in LEARNERS if name in learner_class(method).options]
                owners = " and ".join(owners)
                raise InputError(
                    f"{name} is an option of {owners}; leave it out for {self.method}, or name the method."
                )

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is None and type(self).__dataclass_fields__[name].default is None:
            return
        if not is_int(value) or not least <= value < 2**32:
            raise InputError(f"{name} is {shown(value)}; give a whole number from {least}.")

    @property
    def folder(self) -> Path:
        """Where the run's checkpoints, curves and pictures go: `logs/<benchmark>/fold<F>/<backbone>/<logpath>`."""
        kind = "-weak" if self.weak else "-fs-s" if self.task == "fs-s" else ""
        logpath = self.logpath or self.method + kind
        return Path("logs") / self.benchmark / f"fold{self.fold}" / self.backbone / logpath

    @property
    def metrics(self) -> dict[str, str]:
        """The two metrics of a validation: {column of metrics.csv: name}."""
        if self.task == "fs-s":
            return {"val_miou": "mIoU", "val_fb_iou": "FB-IoU"}
        return {"val_er": "ER", "val_miou": "mIoU"}

    @property
    def monitor(self) -> str:
        """The metric whose highest value marks the best checkpoint, as published."""
        return learner_class(self.method).weak_monitor if self.weak else "val_miou"

    @property
    def options(self) -> dict[str, int | bool]:
        """The learner's own options, as far as they are not left at their defaults."""
        defaults = self.defaults()
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) != defaults[name]}

    def plain(self) -> dict[str, str | int | float | bool | None]:
        """The settings as a plain dict, to be kept in a checkpoint."""
        return asdict(self)

    @classmethod
    def defaults(cls) -> dict[str, str | int | float | bool | None]:
        """The default of every setting."""
        return {one.name: one.default for one in fields(cls)}

    @classmethod
    def fixed(cls) -> list[str]:
        """Settings that a resumed run shares with the run it goes on from, besides the number of episodes in a step."""
        return [one.name for one in fields(cls) if "same" in one.metadata]


def name_run(given: dict) -> str:
    """A logpath for a run with these settings: its method, and all that differs from the defaults and shapes the run.

    Runs that must not be resumed as one another get different folders.
    """
    shaping = [f.name for f in fields(Settings) if f.metadata.get("same") == "logpath"] + ["bsz"]
    if given.get("decay"):  # then these shape the whole run
        shaping += ["steps", "niter"]
    defaults = Settings.defaults()
    told = [name for name in shaping if name in given and given[name] != defaults[name]]
    parts = [name if given[name] is True else f"{name}{PurePath(str(given[name])).name}" for name in told]
    return "-".join([given.get("method", defaults["method"]), *parts])


def first_process() -> bool:
    """Whether this process looks after the folder: it is the first of those that Lightning, torchrun or SLURM began."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def check_folder(folder: Path, resume: bool) -> None:
    """Raise `InputError` if the log folder holds a run although none is resumed, or no run although one is."""
    used = folder.is_dir() and not all(path.name.startswith(("test-", "vis")) for path in folder.iterdir())
    if used and not resume:
        raise InputError(
            f"{folder} holds a run already; go on with it (--resume, in Python resume=True), or give another logpath."
        )
    if resume and not used:
        raise InputError(f"There is no run in {folder} to resume; look at logpath, or leave out resume.")
