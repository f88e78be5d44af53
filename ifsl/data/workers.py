"""Spreading many small tasks over the cores, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")
FEW = 48  # fewer tasks are done here before other processes have even started


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_start_processes() -> bool:
    """Whether other processes can be started here without running the user's script in each of them again.

    Where processes are spawned, they import the main script. One that does its work without asking whether it is the
    main module would do it once more in every process, and Python stops that with an error.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None:  # a notebook or an interactive session
        return True
    try:
        return "__main__" in Path(script).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True


def spread(
    work: Callable[[Task], Result], tasks: Sequence[Task], label: str, unit: str, workers: int | None = None
) -> list[Result]:
    """[work(task) for task in tasks], in order, computed by `workers` processes (default: one per core).

    label, unit: of the progress bar. work must be a function of a module, because other processes import it; what it
    raises is raised here.
    """
    workers = workers or cores()
    with tqdm(total=len(tasks), desc=label, unit=unit, leave=False, disable=not tasks) as bar:
        if workers == 1 or len(tasks) < FEW or not can_start_processes():
            return [_count(work(task), bar) for task in tasks]
        context = multiprocessing.get_context("spawn")  # a forked copy of a process with torch's threads may hang
        with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
            try:
                return [_count(result, bar) for result in pool.map(work, tasks, chunksize=8)]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def end_with_parent(*_) -> None:
    """Make this worker process end when its parent ends: if the parent is killed, the worker would wait forever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _count(result: Result, bar: tqdm) -> Result:
    """Move the bar on by one and return the result."""
    bar.update()
    return result
