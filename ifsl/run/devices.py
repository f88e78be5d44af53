"""Where a run is computed: devices, the number of processes, the precision (chapters 11 and 13)."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import torch

from ..errors import InputError, count, shown
from .settings import Settings

OUT_OF_MEMORY = re.compile(
    "MemoryError|out of memory|not enough memory|can't allocate memory|cannot allocate memory|unable to allocate|"
    "bad_alloc|ALLOC_FAILED|could not create a memory object|Failed to allocate",
    re.IGNORECASE,
)
"""How PyTorch, NumPy and CUDA say that there is no memory left."""
SHARED_MEMORY = re.compile(r"shared memory|\(shm\)|/dev/shm|/torch_|Bus error|worker.*(killed by signal|exited unexp)")
"""How the processes that read ahead say it."""


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

    A number takes that many GPUs; "1" and "auto", which takes every GPU, take the CPU if there is none. Raises
    `InputError` for devices that do not exist.
    """
    gpus = torch.cuda.device_count()
    name, _, processes = text.partition(":")
    if name == "cpu" and (processes or "1").isdecimal() and int(processes or 1) > 0:
        return "cpu", int(processes or 1)
    if text == "auto":
        return ("cuda", gpus) if gpus else ("auto", 1)
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers) or (len(numbers) == 1 and int(text) < 1):
        raise InputError(f"devices is {shown(text)}; give how many (2), which (0,1), auto, cpu, or cpu:2 for two.")
    if text == "1" and not gpus:
        return "auto", 1
    chosen = [int(number) for number in numbers] if len(numbers) > 1 else list(range(int(text)))
    if max(chosen) >= gpus or len(set(chosen)) < len(chosen):
        remedy = "take the CPU with cpu, or with cpu:2 in two processes" if not gpus else "ask for those, or for cpu"
        raise InputError(f"devices is {shown(text)}, but this machine has {count(gpus, 'GPU')}; {remedy}.")
    return "cuda", chosen


def pick_device(devices: str) -> str:
    """The one device that testing runs on, as PyTorch names it; raises `InputError` if `devices` asks for several."""
    accelerator, chosen = parse_devices(devices)
    if chosen != 1 and not (isinstance(chosen, list) and len(chosen) == 1):
        raise InputError(f"--devices is {devices}, but testing runs on one; give 1, or leave it out.")
    return f"cuda:{chosen[0]}" if isinstance(chosen, list) else accelerator.replace("auto", "cpu")


def find_device(device: str | torch.device | None) -> torch.device:
    """The device, by default a GPU if there is one; raises `InputError` for one on which nothing can be computed."""
    try:
        found = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
        torch.zeros(1, device=found).item()
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:  # PyTorch says it in all these ways
        raise InputError(f"There is no device {shown(device)} here; give cpu, or with a GPU cuda or cuda:0.") from error
    return found


def reduce_precision(precision: str, device: str) -> AbstractContextManager:
    """A context in which testing computes with 16 bits if `precision` is "16" or "bf16", and with 32 otherwise."""
    kind = torch.device(device).type
    check_precision(precision, gpu=kind != "cpu")
    dtype = {"16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    return torch.autocast(kind, dtype, enabled=dtype is not None)


@contextmanager
def memory_errors(where: str, **given: int | None) -> Iterator[None]:
    """A context that turns memory that has run out into an `InputError`; see `explain_memory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if said := explain_memory(error, where, **given):
            raise InputError(said) from error
        raise


def explain_memory(error: Exception, where: str, **given: int | None) -> str | None:
    """A sentence for an error of memory that has run out, of the computer, a GPU or `/dev/shm`; None for others.

    where: "training" or "testing"; given: what the memory depends on, by the name under which it can be lowered.
    """
    text = f"{type(error).__name__}: {error}"
    if SHARED_MEMORY.search(text):
        return (
            f"The processes that read ahead ran out of shared memory (/dev/shm) or were killed in {where}; give "
            "workers 0 or fewer of them, or the container more shared memory (docker run --shm-size 2g)."
        )
    if not OUT_OF_MEMORY.search(text):
        return None
    *others, last = [f"{name} ({value})" for name, value in given.items() if value is not None]
    whose = "GPU" if re.search("CUDA|CUBLAS|CUDNN|HIP", text) else "computer"
    lower = f"{', '.join(others)} or {last}" if others else last
    return f"The memory of the {whose} ran out in {where}; lower {lower}, or take a machine with more."


def check_precision(precision: str, gpu: bool) -> None:
    """Raise `InputError` for a precision that only a GPU can compute with."""
    if precision == "16" and not gpu:
        raise InputError("precision 16 needs a GPU; choose bf16 or 32.")


def time_call(run: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """Seconds of a call, up to the end of everything that it started on a GPU."""
    wait_for(device)
    started = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
