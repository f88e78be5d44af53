"""ci/course.py and keep.py on small notebooks made here."""

from pathlib import Path

import course
import keep
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ifsl.errors import InputError

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FIGURE = f"from IPython.display import Image, display\nimport base64\ndisplay(Image(base64.b64decode('{PIXEL}')))"


def chapter(folder: Path, name: str, *sources: str, text: str = "# 00 · A title\n\nOne *sentence*.\n\nMore.") -> Path:
    """Write a chapter: a Markdown cell, then code cells."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell(text), *map(new_code_cell, sources)]), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("00_start", "02_episodes", "13_training"):
        chapter(tmp_path / "notebooks", name)
    chapter(tmp_path / "notebooks", "notes")  # no chapter
    return tmp_path / "notebooks"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "00 02 13"),
        (["13", "02"], "02 13"),
        (["2"], "02"),
        (["02", "02_episodes"], "02"),
        (["notebooks/13_training.ipynb", "0"], "00 13"),
    ],
)
def test_select(folder: Path, names: list[str], expected: str) -> None:
    assert [path.name[:2] for path in course.select(names, folder)] == expected.split()


@pytest.mark.parametrize("name", ["7", "99", "notes", "", "02_", "..", "-1", "113", "two"])
def test_select_refuses(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="choose from 00 02 13"):
        course.select([name], folder)


def test_bad_selector_exits_2_with_a_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert course.main(["02", "8"], folder, tmp_path / "build") == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "'8'" in said.err and "choose from" in said.err
    assert not (tmp_path / "build").exists()


def test_no_chapters(tmp_path: Path) -> None:
    assert course.main([], tmp_path, tmp_path / "build") == 2


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Three chapters run once: one good, one that raises, one whose kernel dies. Returns the folder and the status."""
    top = tmp_path_factory.mktemp("course")
    good = "import sys, os\nfor i in range(3):\n    print(i, flush=True)\nprint(os.path.basename(os.getcwd()))"
    chapter(top / "notebooks", "00_start", good, "print('oh', file=sys.stderr)", FIGURE)
    text = "# 02 Episodes\n\nWhy $a < b$, see [the start](00_start.ipynb#top)."
    bad = "def f():\n    raise KeyError('lost')\nf()"
    chapter(top / "notebooks", "02_episodes", "x = 1", bad, "print(3)", text=text)
    chapter(top / "notebooks", "03_dead", "y = 1", "import os\nos._exit(9)", "print(3)")
    return top, course.main(["--no-site"], top / "notebooks", top / "build")


def test_failures_name_chapter_cell_and_error(ran: tuple[Path, int]) -> None:
    top, status = ran
    assert status == 1
    said = course.failure("02_episodes", top / "build/notebooks/02_episodes.ipynb", "")
    assert said.splitlines()[0] == "02_episodes, cell 3 of 4 (In [2]): KeyError: 'lost'"
    assert "raise KeyError" in said and "\x1b" not in said
    said = course.failure("03_dead", top / "build/notebooks/03_dead.ipynb", "Traceback\nDeadKernelError: Kernel died\n")
    assert said.splitlines()[0] == "03_dead, cell 3 of 4: DeadKernelError: Kernel died"
    assert "os._exit(9)" in said
    assert course.failure("04", top / "absent.ipynb", "no kernel") == "04 did not start: no kernel"


def test_chapters_run_in_their_own_folder(ran: tuple[Path, int]) -> None:
    executed = nbformat.read(ran[0] / "build/notebooks/00_start.ipynb", as_version=4)
    assert executed.cells[1].outputs[-1].text.endswith("notebooks\n")


def test_keep_writes_back_clean_outputs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = chapter(tmp_path / "notebooks", "05_kept", "import sys\nprint('a', flush=True)\nprint('b')", FIGURE)
    chapter(tmp_path / "notebooks", "06_path", "import os\nprint(os.path.expanduser('~/data'))")
    before = [cell.id for cell in nbformat.read(source, as_version=4).cells]
    untouched = (tmp_path / "notebooks/06_path.ipynb").read_bytes()
    assert course.main(["--keep", "--no-site"], tmp_path / "notebooks", tmp_path / "build") == 1
    said = capsys.readouterr()
    assert "not kept: 06_path, cell 2 holds the path" in said.err
    assert (tmp_path / "notebooks/06_path.ipynb").read_bytes() == untouched
    kept = nbformat.read(source, as_version=4)
    nbformat.validate(kept)
    assert [cell.id for cell in kept.cells] == before
    assert kept.cells[1].outputs == [new_output("stream", name="stdout", text="a\nb\n")]
    assert "image/png" in kept.cells[2].outputs[0].data
    assert kept.metadata == keep.NOTEBOOK_METADATA and all(cell.metadata == {} for cell in kept.cells)
    assert sorted(path.name for path in source.parent.iterdir()) == ["05_kept.ipynb", "06_path.ipynb"]


