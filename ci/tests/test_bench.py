"""The benchmark: what its rows say, what it refuses. How fast anything is, is not tested."""

import json

import bench
import pytest
import torch
from memory import keep_freed, peak

from ifsl import InputError


def test_costs_of_an_episode():
    before = torch.random.get_rng_state()
    (row,) = bench.costs(["panet"], way=2, repeats=1)
    assert row.keys() == {"method", "trained", "seconds", "floor"}
    assert row["method"] == "panet" and row["trained"] == 2_958_848
    assert row["seconds"] > 0 and row["floor"] > 0
    assert torch.equal(torch.random.get_rng_state(), before), "the reader's random numbers are left alone"


def test_costs_of_nothing_that_is_there():
    with pytest.raises(InputError, match="protonet"):
        bench.costs(["protonet"])


def test_masks_cover_a_quarter():
    query, supports, masks = bench.random_episode(2, 3, 4, 64)
    assert query.shape == (2, 3, 64, 64) and supports.shape == (2, 3, 4, 3, 64, 64) and masks.shape == (2, 3, 4, 64, 64)
    assert ((masks == 0) | (masks == 1)).all() and 0.22 < masks.mean() < 0.28


@pytest.mark.parametrize("method, images", [("panet", 7), ("hsnet", 7), ("asnethm", 13)])
def test_the_floor_counts_every_image_that_is_encoded(monkeypatch, method, images):
    """Two ways of three shots and the query; HM's supports count twice."""
    seen = []
    monkeypatch.setattr(bench, "plain_backbone", lambda _: lambda x: seen.append(len(x)))
    monkeypatch.setattr(bench, "take_turns", lambda _, floor, *__: floor())
    bench.evaluation(bench.random_model(method, "efficientnet_lite0"), 2, 3, 1)
    assert seen == [images]


def test_the_command_measures_and_writes(monkeypatch, tmp_path, capsys, tiny_root):
    monkeypatch.setattr(bench, "METHODS", {"panet": None, "hsnet": None})
    monkeypatch.chdir(tiny_root.parents[1])
    out = tmp_path / "figures.json"
    given = ["--backbone", "efficientnet_lite0", "--device", "cpu", "--repeats", "1", "--quick", "--out", str(out)]
    assert bench.main(given) == 0
    found = json.loads(out.read_text())
    assert found["machine"]["torch"] == torch.__version__ and found["machine"]["processor"]
    assert [(row["method"], row["way"], row["shot"]) for row in found["evaluation"]] == [
        ("panet", 1, 1),
        ("hsnet", 1, 1),
    ]
    assert [row["method"] for row in found["training"]] == ["panet", "hsnet"]
    assert all(row["seconds"] > 0 and row["floor"] > 0 for row in found["evaluation"] + found["training"])
    assert found["reading"]["episodes_per_second"] > 0
    said = capsys.readouterr().out
    assert found["machine"]["processor"] in said and said.count("hsnet") == 2 and str(out) in said


def stopped(*_):
    raise KeyboardInterrupt


def test_nothing_is_written_before_the_first_figure(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "evaluation", stopped)
    out = tmp_path / "figures.json"
    assert bench.main(["--backbone", "efficientnet_lite0", "--device", "cpu", "--out", str(out)]) == 130
    assert not out.exists() and str(out) not in capsys.readouterr().err


def test_what_was_measured_before_an_interruption_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "training", stopped)
    monkeypatch.setattr(bench, "METHODS", {"panet": None})
    out = tmp_path / "figures.json"
    given = ["--backbone", "efficientnet_lite0", "--device", "cpu", "--repeats", "1", "--quick", "--out", str(out)]
    assert bench.main(given) == 130
    found = json.loads(out.read_text())
    assert len(found["evaluation"]) == 1 and not found["training"] and "reading" not in found
    assert str(out) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, name",
    [
        (["--backbone", "vgg16"], "vgg16"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "abacus"], "abacus"),
        (["--repeats", "0"], "0"),
        (["--repeats", "often"], "often"),
        (["--out", "nowhere/figures.json"], "nowhere"),
        (["--fast"], "--fast"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(capsys, arguments, name):
    try:
        status = bench.main(arguments)
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr().err
    assert status == 2 and said.count("\n") == 1 and name in said


@pytest.mark.skipif(peak(lambda: None) is None, reason="only Linux says what a process needed")
def test_peak_memory_is_that_of_the_call():
    keep_freed()
    needed = peak(lambda: torch.ones(50 * 2**18).sum())  # 50 MB
    assert 45 * 2**20 < needed < 100 * 2**20
