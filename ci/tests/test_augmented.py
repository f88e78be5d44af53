"""EMAT's evaluation settings: augmented support sets and queries by object size, in draws, results and commands."""

import json
import pickle
import re
import shutil
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from test_benchmarks import write_lists

import ifsl
from ifsl.__main__ import main
from ifsl.data.augmented import LEAST_SHARE, augment_supports, measure
from ifsl.data.benchmarks import Benchmark
from ifsl.data.lists import write_lists as write_all_lists
from ifsl.data.loading import TestEpisodes, group_equal
from ifsl.errors import InputError
from ifsl.learners import LEARNERS, build_model
from ifsl.learners.maps import VOID
from ifsl.run.baselines import Constant
from ifsl.run.settings import Settings
from ifsl.tasks import AUGMENTS, OBJECTS

LITE = "efficientnet_lite0"
CLASS_IDS = {"pascal": [1, 2, 3, 4, 5], "coco": [2, 6, 10, 14]}

pytestmark = pytest.mark.usefixtures("one_thread")


# Augmented support sets -----------------------------------------------------------------------------------------------


def bands(way: int, shot: int, seed: int, class_ids: list[int]):
    """The made-up episodes of the expected numbers: N classes, and N lists of K masks that are piles of bands."""
    classes = np.random.RandomState(7000 + seed).choice(class_ids, way, replace=False).tolist()
    masks = {}
    for n in range(way):
        for k in range(shot):
            stream = np.random.RandomState(8000 + 100 * seed + 10 * n + k)
            mask, row = np.zeros((100, 100), np.uint8), 0
            for c in stream.permutation([*class_ids, VOID]).tolist():
                height = stream.randint(0, 25)
                mask[row : row + height] = c
                row += height
            masks[n, k] = mask
    return classes, masks


def augment(name: str, way: int, shot: int, seed: int, kind: str):
    """Classes and shots, as [way, shot] of the drawn ones, of a made-up episode."""
    classes, masks = bands(way, shot, seed, CLASS_IDS[name])
    used = classes if kind == "partially" else CLASS_IDS[name]
    return augment_supports(
        classes,
        [[(n, k) for k in range(shot)] for n in range(way)],
        lambda place: measure(masks[place]),
        used,
        LEAST_SHARE[name],
        np.random.RandomState(seed),
    )


def test_supports_equal_the_published_ones(shared):
    cases = json.loads((shared / "golden" / "episodes-augmented.json").read_text())
    for key, expected in cases.items():
        seed, way, shot = (int(number) for number in re.findall(r"\d+", key))
        kind, name = key.split("-")[-2:]
        classes, shots = augment(name, way, shot, seed, kind)
        assert classes == expected["classes"], key
        assert [[list(place) for place in places] for places in shots] == expected["shots"], key
        assert (sum(map(len, shots)) > way * shot) == expected["augmented"], key
    assert len(cases) >= 64


PUBLISHED = [
    (
        ("pascal", 2, 1, 0, "fully"),
        [1, 3, 2, 4, 5],
        [[(0, 0), (1, 0)], [(1, 0), (0, 0)], [(0, 0), (0, 0)], [(0, 0), (1, 0)], [(0, 0), (1, 0)]],
    ),
    (
        ("coco", 2, 2, 1, "partially"),
        [6, 14],
        [[(0, 0), (0, 1), (1, 0), (0, 1)], [(1, 0), (1, 1), (0, 0), (0, 1)]],
    ),
    (
        ("coco", 3, 1, 2, "fully"),
        [14, 10, 2, 6],
        [
            [(0, 0), (1, 0), (0, 0)],
            [(1, 0), (0, 0), (2, 0)],
            [(2, 0), (0, 0), (1, 0)],
            [(0, 0), (1, 0), (1, 0)],
        ],
    ),
    (("pascal", 1, 1, 0, "partially"), [1], [[(0, 0)]]),
]


@pytest.mark.parametrize("case, classes, shots", PUBLISHED)
def test_supports_wherever_the_tests_run(case, classes, shots):
    """Some of the published answers, copied."""
    assert augment(*case) == (classes, shots)


def test_void_counts_among_the_pixels_and_a_share_must_be_exceeded():
    mask = np.zeros((10, 10), np.uint8)
    mask[:5], mask[5, :7], mask[6, :8] = VOID, 3, 2
    assert measure(mask) == {2: 0.08, 3: 0.07}
    stream = np.random.RandomState(0)
    classes, shots = augment_supports([1], [["a"]], lambda image: measure(mask), [1, 2, 3], 0.07, stream)
    assert (classes, shots) == ([1, 2], [["a"], ["a"]])
    assert stream.randint(1000) == np.random.RandomState(0).randint(1000)  # nothing had to be filled up