def test_no_report_on_an_old_run_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = chapter(tmp_path / "notebooks", "13_train", "print('trained')")
    (tmp_path / "logs").mkdir()
    before = source.read_bytes()
    assert course.main(["--keep", "--no-site"], tmp_path / "notebooks", tmp_path / "build") == 2
    assert "move it away" in capsys.readouterr().err and source.read_bytes() == before


def test_clean_drops_what_changes() -> None:
    widget = new_output("display_data", {keep.WIDGET: {"model_id": "1"}, "text/plain": "interactive(…)"})
    outputs = [
        widget,
        new_output("stream", name="stdout", text="10%\r100%\r\nep"),
        new_output("stream", name="stderr", text="warning"),
        new_output("stream", name="stdout", text="och 1\n"),
    ]
    cell = new_code_cell("x", outputs=outputs, execution_count=3)
    cell.metadata = nbformat.from_dict(
        {"tags": ["parameters"], "papermill": {"duration": 1}, "execution": {"iopub.status.busy": "now"}}
    )
    marker = new_markdown_cell("error", metadata={"tags": ["papermill-error-cell-tag"]})
    notebook = new_notebook(cells=[marker, cell], metadata={"widgets": {"state": {}}, "papermill": {"duration": 2}})
    kept = keep.clean(notebook)
    assert len(kept.cells) == 1 and kept.cells[0].metadata == {"tags": ["parameters"]}
    assert kept.cells[0].outputs == [new_output("stream", name="stdout", text="100%\r\nepoch 1\n")]
    assert kept.metadata == keep.NOTEBOOK_METADATA
    assert "papermill" in notebook.metadata, "the executed notebook itself is left as it was"


def test_left_out_speaks_of_warnings_and_not_of_progress() -> None:
    bar = new_output("stream", name="stderr", text="\repisodes:  50%|█████     | 5/10 [00:01<00:01,  4.9it/s]")
    warning = new_output("stream", name="stderr", text="a.py:3: UserWarning: old\n  warn()\n")
    notebook = new_notebook(cells=[new_code_cell(outputs=[bar]), new_code_cell(outputs=[bar, warning])])
    assert list(keep.left_out(notebook)) == ["cell 2 wrote to stderr, which was left out: a.py:3: UserWarning: old"]


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        (new_code_cell("open('/home/ada/x.png')"), "cell 1 holds the path /home/ada:"),
        (new_markdown_cell("see /home/ada"), "cell 1 holds the path /home/ada:"),
        (new_code_cell(outputs=[new_output("stream", text="in /home/ada/ifsl/data")]), "cell 1 holds the path"),
        (new_code_cell(outputs=[new_output("execute_result", {"text/html": "'/home/ada'"})]), "cell 1 holds the path"),
        (new_code_cell(outputs=[new_output("error", ename="E", evalue="", traceback=[])]), "cell 1 ends in an error"),
        (new_code_cell(outputs=[new_output("stream", text="<f at 0x7f12ab34cd>")]), "cell 1 prints a memory address"),
        (new_code_cell(outputs=[new_output("display_data", {"image/png": "A" * 1_500_000})]), "1.5 MB are above 1.5"),
    ],
)
def test_problems(cell: nbformat.NotebookNode, sentence: str) -> None:
    found = keep.problems(new_notebook(cells=[cell]), ["/home/ada"])
    assert len(found) == 1 and found[0].startswith(sentence)


@pytest.mark.parametrize("text", ["/home/adam/x", "../home/ada", "my/home/ada", "data/tiny"])
def test_no_problem(text: str) -> None:
    picture = new_output("display_data", {"image/png": "aa/home/ada/aa", "text/plain": text})
    assert keep.problems(new_notebook(cells=[new_code_cell(text, outputs=[picture])]), ["/home/ada"]) == []
