"""Kept learners by name: from a checkout, from the cache, or one sentence that says where to fetch them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import checkpoints
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


def test_the_table_is_that_of_the_files() -> None:
    assert sums.main(["--check"]) == 0, "run `python ci/sums.py`"


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["--chek"], 2), (["name"], 2)])
def test_the_table_is_written_only_where_it_is_asked_for(arguments, status, monkeypatch) -> None:
    monkeypatch.setattr(sums, "TABLE", None)  # neither read nor written
    with pytest.raises(SystemExit) as ended:
        sums.main(arguments)
    assert ended.value.code == status


def test_a_learner_that_cannot_be_read_is_one_sentence(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "lost.safetensors").symlink_to("nowhere")
    monkeypatch.setattr(sums, "KEPT", tmp_path)
    assert sums.main(["--check"]) == 2
    said = capsys.readouterr().err
    assert "lost.safetensors cannot be read" in said and said.count("\n") == 1


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
