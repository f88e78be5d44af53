"""Kept learners by name: from a checkout, from the cache, or one sentence that says where to fetch them."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import animation
import checkpoints
import colab
import ends
import pytest
import sums
from conftest import REPOSITORY
from test_download import Server

import ifsl
from ifsl import address
from ifsl.data import kept
from ifsl.download import main
from ifsl.errors import InputError
from ifsl.run.checkpoints import hash_file
from ifsl.run.evaluation import Result

KEPT = "data/checkpoints/tiny"


@pytest.fixture
def alone(tmp_path, monkeypatch) -> Path:
    """An empty folder, an empty cache, and the package as if it were installed without its repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IFSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "site" / "ifsl" / "data" / "kept.py"))
    monkeypatch.setattr(address, "REPOSITORY", "")
    return tmp_path


@pytest.fixture
def server():
    import threading

    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_kept_results_name_the_kept_learner_that_they_are_of() -> None:
    results = [
        Result.load(path)
        for path in (REPOSITORY / KEPT).glob("*.json")
        if path.stem not in ("sweep", "training-free-choices")
    ]
    of_files = [result.settings for result in results if result.settings.get("checkpoint")]
    assert len(of_files) >= 12
    for settings in of_files:
        assert not Path(settings["checkpoint"]).is_absolute(), settings["checkpoint"]
        assert hash_file(REPOSITORY / settings["checkpoint"]) == settings["sha256"]


def test_the_table_is_that_of_the_files() -> None:
    assert sums.main(["--check"]) == 0, "run `python ci/sums.py`"


@pytest.mark.parametrize(("tool", "target"), [(sums, "TABLE"), (animation, "TARGET"), (colab, "NOTEBOOKS")])
@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["--chek"], 2), (["name"], 2)])
def test_a_tracked_file_is_written_only_where_that_is_asked_for(arguments, status, tool, target, monkeypatch) -> None:
    monkeypatch.setattr(tool, target, None)  # neither read nor written
    with pytest.raises(SystemExit) as ended:
        tool.main(arguments)
    assert ended.value.code == status


def test_a_learner_that_cannot_be_read_is_one_sentence(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "lost.safetensors").symlink_to("nowhere")
    monkeypatch.setattr(sums, "KEPT", tmp_path)
    assert sums.main(["--check"]) == 2
    said = capsys.readouterr().err
    assert "lost.safetensors cannot be read" in said and said.count("\n") == 1


@pytest.fixture
def workshop(tmp_path, monkeypatch) -> SimpleNamespace:
    """A checkout of its own for ci/checkpoints.py, with three runs; nothing is trained, and tests reply at once.

    Each training writes another learner. run: the command line; trained, tested: what it has made so far.
    """
    number = count()
    made, scores = SimpleNamespace(home=tmp_path, trained=[], tested=[]), Result.load(REPOSITORY / KEPT / "asnet.json")

    def train(settings, resume=False):
        settings.folder.mkdir(parents=True)
        made.trained.append(settings.logpath)
        (settings.folder / "last.ckpt").write_text(f"learner {next(number)}")
        (settings.folder / "metrics.csv").write_text("step,val_miou\n150,1.0\n")

    def load(path):
        return SimpleNamespace(settings={"sha256": hash_file(path)}, text=path.read_text())

    def evaluate(model, bench, **settings):
        made.tested.append(model.settings.get("sha256"))
        return replace(scores, settings=scores.settings | {"sha256": made.tested[-1]})

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["checkpoints.py", *arguments])
        made.trained.clear(), made.tested.clear()
        return checkpoints.main()

    made.run = run
    (tmp_path / KEPT).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    monkeypatch.setattr(checkpoints, "RUNS", {name: checkpoints.RUNS[name] for name in ("cst", "asnet-weak", "asnet")})
    monkeypatch.setattr(checkpoints, "is_finished", lambda settings: (settings.folder / "last.ckpt").is_file())
    monkeypatch.setattr(checkpoints, "untrained", lambda settings: SimpleNamespace(settings={}))
    monkeypatch.setattr("ifsl.tiny.ensure_tiny", lambda *_, **__: None)
    monkeypatch.setattr("ifsl.data.benchmarks.Benchmark", lambda *_: None)
    monkeypatch.setattr("ifsl.run.training.train", train)
    monkeypatch.setattr("ifsl.run.checkpoints.load_model", load)
    monkeypatch.setattr("ifsl.run.checkpoints.save_learner", lambda model, path, **_: path.write_text(model.text))
    monkeypatch.setattr("ifsl.run.evaluation.evaluate", evaluate)
    return made


def test_a_kept_learner_is_made_again_only_where_that_is_asked_for(workshop) -> None:
    kept = workshop.home / KEPT
    assert workshop.run("asnet") == workshop.run("asnet-weak") == 0
    assert workshop.trained == ["kept-asnet-weak-easy", "kept-asnet-weak"] and len(workshop.tested) == 2
    (kept / "asnet-fs-s-1shot.json").write_text("another's")
    files = [path for path in workshop.home.rglob("*") if path.is_file() and "asnet-weak" in str(path)]
    other = {path: path.read_bytes() for path in files}
    assert workshop.run("asnet") == 0 and workshop.trained == workshop.tested == []
    before = hash_file(kept / "asnet.safetensors")
    assert workshop.run("--again", "asnet") == 0
    assert workshop.trained == ["kept-asnet-easy", "kept-asnet", "kept-asnet-again", "kept-asnet-third"]
    now = hash_file(kept / "asnet.safetensors")
    assert workshop.tested == [now, None] and now != before
    assert Result.load(kept / "asnet.json").settings["sha256"] == now
    assert other == {path: path.read_bytes() for path in other} and (kept / "asnet-fs-s-1shot.json").is_file()
    assert not list((workshop.home / "elsewhere").iterdir())


