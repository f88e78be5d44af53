"""Surroundings as users have them: little memory, no login, other terminals; diverging runs; others' checkpoints."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from test_training import FAST

import ifsl
from ifsl.__main__ import main
from ifsl.data import loading, workers
from ifsl.data.loading import TestEpisodes, TrainEpisodes, loader
from ifsl.errors import InputError
from ifsl.learners.learner import Learner
from ifsl.run import trainer
from ifsl.run.callbacks import Divergence, read_curve
from ifsl.run.checkpoints import load_model
from ifsl.run.devices import explain_memory
from ifsl.run.evaluation import Result
from ifsl.run.settings import Settings
from ifsl.run.training import Training, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def fast(tiny_root, tmp_path, monkeypatch):
    """Settings of a quick run; its log folder lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda **other: Settings(**(FAST | {"datapath": str(tiny_root)} | other))


def refused(caught) -> str:
    said = str(caught.value)
    assert len(said.splitlines()) == 1 and said.endswith(".") and len(said) < 600, said
    return said


# Numbers that are not numbers -----------------------------------------------------------------------------------------


def spoil_at(monkeypatch, step: int, how) -> None:
    """After so many steps, `how(module, loss)` takes the place of the loss."""
    straight = Training.training_step

    def training_step(self, batch, index):
        loss = straight(self, batch, index)
        return how(self, loss) if self.global_step == step else loss

    monkeypatch.setattr(Training, "training_step", training_step)


def spoil_weights(module, loss, value=float("nan")):
    next(p for p in module.learner.parameters() if p.requires_grad).data.fill_(value)
    return loss


DIVERGED = {
    "loss NaN": lambda module, loss: loss * float("nan"),
    "loss infinite": lambda module, loss: loss / 0,
    "loss minus infinite": lambda module, loss: -loss / 0,
    "gradient NaN": lambda module, loss: loss + (loss - loss).sqrt() * 0,
    "weights NaN": spoil_weights,
    "weights infinite": lambda module, loss: spoil_weights(module, loss, float("inf")),
}


@pytest.mark.parametrize(("kind", "step"), [("loss NaN", 0), *((kind, 3) for kind in DIVERGED)])
def test_a_run_that_diverges_stops_and_keeps_the_last_good_checkpoint(kind, step, fast, monkeypatch):
    spoil_at(monkeypatch, step, DIVERGED[kind])
    settings = fast(steps=6, val_every=2, val_episodes=2, logpath="nan")
    with pytest.raises(InputError) as caught:
        train(settings)
    said = refused(caught)
    assert "NaN or infinite" in said and "lower lr" in said
    if step == 0:
        assert not settings.folder.exists() and "checkpoint" not in said
        return
    assert str(settings.folder / "last.ckpt") in said
    for name in ("last.ckpt", "best_model.ckpt"):
        kept = torch.load(settings.folder / name, weights_only=True)
        assert kept["global_step"] == 2 and all(value.isfinite().all() for value in kept["state_dict"].values())
    assert [row["step"] for row in read_curve(settings.folder / "metrics.csv")] == ["2"]
    load_model(settings.folder)


def test_on_a_gpu_the_loss_is_looked_at_now_and_then():
    """There each look waits: every ten steps, and before a validation."""
    module = SimpleNamespace(
        device=SimpleNamespace(type="cuda"), settings=Settings(), learning_rate=1.0, learner=torch.nn.Linear(1, 1)
    )
    watch = Divergence(Path("nowhere"))
    lightning = SimpleNamespace(world_size=1, global_step=0, strategy=SimpleNamespace(reduce=lambda x: x))
    nan = {"loss": torch.tensor(float("nan"))}
    for step in range(1, 10):
        lightning.global_step = step
        watch.on_train_batch_end(lightning, module, nan)
    with pytest.raises(InputError, match="step 9"):
        watch.on_validation_start(lightning, module)
    watch.losses = [nan["loss"]]
    lightning.global_step = 10
    with pytest.raises(InputError, match="step 10"):
        watch.on_train_batch_end(lightning, module, {"loss": torch.zeros(())})


