"""What a result says of the learner it is a result of, where it goes, and the table of many results."""

import csv
import json
import os
from io import StringIO
from pathlib import Path

import pytest

import ifsl
from ifsl import __main__ as command
from ifsl import collect
from ifsl.data.classes import PASCAL_NAMES
from ifsl.errors import InputError
from ifsl.run.checkpoints import hash_file
from ifsl.run.evaluation import Result
from ifsl.run.published import find_published

KEPT = Path(__file__).resolve().parents[2] / "data" / "checkpoints" / "tiny"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def evaluate(tiny_root, tmp_path, monkeypatch, capsys):
    """`python -m ifsl --eval` over three episodes in a folder of the test's own: (status, output, error output)."""
    monkeypatch.chdir(tmp_path)
    always = ["--eval", "--datapath", str(tiny_root), "--episodes", "3", "--workers", "0", "--devices", "cpu"]

    def run(*options: str) -> tuple[int, str, str]:
        status = command.main([*always, *options])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def results(folder: Path = Path("logs")) -> list[str]:
    return sorted(str(path.parent) for path in folder.rglob("test-*.json"))


def test_two_kept_learners_get_places_of_their_own(evaluate):
    for name in ("asnet", "hsnet"):
        assert evaluate("--checkpoint", str(KEPT / f"{name}.safetensors"))[0] == 0
    sums = {name: hash_file(KEPT / f"{name}.safetensors")[:8] for name in ("asnet", "hsnet")}
    home = "logs/pascal/fold0/efficientnet_lite0"
    assert results() == [f"{home}/tested-{name}-{sums[name]}" for name in ("asnet", "hsnet")]
    assert command.Settings(method="asnet").folder.exists() is False  # free for training


def test_a_result_names_checkpoint_fold_and_seed(evaluate):
    kept = KEPT / "panet.safetensors"
    _, said, _ = evaluate("--checkpoint", str(kept))
    result = Result.load(next(Path("logs").rglob("test-*.json")))
    assert result.settings["checkpoint"] == str(kept) and result.settings["sha256"] == hash_file(kept)
    assert result.settings["trained"].items() >= {"benchmark": "pascal", "fold": 0, "seed": 0}.items()
    assert result.settings["lists"] == "as given" and {"python", "torch", "ifsl"} <= set(result.versions)
    assert str(kept) in said and hash_file(kept)[:12] in said and "fold 0" in said and "seed 0" in said


def test_an_untrained_learner_says_so(evaluate):
    status, said, _ = evaluate(
        "--checkpoint", command.UNTRAINED, "--method", "hsnet", "--backbone", "efficientnet_lite0"
    )
    assert status == 0 and "not trained" in said
    assert results() == ["logs/pascal/fold0/efficientnet_lite0/untrained-hsnet-seed0"]


def test_another_learner_does_not_overwrite_a_result(evaluate):
    assert evaluate("--checkpoint", str(KEPT / "asnet.safetensors"), "--logpath", "mine")[0] == 0
    before = next(Path("logs").rglob("test-*.json")).read_text()
    status, _, said = evaluate("--checkpoint", str(KEPT / "hsnet.safetensors"), "--logpath", "mine")
    assert status == 2 and "another learner" in said and "--logpath" in said and said.count("\n") == 1
    assert next(Path("logs").rglob("test-*.json")).read_text() == before
    assert evaluate("--checkpoint", str(KEPT / "asnet.safetensors"), "--logpath", "mine")[0] == 0


def test_a_result_is_not_overwritten_by_one_of_other_settings_or_of_fewer_episodes(evaluate, tiny_root):
    kept = ("--checkpoint", "tiny/panet")
    assert evaluate(*kept)[0] == 0
    path = next(Path("logs").rglob("test-*.json"))
    before = path.read_text()
    for options, named in (
        (("--size", "64"), "size 272, not 64"),
        (("--void-ignore",), "void 'background, as published', not 'left out'"),
        (("--episodes", "2"), "more episodes (3, now 2)"),
    ):
        status, _, said = evaluate(*kept, *options)
        assert status == 2 and named in said and "move that file away" in said and said.count("\n") == 1
    assert path.read_text() == before
    link = Path("link")
    link.symlink_to(tiny_root)
    assert evaluate(*kept, "--episodes", "4", "--datapath", "link")[0] == 0  # the same data, more episodes
    assert Result.load(path).settings["episodes"] == 4


