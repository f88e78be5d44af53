"""Build the site, build/site/index.html: the chapters with their outputs, the pages of ci/site, and an API reference.

    python ci/book.py

Sphinx reads a copy of the repository's layout under build/site-source. In it, a link into ifsl/ leads to the API page
of what the link names, and every other file that a page links to is copied. The site needs no network and no server.

Exit status: 0 built; 1 Sphinx failed (its words are in build/site.log).
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import keep
import nbformat
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "ci" / "site"
OTHERS = ("CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")  # pages that the repository has anyway
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(((?!https?:|mailto:|#|attachment:)[^()\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(((?!https?:|attachment:)[^()\s]+)\)|<img[^>]+src=\"((?!https?:|data:)[^\"]+)\"")


# What the API pages document ------------------------------------------------------------------------------------------


@cache
def modules() -> dict[str, Path]:
    """Name of every public module of the package: its file. The exercises of the chapters are left out."""
    found = {}
    for path in sorted((ROOT / "ifsl").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not name.startswith("ifsl.course.chapters") and parts[-1] != "__main__":
            found[name] = path
    return found


@cache
def documented(module: str) -> frozenset[str]:
    """What autodoc shows of a module: public names with a docstring, methods as `Class.method`."""
    names = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                if not node.name.startswith("_") and ast.get_docstring(node):
                    names.add(prefix + node.name)
                    if isinstance(node, ast.ClassDef):
                        visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and isinstance(after.value, ast.Constant):
                    names.add(prefix + target.id)

    visit(ast.parse(modules()[module].read_text(encoding="utf-8")).body, "")
    return frozenset(names)


def api_role(text: str, path: Path) -> str | None:
    """A link text and the file or folder in ifsl/ that it leads to, as Sphinx's reference; None for another file."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if name not in modules():
        return None
    plain = text.replace("`", "").replace("*", "")
    word = plain.removesuffix("()").removeprefix("ifsl.").strip()
    for candidate in (word, word.rpartition(".")[2]):
        if candidate in documented(name):
            return f"{{py:obj}}`{plain} <{name}.{candidate}>`"
    return f"{{py:mod}}`{plain} <{name}>`"


# Laying out the sources -----------------------------------------------------------------------------------------------


