"""Checkpoints that a run can go on from: writing them whole, reading them, comparing settings (chapter 11)."""

from pathlib import Path

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ..data.files import write_whole
from ..errors import InputError
from .settings import Settings


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
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["settings"]["episodes_a_step"]
    except Exception as error:  # a broken file can fail in any way
        raise InputError(
            f"{path} is no checkpoint of a run that can be resumed ({type(error).__name__}); "
            "start a new one with another logpath."
        ) from error
    return checkpoint


def check_same(settings: Settings, last: Path, processes: int) -> int:
    """The steps that checkpoint `last` has made; raises `InputError` if its run began with other settings than these.

    A setting that the checkpoint does not have is newer than the checkpoint: the run began with its default.
    """
    held = read_checkpoint(last)
    then = Settings.defaults() | held["settings"]
    now = settings.plain()
    if now["size"] is None:
        now["size"] = then["size"]
    for name in settings.fixed():
        if now[name] != then[name]:
            raise InputError(f"{name} is {now[name]}, but {last} was begun with {then[name]}; resume with the same.")
    episodes = settings.bsz * processes
    if episodes != then["episodes_a_step"]:
        raise InputError(
            f"bsz times processes is {episodes}, but {last} was begun with {then['episodes_a_step']}; make them equal."
        )
    if settings.decay and (settings.steps, settings.niter) != (then["steps"], then["niter"]):
        raise InputError(f"With decay, steps and niter shape the whole run; resume {last} with the same.")
    return held["global_step"]
