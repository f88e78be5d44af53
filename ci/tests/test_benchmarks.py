"""Lists, folds and the exact drawing of episodes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import ifsl
from ifsl.data.classes import fold_classes
from ifsl.data.lists import read_coco_list, read_pascal_list
from ifsl.errors import InputError


def write_lists(folder: Path, entries: list, fold: int) -> Path:
    """A Pascal val list of [name, class] entries."""
    path = folder / "val" / f"fold{fold}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}__{c:02d}\n" for name, c in entries))
    return folder


def invented(fold: int, images: int = 30) -> list:
    """Every image under one or two classes of the fold."""
    stream = np.random.RandomState(fold)
    ids = fold_classes("pascal", fold, "val")
    return [(f"im_{i:03d}", int(c)) for i in range(images) for c in stream.choice(ids, 1 + i % 2, replace=False)]


def test_folds_part_the_classes():
    for name, per_fold in (("pascal", 5), ("coco", 20)):
        tested = [fold_classes(name, fold, "val") for fold in range(4)]
        assert [len(ids) for ids in tested] == [per_fold] * 4
        assert sorted(sum(tested, [])) == list(range(1, 4 * per_fold + 1))
        for fold in range(4):
            assert not set(tested[fold]) & set(fold_classes(name, fold, "trn"))
    assert fold_classes("pascal", 1, "val") == [6, 7, 8, 9, 10]
    assert fold_classes("coco", 1, "val")[:3] == [2, 6, 10]


def test_synthetic_episodes_equal_the_published_drawing(shared, tmp_path):
    expected = json.loads((shared / "golden" / "episodes-synthetic.json").read_text())
    checked = 0
    for key, episodes in expected.items():
        if key.endswith("listing"):
            continue
        fold, way, shot = (int("".join(filter(str.isdigit, part))) for part in key.split("-"))
        lists = write_lists(tmp_path / key, expected[f"fold{fold}-listing"], fold)
        bench = ifsl.Benchmark("pascal", tmp_path, fold, "val", lists=lists)
        for episode in episodes:
            assert vars(bench.draw(episode["index"], way, shot)) == episode | {"task": "fs-cs"}
            checked += 1
    assert checked == 4 * 4 * 20


def test_official_episodes_and_sizes(shared):
    expected = json.loads((shared / "golden" / "episodes-official.json").read_text())
    benches = {}
    for key, value in expected.items():
        name, fold, *rest = key.split("-")
        split = rest[0] if rest[-1] == "size" else "val"
        where = (name, int(fold[-1]), split)
        if where not in benches:
            benches[where] = ifsl.Benchmark(name, "nowhere", where[1], split, lists=shared / "splits")
        bench = benches[where]
        if rest[-1] == "size":
            assert bench.class_ids == value["class_ids"]
            assert (len(bench.entries), len(bench)) == (value["entries"], value["distinct_or_listed"])
            assert {str(c): len(images) for c, images in bench.images_of.items()} == value["per_class"]
        else:
            way, shot = int(rest[0][0]), int(rest[1][0])
            drawn = [bench.draw(e["index"], way, shot) for e in value]
            assert [vars(one) for one in drawn] == [e | {"task": "fs-cs"} for e in value]


def test_a_known_draw_without_any_folder(tmp_path):
    """The drawing itself, written out: NumPy's legacy stream, these calls in this order."""
    bench = ifsl.Benchmark("pascal", tmp_path, 2, lists=write_lists(tmp_path, invented(2), 2))
    for index in (0, 3, 17, 44):
        r = np.random.RandomState(index)
        query, query_class = bench.entries[index % len(bench.entries)]
        p = [0.5 if c == query_class else 0.125 for c in bench.class_ids]
        classes = r.choice(bench.class_ids, 2, p=p, replace=False).tolist()
        support = []
        for c in classes:
            kept = []
            while len(kept) < 3:
                image = r.choice(bench.images_of[c], 1, replace=False)[0]
                if image != query and image not in kept:
                    kept.append(image)
            support.append(kept)
        drawn = bench.draw(index, way=2, shot=3)
        assert (drawn.query, drawn.classes, drawn.support) == (query, classes, support)


def test_training_reads_the_three_other_folds_in_order(tmp_path):
    for fold in range(4):
        write_lists(tmp_path, invented(fold), fold)
    (tmp_path / "val").rename(tmp_path / "trn")
    bench = ifsl.Benchmark("pascal", tmp_path, fold=1, split="trn", lists=tmp_path)
    assert bench.entries == invented(0) + invented(2) + invented(3)
    assert bench.class_ids == [1, 2, 3, 4, 5, *range(11, 21)]


