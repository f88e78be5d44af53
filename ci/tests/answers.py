"""The tests of a chapter's right and wrong answers: one pair for every table in test_exercises_NN.py."""

import re
from collections.abc import Callable, Sequence

import pytest

from ifsl.course.exercises import judge


def make_tests(right: Sequence[tuple], wrong: Sequence[tuple]) -> tuple[Callable, Callable]:
    """`test_right` over rows (name of the exercise, answer), `test_wrong` over rows (name, answer, why).

    why: a regular expression that is found in what the check says of the answer.
    """

    @pytest.mark.parametrize("name, answer", right)
    def test_right(name: str, answer: object) -> None:
        verdict = judge(name, answer)
        assert verdict.right, verdict.why

    @pytest.mark.parametrize("name, answer, why", wrong)
    def test_wrong(name: str, answer: object, why: str) -> None:
        verdict = judge(name, answer)
        assert not verdict.right
        assert re.search(why, verdict.why), verdict.why

    return test_right, test_wrong
