"""From a notebook's variables to the settings of a run: the parameters of chapter 13, which papermill fills in.

papermill only warns of a parameter that the notebook does not have, and makes a number, True, False or None of a word
that looks like one. Here a misspelt parameter is refused, and so is a value of the wrong type.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import get_args, get_type_hints

from ..errors import InputError
from .settings import Settings

OLD_NAMES = {"batch": "bsz"}
"""Names that parameters once had, which still work: name now."""
IPYTHON = {"In", "Out"}
"""Variables of plain values that IPython puts beside those of a notebook."""
PLAIN = (bool, int, float, str, list, dict)
"""Types that papermill can put in."""
WORDS = {bool: "True or False", int: "a whole number", float: "a number such as 0.001", str: "a text"}


def read_parameters(variables: dict, others: Iterable[str] = ()) -> dict:
    """The settings among a notebook's variables that are not None, by the names of `Settings`.

    variables: the notebook's `globals()` after its parameters; others: names of parameters that are no settings. Raises
    `InputError` for any other variable with a plain value, for a parameter given under two names, and for a value of
    the wrong type.
    """
    allowed = [*Settings.defaults(), *others]
    given = {}
    for name, value in variables.items():
        if name.startswith("_") or name in IPYTHON or not isinstance(value, PLAIN):
            continue
        now = OLD_NAMES.get(name, name)
        if now not in allowed:
            near = get_close_matches(name, allowed, n=1, cutoff=0.5)
            raise InputError(f"There is no parameter {name}; {f'give {near[0]}' if near else 'leave it out'}.")
        if now in given:
            raise InputError(f"{name} is the old name of {now}; give only one of them.")
        given[now] = value
    return {name: read_value(name, given[name]) for name in Settings.defaults() if name in given}


def read_value(name: str, value):
    """A setting's value, with a number for a text made a text again; raises `InputError` for another type."""
    kind = get_type_hints(Settings)[name]
    if type(value) is int and isinstance("", kind):
        return str(value)  # -p devices 2
    if not isinstance(value, kind):
        raise InputError(f"{name} is {value!r}; give {WORDS[(get_args(kind) or [kind])[0]]}.")
    return value
