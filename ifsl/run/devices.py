"""Where a run is computed: devices, the number of processes, the precision (chapters 11 and 13)."""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch

from ..errors import InputError, shown
from .settings import Settings


class Hardware(NamedTuple):
    """What a training run computes on.

    accelerator, devices: as Lightning's trainer takes them; processes: how many there are on all machines together.
    """

    accelerator: str
    devices: int | list[int]
    processes: int


def find_hardware(settings: Settings) -> Hardware:
    """The hardware that `settings` ask for; raises `InputError` if this machine does not have it."""
    accelerator, devices = parse_devices(settings.devices)
    check_precision(settings.precision, gpu=accelerator != "cpu" and torch.cuda.is_available())
    on_a_machine = len(devices) if isinstance(devices, list) else devices
    return Hardware(accelerator, devices, settings.nodes * on_a_machine)


def parse_devices(text: str) -> tuple[str, int | list[int]]:
    """Accelerator and devices, as Lightning takes them, from "2", "0,1", "auto", "cpu" or "cpu:2".

    A number takes that many GPUs, or that many processes on the CPU if there is no GPU; "auto" takes every GPU. Raises
    `InputError` for devices that do not exist.
    """
    gpus = torch.cuda.device_count()
    name, _, count = text.partition(":")
    if name == "cpu" and (count or "1").isdecimal() and int(count or 1) > 0:
        return "cpu", int(count or 1)
    if text == "auto":
        return ("cuda", gpus) if gpus else ("auto", 1)
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers) or (len(numbers) == 1 and int(text) < 1):
        raise InputError(f"devices is {shown(text)}; give how many (2), which (0,1), auto, cpu, or cpu:2 for two.")
    if len(numbers) == 1 and not gpus:
        return ("auto", 1) if text == "1" else ("cpu", int(text))
    chosen = [int(number) for number in numbers] if len(numbers) > 1 else list(range(int(text)))
    if max(chosen) >= gpus or len(set(chosen)) < len(chosen):
        raise InputError(f"devices is {shown(text)}, but this machine has {gpus} GPUs; ask for those, or for cpu.")
    return "cuda", chosen


def pick_device(devices: str) -> str:
    """The one device that testing runs on, as PyTorch names it; raises `InputError` if `devices` asks for several."""
    accelerator, chosen = parse_devices(devices)
    if chosen != 1 and not (isinstance(chosen, list) and len(chosen) == 1):
        raise InputError(f"--devices is {devices}, but testing runs on one; give 1, or leave it out.")
    return f"cuda:{chosen[0]}" if isinstance(chosen, list) else accelerator.replace("auto", "cpu")


def reduce_precision(precision: str, device: str) -> AbstractContextManager:
    """A context in which testing computes with 16 bits if `precision` is "16" or "bf16", and with 32 otherwise."""
    kind = torch.device(device).type
    check_precision(precision, gpu=kind != "cpu")
    dtype = {"16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    return torch.autocast(kind, dtype, enabled=dtype is not None)


def check_precision(precision: str, gpu: bool) -> None:
    """Raise `InputError` for a precision that only a GPU can compute with."""
    if precision == "16" and not gpu:
        raise InputError("precision 16 needs a GPU; choose bf16 or 32.")
