"""The command line: the published options, what it writes, how it ends when something is wrong."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from PIL import Image

import ifsl.download
from ifsl.__main__ import build_parser, main
from ifsl.data import download
from ifsl.errors import InputError
from ifsl.run.settings import Settings

PUBLISHED = (
    *("--datapath", "--method", "--benchmark", "--logpath", "--way", "--shot", "--bsz", "--lr", "--niter", "--fold"),
    *("--backbone", "--weak", "--eval", "--vis", "--resume", "--nowandb"),
)
OURS = (
    *("--devices", "--nodes", "--precision", "--workers", "--steps", "--size", "--void-ignore", "--episodes", "--seed"),
    *("--task", "--own-size", "--checkpoint", "--cache-features", "--decay", "--width", "--published-prior"),
    *("--augment", "--objects"),
)
FAST = ("--backbone", "efficientnet_lite0", "--size", "64", "--bsz", "2", "--workers", "0", "--nowandb")
FAST += ("--devices", "cpu")
PFENET = ["--method", "pfenet", "--width", "8", *FAST]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tiny_root, tmp_path, monkeypatch) -> list[str]:
    """--datapath of the tiny benchmark; the logs go into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return ["--datapath", str(tiny_root)]


def start(*arguments: str, **more) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ifsl", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


# Options --------------------------------------------------------------------------------------------------------------