@pytest.mark.parametrize("kind", AUGMENTS)
@pytest.mark.parametrize("name", LEAST_SHARE)
def test_draws_go_on_with_the_episodes_own_stream(tiny_root, name, kind):
    """Step by step, for many episodes of the tiny benchmark."""
    bench, grown = Benchmark(name, tiny_root), Counter()
    for index in range(60):
        stream = np.random.RandomState(index)
        plain = bench.draw(index, 2, 2, stream)
        ways, shots = list(plain.classes), [list(images) for images in plain.support]
        for own, images in zip(plain.classes, plain.support, strict=True):
            for image in images:
                _, mask = bench.read_pair(image)
                for c in np.unique(mask).tolist():
                    served = plain.classes if kind == "partial" else bench.class_ids
                    if c in served and c != own and (mask == c).mean() > (0.07 if name == "pascal" else 0.03):
                        ways += [] if c in ways else [c]
                        shots += [[]] * (len(ways) - len(shots))
                        shots[ways.index(c)] = [*shots[ways.index(c)], image]
        for images in shots:
            while len(images) < max(map(len, shots)):
                images.append(images[stream.randint(len(images))])
        drawn = bench.draw(index, 2, 2, augment=kind)
        assert (drawn.query, drawn.classes, drawn.support) == (plain.query, ways, shots)
        grown[len(ways) > 2, len(shots[0]) > 2] += 1
    assert len(grown) >= 2 and (kind == "full") == any(way for way, _ in grown)


def test_an_augmented_episode_as_tensors(bench):
    index = next(i for i in range(100) if len(bench.draw(i, 2, 1, augment="full").classes) > 2)
    ep, plain = bench.episode(index, 2, 1, 64, augment="full"), bench.episode(index, 2, 1, 64)
    way, shot = len(ep.draw.classes), len(ep.draw.support[0])
    assert ep.supports.shape == (way, shot, 3, 64, 64) and ep.masks.shape == (way, shot, 64, 64)
    assert torch.equal(ep.supports[:2, 0], plain.supports[:, 0]) and torch.equal(ep.masks[:2, 0], plain.masks[:, 0])
    assert (ep.masks.sum(dim=(2, 3)) > 0).all()  # each support shows the class that it serves
    shown = set(np.unique(bench.read_pair(ep.draw.query)[1]).tolist())
    assert ep.presence.tolist() == [c in shown for c in ep.draw.classes]
    assert set(ep.query_mask.unique().tolist()) == {0, *(n for n, c in enumerate(ep.draw.classes, 1) if c in shown)}


def test_only_equal_episodes_share_a_batch(bench):
    draws = TestEpisodes(bench, 2, 1, 50, 64, augment="full").draws
    groups = group_equal(draws, 4)
    assert list(chain.from_iterable(groups)) == list(range(50))
    shapes = [{(len(draws[i].classes), len(draws[i].support[0])) for i in group} for group in groups]
    assert all(len(one) == 1 for one in shapes)
    supports = [len(group) * way * shot for group, [(way, shot)] in zip(groups, shapes, strict=True)]
    assert all(count <= 8 or len(group) == 1 for count, group in zip(supports, groups, strict=True))
    assert max(map(len, groups)) == 4 and len(set(map(len, groups))) > 1 and len(set().union(*shapes)) > 2


# Results --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", LEARNERS)
def test_every_learner_is_evaluated_on_augmented_supports(bench, method):
    model = build_model(method, LITE)
    start = next(i for i in range(100) if len(bench.draw(i, 2, 1, augment="full").classes) > 2)
    result = ifsl.evaluate(model, bench, 2, 1, start + 1, workers=0, augment="full", progress=False)
    draws = TestEpisodes(bench, 2, 1, start + 1, 64, augment="full").draws
    assert [list(counts) for counts in result.counts] == [[0, *draw.classes] for draw in draws]
    assert result.settings["augment"] == "full" and result.settings["most_ways"] > 2
    ep = bench.episode(start, 2, 1, model.image_size, augment="full")
    presence, (mask,) = model.predict(ep.query[None], ep.supports[None], ep.masks[None], [ep.size])
    assert result.exact[-1] == torch.equal(presence[0], ep.presence)
    for n, c in enumerate(ep.draw.classes, start=1):
        both = ((mask == n) & (ep.query_mask == n)).sum().item()
        assert abs(result.counts[-1][c][0] - both) <= 2


def test_the_result_depends_on_no_batch_and_says_what_it_is(bench, tmp_path):
    model = build_model("hsnet", LITE, pretrained=True)
    options = dict(episodes=3, size=272, workers=0, progress=False, augment="full")
    one, other = (ifsl.evaluate(model, bench, 2, 1, batch=batch, **options) for batch in (1, 2))
    assert one.counts == other.counts and one.exact == other.exact and len(one.exact) == 3
    assert one.er == pytest.approx(100 * np.mean(one.exact))
    said = one.table()
    assert re.search(r"support sets +fully augmented, up to \d ways and \d shots", said)
    one.save(tmp_path)
    assert type(one).load(tmp_path / "result.json") == one


