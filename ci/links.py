"""The chapters' links into ifsl/: each must point to the line that defines the name in its text.

    python ci/links.py            name the links that do not
    python ci/links.py --write    set their line numbers right, in place

Exit status: 0 all are right (or were set right); 1 some are wrong; a name that is defined nowhere stays wrong.
"""

import ast
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[`([\w.]+)`\]\((\.\./ifsl/[\w/]+\.py)#L(\d+)\)")


def definitions(source: str) -> dict[str, int]:
    """{name: line} of what a module defines: functions, classes, constants, and methods as `Class.method`."""
    lines = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                lines[prefix + node.name] = node.lineno
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name):
                    lines[prefix + target.id] = node.lineno

    visit(ast.parse(source).body, "")
    return lines


def set_right(text: str, folder: Path) -> tuple[str, list[str]]:
    """The text of a cell in a notebook of `folder` with right line numbers, and a sentence for each that was wrong."""
    wrong = []

    def right(match: re.Match) -> str:
        name, path, line = match.groups()
        target = folder / path
        there = definitions(target.read_text(encoding="utf-8")) if target.is_file() else {}
        if name not in there:
            wrong.append(f"{path} does not define {name}")
            return match[0]
        if there[name] != int(line):
            wrong.append(f"{path} defines {name} in line {there[name]}, not {line}")
        return f"[`{name}`]({path}#L{there[name]})"

    return LINK.sub(right, text), wrong


def main(arguments: list[str], folder: Path = ROOT / "notebooks") -> int:
    status = 0
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        wrong = []
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source, found = set_right(cell.source, folder)
                wrong += found
        for sentence in wrong:
            print(f"{path.name}: {sentence}")
        if wrong and "--write" in arguments:
            nbformat.write(notebook, path)
        if any("does not define" in sentence for sentence in wrong) or (wrong and "--write" not in arguments):
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
