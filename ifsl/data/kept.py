"""The small learners that the repository keeps: in a checkout, in this user's cache, or to be fetched (chapter 12)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..address import BRANCH, repository
from ..errors import InputError
from .fetch import Remote, fetch

FOLDER = "data/checkpoints"
NAME = re.compile(r"tiny/[\w-]+")

# Written by `python ci/sums.py`, whenever a learner is trained again.
KEPT: dict[str, tuple[int, str]] = {
    "tiny/asnet-weak": (2_685_080, "9651b7efbbb8c88f8f05deb22fad315ea77b38c135439426595277886d629e18"),
    "tiny/asnet": (2_685_096, "3c72a31f6ec4f189d3beb8347f29b356fe550033f96be570758c8bab97424bcb"),
    "tiny/asnethm": (2_685_088, "eae3fc9b5679b74807717c55a5b006c2d949f5dcd7a8c4db7526ed178e737f4e"),
    "tiny/cst": (735_568, "ea060138f35a908b5c49dc5aa9519cc362e5bcf093bb2e73f94d9bf7a0ddad29"),
    "tiny/emat": (118_640, "64b4de79ac19c77f9ee602a9bb4424c4de634b6ef1cb5a2f2636f5b451d4d51d"),
    "tiny/hsnet": (5_167_720, "0b8e64bae74ad15346ca239239f3dd0556368f3e5e784559effb6e943a6a0af0"),
    "tiny/panet": (6_184_544, "85ba7093db7077df93ec85e0bd3c07137344d0e38d1b72ebba10f04662293434"),
    "tiny/pfenet": (1_298_152, "ee3873bf67cdfafa301025be40e90992076db10c0005313698da356fa41fc4c9"),
}
"""Name of a kept learner: its bytes and its SHA-256."""


def is_kept_name(path: str | Path) -> bool:
    """Whether this is the name of a kept learner, such as "tiny/asnet", and no file or folder."""
    return isinstance(path, str) and NAME.fullmatch(path) is not None and not Path(path).exists()


def cache_folder() -> Path:
    """Where fetched learners are kept: `IFSL_CACHE`, or ifsl/ in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("IFSL_CACHE") or Path(home) / "ifsl")


def find_kept(name: str) -> Path:
    """The file of a kept learner: in the checkout above the working folder, in that of this package, or in the cache.

    Raises `InputError`, one sentence that says how to get it, where it is in none of them.
    """
    if name not in KEPT:
        raise InputError(f"There is no kept learner {name!r}; choose from {', '.join(KEPT)}, or give a file.")
    checkouts = [Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]]
    places = [above / FOLDER for above in checkouts] + [cache_folder()]
    for place in places:
        if (path := place / f"{name}.safetensors").is_file():
            return path
    size, digest = KEPT[name]
    where = cache_folder() / f"{name}.safetensors"
    if not repository():
        raise InputError(
            f"The learner {name} ({size / 1e6:.1f} MB) is not on this machine; take "
            f"{FOLDER}/{name}.safetensors of the course's repository and put it at {where} (SHA-256 {digest})."
        )
    raise InputError(
        f"The learner {name} ({size / 1e6:.1f} MB) is not on this machine; run `python -m ifsl.download learners`, or "
        f"fetch {remote(name).url()} and put it at {where} (SHA-256 {digest})."
    )


def remote(name: str) -> Remote:
    """Where a kept learner is published."""
    size, digest = KEPT[name]
    return Remote(f"{repository()}/raw/{BRANCH}/{FOLDER}", f"{name}.safetensors", size, f"sha256:{digest}")


def fetch_kept(mirror: str | None = None) -> Path:
    """Fetch all kept learners into the cache, unless they are there; returns its folder."""
    if not (repository() or mirror):
        raise InputError("The course's repository has no public address; give one in IFSL_REPOSITORY, or --mirror.")
    for name in KEPT:
        fetch(remote(name), cache_folder() / f"{name}.safetensors", mirror)
    return cache_folder()
