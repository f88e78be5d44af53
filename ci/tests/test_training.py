"""Training: optimisers, exact resuming, checkpoints, the feature cache; with a narrow PFENet on small pictures."""

import codecs
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ifsl import InputError, build_model
from ifsl.__main__ import fit
from ifsl.data.benchmarks import Benchmark
from ifsl.data.loading import TestEpisodes, collate
from ifsl.learners import learner_class
from ifsl.learners.learner import Learner
from ifsl.run import trainer, training
from ifsl.run.callbacks import Keeper, read_curve
from ifsl.run.checkpoints import best_checkpoint, load_model, save_learner
from ifsl.run.devices import Hardware, find_hardware, parse_devices
from ifsl.run.feature_cache import FeatureCache
from ifsl.run.resuming import WholeFiles, find_last, read_checkpoint
from ifsl.run.settings import OPTIONS, Settings
from ifsl.run.training import train

FAST = {"method": "pfenet", "backbone": "efficientnet_lite0", "width": 8, "size": 64, "bsz": 2, "workers": 0}
FAST |= {"val_every": 10, "val_episodes": 6, "steps": 2, "nowandb": True, "devices": "cpu"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def fast(tiny_root, tmp_path, monkeypatch):
    """Settings of a quick run; its log folder lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda **other: Settings(**(FAST | {"datapath": str(tiny_root)} | other))


def checkpoint(folder: Path, name: str = "last.ckpt") -> dict:
    return torch.load(folder / name, weights_only=True)


KILLED = """
import os, signal
from ifsl.run.settings import Settings
from ifsl.run.training import Training, train
step = Training.training_step
def fatal(self, batch, index):
    if self.global_step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, index)
