"""Counting the operations and bytes of a training step, and the least time that a device needs for them (chapter 11).

Roofline model: Williams, Waterman & Patterson, *Roofline: An Insightful Visual Performance Model for Multicore
Architectures*, CACM 2009.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .devices import time_call


class Work(NamedTuple):
    """One operation: its name, its floating-point operations, and the bytes that it reads and writes."""

    name: str
    flops: float
    bytes: float


class Device(NamedTuple):
    """What a device can do at most: floating-point operations per second, and bytes per second from its memory."""

    flops: float
    bandwidth: float


CARDS = {
    "Titan Xp, 32 bits": Device(12.15e12, 547.7e9),
    "T4, 32 bits": Device(8.1e12, 320e9),
    "T4, fp16": Device(65e12, 320e9),
    "A100 80 GB, 32 bits": Device(19.5e12, 2039e9),
    "A100 80 GB, TF32": Device(156e12, 2039e9),
    "A100 80 GB, bf16": Device(312e12, 2039e9),
    "H100 SXM, 32 bits": Device(67e12, 3350e9),
    "H100 SXM, bf16": Device(989e12, 3350e9),
}
"""Peaks of dense matrices as the vendors state them, rounded; not checked against the pages named in chapter 11."""


class Counter(TorchDispatchMode):
    """While it is active, `works` collects every operation of PyTorch that moves data; views move nothing.

    Bytes are those of all inputs and outputs: what must come from memory and go back if nothing is kept in between.
    """

    def __init__(self):
        super().__init__()
        self.works: list[Work] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given, returned = ([x for x in tree_leaves(y) if isinstance(x, Tensor)] for y in ((args, kwargs), out))
        if not func.is_view and returned and not is_only_a_new_tensor(func):
            count = flop_registry.get(func._overloadpacket)
            flops = 0 if count is None else count(*args, **kwargs, out_val=out)
            moved = sum(x.numel() * x.itemsize for x in given + returned)
            self.works.append(Work(str(func._overloadpacket), flops, moved))
        return out


def is_only_a_new_tensor(func) -> bool:
    """Whether an operation only reserves memory."""
    return func._schema.name in ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty")


def least_time(works: Iterable[Work], device: Device, share_of_bytes: float = 1) -> float:
    """Seconds that a device needs at least for operations one after another: the longer of computing and moving.

    share_of_bytes: 0.5 where numbers take 16 bits instead of the counted 32.
    """
    return sum(max(work.flops / device.flops, share_of_bytes * work.bytes / device.bandwidth) for work in works)


def measure_device(device: torch.device | str = "cpu", side: int = 1536, megabytes: int = 128) -> Device:
    """The peaks that a device reaches in practice: in a product of matrices, and in copying; the best of five tries."""
    a, b = torch.randn(2, side, side, device=device)
    x = torch.zeros(megabytes * 2**18, device=device)
    y = torch.empty_like(x)
    products = min(time_call(lambda: torch.mm(a, b), device) for _ in range(5))
    copies = min(time_call(lambda: y.copy_(x), device) for _ in range(5))
    return Device(2 * side**3 / products, 2 * x.numel() * x.itemsize / copies)
