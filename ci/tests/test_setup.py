"""ifsl/course.py: chapters find their files from any folder, and what an episode costs is measured in turn."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from conftest import REPOSITORY

from ifsl import InputError, course
from ifsl.course import places
from ifsl.run import devices
from ifsl.run.evaluation import Result

CHAPTERS = sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("where", [".", "notebooks", "ci/tests"])
def test_paths_are_counted_from_the_top(where: str, tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY / where)
    paths = course.setup(root="data/tiny", kept="data/checkpoints/tiny")
    assert (paths.top, paths.root, paths.kept) == (REPOSITORY, tiny_root, REPOSITORY / "data/checkpoints/tiny")


def test_absolute_paths_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert course.setup(root=tmp_path, other=str(tmp_path / "a")).other == tmp_path / "a"


def test_the_tiny_benchmark_is_made_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(places, "ensure_tiny", made.append)
    for name in ("notebooks", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    course.setup()
    course.setup(kept="data/tiny")
    course.setup(root="data/voc")
    assert made == []
    course.setup(root="data/tiny")
    assert made == [tmp_path / "data/tiny"]


def test_without_the_repository_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"clone the repository.*make course") as caught:
        course.setup(root="data/tiny")
    message = str(caught.value)
    assert message.count("\n") == 0 and message.count(". ") == 0 and message.endswith(".")


@pytest.mark.parametrize("value", [3, ["data"], True])
def test_what_is_no_path_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="^root is "):
        course.setup(root=value)


def kept(name: str) -> Result:
    return Result.load(REPOSITORY / "data/checkpoints/tiny" / f"{name}.json")


def test_the_difference_of_two_results_is_paired() -> None:
    asnet, other = kept("asnet"), kept("asnethm")
    found = asnet.difference(other)
    for metric, gap in (("ER", asnet.er - other.er), ("mIoU", asnet.miou - other.miou)):
        value, low, high = found[metric]
        assert value == pytest.approx(gap, abs=1e-3) and low < value < high
    alone = [result.intervals()["er"] for result in (asnet, other)]
    unpaired = sum((high - low) ** 2 for low, high in alone) ** 0.5
    assert found["ER"][2] - found["ER"][1] < unpaired, "both answered the same episodes"
    assert asnet.difference(asnet)["mIoU"] == (0, 0, 0)


def test_results_over_other_episodes_are_not_compared() -> None:
    asnet = kept("asnet")
    other = Result(**vars(asnet) | {"settings": asnet.settings | {"way": 2}})
    with pytest.raises(InputError, match="way is 1 and 2"):
        asnet.difference(other)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_alone_says_what_is_missing(path: Path, tmp_path: Path) -> None:
    """Its first cells, in a Python without the package."""
    cells = nbformat.read(path, as_version=4).cells
    first = [cell for cell in cells if {"parameters", "setup"} & set(cell.metadata.get("tags", []))]
    source = "\n".join(cell.source for cell in first)
    assert len(first) == 2 and "find_top" not in source and "parents" not in source
    (tmp_path / "alone.py").write_text("import sys\nsys.modules['ifsl'] = None\n" + source)
    ended = subprocess.run([sys.executable, "alone.py"], cwd=tmp_path, capture_output=True, text=True)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1 and "clone" in last and "make course" in last and last.endswith(".")
    assert "During handling" not in ended.stderr


def test_costs_count_what_is_trained_and_take_turns(one_thread) -> None:
    rows = course.measure_costs(["panet", "hsnet"], repeats=1)
    assert [row["method"] for row in rows] == ["panet", "hsnet"]
    assert all(row["seconds"] > 0 and 0.2 < row["floor"] < 50 for row in rows)
    model = course.random_model("hsnet", "efficientnet_lite0")
    assert rows[1]["trained"] == sum(p.numel() for p in model.learner.parameters())
    with pytest.raises(InputError, match="There is no method"):
        course.measure_costs(["nonet"])


def test_run_and_floor_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, clock = [], iter(range(100))
    monkeypatch.setattr(devices.time, "perf_counter", lambda: next(clock))
    seconds, floor = course.time_in_turn(lambda: calls.append("run"), lambda: calls.append("floor"), repeats=3)
    assert calls == ["run", "floor"] * (course.WARM_UP + 3)
    assert (seconds, floor) == (1, 1)


def test_a_random_episode_is_the_same_each_time_and_a_quarter_masked() -> None:
    query, supports, masks = course.random_episode(2, 3, 1, 64)
    assert (query.shape, supports.shape, masks.shape) == ((2, 3, 64, 64), (2, 3, 1, 3, 64, 64), (2, 3, 1, 64, 64))
    assert torch.equal(query, course.random_episode(2, 3, 1, 64)[0])
    assert set(masks.unique().tolist()) == {0, 1} and abs(masks.mean().item() - 0.25) < 0.01


def test_the_backbone_of_hm_sees_every_support_twice() -> None:
    episode = course.random_episode(1, 2, 1, 32)
    for method, images in (("asnet", 3), ("asnethm", 5)):
        model = course.random_model(method, "efficientnet_lite0")
        assert len(course.episode_images(model, *episode)) == images
