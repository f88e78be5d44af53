"""The same numbers, sooner (chapter 18, an appendix).

A plain function of the learners is decorated with its twin:

    @faster(fast.group_norm)
    def group_norm(x, groups, weight, bias, eps): ...

On a CPU the twin runs in its place; on a GPU, where a twin would wait for the device to read a mask, and inside
`with use_plain():` the plain function does. A test compares each pair, values and gradients, and `python ci/bench.py`
times both on whole episodes and training steps. A twin that wins less than 15 % of every one of them is deleted, except
for `group_norm`, without which the layout that the other twins leave would cost exactness.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from torch import Tensor

_plain: bool | Callable = False  # True: all functions run plain; a twin: only its own does


@contextmanager
def use_plain(twin: Callable | None = None) -> Iterator[None]:
    """Run the plain functions within this block; given a twin, only the function that it replaces."""
    global _plain
    before, _plain = _plain, twin or True
    try:
        yield
    finally:
        _plain = before


def faster(twin: Callable) -> Callable:
    """Decorate a plain function with a twin of the same signature."""

    def decorate(plain: Callable) -> Callable:
        @wraps(plain)
        def run(*arguments):
            return plain(*arguments) if _plain in (True, twin) or not on_cpu(arguments) else twin(*arguments)

        run.plain, run.twin = plain, twin
        return run

    return decorate


def on_cpu(arguments: tuple | list) -> bool:
    """Whether the first tensor among the arguments, or in lists among them, lies on the CPU."""
    first = next(x for x in arguments if isinstance(x, Tensor | list))
    return first.device.type == "cpu" if isinstance(first, Tensor) else on_cpu(first)
