"""Checkpoints that a run can go on from: writing them whole, reading them, comparing settings (chapter 11)."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ..data.benchmarks import Benchmark
from ..data.files import write_whole
from ..errors import InputError, writing
from .checkpoints import best_checkpoint, check_finite, check_sums, is_ordinary
from .devices import explain_memory
from .settings import Settings

NEEDED = {
    ("settings", "episodes_a_step"): int,
    ("global_step",): int,
    ("state_dict",): dict,
    ("optimizer_states", 0): dict,
    ("lr_schedulers",): list,
    ("loops", "fit_loop"): dict,
    ("callbacks", "Keeper", "best"): float,
    ("pytorch-lightning_version",): str,
}
"""What a checkpoint must have to be resumed: where it is, and of which kind."""


class WholeFiles(TorchCheckpointIO):
    """Lightning's way to its checkpoint files, but a file is written whole or not at all.

    A run that is killed while it writes leaves the checkpoint before. Reading makes tensors, numbers and names only, so
    no checkpoint can run code.
    """

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options=None) -> None:
        try:
            write_whole(path, lambda file: torch.save(checkpoint, file))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its own
            why = next((e.strerror for e in (error, error.__context__) if isinstance(e, OSError)), error)
            raise InputError(f"The checkpoint {path} cannot be written ({why}); make room, then use resume.") from error

    def load_checkpoint(self, path: str | Path, map_location=None, weights_only: bool | None = True) -> dict:
        return read_checkpoint(path)


def read_checkpoint(path: str | Path) -> dict:
    """A checkpoint of `train`, on the CPU; raises `InputError` for a file that is not one."""
    try:
        check_sums(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        strange = [names for names, kind in NEEDED.items() if not isinstance(reduce(getitem, names, checkpoint), kind)]
        if strange or not all(map(is_ordinary, checkpoint["state_dict"].values())):
            raise TypeError("parts of other kinds")
    except Exception as error:  # a broken file can fail in any way
        raise InputError(
            f"{path} is no checkpoint of a run that can be resumed ({type(error).__name__}); {advise(Path(path))}."
        ) from error
    check_finite(checkpoint["state_dict"], path)
    return checkpoint


def find_last(folder: Path) -> Path | None:
    """The checkpoint that a run goes on from, None if it was broken off before it had one.

    Raises `InputError` if the last one is gone from a run that has a best one, or is no file.
    """
    last = folder / "last.ckpt"
    if last.is_file():
        return last
    if any(folder.glob("best_model*.ckpt")) or last.is_symlink() or last.exists():
        raise InputError(f"{last} is missing or no file; {advise(last)}.")
    return None


def advise(last: Path) -> str:
    """What to do if a run's last checkpoint is of no use: the end of a message."""
    anew = "start a new run with another logpath"
    try:
        best = best_checkpoint(last.parent)
    except InputError:
        return anew
    return f"put a copy of {best.name} in its place, or {anew}"


def complete(folder: Path) -> None:
    """Write the best_model.ckpt of a run that was broken off between its first two checkpoints, which are equal."""
    last, best = folder / "last.ckpt", folder / "best_model.ckpt"
    if any(folder.glob("best_model*.ckpt")):
        return
    if read_checkpoint(last)["callbacks"]["Keeper"]["best"] > float("-inf"):  # it has been validated
        with writing(best, "make room, then use resume"):
            write_whole(best, last.read_bytes())


def digest(*benches: Benchmark) -> str:
    """A checksum of what episodes are drawn from: which images show which class, in which order."""
    return hashlib.sha256(json.dumps([bench.entries for bench in benches]).encode()).hexdigest()


@contextmanager
def restoring(module, last: Path | None) -> Iterator[None]:
    """A context that turns an error in the first step after checkpoint `last`, or before it, into an `InputError`.

    It is one of the checkpoint, whose parts do not fit each other. module: the `Training` that goes on from it.
    """
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:
        if last is None or module.made_a_step or explain_memory(error, "training", bsz=module.settings.bsz):
            raise
        why = next(iter(str(error).splitlines()), "").rstrip(".:")
        raise InputError(f"{last} cannot be resumed ({type(error).__name__}: {why}); {advise(last)}.") from error


def check_same(settings: Settings, last: Path, processes: int, entries: str) -> int:
    """The steps that checkpoint `last` has made; raises `InputError` if its run began with other settings than these.

    entries: the `digest` of the benchmark. A setting that the checkpoint does not have is newer than the checkpoint:
    the run began with its default.
    """
    held = read_checkpoint(last)
    then = Settings.defaults() | held["settings"]
    now = settings.plain()
    if now["size"] is None:
        now["size"] = then["size"]
    for name in settings.fixed():
        if now[name] != then[name]:
            raise InputError(f"{name} is {now[name]}, but {last} was begun with {then[name]}; resume with the same.")
    if then.get("entries", entries) != entries:
        where = settings.lists or settings.datapath
        raise InputError(f"The lists in {where} are not those that {last} was begun with; resume with the same.")
    episodes = settings.bsz * processes
    if episodes != then["episodes_a_step"]:
        raise InputError(
            f"bsz times processes is {episodes}, but {last} was begun with {then['episodes_a_step']}; make them equal."
        )
    if settings.decay and (settings.steps, settings.niter) != (then["steps"], then["niter"]):
        raise InputError(f"With decay, steps and niter shape the whole run; resume {last} with the same.")
    return held["global_step"]