def test_too_few_images_is_an_error_and_no_endless_loop(tmp_path):
    bench = ifsl.Benchmark("pascal", tmp_path, 0, lists=write_lists(tmp_path, invented(0), 0))
    with pytest.raises(InputError, match="too few for 40 shots"):
        bench.draw(0, way=1, shot=40)


@pytest.mark.parametrize(
    "images, shot, complaint",
    [
        (1, 1, "has 0 images besides the query im_0, too few for 1 shot; add images to"),
        (2, 2, "has 1 image besides the query im_0, too few for 2 shots; lower shot to 1 or add images to"),
    ],
)
def test_only_a_shot_that_is_possible_is_advised(tmp_path, images, shot, complaint):
    entries = [(f"im_{i}", c) for c in range(1, 6) for i in range(images)]
    bench = ifsl.Benchmark("pascal", tmp_path, 0, lists=write_lists(tmp_path, entries, 0))
    with pytest.raises(InputError, match=complaint):
        bench.draw(0, 1, shot, task="fs-cs")


CLOSED = {
    "": lambda root: ifsl.Benchmark("pascal", root),
    "splits/pascal": lambda root: ifsl.Benchmark("pascal", root),
    "VOC2012": lambda root: ifsl.Benchmark("pascal", root).class_names,
    "splits/pascal/custom": lambda root: ifsl.Benchmark("pascal", root).queries("0-5"),
    "VOC2012/JPEGImages": lambda root: ifsl.Benchmark("pascal", root).check_files(["2007_000001"]),
    "COCO2014": lambda root: ifsl.Benchmark("coco", root).check_layout(),
    "COCO2014/val2014": lambda root: ifsl.Benchmark("coco", root).episode(0),
}


@pytest.mark.parametrize("place", CLOSED)
def test_a_folder_that_may_not_be_read_is_not_called_missing(place, tiny_root, close):
    close(tiny_root / place)
    with pytest.raises(InputError, match="cannot be read .Permission denied") as caught:
        CLOSED[place](tiny_root)
    assert str(caught.value).startswith(str(tiny_root / place)) and "missing" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (dict(name="voc"), "choose pascal or coco"),
        (dict(fold=4), "choose 0, 1, 2 or 3"),
        (dict(fold="0"), "choose 0, 1, 2 or 3"),
        (dict(split="test"), "choose trn"),
        (dict(root="nowhere"), "There are no lists of pascal"),
        (dict(lists="nowhere"), "no folder val"),
    ],
)
def test_impossible_benchmarks(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        ifsl.Benchmark(**{"name": "pascal", **arguments})


@pytest.mark.parametrize("way, shot, index", [(0, 1, 0), (6, 1, 0), (True, 1, 0), (1, 0, 0), (1, 1.5, 0), (1, 1, -1)])
def test_impossible_draws(tmp_path, way, shot, index):
    bench = ifsl.Benchmark("pascal", tmp_path, 0, lists=write_lists(tmp_path, invented(0), 0))
    with pytest.raises(InputError, match="way is|shot is|index is"):
        bench.draw(index, way, shot)


@pytest.mark.parametrize("line", ["2007_000033", "2007_000033__77", "../../etc/passwd__01", "", "2007_000033__6"])
def test_broken_pascal_lists(tmp_path, line):
    path = tmp_path / "fold0.txt"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match="fold0.txt"):
        read_pascal_list(path, [1, 2, 3, 4, 5])


class Hostile:
    """Unpickled by an ordinary reader, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "held",
    [
        [1, 2],
        {0: "x"},
        {99: []},
        {0: ["../../secret.jpg"]},
        {True: []},
        {0: []},
        {"0": ["val2014/COCO_val2014_1.jpg"]},
        {0: [5]},
    ],
)
def test_broken_coco_lists(tmp_path, held):
    path = tmp_path / "fold0.pkl"
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(InputError, match="fold0.pkl"):
        read_coco_list(path)


def test_hostile_pickles_do_nothing(tmp_path):
    path, victim = tmp_path / "fold0.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({0: Hostile(victim)}))
    with pytest.raises(InputError, match="do not trust"):
        read_coco_list(path)
    assert not victim.exists()
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(InputError, match="fold0.pkl"):
        read_coco_list(path)
