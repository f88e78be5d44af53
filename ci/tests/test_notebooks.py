"""The chapters keep to their form, and their links lead somewhere."""

import re
from pathlib import Path

import keep
import nbformat
import pytest
from conftest import REPOSITORY

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
