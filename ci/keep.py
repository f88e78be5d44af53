"""What is kept of an executed chapter: text, code and pictures; nothing that changes from run to run."""

import base64
import copy
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ifsl.data.files import write_whole

LIMIT_BYTES = 1_500_000
WIDGET = "application/vnd.jupyter.widget-view+json"
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PROGRESS_BAR = re.compile(r"\d+%\|.*\||\d+(\.\d+)?(it/s|s/it)")  # as tqdm writes it where there are no widgets


def is_error_marker(cell: NotebookNode) -> bool:
    """Whether papermill put this cell in to point at a failure."""
    return "papermill-error-cell-tag" in cell.metadata.get("tags", [])


def plain(text: str) -> str:
    """Text without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def clean(executed: NotebookNode) -> NotebookNode:
    """A copy without times, run metadata, widgets (they live only with their kernel), progress bars and stderr."""
    kept = copy.deepcopy(executed)
    kept.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    kept.cells = [cell for cell in kept.cells if not is_error_marker(cell)]
    for cell in kept.cells:
        for key in ("papermill", "execution", "ExecuteTime", "trusted"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = _clean_outputs(cell.outputs)
    return kept


def _clean_outputs(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.get("name") == "stderr" or WIDGET in output.get("data", {}):
            continue
        # How a stream is cut into messages is chance: join them.
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = re.sub(r"[^\n]*\r(?!\n)", "", output.text)  # what a terminal would have overwritten
    return [output for output in kept if output.output_type != "stream" or output.text]


def left_out(executed: NotebookNode) -> Iterator[str]:
    """A note for each cell whose stderr `clean` drops, unless it is a progress bar: a reader would see it."""
    for number, cell in enumerate(executed.cells, 1):
        streams = (output for output in cell.get("outputs", []) if output.get("name") == "stderr")
        lines = [line.strip() for output in streams for line in re.split(r"[\r\n]+", plain(output.text))]
        lines = [line for line in lines if line and not PROGRESS_BAR.search(line)]
        if lines:
            yield f"cell {number} wrote to stderr, which was left out: {lines[0]}"


def machine_folders(root: Path) -> list[str]:
    """Folders that only this machine has: the repository's, the user's, Python's and the temporary one."""
    folders = {str(root), os.path.expanduser("~"), sys.prefix, sys.base_prefix, tempfile.gettempdir()}
    return sorted(folders - {"/", "~", ""}, key=len, reverse=True)


def problems(kept: NotebookNode, folders: Iterable[str]) -> list[str]:
    """Why a cleaned chapter may not be kept, a sentence for each reason."""
    found = []
    for number, cell in enumerate(kept.cells, 1):
        text = "\n".join(_texts(cell))
        for folder in folders:
            if re.search(rf"(?<![\w.~-]){re.escape(folder)}(?![\w-])", text):
                found.append(f"cell {number} holds the path {folder}: name files from the repository's root")
                break
        if re.search(r"\bat 0x[0-9a-f]{6,}", text):
            found.append(f"cell {number} prints a memory address: print something a reader can use")
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            found.append(f"cell {number} ends in an error: catch it and print its message")
    size = len(nbformat.writes(kept).encode())
    if size > LIMIT_BYTES:
        found.append(f"{size / 1e6:.1f} MB are above {LIMIT_BYTES / 1e6:.1f}: make its figures smaller or fewer")
    return found


def _texts(cell: NotebookNode) -> Iterator[str]:
    """The source and every output that is text (pictures in base64 could hold any word by chance)."""
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield plain("\n".join(output.get("traceback", [])))
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                yield re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+", "", data)


def pictures(notebook: NotebookNode) -> Iterator[tuple[str, bytes]]:
    """The figures among a chapter's outputs, each with the id of its cell: PNG or JPEG files."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                yield cell.get("id"), base64.b64decode(output.data[kind])


def write(notebook: NotebookNode, path: Path) -> None:
    """Write whole or not at all."""
    write_whole(path, nbformat.writes(notebook) + "\n")