def test_a_run_that_goes_on_names_no_checkpoint_of_another_process(fast, monkeypatch):
    settings = fast(steps=6, val_every=2, val_episodes=2)
    train(fast(steps=2, val_every=2, val_episodes=2))
    spoil_at(monkeypatch, 3, DIVERGED["loss NaN"])
    with pytest.raises(InputError) as caught:
        train(settings, resume=True)
    assert "another logpath" in refused(caught) and "last good checkpoint" not in str(caught.value)


def nan_maps(monkeypatch):
    straight = Learner.maps

    def maps(self, *given, **more):
        found = straight(self, *given, **more)
        return found._replace(log_prob=found.log_prob * float("nan"))

    monkeypatch.setattr(Learner, "maps", maps)


def test_maps_of_nan_are_no_result(fast, monkeypatch, tiny_root):
    settings = fast(steps=2, val_every=2)
    model = ifsl.build_model("pfenet", "efficientnet_lite0", width=8)
    nan_maps(monkeypatch)
    with pytest.raises(InputError, match="maps are no number.*at step 2"):
        train(settings)
    assert not settings.folder.exists()
    with pytest.raises(InputError, match="maps of pfenet hold NaN"):
        ifsl.evaluate(model, ifsl.Benchmark("pascal", tiny_root), episodes=2, size=64, workers=0, device="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_checkpoint_of_nan_is_refused(value, fast, tmp_path):
    model = ifsl.build_model("pfenet", "efficientnet_lite0", width=8)
    state = model.state_dict()
    weight = next(v for v in state.values() if v.is_floating_point())
    weight[(0,) * weight.dim()] = value
    torch.save({"state_dict": state}, tmp_path / "nan.ckpt")
    with pytest.raises(InputError, match="nan.ckpt holds NaN"):
        load_model(tmp_path / "nan.ckpt")


# Memory ---------------------------------------------------------------------------------------------------------------

NO_MEMORY = {
    "computer": [
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        MemoryError(),
        MemoryError("Unable to allocate 9.00 GiB for an array"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a memory object"),
        RuntimeError("[Errno 12] Cannot allocate memory"),
    ],
    "GPU": [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("HIP out of memory."),
    ],
    "shared": [
        RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2>: No space left on device (28)"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"),
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        RuntimeError("unable to write to file </torch_9_1_0>: No space left on device (28)"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
    ],
}


@pytest.mark.parametrize(("whose", "error"), [(whose, error) for whose, some in NO_MEMORY.items() for error in some])
def test_memory_that_ran_out_is_one_sentence(whose, error, fast, monkeypatch, tiny_root):
    def fails(*_, **__):
        raise error

    model = ifsl.build_model("pfenet", "efficientnet_lite0", width=8)
    monkeypatch.setattr(Learner, "maps", fails)
    settings = fast(logpath="memory")
    with pytest.raises(InputError) as tested:
        ifsl.evaluate(model, ifsl.Benchmark("pascal", tiny_root), episodes=2, size=64, batch=2, workers=0, device="cpu")
    with pytest.raises(InputError) as trained:
        train(settings)
    for said, batch in ((refused(tested), "batch (2)"), (refused(trained), "bsz (2)")):
        words = ["workers", "/dev/shm"] if whose == "shared" else [whose, batch, "size (64)", "shot (1)"]
        assert all(word in said for word in words), said
    assert not settings.folder.exists()


@pytest.mark.parametrize("error", [RuntimeError("shape '[2]' is invalid"), ValueError("memory"), RuntimeError("")])
def test_other_errors_are_not_about_memory(error):
    assert explain_memory(error, "testing", batch=1) is None


@pytest.mark.parametrize(
    ("megabytes", "size", "shot", "batch", "expected"),
    [
        (64, 400, 1, 8, 0),
        (64, 400, 5, 12, 0),
        (64, 64, 1, 2, 4),
        (64, 272, 1, 1, 4),
        (1024, 400, 1, 8, 4),
        (0, 64, 1, 1, 0),
    ],
)
def test_processes_that_read_ahead_fit_into_shared_memory(
    megabytes, size, shot, batch, expected, tiny_root, monkeypatch
):
    bench = ifsl.Benchmark("pascal", tiny_root)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=megabytes * 256, f_frsize=4096))
    for data in (TestEpisodes(bench, 1, shot, 4, size), TrainEpisodes(bench, 1, shot, size)):
        assert loader(data, batch, 4).num_workers <= 4
        assert (loader(data, batch, 4).num_workers == 0) == (expected == 0)