def test_help_explains_every_option_without_torch():
    code = (
        "import sys; from ifsl.__main__ import build_parser; build_parser().print_help(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    for option in PUBLISHED + OURS:
        assert re.search(rf"^  {option}\b", done.stdout, re.M), option
    for action in build_parser()._actions:
        assert action.help, action.option_strings


def test_the_defaults_are_the_published_ones_and_those_that_help_names():
    settings = Settings()
    assert (settings.bsz, settings.niter, settings.way, settings.shot) == (12, 2000, 1, 1)
    assert (settings.method, settings.benchmark, settings.backbone) == ("asnet", "pascal", "resnet50")
    assert not vars(build_parser().parse_args([]))  # so that Settings alone decides
    for action in build_parser()._actions:
        named = re.search(r"\(default: ([\w./]+)\)$", action.help)
        if named and action.dest not in ("episodes", "width", "logpath"):
            assert str(getattr(settings, action.dest)) == named[1], action.dest


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--method", "resnet"], "--method"),
        (["--fold", "4"], "--fold"),
        (["--fold", "one"], "--fold"),
        (["--backbone", "vgg19"], "--backbone"),
        (["--benchmark", "fss1000"], "--benchmark"),
        (["--wey", "2"], "--wey"),
        (["--way", "0"], "way is 0"),
        (["--way", "2.5"], "--way"),
        (["--shot", "-1"], "shot is -1"),
        (["--bsz", "0"], "bsz is 0"),
        (["--lr", "-1"], "lr is -1"),
        (["--precision", "8"], "--precision"),
        (["--logpath", "../../x"], "logpath is"),
        (["--vis"], "--vis"),
        (["--checkpoint", "x.ckpt"], "--checkpoint"),
        (["--episodes", "5"], "--episodes"),
        (["--eval", "--resume"], "--resume"),
        (["--resume"], "no run in"),
        (["--width", "3"], "width"),
        (["--published-prior"], "published_prior is an option of pfenet"),
        (["--datapath", "nowhere"], "nowhere"),
        (["--devices", "7"], "devices is '7'"),
        (["--devices", "gpu"], "devices is 'gpu'"),
        (["--precision", "16", "--devices", "cpu"], "precision 16"),
        (["--method", "panet", "--weak"], "class tags"),
        (["--method", "asnethm", "--weak"], "class tags"),
        (["--method", "pfenet", "--backbone", "resnet101"], "resnet101"),
        (["--method", "panet", "--cache-features"], "trains its backbone"),
        (["--size", "8"], "size"),
        (["--size", "64"], "257"),
        (["--way", "6"], "way is 6"),
        *(
            (["--eval", *option], option[0])
            for option in (
                ["--start", "gone.ckpt"],
                ["--steps", "5"],
                ["--niter", "5"],
                ["--lr", "3"],
                ["--decay"],
                ["--val-every", "5"],
                ["--val-episodes", "5"],
                ["--cache-features"],
            )
        ),
        (["--eval", "--checkpoint", ""], "--checkpoint is empty"),
        (["--eval"], "best_model.ckpt"),
        (["--eval", "--checkpoint", "gone.ckpt"], "gone.ckpt"),
        (["--eval", "--checkpoint", "tiny/gone"], "no kept learner 'tiny/gone'; choose from tiny/asnet"),
        (["--eval", "--checkpoint", "untrained", "--episodes", "0"], "episodes"),
        (["--eval", "--checkpoint", "untrained", "--devices", "cpu:2"], "testing runs on one"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(arguments, named, data, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # Later ones win. No ImageNet weights are looked for: a mistake is to be found on any machine.
    given = [*data, "--backbone", "efficientnet_lite0", "--workers", "0", "--nowandb", *arguments]
    try:
        status = main(given)
    except SystemExit as error:
        status = error.code
    said = capsys.readouterr().err
    assert status == 2, said
    assert named in said and said.startswith("ifsl: ") and len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_a_worker_process_is_one_sentence_too(data, capsys, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(data[1], root, ignore=shutil.ignore_patterns("COCO2014"), copy_function=os.link)
    for mask in (root / "VOC2012" / "SegmentationClassAug").iterdir():
        mask.unlink()
    assert main([*PFENET, "--datapath", str(root), "--workers", "1", "--steps", "1", "--val-episodes", "2"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("ifsl: ") and "SegmentationClassAug" in said and "missing" in said


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("This cannot be used."), 2, "ifsl: This cannot be used.\n"),
        (
            OSError(28, "Full", "a.png"),
            2,
            "ifsl: a.png cannot be read or written (Full); look at its place and disk.\n",
        ),
        (
            OSError("encoder error"),
            2,
            "ifsl: data cannot be read or written (encoder error); look at its place and disk.\n",
        ),
        (KeyboardInterrupt(), 130, "\nifsl: Interrupted. Give the command again to go on.\n"),
        (KeyboardInterrupt("Use --resume."), 130, "\nifsl: Interrupted. Use --resume.\n"),
    ],
)
def test_every_command_line_ends_in_the_same_way(error, status, said, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(download, "run", fail)
    assert ifsl.download.main(["check"]) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("module", ["ifsl", "ifsl.tiny", "ifsl.download"])
def test_every_command_line_names_its_own_help(module):
    command = [sys.executable, "-m", module, "--rot"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("ifsl: ") and len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(f"; see python -m {module} --help\n")


def test_nothing_is_written_over(data, tmp_path, capsys):
    run = tmp_path / "logs/pascal/fold0/efficientnet_lite0/pfenet"
    run.mkdir(parents=True)
    (run / "last.ckpt").write_text("precious")
    assert main([*PFENET, *data, "--steps", "1"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (run / "last.ckpt").read_text() == "precious"


# Runs -----------------------------------------------------------------------------------------------------------------


def test_train_then_test_with_pictures(data, tmp_path, capsys):
    given = [*PFENET, *data, "--logpath", "demo", "--way", "2", "--shot", "2"]
    assert main([*given, "--steps", "2", "--val-episodes", "3"]) == 0
    folder = tmp_path / "logs/pascal/fold0/efficientnet_lite0/demo"
    assert "Best mIoU in validation" in capsys.readouterr().out
    assert {"best_model.ckpt", "last.ckpt", "metrics.csv", "settings.json"} <= {p.name for p in folder.iterdir()}
    assert json.loads((folder / "settings.json").read_text())["way"] == 2
    assert any((folder / "tensorboard").glob("events*"))

    assert main([*given, "--eval", "--episodes", "3", "--vis"]) == 0
    said = capsys.readouterr().out
    assert "ER" in said and "mIoU" in said and "void" in said
    result = json.loads((folder / "test-2way-2shot.json").read_text())
    curve = list(csv.DictReader((folder / "metrics.csv").open()))
    assert result["er"] == pytest.approx(float(curve[-1]["val_er"]), abs=1e-3)
    assert result["miou"] == pytest.approx(float(curve[-1]["val_miou"]), abs=1e-3)
    assert len(result["iou_per_class"]) == 5
    assert (folder / "test-2way-2shot.csv").is_file()
    assert [p.name for p in sorted((folder / "vis-2way-2shot").iterdir())] == ["0000.png", "0001.png", "0002.png"]
    assert Image.open(folder / "vis-2way-2shot" / "0000.png").width > 300


def test_a_result_that_cannot_be_written_fails_before_the_test(data, capsys, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("the test began")

    monkeypatch.setattr("ifsl.run.evaluation.evaluate_episodes", never)
    Path("logs").write_text("no folder")
    given = [*PFENET, *data, "--eval", "--checkpoint", "untrained", "--episodes", "2"]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert "untrained-pfenet-seed0 cannot be written" in said and said.count("\n") == 1


def test_a_table_is_printed_although_it_cannot_be_saved(data, capsys, monkeypatch):
    def full(*arguments):
        raise InputError("no room left")

    monkeypatch.setattr("ifsl.run.evaluation.Result.save", full)
    assert main([*PFENET, *data, "--eval", "--checkpoint", "untrained", "--episodes", "2"]) == 2
    said = capsys.readouterr()
    assert "mIoU" in said.out and "no room left" in said.err


def test_fs_s_from_the_command_line(data, capsys):
    given = [*PFENET, *data, "--task", "fs-s"]
    training = [*given, "--val-episodes", "3", "--val-every", "1"]
    assert main([*training, "--steps", "2"]) == 0
    assert "Best mIoU in validation" in capsys.readouterr().out
    folder = Path("logs/pascal/fold0/efficientnet_lite0/pfenet-fs-s")
    (_, row) = csv.DictReader((folder / "metrics.csv").open())
    assert list(row) == ["step", "loss", "val_miou", "val_fb_iou"]
    assert main([*training, "--steps", "3", "--resume"]) == 0
    assert len(list(csv.DictReader((folder / "metrics.csv").open()))) == 3
    assert main([*PFENET, *data, "--logpath", "pfenet-fs-s", "--steps", "4", "--resume"]) == 2
    assert "task is fs-cs, but" in capsys.readouterr().err

    checkpoint = ["--checkpoint", str(folder / "last.ckpt")]
    assert main([*given, *checkpoint, "--eval", "--episodes", "3", "--vis"]) == 0
    said = capsys.readouterr().out
    assert "FB-IoU" in said and "64 x 64" in said and "ER " not in said
    tested = folder.with_name("pfenet-fs-s-last")
    result = json.loads((tested / "test-1way-1shot-fs-s.json").read_text())
    row = list(csv.DictReader((folder / "metrics.csv").open()))[-1]
    assert result["miou"] == pytest.approx(float(row["val_miou"]), abs=1e-3)
    assert result["fb_iou"] == pytest.approx(float(row["val_fb_iou"]), abs=1e-3)
    assert len(list((tested / "vis-1way-1shot-fs-s").iterdir())) == 3
    assert main([*given, *checkpoint, "--eval", "--episodes", "3", "--shot", "5", "--own-size"]) == 0
    assert "own size" in capsys.readouterr().out
    for options, word in (
        (["--way", "2"], "one class in each episode"),
        (["--weak"], "needs the masks"),
        (["--own-size"], "add --eval"),
    ):
        assert main([*given, *options]) == 2
        assert word in capsys.readouterr().err
    assert main([*PFENET, *data, *checkpoint, "--eval", "--own-size"]) == 2
    assert "own_size" in capsys.readouterr().err


def test_the_published_prior_reaches_the_learner(data, capsys, monkeypatch):
    from ifsl.learners.pfenet import PFENet

    used = []
    compare = PFENet.compare
    monkeypatch.setattr(
        PFENet, "compare", lambda self, *given: used.append(self.published_prior) or compare(self, *given)
    )
    given = [*PFENET, *data, "--way", "2"]
    untrained = [*given, "--eval", "--checkpoint", "untrained", "--episodes", "1", "--logpath", "untrained"]
    assert main([*untrained, "--published-prior"]) == main(untrained) == 0
    assert used == [True, False]
    assert main([*given, "--published-prior", "--steps", "1", "--val-episodes", "2"]) == 0
    assert all(used[2:])
    tested = [*given, "--eval", "--episodes", "1"]
    assert main(tested) == 0 and used[-1]  # as it was trained
    last = "logs/pascal/fold0/efficientnet_lite0/pfenet/last.ckpt"
    assert main([*tested, "--checkpoint", last, "--method", "pfenet", "--backbone", "efficientnet_lite0"]) == 0
    assert used[-1]
    assert main([*given, "--steps", "2", "--val-episodes", "2", "--resume"]) == 2
    assert "published_prior is False, but" in capsys.readouterr().err


def test_an_untrained_learner_can_be_tested(data, capsys):
    assert main([*PFENET, *data, "--eval", "--checkpoint", "untrained", "--episodes", "2", "--precision", "bf16"]) == 0
    assert "2 episodes" in capsys.readouterr().out


def test_two_processes_report_what_one_does(data, tmp_path):
    # PANet, so that maps differ from episode to episode; 21 episodes make uneven shares.
    given = ["--method", "panet", *FAST, *data, "--logpath", "two", "--size", "96"]
    two = start(*given, "--devices", "cpu:2", "--steps", "2", "--lr", "1e-6", "--val-episodes", "21")
    out, err = two.communicate(timeout=400)
    assert two.returncode == 0, err[-2000:]
    assert out.count("Best mIoU") == 1
    folder = tmp_path / "logs/pascal/fold0/efficientnet_lite0/two"
    assert main([*given, "--eval", "--episodes", "21", "--checkpoint", str(folder / "last.ckpt")]) == 0
    result = json.loads((folder / "test-1way-1shot.json").read_text())
    (row,) = csv.DictReader((folder / "metrics.csv").open())
    assert float(row["val_er"]) == pytest.approx(result["er"], abs=1e-3)
    assert float(row["val_miou"]) == pytest.approx(result["miou"], abs=1e-3) != 0


def test_ctrl_c_keeps_the_last_checkpoint_and_says_how_to_go_on(data, tmp_path):
    given = [*PFENET, *data, "--val-every", "2", "--val-episodes", "2"]
    running = start(*given, "--steps", "100000")
    last = tmp_path / "logs/pascal/fold0/efficientnet_lite0/pfenet/last.ckpt"
    deadline = time.monotonic() + 300
    while not last.is_file() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err[-2000:]
    assert "--resume" in err.splitlines()[-1] and "Traceback" not in err
    step = torch.load(last, weights_only=True)["global_step"]
    assert main([*given, "--steps", str(step + 1), "--resume"]) == 0
    assert torch.load(last, weights_only=True)["global_step"] == step + 1


def test_an_interrupted_notebook_hears_the_next_interrupt_too(data, monkeypatch, capsys):
    from ifsl.run.training import Training

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "training_step", interrupt)
    handler = signal.getsignal(signal.SIGINT)
    assert main([*PFENET, *data, "--steps", "1", "--val-episodes", "1"]) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert "--resume" in capsys.readouterr().err
