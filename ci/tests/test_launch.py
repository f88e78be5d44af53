"""What the public repository offers: Colab's cell (against a local git server), Binder, citation, version, forms."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import colab
import nbformat
import pytest
import yaml
from conftest import REPOSITORY
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import ifsl
from ifsl import address


@pytest.fixture
def git_server(tmp_path):
    """The address of a server that offers a copy of this repository, as the public one would."""
    if shutil.which("git") is None or subprocess.run(["git", "daemon", "--help"], capture_output=True).returncode > 1:
        pytest.skip("git has no daemon here")
    bare = tmp_path / "served" / "ifsl"
    clone = ["git", "clone", "--quiet", "--bare", "--depth", "1", REPOSITORY.as_uri(), bare]
    if subprocess.run(clone, capture_output=True).returncode:
        pytest.skip("this is no git checkout")
    subprocess.run(["git", "-C", bare, "branch", "--force", "main", "HEAD"], check=False, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--listen=127.0.0.1", f"--port={port}", f"--base-path={bare.parent}", "--export-all", "--reuseaddr"]
    server = subprocess.Popen(["git", "daemon", *options], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(100):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"git://127.0.0.1:{port}/ifsl"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def test_colabs_first_cell_fetches_and_installs_the_course(git_server, tmp_path) -> None:
    home = tmp_path / "content" / "ifsl-course"
    script = "\n".join(
        [
            "import sys, types",
            "sys.modules['google.colab'] = types.ModuleType('google.colab')",
            colab.make_cell(git_server),
            colab.make_cell(git_server),  # run again, as readers do
            f"sys.path.insert(0, {str(tmp_path / 'installed')!r})",
            "import os, ifsl",
            "from ifsl.data.kept import find_kept",
            "from ifsl.course.places import find_top",
            "from pathlib import Path",
            "print(ifsl.__file__, find_kept('tiny/asnet'), find_top(Path.cwd()), sep='\\n')",
        ]
    )
    (tmp_path / "work").mkdir()
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    variables |= {"IFSL_COLAB": str(home), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    variables |= {"PIP_TARGET": str(tmp_path / "installed"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "work", env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    package, learner, top = done.stdout.splitlines()[-3:]
    assert Path(package).is_relative_to(tmp_path / "installed")
    assert Path(learner) == home / "data/checkpoints/tiny/asnet.safetensors" and Path(top) == home


def test_the_cell_does_nothing_elsewhere(monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    exec(colab.make_cell("https://forge.example/a/ifsl"), {})


def test_chapters_get_the_cell_with_an_address_and_lose_it_without(tmp_path, monkeypatch) -> None:
    path = tmp_path / "00_start.ipynb"
    cells = [new_markdown_cell("# 00"), new_code_cell("x = 1", metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), path)
    monkeypatch.setattr(colab, "NOTEBOOKS", tmp_path)
    before = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    for _ in range(2):
        monkeypatch.setenv("IFSL_REPOSITORY", "https://forge.example/a/ifsl/")
        colab.main([])
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert [cell.metadata.get("tags") for cell in notebook.cells] == [None, ["colab"], ["parameters"]]
        assert '"https://forge.example/a/ifsl"' in notebook.cells[1].source
    monkeypatch.setenv("IFSL_REPOSITORY", "")
    colab.main([])
    assert [cell.source for cell in nbformat.read(path, as_version=4).cells] == before


def test_chapters_have_the_cell_of_the_address_that_is_set() -> None:
    for path in (REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        sources = [
            cell.source for cell in nbformat.read(path, as_version=4).cells if "colab" in cell.metadata.get("tags", [])
        ]
        assert sources == ([colab.make_cell(address.REPOSITORY)] if address.REPOSITORY else []), "run ci/colab.py"


def test_binder_has_an_environment_and_makes_the_benchmark() -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    assert {"pip": ["-e .[course,test]"]} in environment["dependencies"]
    script = REPOSITORY / "postBuild"
    assert os.access(script, os.X_OK) and "python -m ifsl.tiny" in script.read_text()


def test_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"] == ifsl.__version__
    assert re.findall(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)[0] == ifsl.__version__


def test_forms_and_workflow_can_be_read() -> None:
    forms = sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    assert [path.stem for path in forms] == ["bug", "erratum", "question"]
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert form["name"] and form["description"] and all("type" in part for part in form["body"])
        assert path.stem == "question" or "ifsl.__version__" in path.read_text()  # a mistake is one of a version
    steps = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["steps"]
    assert {"run": "ci/run"} in steps