def test_no_limit_where_there_is_no_such_disk(tiny_root, monkeypatch):
    monkeypatch.setattr(loading, "SHARED_MEMORY", "/nowhere/at/all")
    assert loader(TestEpisodes(ifsl.Benchmark("pascal", tiny_root), episodes=4), 1, 5).num_workers == 5


# Scripts --------------------------------------------------------------------------------------------------------------

SCRIPT = """
import ifsl
bench = ifsl.Benchmark("pascal", root={root!r}, fold=0, split="val")
model = ifsl.build_model("pfenet", "efficientnet_lite0", width=8)
print(ifsl.evaluate(model, bench, way=1, shot=1, episodes=4, size=64, progress=False, device="cpu").settings["way"])
"""


def test_an_example_of_the_readme_runs_as_a_plain_script(tiny_root, tmp_path):
    """Where processes are spawned, each would run the script again."""
    start = "spawn"
    (tmp_path / "script.py").write_text(SCRIPT.format(root=str(tiny_root)))
    (tmp_path / "sitecustomize.py").write_text(f"import multiprocessing\nmultiprocessing.set_start_method({start!r})\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], env=env, capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (0, "1\n", False), done.stderr


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("print(1)\n", False),
        ("def main():\n    pass\nmain()\n", False),
        ("if __name__ == '__main__':\n    print(1)\n", True),
        ('if "__main__" == __name__: print(1)\n', True),
        ("# ä\nprint(1)\n".encode("latin-1"), False),
        (None, True),
    ],
)
def test_whether_processes_would_run_the_script_again(script, expected, tmp_path, monkeypatch, tiny_root):
    path = tmp_path / "script.py"
    if script is not None:
        path.write_bytes(script.encode() if isinstance(script, str) else script)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(path)))
    assert workers.can_start_processes() is expected
    data = TestEpisodes(ifsl.Benchmark("pascal", tiny_root), episodes=2, size=64)
    monkeypatch.setattr(loading.multiprocessing, "get_start_method", lambda: "spawn")
    assert (loader(data, 1, 2).num_workers > 0) is expected
    monkeypatch.setattr(loading.multiprocessing, "get_start_method", lambda: "fork")
    assert loader(data, 1, 2).num_workers == 2
    assert expected or workers.spread(abs, range(-60, 0), "", "") == [*range(60, 0, -1)]


def test_a_notebook_can_start_processes(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace())
    assert workers.can_start_processes()


# Weights & Biases, terminals ------------------------------------------------------------------------------------------


class UsageError(Exception):
    """As wandb has one."""


@pytest.mark.parametrize(
    "error",
    [
        UsageError("api_key not configured (no-tty). call wandb.login(key=[your_api_key])"),
        UsageError("No API key configured. Use `wandb login` to log in\nmore lines"),
        ConnectionError("Network error"),
        PermissionError(13, "Permission denied"),
        TimeoutError(),
        AttributeError("module 'wandb' has no attribute 'init'"),  # a folder called wandb
    ],
)
def test_wandb_without_login_is_one_sentence_and_blocks_nothing(error, fast, monkeypatch):
    class Logger:
        def __init__(self, save_dir, **_):
            Path(save_dir).mkdir(parents=True)
            (Path(save_dir) / "wandb").mkdir()

        @property
        def experiment(self):
            raise error

    monkeypatch.setattr(trainer, "WandbLogger", Logger)
    monkeypatch.setattr(trainer, "find_spec", lambda name: name)
    settings = fast(nowandb=False, steps=1, val_every=1, val_episodes=2)
    with pytest.raises(InputError) as caught:
        train(settings)
    assert "wandb login" in refused(caught) and "nowandb" in str(caught.value)
    assert not settings.folder.exists()
    train(fast(steps=1, val_every=1, val_episodes=2))


