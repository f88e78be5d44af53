"""The chapters keep to their form, their links lead somewhere, and their exercises tell right from wrong."""

import re
from collections.abc import Callable
from pathlib import Path

import keep
import nbformat
import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from torch import Tensor

FOLDER = REPOSITORY / "notebooks"
CHAPTERS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def text_of(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@chapters
def test_form(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    first = notebook.cells[0].source
    assert re.match(rf"# {path.name[:2]} · .+\n\n.+\n\n", first), "a title, then one sentence"
    assert "You will learn" in first and re.search(r"minute|hour", first), "goals and time"
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell not in tagged(notebook, "colab")]
    assert tagged(notebook, "parameters") == code[:1], "the first code cell holds the parameters"
    for heading in ("## Recap", "## Where this lives in ifsl/", "## Sources"):
        assert heading in text_of(notebook)
    assert re.search(r"## Sources\s+.*\]\(https?://", text_of(notebook), re.DOTALL)


@chapters
def test_code_follows_text(path: Path) -> None:
    """No three code cells in a row: a reader is told what comes, in the words before it."""
    kinds = [cell.cell_type for cell in read(path).cells if not tagged_any(cell)]
    assert "code code code" not in " ".join(kinds)


def tagged_any(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.metadata.get("tags"))


@chapters
def test_links(path: Path) -> None:
    text = text_of(read(path))
    for target in re.findall(r"\]\((?!https?://|#)([^)\s]+)", text):
        path, _, anchor = target.partition("#")
        assert (FOLDER / path).exists(), f"{path} does not exist"
        assert not re.fullmatch(r"L\d+", anchor), f"{target}: a line number is wrong after the next change"


@pytest.mark.skipif(not CHAPTERS or CHAPTERS[0].stem != "00_start_here", reason="there is no chapter 00")
def test_the_map_links_every_chapter() -> None:
    text = text_of(read(CHAPTERS[0]))
    missing = [path.name for path in CHAPTERS[1:] if f"]({path.name})" not in text]
    assert not missing, f"the map of chapter 00 does not link {missing}"


@chapters
def test_kept_outputs(path: Path) -> None:
    """Kept from one clean run: every cell ran in order, nothing went wrong, no machine shows, widgets are left out."""
    notebook = read(path)
    assert keep.problems(notebook, keep.machine_folders(REPOSITORY)) == []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code if cell not in tagged(notebook, "colab")]
    assert counts == list(range(counts[0], counts[0] + len(counts))) and counts[0] <= 2
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert not any(keep.WIDGET in output.get("data", {}) for output in outputs)
    assert any("image" in kind for output in outputs for kind in output.get("data", {})), "there is no figure"


# Exercises ------------------------------------------------------------------------------------------------------------

Answers = dict[int, tuple[Callable[[dict], object], list[Callable[[dict], object]]]]


def first_empty(names: dict) -> int:
    return next(i for i in range(1000) if not names["bench"].episode(i, 2, 1, 32).presence.any())


def share_shown(names: dict) -> float:
    shown = [names["bench"].episode(i, 1, 1, 32).presence.item() for i in range(names["episodes"])]
    return 100 * sum(shown) / len(shown)


def share_empty(names: dict) -> float:
    drawn = [names["bench"].draw(i, 3, 1) for i in range(1000)]
    return 100 * sum(not names["shown"](one.query) & set(one.classes) for one in drawn) / 1000


def absent_pair(names: dict) -> list[int]:
    return [c for c in names["bench"].class_ids if c not in names["shown"](names["bench"].entries[0][0])][:2]


def present_pair(names: dict) -> list[int]:
    return [names["bench"].entries[0][1], absent_pair(names)[0]]




def log_of_mean(log_prob: Tensor, present: Tensor) -> Tensor:
    p = log_prob.exp().mean(dim=(-2, -1))
    return -torch.where(present, p[..., 1], p[..., 0]).log().mean()


def of_the_other(log_prob: Tensor, present: Tensor) -> Tensor:
    return log_of_mean(log_prob, ~present)


def of_sums(log_prob: Tensor, present: Tensor) -> Tensor:
    return log_of_mean(log_prob, present) * log_prob.shape[1]


def days(names: dict) -> float:
    names["measured"] = {("precision", "32 bits"): ([1.0, 2.0, 9.0], 0.0)}
    return 2000 * len(names["trn"]) / 2.0 / 86400


