"""The benchmark: what its rows say, what it refuses. How fast anything is, is not tested."""

import json
import sys
from importlib import import_module
from pkgutil import iter_modules

import bench
import pytest
import torch

from ifsl import InputError, course, learners

LITE = ["--backbone", "efficientnet_lite0", "--device", "cpu", "--repeats", "1", "--quick"]


@pytest.fixture(autouse=True)
def every_call_once(monkeypatch):
    monkeypatch.setattr(bench, "TURNS", 1)
    monkeypatch.setattr(bench, "WARM_UP", 0)


def test_costs_of_an_episode():
    before = torch.random.get_rng_state()
    (row,) = course.measure_costs(["panet"], way=2, repeats=1)
    assert row.keys() == {"method", "trained", "seconds", "floor"}
    assert row["method"] == "panet" and row["trained"] == 2_958_848
    assert row["seconds"] > 0 and row["floor"] > 0
    assert torch.equal(torch.random.get_rng_state(), before), "the reader's random numbers are left alone"


def test_costs_of_nothing_that_is_there():
    with pytest.raises(InputError, match="protonet"):
        course.measure_costs(["protonet"])


def test_masks_cover_a_quarter():
    query, supports, masks = bench.random_episode(2, 3, 4, 64)
    assert query.shape == (2, 3, 64, 64) and supports.shape == (2, 3, 4, 3, 64, 64) and masks.shape == (2, 3, 4, 64, 64)
    assert ((masks == 0) | (masks == 1)).all() and 0.22 < masks.mean() < 0.28


@pytest.mark.parametrize("method, images", [("panet", 7), ("hsnet", 7), ("asnethm", 13)])
def test_the_floor_counts_every_image_that_is_encoded(monkeypatch, method, images):
    """Two ways of three shots and the query; HM's supports count twice."""
    seen = []
    monkeypatch.setattr(bench, "plain_backbone", lambda _: lambda x: seen.append(len(x)))
    monkeypatch.setattr(bench, "take_turns", lambda _, __, floor, *___: floor())
    bench.measure_episode(bench.random_model(method, "efficientnet_lite0"), 2, 3, 1)
    assert seen == [images]


# The twins ------------------------------------------------------------------------------------------------------------


def twins_in(place) -> set:
    """The twins of the functions of a module or class, and of the classes in it."""
    things = [x for x in vars(place).values() if callable(x)]
    inner = [twins_in(x) for x in things if isinstance(x, type) and x.__module__ == getattr(place, "__name__", None)]
    return {x.twin for x in things if hasattr(x, "plain")}.union(*inner)


def called(run) -> set:
    """The code that a call runs, in this thread."""
    codes = set()
    sys.setprofile(lambda frame, *_: codes.add(frame.f_code))
    try:
        run()
    finally:
        sys.setprofile(None)
    return codes


def test_every_twin_is_measured():
    names = [found.name for found in iter_modules(learners.__path__)]
    assert set().union(*(twins_in(import_module(f"ifsl.learners.{name}")) for name in names)) == set(bench.TWINS)


@pytest.mark.parametrize("method", learners.LEARNERS)
def test_a_twin_is_measured_on_the_learners_that_run_it(method):
    model = bench.random_model(method, "efficientnet_lite0")
    episode = bench.random_episode(1, 1, 1, model.image_size)
    codes = called(torch.no_grad()(lambda: model.maps(*episode)))
    assert {twin for twin in bench.TWINS if twin.__code__ in codes} == {
        twin for twin, methods in bench.TWINS.items() if method in methods
    }


def test_one_twin_is_switched_off():
    model = bench.random_model("asnet", "efficientnet_lite0")
    episode = bench.random_episode(1, 1, 1, model.image_size)
    off = bench.attention.attention
    codes = called(torch.no_grad()(bench.use_plain(off)(lambda: model.maps(*episode))))
    used = [twin for twin, methods in bench.TWINS.items() if "asnet" in methods]
    assert [twin for twin in used if twin.__code__ not in codes] == [off]


def test_what_is_saved_is_a_share_of_the_slower_call(monkeypatch):
    """A call takes 3 s with the twins, 4 s without any, 6 s without one of them; the floor takes 2 s."""
    monkeypatch.setattr(bench, "find_peak", lambda *_: 5 * 2**20)
    monkeypatch.setattr(bench, "time_call", lambda seconds, _: seconds)
    monkeypatch.setattr(bench, "use_plain", lambda twin=None: lambda run: 6 if twin else 4)
    model = bench.random_model("hsnet", "efficientnet_lite0")
    found = bench.take_turns(model, 3, 2, repeats=2, twins=True)
    assert found.pop("twins") == dict.fromkeys(names_of_twins("hsnet"), 50)
    assert found == {"seconds": 3, "floor": 1.5, "megabytes": 5, "plain_seconds": 4, "saved": 25}


def names_of_twins(method: str) -> list[str]:
    return [twin.__name__ for twin, methods in bench.TWINS.items() if method in methods]


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_measures_and_writes(monkeypatch, tmp_path, capsys, tiny_root):
    monkeypatch.setattr(bench, "LEARNERS", {"panet": None, "hsnet": None})
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "figures.json"
    assert bench.main([*LITE, "--twins", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["machine"]["torch"] == torch.__version__ and found["machine"]["processor"]
    assert [(row["method"], row["way"], row["shot"]) for row in found["evaluation"]] == [
        ("panet", 1, 1),
        ("hsnet", 1, 1),
    ]
    assert [row["method"] for row in found["training"]] == ["panet", "hsnet"]
    rows = found["evaluation"] + found["training"]
    assert all(row["seconds"] > 0 and row["floor"] > 0 and row["plain_seconds"] > 0 for row in rows)
    assert [set(row["twins"]) for row in rows] == [{"pyramid"}, set(names_of_twins("hsnet"))] * 2
    assert found["reading"]["episodes_per_second"] > 0
    said = capsys.readouterr().out
    assert found["machine"]["processor"] in said and said.count("hsnet") == 4 and str(out) in said
    assert all(name in said for name in names_of_twins("hsnet"))


def test_a_learner_without_twins_is_not_compared_with_itself():
    model = bench.random_model("pfenet", "efficientnet_lite0")
    found = bench.take_turns(model, lambda: None, lambda: None, 1, twins=True)
    assert found["plain_seconds"] is None and found["saved"] is None and found["twins"] == {}
    row = {"method": "pfenet"} | found
    assert len(bench.format_row("1-way 1-shot", row).split()) == 6 - (found["megabytes"] is None)


def stopped(*_):
    raise KeyboardInterrupt


def test_nothing_is_written_before_the_first_result(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "measure_episode", stopped)
    out = tmp_path / "figures.json"
    assert bench.main([*LITE, "--out", str(out)]) == 130
    assert not out.exists() and str(out) not in capsys.readouterr().err


def test_what_was_measured_before_an_interruption_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "measure_step", stopped)
    monkeypatch.setattr(bench, "LEARNERS", {"panet": None})
    out = tmp_path / "figures.json"
    assert bench.main([*LITE, "--out", str(out)]) == 130
    found = json.loads(out.read_text())
    assert len(found["evaluation"]) == 1 and not found["training"] and "reading" not in found
    assert str(out) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, name",
    [
        (["--backbone", "vgg19"], "vgg19"),
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process needed")
def test_peak_memory_is_that_of_the_call():
    needed = bench.find_peak(lambda: torch.ones(50 * 2**18).sum())  # 50 MB
    assert 45 * 2**20 < needed < 100 * 2**20
