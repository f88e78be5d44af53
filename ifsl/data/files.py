"""Reading and writing files: one function that writes a file whole or not at all."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError

MAX_PIXELS = 50_000_000
"""The largest image that is read. A file of a few bytes can claim any size and fill the memory."""


def write_whole(path: str | Path, content: str | bytes | Callable[[BinaryIO], object], sync: bool = True) -> None:
    """Write a file so that `path` always holds either all of the new content or what it held before.

    content: text (written as UTF-8, line ends unchanged), bytes, or a function that writes to the binary file it is
    given. What UTF-8 cannot write, as names of files may have, becomes an escape of JSON, such as \\udce9. The folder
    of `path` must exist. sync: wait until the content is on the disk, so that not even a power cut leaves half a
    file; too slow for thousands of small files that can be made again.

    The content goes to `<path>.part`, which takes the place of `path` when it is complete. If the process is killed,
    only the part is left, and the next write to `path` overwrites it. If writing fails, the part is deleted and the
    error (an `OSError`, or whatever `content` raises) is passed on.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read_text(path: Path) -> str:
    """The content of a text file, without the mark that Windows puts first; raises `InputError` if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}); fetch or derive it again.") from error
