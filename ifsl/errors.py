"""The one exception of this package, and a check that many arguments need."""

import reprlib
from numbers import Integral

SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 120, 120


class InputError(ValueError):
    """What was given cannot be used: one sentence that names the file or option, and the remedy.

    Command lines print it and exit with status 2; a notebook shows the sentence alone.
    """

    def __init__(self, message: str):
        # Where a worker process of a loader raised it, PyTorch makes another, with that process's traceback before it.
        super().__init__(str(message).strip().rpartition("InputError: ")[2])

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"InputError: {self}"]


def is_int(value) -> bool:
    """Whether a value is a whole number, not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def shown(value) -> str:
    """A value within a sentence, cut short: a small YAML file can make a list whose `repr` fills the memory."""
    try:
        text = SHORT.repr(value)
    except (ValueError, RecursionError):  # Python writes no number of over 4,300 digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 150 else f"{text[:147]}..."