def test_the_table_says_whether_masks_were_given(evaluate):
    _, said, _ = evaluate("--checkpoint", "tiny/asnet")
    assert "strong, with masks\n" in said
    _, said, _ = evaluate("--checkpoint", "tiny/asnet-weak")
    assert "strong, with masks; trained from class tags alone" in said
    _, said, _ = evaluate("--checkpoint", "tiny/asnet-weak", "--weak", "--logpath", "tags")
    assert "weak, from class tags alone\n" in said


def test_a_damaged_result_may_be_replaced(evaluate):
    assert evaluate("--checkpoint", "tiny/panet")[0] == 0
    path = next(Path("logs").rglob("test-*.json"))
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | {"settings": {"trained": "yes"}}))
    assert evaluate("--checkpoint", "tiny/panet")[0] == 0
    assert Result.load(path).er == saved["er"]


def test_classes_seen_in_training_are_refused_unless_asked_for(evaluate):
    kept = str(KEPT / "asnet.safetensors")
    status, _, said = evaluate("--checkpoint", kept, "--fold", "1")
    assert status == 2 and "trained on fold 0" in said and said.count("\n") == 1
    status, said, _ = evaluate("--checkpoint", kept, "--fold", "1", "--seen-classes")
    assert status == 0 and "SEEN IN TRAINING" in said
    assert results()[0].startswith("logs/pascal/fold1/")


def test_a_test_of_a_whole_run_goes_to_its_folder_and_may_be_repeated(evaluate, tiny_root):
    from ifsl.run.training import train

    settings = command.Settings(
        method="pfenet",
        backbone="efficientnet_lite0",
        datapath=str(tiny_root),
        width=8,
        size=64,
        bsz=2,
        steps=1,
        val_episodes=2,
        workers=0,
        nowandb=True,
    )
    folder = train(settings)
    test = ("--method", "pfenet", "--backbone", "efficientnet_lite0", "--size", "64")
    for options in ((), ("--checkpoint", str(folder / "best_model.ckpt")), ("--checkpoint", str(folder))):
        assert evaluate(*test, *options)[0] == 0
        assert results() == [str(folder)]
    assert evaluate(*test, "--checkpoint", str(folder / "last.ckpt"))[0] == 0
    assert results() == [str(folder), f"{folder}-last"]  # it must not take the place of the best one's
    assert Result.load(folder / "test-1way-1shot.json").settings["trained"]["step"] == 1


# Differences, the table of many results ------------------------------------------------------------------------------


def made(name: str = "asnet", **settings) -> Result:
    result = Result.load(KEPT / f"{name}.json")
    return Result(**vars(result) | {"settings": result.settings | settings})


def test_a_difference_asks_for_the_same_episodes():
    asnet = made()
    with pytest.raises(InputError, match="fold is 0 and 1"):
        asnet.difference(made(fold=1))
    three, four = (f'{{"version": {number}, "seed": 0}}' for number in (3, 4))
    with pytest.raises(InputError, match='tiny is .*"version": 3, .* and .*"version": 4, '):
        made(tiny=three).difference(made(tiny=four))
    unstamped = made()
    unstamped.settings.pop("tiny", None)  # as results were before versions were stored
    with pytest.raises(InputError, match="tiny is .* and None"):
        made(tiny=four).difference(unstamped)
    assert unstamped.difference(unstamped)["mIoU"] == (0, 0, 0)
    other = made()
    other.counts = other.counts[1:] + other.counts[:1]
    with pytest.raises(InputError, match="their classes differ"):
        asnet.difference(other)


@pytest.fixture
def logs(tmp_path) -> Path:
    """Results of two learners on four folds, one of them at two ways too; their classes have the real names."""
    for method in ("asnet", "hsnet"):
        for fold in range(4):
            for way in (1, 2) if method == "asnet" else (1,):
                result = made(fold=fold, way=way, method=method, backbone="resnet50")
                result.er += fold
                result.class_names = dict(enumerate(PASCAL_NAMES, start=1))
                result.save(tmp_path / "logs" / "pascal" / f"fold{fold}" / "resnet50" / method, f"test-{way}way-1shot")
    return tmp_path / "logs"


def table(capsys, *arguments: str) -> list[dict[str, str]]:
    assert collect.main([*arguments, "--format", "csv"]) == 0
    return list(csv.DictReader(StringIO(capsys.readouterr().out)))


