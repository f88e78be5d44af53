"""What a run is: its settings with their defaults, checked, and the folder that it is logged in (chapters 11 and 13).

The defaults are those of the published system; a setting has the name of its option on the command line.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from ..errors import InputError, is_int, shown

METHODS = ("panet", "pfenet", "hsnet", "asnet", "asnethm")
BENCHMARKS = ("pascal", "coco")
BACKBONES = ("resnet50", "resnet101", "efficientnet_lite0")
PRECISIONS = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Our names: Lightning's."""


@dataclass(frozen=True)
class Settings:
    """All that decides what a training run does.

    method, benchmark, datapath, fold, backbone: what is trained, on what; lists: a folder of list files instead of
    `<datapath>/splits`; logpath: the last part of the log folder, by default the method's name.
    way: N, in training and validation; shot: K, in validation (training always has K = 1, as published).
    bsz: episodes in a batch of each process; lr: learning rate, None for the recipe's; decay: lower it to 0 along a
    cosine; niter: epochs; steps: optimiser steps instead of epochs.
    weak: learn from class tags; fss: conventional few-shot segmentation, the query's class is always among the ways;
    void_ignore: leave void pixels out of loss and mIoU instead of counting them as background, as published.
    size: image side in pixels, None for the backbone's own; width: channels of PFENet, None for its own; pretrained:
    begin with the backbone's ImageNet weights.
    val_every: steps between validations, None for an epoch; val_episodes: how many episodes each has.
    seed: of the initial weights and of every draw. cache_features: keep what a frozen backbone says of each picture.
    devices, nodes, precision, workers: where and how it runs. nowandb: no Weights & Biases.

    Raises `InputError` for values that cannot be.
    """

    method: str = "asnet"
    benchmark: str = "pascal"
    datapath: str = "data/tiny"
    lists: str | None = None
    logpath: str | None = None
    fold: int = 0
    backbone: str = "resnet50"
    way: int = 1
    shot: int = 1
    bsz: int = 12
    lr: float | None = None
    decay: bool = False
    niter: int = 2000
    steps: int | None = None
    weak: bool = False
    fss: bool = False
    void_ignore: bool = False
    size: int | None = None
    width: int | None = None
    pretrained: bool = True
    val_every: int | None = None
    val_episodes: int = 1000
    seed: int = 0
    cache_features: bool = False
    devices: str = "1"
    nodes: int = 1
    precision: str = "32"
    workers: int | None = None
    nowandb: bool = False

    def __post_init__(self):
        choices = {"method": METHODS, "benchmark": BENCHMARKS, "backbone": BACKBONES, "precision": tuple(PRECISIONS)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {shown(getattr(self, name))}; choose one of {', '.join(allowed)}.")
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
        if self.width is not None and self.method != "pfenet":
            raise InputError(f"width is an option of pfenet alone; leave it out for {self.method}.")

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is None and type(self).__dataclass_fields__[name].default is None:
            return
        if not is_int(value) or not least <= value < 2**32:
            raise InputError(f"{name} is {shown(value)}; give a whole number from {least}.")

    @property
    def folder(self) -> Path:
        """Where the run's checkpoints, curves and pictures go: `logs/<benchmark>/fold<F>/<backbone>/<logpath>`."""
        logpath = self.logpath or self.method + ("-weak" if self.weak else "")
        return Path("logs") / self.benchmark / f"fold{self.fold}" / self.backbone / logpath

    def plain(self) -> dict[str, str | int | float | bool | None]:
        """The settings as a plain dict, to be kept in a checkpoint."""
        return asdict(self)


def first_process() -> bool:
    """Whether this process looks after the folder: the first, of those that Lightning, torchrun or SLURM started."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def check_folder(folder: Path, resume: bool) -> None:
    """Raise `InputError` if the log folder holds a run that is not to be resumed, or none that is."""
    used = folder.is_dir() and any(folder.iterdir())
    if used and not resume:
        raise InputError(f"{folder} holds a run already; give resume to go on with it, or another logpath.")
    if resume and not used:
        raise InputError(f"There is no run in {folder} to resume; look at logpath, or leave out resume.")
