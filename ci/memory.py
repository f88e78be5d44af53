"""Memory on the CPU: keeping what was freed, and measuring what was needed."""

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE = 2**30
STATUS = Path("/proc/self/status")


def keep_freed() -> None:
    """Ask the C library to keep freed memory for what is allocated next. Where that is not glibc, nothing is done.

    By itself glibc fetches every tensor of more than a few megabytes from the system, and gives it back as soon as it
    is freed. The system hands out pages filled with zeros, one by one as they are first written to, which for tensors
    that live as long as one addition takes longer than the addition. A process that goes on for long needs the same
    memory again and again. The price is that it holds until its end what it once needed.
    """
    libc = c_library()
    if libc is not None:
        # older versions refuse more than 32 MB
        if not libc.mallopt(M_MMAP_THRESHOLD, LARGE):
            libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)


def peak(run: Callable) -> int | None:
    """Bytes that a call needs at its peak beyond what this process held before; None where the system is not Linux."""
    if not STATUS.exists():
        return None
    libc = c_library()
    if libc is not None:
        libc.malloc_trim(0)  # what was freed before is not held
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = held("VmRSS")
    run()
    return held("VmHWM") - before


def held(what: str) -> int:
    """A figure of this process's memory in bytes, under its name in the system's list."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{what}:"))
    return 1024 * int(line.split()[1])


def c_library() -> ctypes.CDLL | None:
    """The C library if it is glibc."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