def only(ids: np.ndarray, c: int) -> np.ndarray:
    return 255 * (ids == c).astype(np.uint8)


def as_it_is(ids: np.ndarray, c: int) -> np.ndarray:
    return ids


def without_void(ids: np.ndarray, c: int) -> np.ndarray:
    return np.where(ids == 255, 0, ids).astype(np.uint8)


def of_bools(ids: np.ndarray, c: int) -> np.ndarray:
    return ids == c


ANSWERS: dict[str, Answers] = {
    "00": {
        1: (lambda names: 32, [lambda names: 31, lambda names: 5, lambda names: 10]),
        2: (share_shown, [lambda names: 100 - share_shown(names), lambda names: share_shown(names) / 100]),
        3: (lambda names: (26, 25), [lambda names: (26, 26), lambda names: (25, 25)]),
    },
    "01": {
        1: (lambda names: (3, 1, 8), [lambda names: (3, 1, 7), lambda names: (3, 3, 8), lambda names: (8, 1, 3)]),
        2: (share_empty, [lambda names: 100 - share_empty(names), lambda names: 100, lambda names: -1]),
        3: (absent_pair, [lambda names: names["bench"].class_ids[:5], lambda names: present_pair(names)]),
    },
    "02": {
        1: (lambda names: 0, [lambda names: 1, lambda names: 2]),
        2: (lambda names: 0.757, [lambda names: 0.75, lambda names: 0.5, lambda names: 0.9]),
        3: (first_empty, [lambda names: first_empty(names) + 1, lambda names: -1, lambda names: "7"]),
    },
    },
    "10": {
        1: (lambda names: 1.204, [lambda names: 0.693, lambda names: 0.105, lambda names: 2.41]),
        2: (lambda names: (0.6, True), [lambda names: (0.6, False), lambda names: (0, False), lambda names: (1, True)]),
        3: (
            lambda names: log_of_mean,
            [lambda names: names["maps"].weak_loss, lambda names: of_the_other, lambda names: of_sums],
        ),
    },
    "11": {
        1: (lambda names: 4, [lambda names: 3, lambda names: 1, lambda names: 8]),
        2: (lambda names: 3, [lambda names: 6, lambda names: 24, lambda names: 5]),
        3: (days, [lambda names: days(names) * names["usual"], lambda names: 2 * days(names), lambda names: 0]),
    },
    "14": {
        1: (lambda names: only, [lambda names: as_it_is, lambda names: without_void, lambda names: of_bools]),
        2: (lambda names: (3, 4, 13), [lambda names: (3, 4, 25), lambda names: (3, 5, 16), lambda names: (2, 4, 9)]),
        3: (lambda names: (2, 3), [lambda names: (3, 3), lambda names: (2, 2), lambda names: (4, 5)]),
    },
}
"""{chapter: {exercise: (right answer, wrong answers)}}, each from the names that the chapter's set-up defines."""


@pytest.mark.parametrize("number", ANSWERS)
def test_exercises(number: str, monkeypatch: pytest.MonkeyPatch, tiny_root: Path, capsys) -> None:
    notebook = read(next(path for path in CHAPTERS if path.name.startswith(number)))
    monkeypatch.chdir(FOLDER)
    names: dict = {}
    for cell in tagged(notebook, "parameters") + tagged(notebook, "setup") + tagged(notebook, "answer"):
        exec(cell.source, names)
    checks = tagged(notebook, "check")
    assert len(checks) == len(ANSWERS[number]) in (2, 3)
    for k, cell in enumerate(checks, start=1):
        exec(cell.source, names)
        assert capsys.readouterr().out == f"Exercise {k}: not answered yet\n"
        right, wrong = ANSWERS[number][k]
        assert names[f"check_{k}"](right(names)).startswith("right: ")
        for answer in wrong:
            said = names[f"check_{k}"](answer(names))
            assert re.match(r"wrong.{20,}", said), said


@pytest.mark.parametrize("path", [path for path in CHAPTERS if path.name[:2] in ANSWERS], ids=lambda path: path.stem)
def test_solutions_are_folded(path: Path) -> None:
    text = text_of(read(path))
    assert text.count("<details>\n<summary>Solution</summary>") == len(ANSWERS[path.name[:2]])
