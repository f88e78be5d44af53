"""A disk that fills, a folder that cannot be written, data that vanish in mid-run: one sentence and status 2."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from test_killed import PFENET, RUN, little_archives, serving

from ifsl.__main__ import main
from ifsl.data import coco, download
from ifsl.download import main as run_download
from ifsl.tiny import commands, make
from ifsl.tiny.__main__ import main as run_tiny

ROOT = "data"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A small disk of its own, which the test works on."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount") or mount(folder, "-t", "tmpfs", "tmpfs"):
        pytest.skip("only root may mount a small disk, and only on Linux")
    monkeypatch.chdir(folder)
    yield folder
    monkeypatch.undo()
    subprocess.run(["umount", "--lazy", folder], check=True)


def mount(folder: Path, *options: str) -> int:
    return subprocess.run(["mount", *options, folder], capture_output=True).returncode


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture
def at_hand(tiny_root, server, monkeypatch):
    """Little of everything: small benchmarks to make, small archives to fetch, PFENet on small pictures."""
    voc, sbd = (server.offer(name, data) for name, data in zip(("voc.tar", "sbd.tgz"), little_archives(), strict=True))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "VOC", replace(download.VOC, remote=voc, count=121, unpacked=1_500_000))
    monkeypatch.setattr(download, "SBD", replace(download.SBD, remote=sbd, count=40, unpacked=400_000))
    monkeypatch.setattr(download, "AUGMENTED", 60)
    monkeypatch.setattr(download, "make_room", lambda *given: None)  # the disk fills later than it can tell
    monkeypatch.setattr(commands, "make_tiny", partial(make.make_tiny, pascal=(16, 8), coco=(12, 12), workers=1))
    return tiny_root


def train(data: Path, *more: str) -> int:
    steps = ["--steps", "4", "--val-every", "2", "--val-episodes", "2", "--workers", "0"]
    return main([*PFENET, "--datapath", str(data), *steps, *more])


def evaluate(data: Path, *more: str) -> int:
    return main([*PFENET, "--datapath", str(data), "--eval", "--checkpoint", "untrained", "--episodes", "8", *more])


def annotations(data: Path) -> None:
    """Put COCO's annotations where `rasterise` looks for them."""
    shutil.copytree(data / "COCO2014" / "annotations", Path(ROOT) / "COCO2014" / "annotations", ignore=not_json)


def not_json(_: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith("2014.json")]


@dataclass(frozen=True)
class Work:
    """A kind of work: `do(tiny root)` returns the exit status; `prepare` comes before; `kilobytes`: disks too small."""

    do: Callable[[Path], int]
    kilobytes: tuple[int, ...]
    prepare: Callable[[Path], None] = lambda data: None


WORK = {
    "training": Work(train, (0, 64, 200)),
    "evaluation": Work(evaluate, (0, 4)),
    "pictures": Work(lambda data: evaluate(data, "--vis"), (64,)),
    "making": Work(lambda _: run_tiny(["--root", f"{ROOT}/tiny"]), (0, 200)),
    "rasterising": Work(lambda _: run_download(["masks", "--root", ROOT, "--workers", "1"]), (0, 400), annotations),
    "downloading": Work(lambda _: run_download(["pascal", "--root", ROOT]), (0, 400, 1700, 2900)),
}


def sentence(capsys) -> str:
    """What was said, bars left out: one sentence and no traceback."""
    said = re.sub(r"\x1b\[\w", "", capsys.readouterr().err)
    lines = [line for line in re.split(r"[\r\n]+", said) if line.strip() and "|" not in line]
    assert len(lines) == 1 and lines[0].endswith("."), lines
    return lines[0]


def used(folder: Path) -> int:
    """Kilobytes on a disk that are taken."""
    return -(-shutil.disk_usage(folder).used // 1024)


@pytest.mark.parametrize(("kind", "kilobytes"), [(kind, free) for kind in WORK for free in WORK[kind].kilobytes])
def test_a_full_disk(kind, kilobytes, disk, at_hand, capsys):
    work = WORK[kind]
    work.prepare(at_hand)
    assert mount(disk, "-o", f"remount,size={max(4, used(disk) + kilobytes)}k") == 0
    Path("filler").write_bytes(b"0" * 4096 if kilobytes == 0 and not used(disk) else b"")
    assert work.do(at_hand) == 2
    said = sentence(capsys)
    assert "o space left" in said or "encoder error" in said, said
    assert mount(disk, "-o", "remount,size=64m") == 0
    more = ["--resume"] if kind == "training" and RUN.is_dir() and any(RUN.iterdir()) else []
    assert (train(at_hand, *more) if more else work.do(at_hand)) == 0


@pytest.mark.parametrize("kind", WORK)
def test_a_folder_that_cannot_be_written(kind, disk, at_hand, capsys):
    work = WORK[kind]
    work.prepare(at_hand)
    assert mount(disk, "-o", "remount,ro") == 0
    assert work.do(at_hand) == 2
    assert "ead-only" in sentence(capsys)


def after(calls: int, real: Callable, then: Callable[[], None]) -> Callable:
    """The function `real`, which does something else, too, when it was called so many times."""
    made = 0

    def both(*given, **more):
        nonlocal made
        made += 1
        if made == calls:
            then()
        return real(*given, **more)

    return both


@pytest.mark.parametrize(
    ("do", "workers", "calls"), [(train, "0", 30), (train, "2", 12), (evaluate, "0", 12), (evaluate, "2", 12)]
)
def test_data_that_vanish(do, workers, calls, at_hand, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.symlink_to(at_hand)
    monkeypatch.setattr(Image, "open", after(calls, Image.open, lambda: data.unlink(missing_ok=True)))
    assert do(data, "--workers", workers) == 2
    assert str(data) in sentence(capsys)


@pytest.mark.parametrize(
    ("kind", "module", "name"), [("making", make, "paint_pascal"), ("rasterising", coco, "_write_mask")]
)
def test_a_folder_that_vanishes_while_it_is_filled(kind, module, name, at_hand, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    work = WORK[kind]
    work.prepare(at_hand)
    monkeypatch.setattr(module, name, after(5, getattr(module, name), partial(os.rename, ROOT, "gone")))
    assert work.do(at_hand) == 2
    assert "cannot be written" in sentence(capsys)


@pytest.mark.parametrize("pieces", [2, 100, 190])
def test_a_folder_that_vanishes_while_it_is_fetched(pieces, at_hand, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "between", after(pieces, server.between, partial(os.rename, ROOT, "gone")))
    assert WORK["downloading"].do(at_hand) == 2
    assert "cannot be written" in sentence(capsys)


def test_logs_that_vanish(at_hand, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from ifsl.run.training import Training

    monkeypatch.setattr(Training, "training_step", after(3, Training.training_step, partial(os.rename, "logs", "gone")))
    assert train(at_hand) == 2
    assert str(RUN) in sentence(capsys)
