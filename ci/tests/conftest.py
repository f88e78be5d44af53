"""What many tests share: the tiny benchmark, made once, and the folder of expected numbers if there is one."""

import builtins
import io
import os
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"

torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


def can_pretend_a_gpu() -> bool:
    """Whether PyTorch can pretend a GPU where there is none; older versions ask its driver."""
    with FakeTensorMode():
        pretended = torch.empty(2, device="cuda")
        try:
            pretended.copy_(pretended)
        except RuntimeError:
            return False
    return True


@pytest.fixture(scope="session")
def tiny_root() -> Path:
    """The tiny benchmark that `make` makes; made here if it is not there yet."""
    from ifsl.tiny import ensure_tiny

    root = REPOSITORY / "data" / "tiny"
    ensure_tiny(root)
    return root


@pytest.fixture(scope="module")
def bench(tiny_root: Path):
    """The tests of the tiny Pascal's fold 0; each file of tests gets its own."""
    from ifsl import Benchmark

    return Benchmark("pascal", tiny_root)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Expected numbers and official lists beside the checkout; without them, tests that need them skip."""
    if not SHARED.is_dir():
        pytest.skip(f"the folder {SHARED.name} of expected numbers is not beside this checkout")
    return SHARED


@pytest.fixture
def close(monkeypatch):
    """A function that closes a file or folder to this process, as permissions do to anybody but root."""

    def closed(real, place: Path, itself: bool):
        def call(path, *given, **more):
            inside = isinstance(path, str | Path) and place in (Path(path), *Path(path).parents)
            if inside and (itself or Path(path) != place):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *given, **more)

        return call

    def close(place: Path) -> None:
        for home, name in ((os, "stat"), (os, "listdir"), (os, "scandir"), (builtins, "open"), (io, "open")):
            monkeypatch.setattr(home, name, closed(getattr(home, name), place, itself=name != "stat"))

    return close


@pytest.fixture
def one_thread():
    """Rounding depends on how many threads share a sum, so runs that are compared use one thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
