"""Where a chapter finds its files, whichever folder it runs in."""

from pathlib import Path
from types import SimpleNamespace

from ..errors import InputError, shown
from ..tiny import ensure_tiny


def setup(root: str | Path | None = None, **others: str | Path) -> SimpleNamespace:
    """The paths that a chapter uses, made absolute: `top`, the top of the repository, and one for each argument.

    root: the folder of a benchmark; the tiny benchmark (a folder called "tiny") is made if it is not there yet. Paths
    are relative to the top of the repository, so that a chapter finds its files whichever folder it runs in. Raises
    `InputError` for a value that is no path, and where no repository lies above the working folder.
    """
    given = others if root is None else {"root": root, **others}
    for name, path in given.items():
        if not isinstance(path, str | Path):
            raise InputError(f"{name} is {shown(path)}; give a path.")
    top = find_top(Path.cwd())
    paths = {name: top / path for name, path in given.items()}
    if root is not None and paths["root"].name == "tiny":
        ensure_tiny(paths["root"])
    return SimpleNamespace(top=top, **paths)


def find_top(folder: Path) -> Path:
    """The top of the repository that a folder lies in; raises `InputError` where there is none."""
    for above in (folder, *folder.parents):
        if (above / "notebooks").is_dir() and (above / "data").is_dir():
            return above
    raise InputError(
        f"{folder} is in no copy of the course's repository; clone the repository, run `make course` in it once and "
        "open this notebook from its folder notebooks/."
    )
