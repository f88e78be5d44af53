"""The exercises of the chapters: checks that explain what is wrong, hints and solutions.

A chapter asks a question, leaves a cell with `answer = ...` and calls `check("02.1", answer)`. The exercises of a
chapter are in `chapters/chapter_NN.py`: a function for each, with the decorator `exercise`.
"""

import importlib
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError, shown


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and a sentence that says why."""

    right: bool
    why: str


def right(why: str) -> Verdict:
    """The verdict on a right answer."""
    return Verdict(True, why)


def wrong(why: str) -> Verdict:
    """The verdict on a wrong answer."""
    return Verdict(False, why)


class NotTheKindAsked(Exception):
    """An answer of another kind than the question asks for; its text says what to give."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: `judge(answer, **context)` returns a verdict; hints are in the order in which they are given."""

    name: str
    judge: Callable[..., Verdict]
    hints: tuple[str, ...]
    solution: str


EXERCISES: dict[str, Exercise] = {}
"""The exercises of the chapters that have been loaded, by name, for example "02.1"."""


def exercise(name: str, hints: Sequence[str], solution: str) -> Callable[[Callable], Callable]:
    """A decorator that makes a function `judge(answer, **context)` the check of the exercise `name`.

    solution: Markdown. What the check needs from the notebook, such as a benchmark, are keyword arguments.
    """

    def register(judge: Callable) -> Callable:
        EXERCISES[name] = Exercise(name, judge, tuple(hints), solution)
        return judge

    return register


# For readers ----------------------------------------------------------------------------------------------------------


def check(name: str, answer: Any, **context: Any) -> None:
    """Print whether an answer to the exercise `name` is right, and why.

    answer: a Python, NumPy or torch value, or a function where the exercise asks for one; `...` and None mean that it
    is not answered yet. context: what the check needs from the notebook. Never raises because of an answer. Raises
    `InputError` for an exercise that does not exist.
    """
    find(name)
    if answer is ... or answer is None:
        print(f'Exercise {name}: not answered yet. course.hint("{name}") gives a hint.')
        return
    verdict = judge(name, answer, **context)
    print(f"Exercise {name}: {'right' if verdict.right else 'not yet'}. {verdict.why}")


def hint(name: str, number: int = 1) -> None:
    """Print a hint for an exercise; most have one, some have more.

    Raises `InputError` for an exercise or a hint that does not exist.
    """
    hints = find(name).hints
    if number not in range(1, len(hints) + 1):
        have = "1 hint" if len(hints) == 1 else f"{len(hints)} hints"
        raise InputError(f"exercise {name} has {have}, no hint {shown(number)}.")
    more = f' (course.hint("{name}", {number + 1}) gives the next one)' if number < len(hints) else ""
    print(f"Hint for {name}: {hints[number - 1]}{more}")


def solution(name: str) -> None:
    """Show the solution of an exercise, in a notebook as formatted text; raises `InputError` if there is none."""
    text = find(name).solution.strip()
    try:
        from IPython import get_ipython
        from IPython.display import Markdown, display
    except ImportError:  # the package alone does not need IPython
        print(text)
        return
    if get_ipython() is None:
        print(text)
    else:
        display(Markdown(text))


def find(name: str) -> Exercise:
    """The exercise of that name; raises `InputError` with the names of the chapter's exercises where there is none."""
    chapter = str(name).split(".")[0]
    if chapter.isdecimal() and len(chapter) == 2:
        try:
            importlib.import_module(f"{__package__}.chapters.chapter_{chapter}")
        except ModuleNotFoundError as error:
            if error.name != f"{__package__}.chapters.chapter_{chapter}":
                raise
    if name in EXERCISES:
        return EXERCISES[name]
    names = sorted(one for one in EXERCISES if one.startswith(f"{chapter}."))
    have = f"chapter {chapter} has {', '.join(names)}" if names else 'the names are like "02.1"'
    raise InputError(f"there is no exercise {shown(name)}; {have}.")


# For checks -----------------------------------------------------------------------------------------------------------


def judge(name: str, answer: Any, **context: Any) -> Verdict:
    """The verdict on an answer. NumPy and torch values become Python ones first; what a check cannot read is wrong."""
    judging = find(name).judge
    try:
        return judging(to_python(answer), **context)
    except NotTheKindAsked as asked:
        return wrong(str(asked))
    except Exception as error:  # an answer may be a reader's own function, or of any type at all
        said = str(error).strip().split("\n")[0]
        return wrong(f"The answer could not be checked ({type(error).__name__}: {said}).")


def to_python(value: Any) -> Any:
    """Python numbers and lists for NumPy and torch ones, also inside lists and tuples; everything else unchanged."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [to_python(one) for one in value]
    return value


def to_number(answer: Any) -> float:
    """The answer as a number, a list of one number included; raises `NotTheKindAsked` for anything else."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
        raise NotTheKindAsked(f"Give one number; this is {shown(answer)}.")
    if answer != answer:
        raise NotTheKindAsked("Give one number; this is not a number (nan).")
    return answer


def to_whole_number(answer: Any) -> int:
    """The answer as a whole number, 3.0 included; raises `NotTheKindAsked` for anything else."""
    number = to_number(answer)
    if number != int(number):
        raise NotTheKindAsked(f"Give a whole number; this is {shown(answer)}.")
    return int(number)


def to_numbers(answer: Any, count: int | None = None) -> list[float]:
    """The answer as a list of numbers, `count` of them if given; raises `NotTheKindAsked` for anything else."""
    several = sorted(answer) if isinstance(answer, set | frozenset) else answer
    if not isinstance(several, list):
        raise NotTheKindAsked(f"Give a list of numbers; this is {shown(answer)}.")
    if count is not None and len(several) != count:
        raise NotTheKindAsked(f"Give a list of {count} numbers; this one has {len(several)}.")
    return [to_number(one) for one in several]


def to_function(answer: Any) -> Callable:
    """The answer as a function; raises `NotTheKindAsked` for anything else."""
    if not callable(answer):
        raise NotTheKindAsked(f"Give a function; this is {shown(answer)}.")
    return answer