Training.training_step = fatal
train(Settings(**{settings!r}))
"""


def train_and_kill(settings: Settings, step: int) -> None:
    """Train in a process that kills itself during a step."""
    env = os.environ | {"PYTHONPATH": str(Path(training.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    code = KILLED.format(settings=settings.plain(), step=step)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_and_resumed_run_is_the_undisturbed_one_bit_for_bit(fast):
    straight = train(fast(logpath="straight", steps=40, decay=True))
    settings = fast(logpath="killed", steps=40, decay=True, workers=1)
    train_and_kill(settings, 27)
    assert checkpoint(settings.folder)["global_step"] == 20
    (settings.folder / "last.ckpt.part").write_bytes(b"broken off")

    killed = train(fast(logpath="killed", steps=40, decay=True), resume=True)
    one, other = checkpoint(straight), checkpoint(killed)
    assert one["global_step"] == other["global_step"] == 40
    assert all(torch.equal(one["state_dict"][name], other["state_dict"][name]) for name in one["state_dict"])
    momenta = [[s["momentum_buffer"] for s in c["optimizer_states"][0]["state"].values()] for c in (one, other)]
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(*momenta, strict=True))
    assert (straight / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()
    assert one["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-9)  # decay's end
    steps = [int(row["step"]) for row in read_curve(straight / "metrics.csv")]
    assert steps == [10, 20, 30, 40]

    with pytest.raises(InputError, match="holds a run already"):
        train(settings)
    for other, named in (({"seed": 1}, "seed is 1"), ({"bsz": 3}, "bsz times"), ({"steps": 50}, "decay")):
        with pytest.raises(InputError, match=named):
            train(fast(**({"logpath": "killed", "steps": 40, "decay": True} | other)), resume=True)


def test_a_run_that_is_killed_before_its_first_validation_goes_on(fast):
    straight = train(fast(logpath="straight", steps=30, val_every=15))
    settings = fast(logpath="killed", steps=30, val_every=15, workers=0)
    train_and_kill(settings, 13)
    assert checkpoint(settings.folder)["global_step"] == 10 and not (settings.folder / "best_model.ckpt").exists()
    killed = train(settings, resume=True)
    assert (straight / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()
    one, other = checkpoint(straight)["state_dict"], checkpoint(killed)["state_dict"]
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_run_is_left_as_it_is(fast):
    folder = train(fast(steps=3))
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert train(fast(steps=2), resume=True) == folder
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_longer_run_goes_on_from_a_finished_one_and_keeps_its_best(fast):
    folder = train(fast(steps=3, val_every=2))
    assert [row["step"] for row in read_curve(folder / "metrics.csv")] == ["2", "3"]
    train(fast(steps=5, val_every=2), resume=True)
    assert [row["step"] for row in read_curve(folder / "metrics.csv")] == ["2", "3", "4", "5"]
    assert checkpoint(folder)["global_step"] == 5


def test_the_same_seed_gives_the_same_losses_and_another_one_others(fast):
    curves = [
        [row["loss"] for row in read_curve(train(fast(logpath=name, seed=seed, val_every=1)) / "metrics.csv")]
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    ]
    assert curves[0] == curves[1] != curves[2]


def test_a_checkpoint_holds_what_was_trained_under_the_published_names(fast):
    folder = train(fast())
    held = checkpoint(folder)
    assert "learner.cls.0.weight" in held["state_dict"]
    assert not any(name.startswith("backbone") for name in held["state_dict"])  # ImageNet's, unchanged
    assert held["settings"]["method"] == "pfenet" and held["settings"]["size"] == 64
    model = load_model(best_checkpoint(folder))
    assert model.image_size == 64 and model.width == 8
    assert torch.equal(model.state_dict()["learner.res1.0.weight"], held["state_dict"]["learner.res1.0.weight"])
    whole = build_model("pfenet", "efficientnet_lite0", pretrained=True, width=8).state_dict()
    assert all(torch.equal(model.state_dict()[name], whole[name]) for name in whole if name.startswith("backbone"))


def test_a_run_can_start_from_a_checkpoint_of_the_same_learner(fast):
    first = train(fast(steps=1, logpath="first"))
    kept = save_learner(load_model(first), first / "kept.safetensors")
    for start in (str(first / "last.ckpt"), str(kept)):
        folder = train(fast(steps=1, lr=1e-9, logpath=f"on-{Path(start).name}", start=start))
        for name, weight in checkpoint(first)["state_dict"].items():
            torch.testing.assert_close(checkpoint(folder)["state_dict"][name], weight, atol=1e-3, rtol=1e-3)
    for given, named in (
        ({"start": "nowhere.ckpt"}, "nowhere.ckpt"),
        ({"start": str(kept), "width": 16}, "another size"),
        ({"start": str(kept), "method": "asnet", "width": None}, "not asnet"),
    ):
        with pytest.raises(InputError, match=named):
            train(fast(logpath="refused", **given))
    with pytest.raises(InputError, match="start is"):
        train(fast(logpath=f"on-{kept.name}", steps=2, lr=1e-9), resume=True)


def test_a_backbone_without_imagenet_weights_is_kept(fast):
    held = checkpoint(train(fast(pretrained=False, steps=1)))
    assert any(name.startswith("backbone0") for name in held["state_dict"])


def test_weak_training_reads_no_mask_and_is_chosen_by_er(fast, monkeypatch):
    handed = []
    maps = Learner.maps

    def watched(self, query, supports, masks=None, **more):
        handed.append(masks)
        return maps(self, query, supports, masks, **more)

    monkeypatch.setattr(Learner, "maps", watched)
    folder = train(fast(weak=True, steps=1))
    assert len(handed) == 5 and set(handed) == {None}  # the trial, a step, three batches of the validation
    assert folder.name == "pfenet-weak"
    assert checkpoint(folder)["callbacks"]["Keeper"]["best"] == pytest.approx(
        float(read_curve(folder / "metrics.csv")[0]["val_er"]), abs=1e-3
    )


def test_weak_hands_no_masks_to_the_learner(tiny_root):
    handed = []
    learner = SimpleNamespace(maps=lambda query, supports, masks, features: handed.append(masks))
    module = SimpleNamespace(cache=None, learner=learner, settings=Settings(weak=True))
    training.Training.maps(module, {"query": 1, "supports": 2, "masks": 3})
    module.settings = Settings()
    training.Training.maps(module, {"query": 1, "supports": 2, "masks": 3})
    assert handed == [None, 3]


def test_several_ways_and_bf16(fast):
    folder = train(fast(way=2, shot=2, precision="bf16"))
    assert float(read_curve(folder / "metrics.csv")[-1]["loss"]) > 0


# Optimiser and data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ({"method": "asnet"}, torch.optim.Adam, {"lr": 1e-3}),
        ({"method": "asnethm"}, torch.optim.Adam, {"lr": 1e-3}),
        ({"method": "hsnet", "weak": True}, torch.optim.Adam, {"lr": 1e-4}),
        ({"method": "asnet", "weak": True, "lr": 0.01}, torch.optim.Adam, {"lr": 0.01}),
        ({"method": "panet"}, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}),
        ({"method": "pfenet"}, torch.optim.SGD, {"lr": 0.0025, "momentum": 0.9, "weight_decay": 1e-4}),
    ],
)
def test_the_optimiser_is_the_published_one(given, kind, expected):
    settings = Settings(**given)
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = learner_class(settings.method).optimizer(parameters, settings.lr, settings.weak)
    assert type(optimizer) is kind
    assert {name: optimizer.param_groups[0][name] for name in expected} == expected


def test_training_has_one_shot_and_validation_as_many_as_asked(tiny_root):
    root = {"root": tiny_root, "fold": 0}
    trn, val = (Benchmark("pascal", split=split, **root) for split in ("trn", "val"))
    learner = build_model("pfenet", "efficientnet_lite0", width=8)
    module = training.Training(learner, Settings(**(FAST | {"way": 2, "shot": 3})), trn, val)
    drawn = module.trn.draw(0, 0)
    assert [len(shots) for shots in drawn.support] == [1, 1]
    assert [len(shots) for shots in module.val.draws[0].support] == [3, 3]
    assert module.learner.training and not module.learner.backbone2.training  # batch norm of a frozen backbone


# Cache ----------------------------------------------------------------------------------------------------------------


def test_kept_features_give_the_same_losses(fast):
    plain, kept = (
        [
            float(row["loss"])
            for row in read_curve(
                train(fast(logpath=f"{kept}", cache_features=kept, steps=6, val_every=2)) / "metrics.csv"
            )
        ]
        for kept in (False, True)
    )
    assert plain == pytest.approx(kept, rel=1e-4)


@pytest.mark.parametrize(("method", "size"), [("asnet", 257), ("asnethm", 257), ("hsnet", 96), ("pfenet", 64)])
def test_each_picture_is_encoded_once_and_nothing_changes(method, size, tiny_root):
    bench = Benchmark("pascal", tiny_root, split="val")
    data = TestEpisodes(bench, way=2, shot=2, episodes=2, size=size)
    batch = collate([data[0], data[1]])
    model = build_model(method, "efficientnet_lite0", pretrained=True)
    given = batch["query"], batch["supports"], batch["masks"]
    with torch.inference_mode():
        expected = model.maps(*given)
    asked = []
    for name in ("encode_query", "encode_support"):
        ask = getattr(model, name)
        setattr(model, name, lambda *args, ask=ask: asked.append(len(args[0])) or ask(*args))
    cache = FeatureCache(model)
    with torch.inference_mode():
        for _ in range(2):
            found = model.maps(*given, features=cache.features(batch["draws"], *given))
    assert set(asked) == {1} and len(asked) == len(cache.kept)
    assert torch.allclose(found.log_prob, expected.log_prob, atol=1e-4)
    assert torch.equal(found.presence, expected.presence)


def test_a_trained_backbone_has_nothing_to_keep():
    with pytest.raises(InputError, match="trains its backbone"):
        FeatureCache(build_model("panet", "efficientnet_lite0"))


# Checkpoints ----------------------------------------------------------------------------------------------------------


def keeper(folder: Path, scores: list[float]) -> Keeper:
    """A keeper that has seen validations with these scores; a checkpoint is a file with the score."""
    made = Keeper(folder, "val_miou")
    validate(made, scores)
    return made


def validate(made: Keeper, scores: list[float]) -> None:
    for score in scores:
        trainer = SimpleNamespace(callback_metrics={"val_miou": torch.tensor(score)})
        trainer.save_checkpoint = lambda path, score=score: Path(path).write_text(str(score))
        made.on_validation_end(trainer, None)


def test_the_best_and_the_last_are_kept_and_a_resumed_run_makes_a_new_version(tmp_path):
    first = keeper(tmp_path, [1, 3, 2])
    read = lambda name: float((tmp_path / f"{name}.ckpt").read_text())  # noqa: E731
    assert (read("best_model"), read("last")) == (3, 2)
    resumed = Keeper(tmp_path, "val_miou")
    resumed.load_state_dict(first.state_dict())
    validate(resumed, [2.5])
    assert not (tmp_path / "best_model-v1.ckpt").exists()
    validate(resumed, [4, 5])
    assert (read("best_model"), read("best_model-v1"), read("last")) == (3, 5, 5)
    keeper(tmp_path, [6])
    assert best_checkpoint(tmp_path).name == "best_model-v2.ckpt"


def test_a_best_checkpoint_is_never_alone(tmp_path):
    written, trainer = [], SimpleNamespace(callback_metrics={"val_miou": torch.tensor(1.0)})
    trainer.save_checkpoint = lambda path: written.append(path.stem)
    made = Keeper(tmp_path, "val_miou")
    made.on_validation_end(trainer, None)
    assert written[:2] == ["last", "best_model"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_write_that_fails_leaves_the_checkpoint_before(tmp_path, monkeypatch, error):
    path, files = tmp_path / "last.ckpt", WholeFiles()
    files.save_checkpoint({"step": 1}, path)

    def half(held, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(InputError, match="cannot be written"):
        files.save_checkpoint({"step": 2}, path)
    assert torch.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_what_cannot_be_resumed_is_refused(fast, tmp_path):
    with pytest.raises(InputError, match="no run in .* to resume"):
        train(fast(), resume=True)
    folder = fast().folder
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"none")
    with pytest.raises(InputError, match="no checkpoint of a run that can be resumed"):
        train(fast(), resume=True)


@pytest.fixture(scope="module")
def finished(tiny_root, tmp_path_factory) -> Path:
    """The log folder of a run of two steps with a validation after each, which the tests below take copies of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("finished"))
        return train(Settings(**FAST | AGAIN | {"datapath": str(tiny_root), "steps": 2})).absolute()