TESTED = ["--method", "pfenet", "--width", "8", "--backbone", "efficientnet_lite0", "--size", "64", "--workers", "0"]
TESTED += ["--devices", "cpu", "--eval", "--checkpoint", "untrained", "--episodes", "2"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "koi8-r", "utf-8"])
def test_results_reach_the_disk_and_any_terminal(encoding, fast, monkeypatch, tiny_root):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main([*TESTED, "--datapath", str(tiny_root), "--logpath", "out"]) == 0
    out.flush()
    assert "mIoU" in out.buffer.getvalue().decode(encoding)
    assert sorted(os.listdir("logs/pascal/fold0/efficientnet_lite0/out")) == [
        "test-1way-1shot.csv",
        "test-1way-1shot.json",
    ]
    assert main([*TESTED, "--datapath", str(tiny_root), "--logpath", "日本/../é"]) == 2


def test_results_of_a_folder_whose_name_is_no_text_reach_the_disk(fast, tiny_root):
    data = os.fsdecode(b"caf\xe9")
    os.symlink(tiny_root, data)
    assert main([*TESTED, "--datapath", data, "--logpath", "out"]) == 0
    assert Result.load("logs/pascal/fold0/efficientnet_lite0/out/test-1way-1shot.json").settings["data"] == data


def test_results_reach_the_disk_where_nobody_reads_them(fast, monkeypatch, tiny_root):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    assert main([*TESTED, "--datapath", str(tiny_root), "--logpath", "out"]) == 2
    assert len(os.listdir("logs/pascal/fold0/efficientnet_lite0/out")) == 2


# Checkpoints ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pfenet():
    torch.manual_seed(0)
    return ifsl.build_model("pfenet", "efficientnet_lite0", width=8)


WRAPPED = {
    "DataParallel": lambda name: f"module.{name}",
    "twice": lambda name: f"module.module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled in DDP": lambda name: f"module._orig_mod.{name}",
    "a learner's part in DDP": lambda name: name.replace("learner.", "learner.module.", 1),
    "an attribute": lambda name: f"model.{name}",
    "an attribute in DDP": lambda name: f"module.net.{name}",
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_names_load(kind, pfenet, tmp_path):
    state = {WRAPPED[kind](name): value for name, value in pfenet.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    found = load_model(tmp_path / "a.ckpt").state_dict()
    assert all(torch.equal(value, found[name]) for name, value in pfenet.state_dict().items())


HELD = {
    "float64": (np.float64(0.5), 0.5),
    "float32": (np.float32(0.5), 0.5),
    "int64": (np.int64(7), 7),
    "uint8": (np.uint8(7), 7),
    "bool": (np.bool_(True), True),
    "a path": (PurePosixPath("data/tiny"), "data/tiny"),
    "a path of Windows": (PureWindowsPath("data\\tiny"), "data\\tiny"),
}


@pytest.mark.parametrize("kind", HELD)
def test_numbers_of_numpy_and_paths_among_hyperparameters(kind, pfenet, tmp_path):
    value, plain = HELD[kind]
    torch.save({"state_dict": pfenet.state_dict(), "hyper_parameters": {"given": value}}, tmp_path / "a.ckpt")
    given = load_model(tmp_path / "a.ckpt").settings["given"]
    assert given == plain and type(given) is type(plain)


OTHER_PLACES = {
    "a number of NumPy 1": (np.float64(0.5), b"numpy._core.multiarray\n", b"numpy.core.multiarray\n", 0.5),
    "a path of Python 3.13": (PurePosixPath("data"), b"cpathlib\n", b"cpathlib._local\n", "data"),
    "a path of Python 3.12": (PurePosixPath("data"), b"cpathlib._local\n", b"cpathlib\n", "data"),
}
"""What is held, the place that its file names here and the place that it names there, and what it becomes."""


@pytest.mark.parametrize("kind", OTHER_PLACES)
def test_files_of_other_versions_name_other_places(kind, pfenet, tmp_path):
    value, here, there, plain = OTHER_PLACES[kind]
    torch.save({"state_dict": pfenet.state_dict(), "hyper_parameters": {"given": value}}, tmp_path / "a.ckpt")
    with zipfile.ZipFile(tmp_path / "a.ckpt") as old, zipfile.ZipFile(tmp_path / "b.ckpt", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(here, there))
    assert load_model(tmp_path / "b.ckpt").settings["given"] == plain