def test_scores_of_an_earlier_learner_are_not_kept(workshop) -> None:
    workshop.run("cst")
    learner = workshop.home / KEPT / "cst.safetensors"
    learner.write_text("another learner")
    assert workshop.run("cst") == 0 and workshop.tested == [hash_file(learner)]
    assert workshop.run("cst") == 0 and workshop.tested == []


@pytest.mark.parametrize("name", ["baselines", "matcher"])
def test_again_deletes_the_files_that_are_kept_under_a_name_and_no_others(name, workshop, monkeypatch) -> None:
    kept = workshop.home / KEPT
    names = [path.name for path in (REPOSITORY / KEPT).iterdir()]
    for one in names:
        (kept / one).touch()
    monkeypatch.chdir(workshop.home)
    checkpoints.remove(name)
    assert set(names) - {path.name for path in kept.iterdir()} == set(checkpoints.files_of(name)) <= set(names)


def test_again_asks_for_a_name(workshop, capsys) -> None:
    workshop.run("cst")
    there = sorted(workshop.home.rglob("*"))
    capsys.readouterr()
    assert workshop.run("--again") == 2
    said = capsys.readouterr()
    assert "say of which NAME" in said.err and said.err.count("\n") == 1 and not said.out
    assert sorted(workshop.home.rglob("*")) == there


def test_the_table_of_what_is_kept_is_the_same_from_anywhere(tmp_path) -> None:
    command = [sys.executable, str(REPOSITORY / "ci" / "checkpoints.py"), "--table"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("| asnet |")]


def test_a_kept_result_without_scores_is_one_sentence(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(checkpoints, "KEPT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["checkpoints.py", "--table"])
    fss = (REPOSITORY / "data/checkpoints/tiny/asnet-fs-s-1shot.json").read_text()
    for text, word in (("{}", "holds no result"), (fss, "FS-S")):
        (tmp_path / "nothing-there.json").write_text(text)
        assert checkpoints.main() == 2
        said = capsys.readouterr().err
        assert "nothing-there.json" in said and word in said and said.count("\n") == 1


def test_an_empty_name_is_no_python(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["ends.py", "--python", ""])
    monkeypatch.setattr(ends, "install", lambda *_: pytest.fail("an environment was made"))
    assert ends.main() == 2 and "no Python ''" in capsys.readouterr().err


def test_it_is_found_in_a_checkout(monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY / "notebooks")
    path = REPOSITORY / "data/checkpoints/tiny/asnet.safetensors"
    assert kept.find_kept("tiny/asnet") == path
    assert ifsl.load_model("tiny/asnet").settings["checkpoint"] == str(path)


def test_without_it_one_sentence_says_where_to_fetch_it(alone, monkeypatch) -> None:
    for repository, words in (
        ("", "of the course's repository"),
        ("https://forge.example/a/ifsl", "download learners"),
    ):
        monkeypatch.setenv("IFSL_REPOSITORY", repository)
        with pytest.raises(InputError, match=words) as raised:
            ifsl.load_model("tiny/asnet")
        said = str(raised.value)
        assert str(alone / "cache/tiny/asnet.safetensors") in said and kept.KEPT["tiny/asnet"][1] in said
        assert len(said.splitlines()) == 1 and len(re.findall(r"\.(?= |$)", said)) == 1
    assert "https://forge.example/a/ifsl/raw/main/data/checkpoints/tiny/asnet.safetensors" in said


def test_it_is_fetched_into_the_cache_and_loaded(alone, server, monkeypatch, capsys) -> None:
    name = "tiny/cst"
    data = (REPOSITORY / f"data/checkpoints/{name}.safetensors").read_bytes()
    monkeypatch.setattr(kept, "KEPT", {name: kept.KEPT[name]})
    assert main(["learners"]) == 2 and "IFSL_REPOSITORY" in capsys.readouterr().err
    server.offer(f"raw/main/data/checkpoints/{name}.safetensors", data)
    monkeypatch.setenv("IFSL_REPOSITORY", server.address)
    assert main(["learners"]) == 0 and "tiny/asnet" in capsys.readouterr().out
    assert ifsl.load_model(name).method == "cst"


def test_a_file_and_an_unknown_name(alone) -> None:
    with pytest.raises(InputError, match="choose from tiny/asnet"):
        ifsl.load_model("tiny/asnett")
    with pytest.raises(InputError, match="There is no checkpoint tiny/asnet.ckpt"):
        ifsl.load_model("tiny/asnet.ckpt")


def test_the_package_alone_says_it_in_a_process(tmp_path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "ifsl").symlink_to(REPOSITORY / "ifsl")
    code = (
        "import ifsl.data.kept as kept; kept.__file__ = '/nowhere/site/ifsl/data/kept.py'; import ifsl\n"
        "try: ifsl.load_model('tiny/asnet')\nexcept ifsl.InputError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "IFSL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "is not on this machine" in done.stdout and done.stdout.count("\n") == 1, done.stderr