AGAIN = {"steps": 3, "val_every": 1, "val_episodes": 2}


@pytest.fixture
def again(finished, fast) -> Settings:
    """Settings of one step more for a copy of the finished run."""
    settings = fast(**AGAIN)
    shutil.copytree(finished, settings.folder)
    return settings


def change(settings: Settings, how) -> Path:
    """Change the last checkpoint of a run by `how(checkpoint)`; returns its path."""
    held = checkpoint(settings.folder)
    how(held)
    torch.save(held, settings.folder / "last.ckpt")
    return settings.folder / "last.ckpt"


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def put_nothing(last: Path) -> None:
    pass


def put_a_link(last: Path) -> None:
    last.symlink_to("gone.ckpt")


@pytest.mark.parametrize("put", [put_nothing, put_a_link, Path.mkdir])
def test_a_run_whose_last_checkpoint_is_gone_is_not_begun_anew(put, again):
    (again.folder / "last.ckpt").unlink()
    put(again.folder / "last.ckpt")
    before = files(again.folder)
    with pytest.raises(InputError, match=r"last\.ckpt is missing"):
        train(again, resume=True)
    assert files(again.folder) == before


def test_a_run_that_was_broken_off_before_its_first_best_checkpoint_gets_it(again):
    """That of the last step: it is written first, so that it is always there."""
    (again.folder / "best_model.ckpt").unlink()
    last = checkpoint(again.folder)["state_dict"]
    train(again, resume=True)
    best = checkpoint(again.folder, "best_model.ckpt")["state_dict"]
    assert all(torch.equal(best[name], last[name]) for name in last)