def test_er_asks_for_the_added_ways(bench):
    """The reply that nothing is there is wrong more often, because a query shows an added way sometimes."""
    kinds, options = (None, "partial", "full"), dict(episodes=60, size=32, workers=0, progress=False)
    results = [ifsl.evaluate(Constant(False), bench, 2, 1, augment=kind, **options) for kind in kinds]
    for kind, result in zip(kinds, results, strict=True):
        draws = TestEpisodes(bench, 2, 1, 60, 32, augment=kind).draws
        assert result.exact == [not set(draw.classes) & set(bench.shares(draw.query)) for draw in draws]
    assert results[0].exact == results[1].exact and results[2].er < results[0].er
    assert "support sets" not in results[0].table() and results[0].settings["augment"] is None
    with pytest.raises(InputError, match="augment is 'full' and None"):
        results[2].difference(results[0])


# Object sizes ---------------------------------------------------------------------------------------------------------


def test_queries_have_objects_of_the_size(tiny_root):
    for name in ("pascal", "coco"):
        bench = Benchmark(name, tiny_root, 1)
        listed = {}
        for objects in OBJECTS[1:]:
            low, high = (int(number) / 100 for number in objects.split("-"))
            listed[objects] = bench.queries(objects)
            expected = [
                (image, c) for image, c in bench.entries if low < (bench.read_pair(image)[1] == c).mean() <= high
            ]
            assert sorted(listed[objects]) == sorted(expected)
            np.random.RandomState(0).shuffle(expected)
            assert listed[objects] == expected and bench.queries(objects) == expected
        assert set(listed["5-10"] + listed["10-15"]) <= set(listed["0-15"])
        data = TestEpisodes(bench, 1, 2, 1000, 64, objects="0-15")
        assert len(data) == len(bench.queries("0-15", 2)) == bench.count_queries("0-15", 2)
        for index, draw in enumerate(data.draws):
            assert [(draw.query, c) for c in draw.classes] == [bench.queries("0-15", 2)[index]]
            assert draw.support == [bench.draw_supports(np.random.RandomState(index), draw.classes[0], draw.query, 2)]
        assert data[0].presence.all()


@pytest.mark.parametrize("task", ["fs-cs", "fs-s"])
def test_object_sizes_are_evaluated(bench, task):
    result = ifsl.evaluate(Constant(True), bench, 1, 2, size=32, task=task, objects="10-15", workers=0, progress=False)
    assert len(result.counts) == result.settings["episodes"] == len(bench.queries("10-15", 2)) < 1000
    assert result.er in (100, None)
    assert all(10 < iou < 16 for iou in result.iou_per_class.values() if iou)  # the whole picture is called object
    said = result.table()
    assert "10-15 % of the query" in said and "derived from the masks" in said


@pytest.mark.parametrize("name", ["pascal", "coco"])
def test_published_lists_of_queries_are_read(tmp_path, name):
    """Fold 0 has fewer queries than fold 2, so they begin again. In coco, a class of one image does not count."""
    ids = {0: [1, 2], 2: [11, 12]} if name == "pascal" else {0: [1, 5], 2: [3, 7]}
    image = "im_{}_{}" if name == "pascal" else "val2014/COCO_val2014_{}{}.jpg"
    entries = [(image.format(c, i), c) for c in ids[0] + ids[2] for i in range(5)]
    write_all_lists(tmp_path / "splits" / name, name, "val", entries)
    home = tmp_path / "splits" / name / "custom" / "0-5"
    home.mkdir(parents=True)
    queries = {}
    for fold, many in ((0, 2), (2, 4)):
        first, second = ids[fold]
        listed = [(image.format(first, i), first) for i in range(many)] + [(image.format(second, 0), second)]
        if name == "pascal":
            (home / f"fold{fold}.txt").write_text("".join(f"{image}__{c:02d}\n" for image, c in listed))
            queries[fold] = listed
        else:
            table = {c - 1: [image for image, own in listed if own == c] for c in ids[fold]}
            (home / f"fold{fold}.pkl").write_bytes(pickle.dumps(table))
            queries[fold] = listed[:-1]
    bench, episodes, own = Benchmark(name, tmp_path), len(queries[2]), len(queries[0])
    assert bench.count_queries("0-5") == episodes and bench.queries_source("0-5") == "as given"
    drawn = [bench.draw(index, objects="0-5") for index in range(episodes)]
    assert sorted((draw.query, draw.classes[0]) for draw in drawn[:own]) == queries[0]
    assert [draw.query for draw in drawn[own:]] == [draw.query for draw in drawn[: episodes - own]]
    if name == "coco":
        with pytest.raises(InputError, match="a class of 3 images"):
            bench.draw(0, shot=2, objects="0-5")


