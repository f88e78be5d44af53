"""The exercises of the course: their checks tell right from wrong, say why, and survive odd answers."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from ifsl import Benchmark, InputError
from ifsl.course import check, exercises, hint, solution
from ifsl.course.exercises import EXERCISES, judge, right, to_function, to_number, to_numbers, to_python, wrong
from ifsl.run.evaluation import Result

CHAPTERS = sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))
MODULES = sorted((REPOSITORY / "ifsl" / "course" / "chapters").glob("chapter_*.py"))
ODD = ["", "no", -1, 10**9, float("nan"), float("inf"), [], [1, 2, 3], {}, object(), True, 1j, torch.zeros(3), np.nan]


def load_all() -> list[str]:
    for module in MODULES:
        with pytest.raises(InputError):
            exercises.find(f"{module.stem[-2:]}.none")
    return sorted(EXERCISES)


def calls(notebook: Path) -> Iterator[str]:
    """The exercises that a chapter checks."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            yield from re.findall(r'course\.check\("([\d.]+)"', cell.source)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_exercise_is_asked_and_every_question_has_a_check(module: Path) -> None:
    number = module.stem[-2:]
    (notebook,) = (path for path in CHAPTERS if path.name.startswith(number))
    asked = list(calls(notebook))
    assert sorted(asked) == [name for name in load_all() if name.startswith(f"{number}.")]
    assert len(asked) == len(set(asked)) >= 2


@pytest.mark.parametrize("name", load_all())
def test_an_exercise_has_hints_and_a_solution(name: str, capsys: pytest.CaptureFixture) -> None:
    found = exercises.find(name)
    assert found.hints and all(one.strip() for one in found.hints) and len(found.solution) > 20
    check(name, ...)
    check(name, None)
    hint(name)
    solution(name)
    said = capsys.readouterr().out
    assert said.count("not answered yet") == 2 and found.hints[0] in said and found.solution.strip() in said


def test_names_and_hints_that_do_not_exist() -> None:
    with pytest.raises(InputError, match=r"no exercise '02\.99'; chapter 02 has 02\.1, 02\.2"):
        check("02.99", 1)
    with pytest.raises(InputError, match="names are like"):
        hint("two")
    with pytest.raises(InputError, match="no hint 9"):
        hint("02.1", 9)


def test_a_check_that_raises_is_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(answer: object) -> None:
        raise RuntimeError("size mismatch\nmore")

    monkeypatch.setitem(EXERCISES, "02.1", exercises.Exercise("02.1", fail, ("h",), "s"))
    verdict = judge("02.1", 1)
    assert not verdict.right and "size mismatch" in verdict.why and "more" not in verdict.why


def test_values_of_other_libraries() -> None:
    assert to_python([np.int64(3), (torch.tensor(2.5), np.array([1, 2]))]) == [3, [2.5, [1, 2]]]
    assert to_number([4]) == 4 and to_numbers({2, 1}) == [1, 2] and to_function(len) is len
    assert right("a") != wrong("a")
    for odd in ("no", None, True, [1, 2], float("nan")):
        with pytest.raises(exercises.NotTheKindAsked):
            to_number(odd)


def test_odd_answers_are_wrong(bench: Benchmark) -> None:
    for name in load_all():
        for odd in ODD:
            verdict = judge(name, odd, **context_of(name, bench))
            assert not verdict.right and verdict.why.strip(), (name, odd, verdict)


def context_of(name: str, bench: Benchmark) -> dict:
    """The keyword arguments that a check needs, from a small table by their names."""
    have = {"bench": bench, "episodes": 20, "size": 32}
    have |= {"result": nothing_found(), "steps": 40, "bsz": 4, "epoch": 100}  # chapters 12 and 13
    wanted = list(inspect.signature(exercises.find(name).judge).parameters)[1:]
    return {one: have[one] for one in wanted}


def nothing_found() -> Result:
    """A result over two episodes."""
    counts = [{0: (5, 9), 1: (1, 4)}, {0: (5, 9), 2: (3, 3)}]
    names = {1: "a", 2: "b"}
    return Result(50.0, 29.0, 50.0, {1: 25.0, 2: 33.0}, names, [True, False], counts, {"task": "fs-cs"}, 1.0, {})
