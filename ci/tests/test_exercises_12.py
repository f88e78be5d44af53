"""The exercises of chapter 12, and the numbers that its text and table take from elsewhere."""

import re

import nbformat
import numpy as np
import pytest
import torch
from answers import make_tests
from conftest import REPOSITORY

from ifsl import InputError, course
from ifsl.course.comparison import FACTS
from ifsl.course.exercises import judge
from ifsl.run.evaluation import Result
from ifsl.run.published import FS_CS

NOTEBOOK = REPOSITORY / "notebooks" / "12_evaluation.ipynb"

RIGHT = [
    *[("12.1", answer) for answer in (6147, 6146.56, np.int64(6200), torch.tensor(6100))],
    *[("12.2", answer) for answer in (59, np.float32(59.05))],
]
WRONG = [
    ("12.1", 1537, "2 points wide"),
    ("12.1", 1600, "one standard"),
    ("12.1", 99, "too few"),
    ("12.1", 10**6, "too many"),
    ("12.2", 50, "Multiply"),
    ("12.2", 0.59049, "in %"),
    ("12.2", 90, "too high"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def make_result() -> Result:
    counts = [{0: (5, 9), 1: (1, 4)}, {0: (5, 9), 1: (8, 16), 2: (0, 0)}, {0: (5, 9), 2: (3, 3)}]
    ious = dict.fromkeys(range(1, 6), 0.0)
    return Result(80.0, 29.0, 50.0, ious, {c: str(c) for c in ious}, [True] * 3, counts, {"task": "fs-cs"}, 1.0, {})


def test_mean_of_episodes() -> None:
    """0.375 for class 1, 1 for class 2, 0 for three classes that never occur."""
    result = make_result()
    assert judge("12.3", torch.tensor(27.5), result=result).right
    for answer, why in ((0.275, "in %"), (29.0, "protocol"), (100 / 3, "within each episode")):
        verdict = judge("12.3", answer, result=result)
        assert not verdict.right and why in verdict.why


def test_the_published_table_agrees_with_the_package() -> None:
    """Every score of `FS_CS` is in the chapter's table, in its place."""
    text = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "markdown")
    names = {"panet": "PANet", "pfenet": "PFENet", "hsnet": "HSNet", "asnet": "ASNet", "asnethm": "HM", "emat": "EMAT"}
    for (method, backbone), scores in FS_CS.items():
        name = names.get(method) or ("CST" if backbone == "dino_vits8" else "CST\\*")
        (line,) = re.findall(
            rf"^\| {re.escape(name)} \|.*ViT.*$|^\| {re.escape(name)} \|.*ResNet.*$", text, re.MULTILINE
        )
        cells = [re.sub(r"[^\d.]", "", cell) for cell in line.split("|")[3:-1]]
        expected = [f"{value:g}" for pair in scores for value in (pair or (None, None)) if value is not None]
        assert [f"{float(cell):g}" for cell in cells if cell] == expected, name


def test_the_comparison_has_a_row_for_each_learner() -> None:
    methods = list(FACTS)
    table = course.compare_learners([{"method": method, "trained": 1234, "floor": 2.5} for method in methods])
    head, _, *rows = table.split("\n")
    assert len(rows) == len(methods) and {row.count("|") for row in rows} == {head.count("|")}
    assert all("1,234 | 2.5 |" in row for row in rows)
    with pytest.raises(InputError, match="no learner 'nonet'"):
        course.compare_learners([{"method": "nonet", "trained": 1, "floor": 1.0}])