def test_the_table_has_folds_means_and_published_scores(logs, capsys):
    rows = table(capsys, str(logs))
    assert [(row["way"], row["method"], row["metric"]) for row in rows] == [
        *(("1", method, metric) for method in ("asnet", "hsnet") for metric in ("ER", "mIoU")),
        *(("2", "asnet", metric) for metric in ("ER", "mIoU")),
    ]
    kept = made().er
    first = rows[0]
    assert [first[f"fold {fold}"] for fold in range(4)] == [f"{kept + fold:.1f}" for fold in range(4)]
    assert first["mean"] == f"{kept + 1.5:.1f}" and first["folds"] == "4" and first["published"] == "84.9"
    assert [row["published"] for row in rows] == ["84.9", "52.3", "83.7", "49.7", "68.3", "47.8"]
    low, high = map(float, first["95 % interval"].split(" to "))
    one_low, one_high = made().intervals()["er"]
    assert high - low < 0.7 * (one_high - one_low)  # four times as many episodes


def test_other_classes_and_missing_folds_have_no_published_score(logs, capsys):
    for path in (logs / "pascal" / "fold3").rglob("*.json"):
        path.unlink()
    assert {row["published"] for row in table(capsys, str(logs))} == {""}
    rows = table(capsys, str(KEPT))
    assert {row["published"] for row in rows} == {""} and {row["benchmark"] for row in rows} == {
        "pascal, other classes"
    }


def test_classes_seen_in_training_have_a_row_of_their_own_and_no_published_score(logs, capsys):
    for fold in range(4):
        path = logs / "pascal" / f"fold{fold}" / "resnet50" / "hsnet"
        result = Result.load(path / "test-1way-1shot.json")
        result.settings["seen_classes"] = ["bus"] if fold else []
        result.save(path, "test-1way-1shot")
    rows = [row for row in table(capsys, str(logs)) if row["method"] == "hsnet" and row["metric"] == "ER"]
    assert [(row["task"], row["folds"], row["published"]) for row in rows] == [
        ("FS-CS", "1", ""),
        ("FS-CS, classes seen in training", "3", ""),
    ]


@pytest.mark.parametrize(("form", "beginning"), [("text", "benchmark  task"), ("markdown", "| benchmark | task |")])
def test_text_and_markdown(logs, capsys, tmp_path, form, beginning):
    assert collect.main([str(logs), "--format", form]) == 0
    said = capsys.readouterr().out
    assert said.startswith(beginning) and said.count("\n") == (7 if form == "text" else 8)
    out = tmp_path / "new" / "table"
    assert collect.main([str(logs), "--format", form, "--out", str(out)]) == 0
    assert out.read_text() == said


def test_what_is_no_result_is_passed_over_or_refused(logs, capsys, tmp_path):
    (logs / "settings.json").write_text("{}")
    (logs / "odd.json").write_bytes(b"\xff\xfe")
    assert len(table(capsys, str(logs))) == 6
    (logs / "broken.json").write_text(json.dumps({"counts": 3}))
    for folder, named in ((logs, "broken.json"), (tmp_path / "nowhere", "nowhere"), (tmp_path / "new", "new")):
        (tmp_path / "new").mkdir(exist_ok=True)
        assert collect.main([str(folder)]) == 2
        said = capsys.readouterr().err
        assert named in said and said.count("\n") == 1


def test_only_files_are_read(logs, capsys):
    (logs / "folder.json").mkdir()
    (logs / "lost.json").symlink_to("nowhere")
    os.mkfifo(logs / "fifo.json")
    assert len(table(capsys, str(logs))) == 6


def test_the_table_goes_into_a_file_alone(logs, capsys, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for out in ("", ".", "/", str(tmp_path), str(tmp_path / "fifo")):
        assert collect.main([str(logs), "--out", out]) == 2
        said = capsys.readouterr().err
        assert "no regular file" in said and "--out" in said and said.count("\n") == 1
    assert (tmp_path / "fifo").is_fifo()
    (tmp_path / "link").symlink_to("table.txt")
    assert collect.main([str(logs), "--out", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink() and "asnet" in (tmp_path / "table.txt").read_text()


def test_published_scores():
    assert find_published("emat", "dinov2_vits14", "pascal", 2) == (82.70, 63.38)
    assert find_published("asnet", "vgg16", "pascal", 1, 5, task="fs-s") == (64.9, 76.5)
    assert find_published("cst", "dino_vits8", "coco", weak=True) == (78.2, 19.6)
    for none in (
        ("asnet", "resnet101", "pascal"),
        ("asnet", "resnet50", "pascal", 3),
        ("emat", "dinov2_vits14", "coco"),
    ):
        assert find_published(*none) is None
    assert ifsl.Benchmark is not None
