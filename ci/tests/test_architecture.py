"""The rooms of the package: who may import whom, how long the learners are, and what is not to be used at all.

Every import under `ifsl/` counts, also those inside functions and those for the type checker alone.
"""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import ifsl
from ifsl.learners import BACKBONES, LEARNERS

PACKAGE = Path(__file__).resolve().parents[2] / "ifsl"

FLOORS = [
    ["ifsl.errors"],
    ["ifsl.address", "ifsl.checks", "ifsl.tasks", "ifsl.weights"],
    ["ifsl.learners"],
    ["ifsl.data"],
    ["ifsl.run", "ifsl.tiny"],
    ["ifsl.pictures", "ifsl.course"],
    ["ifsl", "ifsl.__main__", "ifsl.collect", "ifsl.download", "ifsl.tiny.__main__"],
]
"""The rooms, the lowest first. A room is a package with all its modules or a single module; `ifsl` is its __init__."""

PRIVATE = ("torch.ops.mkldnn", "_reorder", "ctypes", "mallopt")
"""What the package does without: private operators of PyTorch, and the C library behind Python's back."""


@cache
def modules() -> dict[str, Path]:
    """Name of every module of the package: its file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """The room that a module belongs to: the longest name on the list that it begins with."""
    names = [name for floor in FLOORS for name in floor]
    inside = [n for n in names if module == n or (n != "ifsl" and module.startswith(f"{n}."))]
    assert inside, f"{module} is in no room; say in FLOORS on which floor it lives"
    return max(inside, key=len)


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def imports(name: str, source: str, is_package: bool, known: set[str]) -> set[str]:
    """The modules among `known` that a module's source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = name.split(".")
                above = own[: len(own) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            # `from package import name` is an import of the module package.name if there is one
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            found |= called(node, name, is_package)
    return {module for module in found if module in known} - {name}


def called(node: ast.Call, name: str, is_package: bool) -> set[str]:
    """The module of `import_module("…")` where its name is written out; for names in tables see `from_tables`."""
    [first, *_] = node.args
    if not isinstance(first, ast.Constant):
        return set()
    return {resolve_name(first.value, name if is_package else name.rpartition(".")[0])}


def from_tables() -> dict[str, set[str]]:
    """Imports whose modules stand in tables: those of the public names, of the learners and of some backbones."""
    learners = {f"ifsl.learners.{module}" for module, _ in LEARNERS.values()}
    backbones = {f"ifsl.learners.{facts.module}" for facts in BACKBONES.values() if facts.module}
    public = {f"ifsl.{home}" for home in ifsl._HOME.values()}
    return {"ifsl": public, "ifsl.learners": learners, "ifsl.learners.backbones": backbones}


@cache
def graph() -> dict[str, set[str]]:
    """Every module: the modules of the package that it imports."""
    known = set(modules())
    tables = from_tables()
    return {
        name: imports(name, path.read_text(encoding="utf-8"), path.name == "__init__.py", known)
        | tables.get(name, set())
        for name, path in modules().items()
    }


def test_imports_are_read():
    """Else nothing below would be compared."""
    source = """
from typing import TYPE_CHECKING
import ifsl.errors
from . import maps
from ..data import images, nothing
if TYPE_CHECKING:
    from .learner import Learner
def later():
    from ..run.training import train
    return import_module(".panet", __name__), import_module(f".{later}")
"""
    known = {"ifsl.errors", "ifsl.data", "ifsl.data.images", "ifsl.run.training"}
    known |= {f"ifsl.learners.{name}" for name in ("maps", "learner", "panet", "pfenet")}
    found = imports("ifsl.learners.pfenet", source, False, known)
    assert found == known - {"ifsl.learners.pfenet"}
    assert imports("ifsl.learners", "from .maps import Maps\nfrom ..errors import x", True, known) == {
        "ifsl.learners.maps",
        "ifsl.errors",
    }
    assert imports("ifsl.data.x", 'import_module("..learners.maps", __package__)', False, known) == {
        "ifsl.learners.maps"
    }
    assert len(modules()) > 50 and sum(map(len, graph().values())) > 100
    assert "ifsl.learners.learner" in graph()["ifsl.learners.panet"]


def test_no_two_modules_import_each_other():
    """Nor do three in a ring."""
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_module_imports_one_above_its_floor():
    """On one floor, each room keeps to itself too. A public name of `ifsl` may come from every room below it."""
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if floor(other) > floor(name) or (floor(other) == floor(name) != len(FLOORS) - 1 and room(other) != room(name))
    ]
    assert not wrong, "\n".join(wrong)


def test_tables_name_modules_that_exist():
    assert all(homes and homes <= set(modules()) for homes in from_tables().values())


def test_every_module_is_on_a_floor_and_every_room_is_there():
    assert {room(module) for module in modules()} == {name for rooms in FLOORS for name in rooms}


def test_learners_are_short():
    """The five learners with all that they import from their room, in under 1,300 lines.

    What they do not run does not count: `fast`, and backbones that the registry names; nor does the registry, a table.
    """
    left_out = {"ifsl.learners.registry"} | from_tables()["ifsl.learners.backbones"]
    five = {f"ifsl.learners.{LEARNERS[method][0]}" for method in ("panet", "pfenet", "hsnet", "asnet", "asnethm")}
    counted, more = set(), five
    while more:
        counted |= more
        more = set().union(*(graph()[name] for name in more)) - counted
        more = {name for name in more - left_out if room(name) == "ifsl.learners" and ".fast" not in name}
    lines = {name: len(modules()[name].read_text(encoding="utf-8").splitlines()) for name in counted}
    assert len(lines) >= 10 and sum(lines.values()) < 1300, lines
    assert not counted & {f"ifsl.learners.{name}" for name in ("cst", "emat", "tokens", "vit")}


@pytest.mark.parametrize("word", PRIVATE)
def test_no_private_operator(word):
    holders = [name for name, path in modules().items() if word in path.read_text(encoding="utf-8")]
    assert not holders
