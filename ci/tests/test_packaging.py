"""What is handed out: the wheel and the source archive, the ranges of versions, JupyterLab as `make lab` starts it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement

import ifsl

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


# Wheel and source archive ---------------------------------------------------------------------------------------------


def build(tree: Path, target: Path) -> None:
    """Build both from `tree` into `target`, without a network."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", target], cwd=tree, check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling")
    target = tmp_path_factory.mktemp("dist")
    build(REPOSITORY, target)
    return target


def modules() -> set[str]:
    """The package's files as git knows them."""
    listed = subprocess.run(["git", "ls-files", "ifsl"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def inside(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def only(folder: Path, glob: str) -> Path:
    (found,) = folder.glob(glob)
    return found


def test_the_wheel_holds_the_package_and_nothing_else(built):
    wheel = only(built, "*.whl")
    about = f"ifsl-{ifsl.__version__}.dist-info"
    names = {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}
    assert inside(wheel) == modules() | names
    assert all(name.endswith(".py") for name in modules())
    with zipfile.ZipFile(wheel) as archive:
        told = archive.read(f"{about}/METADATA").decode()
    assert "License-Expression: MIT" in told and "Requires-Python: >=3.11" in told
    assert (REPOSITORY / "README.md").read_text() in told


def test_the_source_archive_holds_what_the_wheel_is_made_of_and_makes_it(built, tmp_path):
    archive = only(built, "*.tar.gz")
    home = f"ifsl-{ifsl.__version__}"
    with tarfile.open(archive) as tar:
        names = {member.name.removeprefix(f"{home}/") for member in tar if member.isfile()}
        tar.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # not in 3.11.0
    assert names == modules() | {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}
    build(tmp_path / home, tmp_path / "again")
    assert inside(only(tmp_path / "again", "*.whl")) == inside(only(built, "*.whl"))


def test_the_wheel_works_without_the_repository(built, tmp_path):
    with zipfile.ZipFile(only(built, "*.whl")) as archive:
        archive.extractall(tmp_path / "site")
    code = "import ifsl; print(ifsl.__file__, ifsl.Benchmark, ifsl.build_model)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    for command in (["-c", code], ["-m", "ifsl", "--help"], ["-m", "ifsl.tiny", "--help"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert str(tmp_path / "site") in done.stdout or "usage" in done.stdout


# Versions -------------------------------------------------------------------------------------------------------------


def requirements() -> list[Requirement]:
    listed = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    return [Requirement(line) for line in listed if not line.startswith(PROJECT["name"])]


def test_every_dependency_has_an_oldest_and_a_newest_allowed_version():
    assert all({spec.operator for spec in needed.specifier} == {">=", "<"} for needed in requirements())


def test_what_ci_installs_lies_within_the_ranges():
    lines = (REPOSITORY / "ci" / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    for needed in requirements():
        assert needed.specifier.contains(pinned[needed.name.lower()]), needed.name


# JupyterLab -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab with the options of `make lab`, on a free port: (process, port, token)."""
    said = subprocess.run(["make", "-n", "lab"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in said.splitlines() if "jupyter lab" in line)
    options = shlex.split(line)[2:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("jupyter")
    places = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "RUNTIME", "DATA")}
    command = [sys.executable, "-m", "jupyterlab", *options, "--no-browser", f"--port={port}", "--port-retries=0"]
    with open(home / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | places, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := list((home / "RUNTIME").glob("jpserver-*.json"))) and time.monotonic() < deadline:
            assert process.poll() is None, (home / "log").read_text()
            time.sleep(0.1)
        time.sleep(0.5)  # the file is there before its content is
        yield process, port, json.loads(found[0].read_text())["token"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def status(port: int, token: str | None = None, **headers: str) -> int:
    """The status of a request for the list of files."""
    if token is not None:
        headers["Authorization"] = f"token {token}"
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}/api/contents", headers=headers), timeout=60) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_lab_listens_on_loopback_alone(lab):
    process, port, _ = lab
    listening = {c.laddr for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert ("127.0.0.1", port) in listening
    assert {address for address, _ in listening} == {"127.0.0.1"}


def test_lab_asks_for_its_token(lab):
    _, port, token = lab
    assert len(token) >= 32
    assert status(port, token) == 200
    for asked in (status(port), status(port, "0" * len(token)), status(port, token, Host="example.org")):
        assert asked == 403