def test_a_run_goes_on_with_its_lists_wherever_they_are(again, tiny_root, tmp_path):
    for name in ("moved", "turned"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "VOC2012").symlink_to(tiny_root / "VOC2012")
        shutil.copytree(tiny_root / "splits", tmp_path / name / "splits")
    for path in (tmp_path / "turned").rglob("val/fold0.txt"):
        path.write_text("\n".join(reversed(path.read_text().splitlines())))
    for given in ({"lists": str(tmp_path / "turned" / "splits")}, {"datapath": str(tmp_path / "turned")}):
        with pytest.raises(InputError, match="turned.* are not those that .*last.ckpt was begun with"):
            train(Settings(**again.plain() | given), resume=True)
    assert train(Settings(**again.plain() | {"datapath": str(tmp_path / "moved")}), resume=True) == again.folder


def put(*names):
    """A change of a checkpoint: the last of `names` stands in the place that those before it lead to."""
    *way, place, value = names

    def change(held):
        for name in way:
            held = held[name]
        held[place] = value

    return change


PARTS = ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "settings")
SPOILED = {f"no {name}": lambda held, name=name: held.pop(name) for name in (*PARTS, "pytorch-lightning_version")}
SPOILED |= {
    "steps as text": put("global_step", "2"),
    "no loop": put("loops", {}),
    "nothing for loops": put("loops", None),
    "no optimiser": put("optimizer_states", []),
    "a best score of text": put("callbacks", "Keeper", "best", "x"),
    "weights of text": put("state_dict", "down_qry.0.weight", "x"),
    "sparse weights": put("state_dict", "down_qry.0.weight", torch.ones(2).to_sparse()),
    "weights without values": put("state_dict", "down_qry.0.weight", torch.ones(2, device="meta")),
}


