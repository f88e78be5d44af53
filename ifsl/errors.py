"""The one exception of this package, and what many of its messages need."""

import reprlib
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path

SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 120, 120


class InputError(ValueError):
    """A file or an option cannot be used: one sentence names it and says what to do.

    Command lines print it and exit with status 2; a notebook shows the sentence alone.
    """

    def __init__(self, message: str):
        # If a loader's worker process raised it, PyTorch makes another one, with that process's traceback before it.
        super().__init__(str(message).strip().rpartition("InputError: ")[2])

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"InputError: {self}"]


def is_int(value) -> bool:
    """Whether a value is a whole number, and not True or False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value) -> bool:
    """Whether a value is a real number, and not True, False or NaN."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def is_text(name: str) -> bool:
    """Whether a name can be written as text: it has no control characters, and its bytes on disk were UTF-8."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def shown(value) -> str:
    """A value for use in a sentence, cut short: a small YAML file can make a list whose `repr` fills the memory."""
    try:
        text = SHORT.repr(value)
    except (ValueError, RecursionError):  # Python writes no number of over 4,300 digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 150 else f"{text[:147]}..."


def count(number: int, what: str) -> str:
    """A number of things in words: "1 image", "2,000 images", "3 classes"."""
    return f"{number:,} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


@contextmanager
def writing(what: str | Path, remedy: str) -> Iterator[None]:
    """A context in which a file is written: an `OSError` becomes an `InputError` that names it and says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what} cannot be written ({error.strerror or error}); {remedy}.") from error


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """A context in which a file or folder is read: an `OSError` becomes an `InputError` that names what failed."""
    try:
        yield
    except OSError as error:
        place, why = error.filename or path, error.strerror or error
        raise InputError(f"{place} cannot be read ({why}); look at its name and permissions.") from error
