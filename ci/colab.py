"""Colab's first cell: with an address in ifsl/address.py every chapter gets it, without one every chapter loses it.

    python ci/colab.py

The cell stands before the parameters and is tagged `colab`. Outside of Colab it does nothing.
"""

import argparse
import sys
from pathlib import Path

import nbformat

from ifsl.address import BRANCH, repository

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

CELL = """# On Colab this cell fetches the course, with its kept learners, and installs it. Elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    home = os.environ.get("IFSL_COLAB", "/content/ifsl-course")
    if not os.path.isdir(home):
        clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", "{branch}", "{address}", home]
        subprocess.run(clone, check=True)
        print("Installing the package and what it needs (a minute or two) ...", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", home], check=True)
    os.chdir(os.path.join(home, "notebooks"))
"""


def make_cell(address: str, branch: str = BRANCH) -> str:
    """The source of the cell, without its last line break."""
    return CELL.format(address=address, branch=branch).rstrip("\n")


def set_cell(notebook: nbformat.NotebookNode, address: str) -> None:
    """Give a notebook the cell, or take it away where there is no address. All other cells stay as they are."""
    notebook.cells = [cell for cell in notebook.cells if "colab" not in cell.metadata.get("tags", [])]
    if not address:
        return
    place = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    cell = nbformat.v4.new_code_cell(make_cell(address), id="colab", metadata={"tags": ["colab"]})
    notebook.cells.insert(place, cell)


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        set_cell(notebook, repository())
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
