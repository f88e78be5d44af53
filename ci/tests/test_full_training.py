"""Chapter 13: its parameters, the folder that a run gets, and a whole report, twice."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ifsl.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = ROOT / "notebooks" / "13_full_training.ipynb"


@pytest.fixture
def settings_of(monkeypatch):
    """What the chapter's first cells make of parameters: its variables after the cell that makes the settings."""
    monkeypatch.chdir(ROOT)  # the chapter changes the folder
    cells = nbformat.read(CHAPTER, as_version=4).cells
    source = {cell.id: cell.source for cell in cells if cell.cell_type == "code"}

    def run(**parameters) -> dict:
        variables: dict = {}
        exec(source["parameters"], variables)
        variables |= parameters
        for name in ("setup", "settings", "defaults"):
            exec(source[name], variables)
        return variables

    return run


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"method": "foo"}, "method"),
        ({"fold": 9}, "fold"),
        ({"fold": 2.0}, "fold"),
        ({"steps": [1, 2]}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"steps": True}, "steps"),
        ({"weak": "false"}, "weak"),
        ({"datapath": ["data"]}, "datapath"),
        ({"datapath": {"a": 1}}, "datapath"),
        ({"bsz": 0}, "bsz"),
        ({"batch": 0}, "bsz"),
        ({"bzs": 1}, "There is no parameter bzs; give bsz."),
        ({"step": 5}, "give steps"),
        ({"Fold": 5}, "give fold"),
        ({"val_episode": 5}, "give val_episodes"),
        ({"xyzzy": "a"}, "xyzzy; leave it out"),
        ({"batch": 2, "bsz": 3}, "old name"),
        ({"precision": 8}, "precision"),
        ({"lr": "1e-3"}, "lr"),
        ({"logpath": "../elsewhere"}, "logpath"),
        ({"width": 8}, "width"),
    ],
)
def test_a_bad_parameter_ends_in_one_sentence(settings_of, parameters, said) -> None:
    with pytest.raises(InputError) as caught:
        settings_of(**parameters)
    message = str(caught.value)
    assert said in message and message.endswith(".") and "\n" not in message
    assert caught.value._render_traceback_() == [f"InputError: {message}"]


@pytest.mark.parametrize(
    ("parameters", "frozen"),
    [({}, True), ({"frozen_norm": False}, False), ({"datapath": "elsewhere"}, False), ({"method": "hsnet"}, False)],
)
def test_panet_keeps_its_statistics_on_the_tiny_benchmark(settings_of, parameters, frozen) -> None:
    assert settings_of(**parameters)["settings"].frozen_norm is frozen


def test_words_that_look_like_numbers_are_words_where_words_are_wanted(settings_of) -> None:
    settings = settings_of(devices=2, precision=16, logpath=2024)["settings"]
    assert (settings.devices, settings.precision, settings.logpath) == ("2", "16", "2024")


def test_the_old_name_of_a_parameter_still_works(settings_of) -> None:
    assert settings_of(batch=3)["settings"].bsz == settings_of(bsz=3)["settings"].bsz == 3


def test_real_data_get_the_published_values(settings_of) -> None:
    settings = settings_of(method="asnet", datapath="data", logpath="asnet")["settings"]
    assert (settings.backbone, settings.bsz, settings.niter, settings.steps) == ("resnet50", 12, 2000, None)
    assert (settings.val_every, settings.val_episodes, settings.size, settings.lr) == (None, 1000, None, None)


def test_other_settings_mean_another_folder(settings_of) -> None:
    folder = {}
    for name, value in {"method": "hsnet", "fold": 2, "way": 2, "shot": 5, "weak": True, "seed": 1, "lr": 0.1}.items():
        folder[name] = settings_of(**{"method": "asnet", name: value})["settings"].folder
    assert len(set(folder.values())) == len(folder)
    same = settings_of(method="asnet", fold=2, steps=7, precision="bf16", workers=1)["settings"].folder
    assert same == folder["fold"]


def test_a_report_is_made_and_made_again(tiny_root, tmp_path) -> None:
    """The second time, with more steps, goes on where the first one ended."""
    logpath = f"test-{tmp_path.name}"
    folder = ROOT / "logs" / "pascal" / "fold2" / "efficientnet_lite0" / logpath
    quick = {"method": "pfenet", "width": 8, "size": 64, "fold": 2, "logpath": logpath, "devices": "cpu"}
    quick |= {"val_every": 2, "val_episodes": 3, "test_episodes": 8}
    try:
        for steps in (2, 4):
            report = tmp_path / f"{steps}.ipynb"
            values = [word for name, value in (quick | {"steps": steps}).items() for word in ("-p", name, str(value))]
            command = [sys.executable, "-m", "papermill", str(CHAPTER), str(report), "-k", "python3", *values]
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert ended.returncode == 0, ended.stderr[-2000:]
            curve = [line.split(",")[0] for line in (folder / "metrics.csv").read_text().split()]
            assert curve == ["step", *map(str, range(2, steps + 1, 2))]
        cells = {cell.id: cell for cell in nbformat.read(report, as_version=4).cells}
        said = "".join(output.get("text", "") for output in cells["test"].outputs if output.get("name") == "stdout")
        assert "void pixels" in said and "ER " in said and "mIoU " in said
        figures = [output for name in ("curves", "samples") for output in cells[name].outputs if "data" in output]
        assert len(figures) == 2
        assert json.loads((folder / "test-1way-1shot.json").read_text())["settings"]["fold"] == 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