class Layout:
    """The sources of a site under `source`, in the repository's layout."""

    def __init__(self, source: Path):
        self.source = source
        self.pages: set[str] = set()

    def put(self, name: str, text: str) -> None:
        """Write a page; name: its path in the repository."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.pages.add(name)

    def relink(self, text: str, folder: Path) -> str:
        """Markdown of a page that lies in `folder` of the repository, with links as the site has them."""

        def change(match: re.Match) -> str:
            label, link = match.groups()
            target, _, anchor = link.partition("#")
            path = Path(os.path.normpath(ROOT / folder / target))
            if not path.is_relative_to(ROOT) or not path.exists():
                return match[0]  # the test of links names it
            name = path.relative_to(ROOT).as_posix()
            if path.is_relative_to(ROOT / "ifsl") and (role := api_role(label, path)):
                return role
            if name == "README.md":
                return f"[{label}]({os.path.relpath('index.md', folder)})"
            if path.is_dir():
                return label
            if path.suffix in (".md", ".ipynb"):
                return f"[{label}]({target}{f'#{anchor}' if anchor else ''})"
            self.copy(name)
            return f"[{label}]({target})"  # a file to download; lines of it have no anchor

        for match in PICTURE.finditer(text):
            path = Path(os.path.normpath(ROOT / folder / (match[1] or match[2])))
            if path.is_file() and path.is_relative_to(ROOT):
                self.copy(path.relative_to(ROOT).as_posix())
        fenced = re.split(r"(^```.*?^```)", text, flags=re.S | re.M)
        fenced[::2] = [LINK.sub(change, part) for part in fenced[::2]]
        return "".join(fenced)

    def copy(self, name: str) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, path)

    def put_chapter(self, path: Path, error: str | None) -> None:
        """A notebook as it was kept or run; if its run failed, with the error under its title."""
        notebook = keep.clean(nbformat.read(path, as_version=4))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.relink(cell.source, Path("notebooks"))
        if error is not None:
            note = nbformat.v4.new_markdown_cell(f":::{{error}}\nThis run failed.\n\n```text\n{error}\n```\n:::")
            notebook.cells.insert(1, note)
        self.put(f"notebooks/{path.name}", nbformat.writes(notebook))


def write_api(layout: Layout) -> None:
    """A page for each module, and their index in the order of CONTRIBUTING.md's rooms."""
    about = {
        name: (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
        for name, path in modules().items()
    }
    for name in modules():
        title = f"``{name}``"
        text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {name}\n"
        if name == "ifsl":
            homes = {public: f"ifsl.{home}" for public, home in table("_HOME", modules()[name]).items()}
            text += "".join(f"\n- :py:obj:`ifsl.{one} <{find(one, home)}>`" for one, home in homes.items()) + "\n"
        layout.put(f"api/{name}.rst", text)
    rows = "\n".join(f"| {{py:mod}}`{name} <{name}>` | {' '.join(about[name].split())} |" for name in modules())
    pages = "\n".join(modules())
    layout.put(
        "api/index.md",
        "# The package\n\nEvery module of `ifsl`, from its docstrings. `[source]` beside a name shows its code.\n\n"
        f"| module | what is in it |\n|---|---|\n{rows}\n\n```{{toctree}}\n:hidden:\n{pages}\n```\n",
    )


def table(name: str, path: Path) -> dict[str, str]:
    """A dictionary of constants in a module's source."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    return {}


def find(name: str, home: str) -> str:
    """Where a public name of a module or of a package is documented: `home`, or one of the package's modules."""
    inside = [module for module in modules() if module == home or module.startswith(f"{home}.")]
    return f"{next((module for module in inside if name in documented(module)), home)}.{name}"


def lay_out(source: Path, chapters: list[Path], failed: dict[str, str]) -> Layout:
    """Write all sources; chapters: notebooks in reading order, `failed` maps names of chapters to their errors."""
    shutil.rmtree(source, ignore_errors=True)
    layout = Layout(source)
    for path in PAGES.glob("*.md"):
        layout.put(path.name, layout.relink(path.read_text(encoding="utf-8"), Path(".")))
    for name in OTHERS:
        if (ROOT / name).is_file():
            layout.put(name, layout.relink((ROOT / name).read_text(encoding="utf-8"), Path(name).parent))
    for path in chapters:
        layout.put_chapter(path, failed.get(path.stem))
    for path in (ROOT / "notebooks").glob("*.md"):
        layout.put(f"notebooks/{path.name}", layout.relink(path.read_text(encoding="utf-8"), Path("notebooks")))
    write_api(layout)
    shutil.copytree(PAGES / "_static", source / "_static")
    shutil.copyfile(mathjax(), source / "_static" / "mathjax.js")
    return layout


def mathjax() -> Path:
    """MathJax that draws by itself, one file, of the package sphinx-mathjax-offline (hyphens: it can't be imported)."""
    from importlib.metadata import files

    found = next(file for file in files("sphinx-mathjax-offline") or () if file.name == "tex-svg-full.js")
    return Path(str(found.locate()))


# Building -------------------------------------------------------------------------------------------------------------


def build(chapters: list[Path], folder: Path, failed: dict[str, str] | None = None) -> Path | None:
    """Build the site of these notebooks under `folder`/site; returns its first page, None if Sphinx failed."""
    source, target, log = folder / "site-source", folder / "site", folder / "site.log"
    lay_out(source, chapters, failed or {})
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", str(PAGES), "-d", str(folder / "site-doctrees")]
    command += ["-E", "-w", str(log), str(source), str(target)]
    environment = os.environ | {"IFSL_TOP": str(ROOT), "IFSL_SOURCE": str(source), "MPLBACKEND": "agg"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with tqdm(total=200, desc="site", bar_format="{desc}: {percentage:3.0f}%|{bar}| [{elapsed}]", disable=None) as bar:
        for line in process.stdout:  # reading, then writing, in per cent each
            if match := re.search(r"(reading|writing)\b.*\[ *(\d+)%\]", line):
                bar.update(int(match[2]) + 100 * (match[1] == "writing") - bar.n)
    index = target / "index.html"
    return index if process.wait() == 0 and index.is_file() else None


def newest(chapters: list[Path], executed: Path) -> list[Path]:
    """Each chapter as it was executed last, where it was; else as it is kept."""
    return [path if not (run := executed / path.name).is_file() else run for path in chapters]


def main(arguments: list[str] | None = None, build_folder: Path = ROOT / "build") -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(description="Build the site of the course from the kept notebooks.")
    parser.parse_args(arguments)
    chapters = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    start = time.monotonic()
    build_folder.mkdir(exist_ok=True)
    index = build(chapters, build_folder)
    if index is None:
        print(f"The site was not built; {build_folder / 'site.log'} says why.", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in index.parent.rglob("*") if path.is_file())
    print(f"The site was built in {time.monotonic() - start:.0f} s ({size / 1e6:.0f} MB). Open {index}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
