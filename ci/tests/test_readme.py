"""What the README promises: its scripts run as they stand, and ci/array.sh goes through methods and folds."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ifsl
from ifsl.data.benchmarks import Benchmark

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
pytestmark = pytest.mark.usefixtures("one_thread")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")


@pytest.fixture
def top(tiny_root, tmp_path, monkeypatch) -> Path:
    """A folder with the tiny benchmark and the kept checkpoints where the README expects them."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tiny").symlink_to(tiny_root)
    (tmp_path / "data" / "checkpoints").symlink_to(ROOT / "data" / "checkpoints")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(word: str) -> str:
    [found] = [block for block in BLOCKS if word in block]
    return found


def test_the_first_script(top):
    variables: dict = {}
    exec(script("result.iou_per_class").replace("episodes=1000", "episodes=2"), variables)
    assert variables["presence"].shape == (1, 2) and 0 <= variables["result"].er <= 100


def test_learners_are_compared_in_ten_lines(top, capsys):
    source = script("difference(")
    assert len(source.split("\n")) <= 12
    exec(source.replace("episodes=100", "episodes=6"), {})
    said = capsys.readouterr().out.strip().split("\n")
    assert len(said) == 4 and all(re.search(r"asnet − \w+: [+-]\d+\.\d points of (ER|mIoU)", line) for line in said)


def test_own_pictures_in_four_lines(top, tiny_root):
    home = tiny_root / "VOC2012"
    names = sorted(path.stem for path in (home / "JPEGImages").iterdir())[:3]
    (top / "my_classes" / "thing").mkdir(parents=True)
    for name in names[:2]:
        shutil.copy(home / "JPEGImages" / f"{name}.jpg", top / "my_classes" / "thing")
    shutil.copy(home / "JPEGImages" / f"{names[2]}.jpg", top / "my_photo.jpg")
    source = script("my_classes")
    assert len(source.strip().split("\n")) == 5  # with the import and an empty line
    exec(source, {})
    assert (top / "prediction.png").stat().st_size > 10_000


def test_own_pictures_are_tested(top, tiny_root, capsys):
    page = (ROOT / "ci" / "site" / "your_own_pictures.md").read_text(encoding="utf-8")
    [source] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "MeanIoU" in block]
    bench = Benchmark("pascal", tiny_root)
    for way, c in enumerate(bench.class_ids[:2], start=1):
        home = top / "my_classes" / f"{way}"
        home.mkdir(parents=True)
        image = bench.images_of[c][0]
        shutil.copy(bench.image_path(image), home)
        Image.fromarray(np.uint8(255) * (np.asarray(Image.open(bench.mask_path(image))) == c)).save(
            home / f"{image}.png"
        )
    (top / "my_test").mkdir()
    inside, union, right, used = np.zeros(3), np.zeros(3), 0, bench.images_of[bench.class_ids[0]][1:4]
    model = ifsl.load_model("tiny/asnet")
    for image in used:
        shutil.copy(bench.image_path(image), top / "my_test")
        ids = np.asarray(Image.open(bench.mask_path(image)))
        truth = np.select([ids == bench.class_ids[0], ids == bench.class_ids[1]], [1, 2], 0).astype(np.uint8)
        Image.fromarray(truth).save(top / "my_test" / f"{image}.png")
        found = ifsl.predict_folder(model, "my_classes", top / "my_test" / f"{image}.jpg")
        right += list(found.presence.values()) == [n in truth for n in (1, 2)]
        for n in (1, 2):
            inside[n] += ((found.segmentation == n) & (truth == n)).sum()
            union[n] += ((found.segmentation == n) | (truth == n)).sum()
    exec(source, {})
    er, miou = re.search(r"ER ([\d.]+) %, mIoU ([\d.]+) %", capsys.readouterr().out).groups()
    assert float(er) == pytest.approx(100 * right / len(used), abs=0.06)
    assert float(miou) == pytest.approx(100 * np.mean(inside[1:] / union[1:].clip(1)), abs=0.06)


@pytest.fixture
def sweep(tmp_path):
    """A function that runs ci/array.sh in a folder of its own, over two learners and two folds unless told otherwise.

    Its papermill and its python only note how they were called, in the file called; papermill fails for `failing`.
    """
    (tmp_path / "ci").mkdir()
    shutil.copy(ROOT / "ci" / "array.sh", tmp_path / "ci")
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "activate").write_text(f'PATH="{tools}:$PATH"\n')
    note = (
        '#!/bin/sh\necho {} "$@" >> called\ntouch build/table.md\ncase "$*" in *"-p method $FAILING "*) exit 1;; esac\n'
    )
    for name in ("papermill", "python"):
        (tools / name).write_text(note.format(name))
        (tools / name).chmod(0o755)

    def run(*arguments: str, failing: str = "none", **variables: str) -> subprocess.CompletedProcess:
        env = os.environ | {"METHODS": "pfenet hsnet", "FOLDS": "0 3", "FAILING": failing} | variables
        return subprocess.run(
            ["bash", "ci/array.sh", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True
        )

    return run


@needs_bash
@pytest.mark.parametrize(
    ("task", "given", "data"),
    [
        (None, ("-p", "steps", "2"), "-p datapath data "),
        ("2", ("-p", "steps", "2"), "-p datapath data "),
        ("2", ("-p", "datapath", "data/tiny"), ""),
        ("2", ("-f", "run.yaml"), ""),
    ],
)
def test_the_array_runs_every_pair_or_the_one_of_its_job(sweep, tmp_path, task, given, data):
    done = sweep(*given, **({"SLURM_ARRAY_TASK_ID": task} if task else {}))
    assert done.returncode == 0, done.stderr
    called = (tmp_path / "called").read_text().strip().split("\n")
    pairs = [("pfenet", 0), ("pfenet", 3), ("hsnet", 0), ("hsnet", 3)]
    expected = [
        f"papermill notebooks/13_full_training.ipynb build/{method}-fold{fold}.ipynb "
        f"-p method {method} -p fold {fold} {data}{' '.join(given)}"
        for method, fold in (pairs if task is None else [pairs[int(task)]])
    ]
    table = ["python -m ifsl.collect logs --format markdown --out build/table.md"]
    assert called == expected + (table if task is None else [])
    beyond = sweep(SLURM_ARRAY_TASK_ID="4")
    assert beyond.returncode == 2 and "--array=0-3" in beyond.stderr


@needs_bash
@pytest.mark.parametrize("given", [{"FOLDS": "0,1"}, {"FOLDS": "4"}, {"METHODS": " "}, {"FOLDS": " "}])
def test_the_array_refuses_what_it_cannot_go_through(sweep, tmp_path, given):
    done = sweep(**given)
    assert done.returncode == 2 and "folds from 0 to 3" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "called").exists()


@needs_bash
def test_the_array_names_the_runs_that_failed(sweep):
    done = sweep(failing="hsnet")
    assert done.returncode == 1 and done.stderr.endswith("say why: hsnet-fold0 hsnet-fold3\n")