@pytest.mark.parametrize(
    "name, file, content",
    [
        ("pascal", "fold0.txt", b"im_1_1__07\n"),
        ("pascal", "fold0.txt", b""),
        ("coco", "fold0.pkl", pickle.dumps({1: ["val2014/COCO_val2014_50.jpg"]})),
        ("coco", "fold0.pkl", b"none"),
    ],
)
def test_broken_lists_of_queries(tiny_root, tmp_path, name, file, content):
    shutil.copytree(tiny_root / "splits" / name, tmp_path / name)
    path = tmp_path / name / "custom" / "0-5" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match=file):
        Benchmark(name, tiny_root, lists=tmp_path).draw(0, objects="0-5")


# Refusals -------------------------------------------------------------------------------------------------------------

REFUSED = [
    ({"augment": "all"}, "choose partial or full"),
    ({"augment": True}, "choose partial or full"),
    ({"augment": "partial"}, "way 2 or more"),
    ({"augment": "full", "objects": "0-5"}, "leave out augment or objects"),
    ({"augment": "full", "task": "fs-s"}, "leave out augment"),
    ({"augment": "full", "weak": True}, "leave out weak or augment"),
    ({"objects": "0-50"}, "choose 0-5, 5-10"),
    ({"objects": 5}, "choose 0-5, 5-10"),
    ({"objects": "0-5", "way": 2}, "one way"),
    ({"objects": "0-5", "shot": 100}, "No query of fold 0 has an object of 0-5 %"),
]


@pytest.mark.parametrize("given, word", REFUSED)
def test_settings_that_make_no_sense(bench, given, word):
    with pytest.raises(InputError, match=word):
        ifsl.evaluate(build_model("hsnet", LITE), bench, episodes=1, workers=0, progress=False, **given)
    if "weak" not in given:
        with pytest.raises(InputError, match=word):
            bench.draw(0, **given)


def test_object_sizes_are_for_testing(tiny_root, tmp_path):
    with pytest.raises(InputError, match="split val"):
        Benchmark("pascal", tiny_root, split="trn").draw(0, objects="0-15")
    with pytest.raises(InputError, match="is missing"):
        entries = [(f"im_{i}", 1 + i % 2) for i in range(9)]
        Benchmark("pascal", tmp_path, lists=write_lists(tmp_path, entries, 0)).draw(0, objects="0-5")


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--augment", "some"], "--augment"),
        (["--objects", "0-50"], "--objects"),
        (["--eval", "--augment", "partial"], "way 2 or more"),
        (["--eval", "--augment", "full", "--weak"], "leave out weak or augment"),
        (["--eval", "--augment", "full", "--task", "fs-s"], "leave out augment"),
        (["--eval", "--augment", "full", "--objects", "0-5"], "leave out augment or objects"),
        (["--eval", "--objects", "0-5", "--way", "2"], "one way"),
        (["--eval", "--checkpoint", "untrained", "--objects", "0-5", "--shot", "100"], "No query of fold 0"),
        (["--augment", "full"], "--augment is for testing"),
        (["--objects", "0-5"], "--objects is for testing"),
    ],
)
def test_mistakes_on_the_command_line(tiny_root, tmp_path, capsys, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["--datapath", str(tiny_root), "--backbone", LITE, "--workers", "0", *arguments])
    except SystemExit as error:
        status = error.code
    said = capsys.readouterr().err
    assert status == 2 and word in said and said.startswith("ifsl: ") and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments, name, line",
    [
        (["--way", "2", "--augment", "full"], "test-2way-1shot-full", "fully augmented"),
        (["--way", "2", "--augment", "partial"], "test-2way-1shot-partial", "partially augmented"),
        (["--objects", "5-10"], "test-1way-1shot-objects5-10", "5-10 % of the query"),
    ],
)
def test_the_command_line_writes_them(tiny_root, tmp_path, capsys, monkeypatch, arguments, name, line):
    monkeypatch.chdir(tmp_path)
    given = ["--datapath", str(tiny_root), "--backbone", LITE, "--method", "pfenet", "--width", "8", "--size", "64"]
    given += ["--devices", "cpu", "--workers", "0", "--eval", "--checkpoint", "untrained", "--episodes", "3", "--vis"]
    assert main([*given, *arguments]) == 0
    assert line in capsys.readouterr().out
    folder = Settings(method="pfenet", backbone=LITE, logpath="untrained-pfenet-seed0").folder
    saved = json.loads((folder / f"{name}.json").read_text())
    assert line.split()[0].startswith(saved["settings"]["objects"] or saved["settings"]["augment"])
    assert len(list((folder / name.replace("test", "vis")).iterdir())) == 3
