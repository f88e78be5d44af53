"""The same numbers, sooner (appendix chapter 15).

A plain function of the learners is decorated with its twin:

    @faster(twins.attend)
    def attend(query, key, value, masks, heads): ...

On a CPU the twin runs in its place; on a GPU, where a twin would wait for the device to read a mask, and inside
`with use_plain():` the plain function does. A test compares each pair, values and gradients, and `python ci/bench.py`
times both on whole episodes and training steps; a twin that wins less than 15 % of either is deleted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from torch import Tensor

_plain = False


@contextmanager
def use_plain() -> Iterator[None]:
    """Run the plain functions within this block."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def faster(twin: Callable) -> Callable:
    """Decorate a plain function with a twin of the same signature, whose first argument holds a tensor."""

    def decorate(plain: Callable) -> Callable:
        @wraps(plain)
        def run(*arguments):
            return plain(*arguments) if _plain or on_gpu(arguments[0]) else twin(*arguments)

        run.plain, run.twin = plain, twin
        return run

    return decorate


def on_gpu(held: Tensor | list) -> bool:
    """Whether the first tensor in (lists of) tensors lies elsewhere than on the CPU."""
    while not isinstance(held, Tensor):
        held = held[0]
    return held.device.type != "cpu"