def flip_a_bit(path: Path) -> None:
    """Of the middle of the largest part of a file that PyTorch wrote."""
    with zipfile.ZipFile(path) as file:
        part = max(file.infolist(), key=lambda one: one.file_size)
    content = bytearray(path.read_bytes())
    content[part.header_offset + 128 + part.file_size // 2] ^= 1  # the part follows its head, which is short
    path.write_bytes(content)


def test_a_damaged_last_checkpoint_is_refused_and_the_best_one_can_take_its_place(again):
    folder = again.folder
    last, best = folder / "last.ckpt", folder / "best_model.ckpt"
    flip_a_bit(last)
    with pytest.raises(
        InputError, match=r"last\.ckpt is no checkpoint .*BadZipFile.* put a copy of best_model\.ckpt in"
    ):
        read_checkpoint(last)
    with pytest.raises(InputError, match="broken or no checkpoint .BadZipFile"):
        load_model(last)
    shutil.copy(best, folder / "best_model-v1.ckpt")
    last.unlink()
    with pytest.raises(InputError, match=r"put a copy of best_model-v1\.ckpt in its place, or start a new run"):
        find_last(folder)


@pytest.mark.parametrize("kind", SPOILED)
def test_a_checkpoint_without_what_resuming_needs(kind, again):
    last = change(again, SPOILED[kind])
    with pytest.raises(InputError, match=r"last\.ckpt is no checkpoint of a run that can be resumed"):
        read_checkpoint(last)


def test_a_run_does_not_go_on_from_weights_that_are_no_numbers(again):
    change(again, put("state_dict", "down_qry.0.weight", torch.full((8, 152, 1, 1), float("nan"))))
    with pytest.raises(InputError, match=r"last\.ckpt holds NaN") as caught:
        train(again, resume=True)
    assert "last good checkpoint" not in str(caught.value)


UNFIT = {
    "weights of another shape": put("state_dict", "down_qry.0.weight", torch.zeros(3)),
    "an empty optimiser": put("optimizer_states", 0, {}),
    "momentum of another shape": put("optimizer_states", 0, "state", 0, {"momentum_buffer": torch.zeros(3)}),
    "a number for a loop": put("loops", "fit_loop", "epoch_loop.batch_progress", 5),
    "loops without steps": lambda held: held["loops"]["fit_loop"].pop(
        "epoch_loop.automatic_optimization.optim_progress"
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_checkpoint_whose_parts_do_not_fit(kind, again):
    change(again, UNFIT[kind])
    with pytest.raises(InputError, match=r"last\.ckpt cannot be resumed") as caught:
        train(again, resume=True)
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_from_before_a_setting_existed_is_resumed(fast):
    folder = train(fast(steps=1))
    held = checkpoint(folder)
    del held["settings"]["published_prior"], held["settings"]["entries"]
    torch.save(held, folder / "last.ckpt")
    with pytest.raises(InputError, match="published_prior is True, but .* was begun with False"):
        train(fast(steps=2, published_prior=True), resume=True)
    assert checkpoint(train(fast(steps=2), resume=True))["global_step"] == 2
    assert set(OPTIONS) <= set(Settings.fixed())


def test_what_cannot_be_read_or_compared_is_refused_before_anything_is_written(fast, monkeypatch):
    def refuse(*_):
        raise InputError("This episode does not fit.")

    monkeypatch.setattr(training, "check_episode", refuse)
    with pytest.raises(InputError, match="does not fit"):
        train(fast())
    assert not Path("logs").exists()


def test_the_trial_leaves_the_learner_and_the_random_numbers_as_they_were(tiny_root):
    trn, val = (Benchmark("pascal", tiny_root, split=split) for split in ("trn", "val"))
    learner = build_model("panet", "efficientnet_lite0")  # its batch norm gathers statistics in training
    module = training.Training(learner, Settings(**FAST | {"method": "panet", "width": None}), trn, val)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    state = torch.get_rng_state()
    module.try_episode()
    assert module.learner.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_a_broken_last_row_of_the_curve_is_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss,val_er,val_miou\n10,0.5,,\n20,0.4,50.0,10.0\n30,0.")
    assert [row["step"] for row in read_curve(tmp_path / "metrics.csv")] == ["10", "20"]


HEAD = "step,loss,val_er,val_miou\n"


@pytest.mark.parametrize(
    "content",
    [
        (HEAD + "1,0.5,,\n").replace(",", ";").encode(),
        b"1,0.5,50.0,1.0\n2,0.5,50.0,1.0\n",
        (HEAD + "one,0.5,,\n").encode(),
        (HEAD + "1,,50.0,10.0\n").encode(),
        (HEAD + "1,0.5,50.0,much\n").encode(),
        (HEAD + "1,0.5,,\n").replace("val_er", "val_fb_iou").encode(),
        (HEAD + "1,0.5,,\n").encode("utf-16"),
        bytes(range(256)),
    ],
    ids=["semicolons", "no header", "step", "loss", "score", "other scores", "UTF-16", "bytes"],
)
def test_a_curve_that_training_did_not_write_is_refused_before_a_step(content, again):
    path = again.folder / "metrics.csv"
    path.write_bytes(content)
    before = files(again.folder)
    with pytest.raises(InputError, match=r"metrics\.csv is not as training wrote it"):
        train(again, resume=True)
    assert files(again.folder) == before


@pytest.mark.parametrize("content", [None, b"", HEAD.encode(), codecs.BOM_UTF8 + HEAD.encode()])
def test_a_finished_run_without_a_row_has_no_best_score(content, again, capsys):
    path = again.folder / "metrics.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    fit(Settings(**again.plain() | {"steps": 2}), resume=True)
    assert "no validation" in capsys.readouterr().out


def test_a_curve_with_the_mark_of_windows(tmp_path):
    (tmp_path / "metrics.csv").write_text(HEAD + "10,0.5,,\n", encoding="utf-8-sig")
    assert read_curve(tmp_path / "metrics.csv", ("val_er", "val_miou"))[0]["step"] == "10"


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"method": "resnet"}, "method is 'resnet'"),
        ({"benchmark": "voc"}, "benchmark is 'voc'"),
        ({"backbone": "vgg"}, "backbone is 'vgg'"),
        ({"fold": 4}, "fold is 4"),
        ({"fold": True}, "fold is True"),
        ({"way": 0}, "way is 0"),
        ({"shot": 1.5}, "shot is 1.5"),
        ({"bsz": -1}, "bsz is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"niter": None}, "niter is None"),
        ({"workers": -1}, "workers is -1"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": "fast"}, "lr is 'fast'"),
        ({"precision": "64"}, "precision is '64'"),
        ({"logpath": "../elsewhere"}, "logpath is"),
        ({"logpath": "/tmp"}, "logpath is"),
        ({"logpath": ""}, "logpath is"),
        ({"logpath": "a\0b"}, "cannot be written as text"),
        ({"logpath": "a\udcffb"}, "cannot be written as text"),
        ({"width": 64}, "width is an option of pfenet"),
        ({"published_prior": True}, "published_prior is an option of pfenet"),
        (
            {"method": "hsnet", "published_prior": True},
            "published_prior is an option of pfenet.* leave it out for hsnet",
        ),
        ({"method": "pfenet", "published_prior": 1}, "published_prior is 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, named):
    with pytest.raises(InputError, match=named):
        Settings(**given)


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("1", 0, ("auto", 1)),
        ("auto", 0, ("auto", 1)),
        ("cpu", 2, ("cpu", 1)),
        ("cpu:2", 0, ("cpu", 2)),
        ("1", 2, ("cuda", [0])),
        ("2", 2, ("cuda", [0, 1])),
        ("1,3", 4, ("cuda", [1, 3])),
        ("auto", 4, ("cuda", 4)),
    ],
)
def test_devices(text, gpus, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert parse_devices(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "gpu", "cpu:0", "cpu:x", "", "1,", "0,1", "5", "1.5"])
def test_devices_that_are_not_there(text, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="devices is"):
        parse_devices(text)


def test_gpus_are_not_replaced_by_processes_of_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="this machine has 0 GPUs; .* cpu:2"):
        parse_devices("2")


def test_the_hardware_has_a_number_of_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_hardware(Settings(devices="1,3", nodes=2, precision="16")) == Hardware("cuda", [1, 3], 4)
    assert find_hardware(Settings(devices="auto")).processes == 4
    assert find_hardware(Settings(devices="cpu:2", nodes=3)).processes == 6
    with pytest.raises(InputError, match="precision 16 needs a GPU"):
        find_hardware(Settings(devices="cpu", precision="16"))


@pytest.mark.parametrize(
    ("installed", "nowandb", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_weights_and_biases_where_it_is_installed_and_wanted(installed, nowandb, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(trainer, "WandbLogger", lambda **given: SimpleNamespace(experiment=None, **given))
    found = trainer.build_loggers(Settings(nowandb=nowandb, logpath="demo"))
    assert [one.name for one in found[1:]] == (["pascal-fold0-resnet50-demo"] if expected else [])


def test_what_lightning_refuses_is_an_input_error():
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    with pytest.raises(InputError, match="cannot run so: No 2 of these;"), trainer.refusals():
        raise MisconfigurationException("No 2 of these. Long advice follows.")


def test_one_small_picture_is_too_little_for_batch_normalisation(fast):
    with pytest.raises(InputError, match="too little for batch normalisation"):
        train(fast(method="panet", width=None, size=32, bsz=1))
    assert not Path("logs").exists()


def test_methods_that_need_masks_refuse_weak_training(fast):
    with pytest.raises(InputError, match="class tags"):
        train(fast(method="panet", width=None, weak=True))
    assert not fast(method="panet", width=None, weak=True).folder.exists()
