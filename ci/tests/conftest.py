"""What many tests share: the tiny benchmark, drawn once, and the folder of expected numbers where there is one."""

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"

torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


@pytest.fixture(scope="session")
def tiny_root() -> Path:
    """The tiny benchmark that `make` draws; drawn here if it is not there yet."""
    from ifsl.tiny.scenes import ensure_tiny

    root = REPOSITORY / "data" / "tiny"
    ensure_tiny(root)
    return root


@pytest.fixture(scope="session")
def shared() -> Path:
    """Expected numbers and official lists that lie beside a checkout; tests that need them skip where they do not."""
    if not SHARED.is_dir():
        pytest.skip(f"the folder {SHARED.name} of expected numbers does not lie beside this checkout")
    return SHARED


@pytest.fixture
def one_thread():
    """Sums are rounded by how many threads share them: runs that are compared have one each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
