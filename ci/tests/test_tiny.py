"""The tiny benchmark: layout, lists, masks, the same bytes every time; and the converter from COCO annotations."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifsl.data.benchmarks import Benchmark
from ifsl.data.classes import fold_classes
from ifsl.data.coco import rasterise
from ifsl.data.workers import FEW
from ifsl.errors import InputError
from ifsl.tiny import commands, contact_sheet, make, make_tiny, scenes, stickers, symbols
from ifsl.tiny.__main__ import main

FEW_PASCAL, FEW_COCO = (FEW, 8), (20, 12)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A small tiny benchmark of seed 0, made by this process alone."""
    return make_tiny(tmp_path_factory.mktemp("one") / "tiny", pascal=FEW_PASCAL, coco=FEW_COCO, workers=1)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# Same bytes -----------------------------------------------------------------------------------------------------------


def test_same_bytes_from_several_processes(small, tmp_path):
    again = make_tiny(tmp_path / "tiny", pascal=FEW_PASCAL, coco=FEW_COCO, workers=2)
    assert files(again) == files(small)


def test_masks_and_lists_are_those_of_every_other_machine(small):
    """Pixels, not file bytes: how a PNG file is packed is up to Pillow. Changes only with `make.VERSION`."""
    total = hashlib.sha256()
    for path in sorted(small.rglob("*")):
        if path.suffix == ".png":
            total.update(read(path).tobytes())
        elif path.suffix in (".txt", ".pkl"):
            total.update(path.read_bytes())
    assert make.VERSION == 4
    assert total.hexdigest() == "0a89908155a914501e83ea34b0f49430e757188eb941aa4fa32b47d10aa36f8a"


def test_another_seed_gives_another_benchmark(small, tmp_path):
    root = make_tiny(tmp_path / "tiny", pascal=(2, 1), coco=(2, 1), workers=1)
    first = files(root)
    make_tiny(root, seed=1, pascal=(2, 1), coco=(2, 1), workers=1)
    assert files(root)["VOC2012/JPEGImages/2007_000001.jpg"] != first["VOC2012/JPEGImages/2007_000001.jpg"]
    assert os.listdir(tmp_path) == ["tiny"]  # nothing is left beside it


def test_a_finished_benchmark_is_kept(small, monkeypatch):
    monkeypatch.setattr(make, "_write_pascal", None)  # making anything would fail
    before = files(small)
    assert make_tiny(small, pascal=FEW_PASCAL, coco=FEW_COCO) == small
    assert files(small) == before


def test_nothing_is_left_of_an_interrupted_run(tmp_path, monkeypatch):
    def broken(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "_write_coco", broken)
    with pytest.raises(KeyboardInterrupt):
        make_tiny(tmp_path / "tiny", pascal=(1, 1), coco=(1, 1), workers=1)
    assert os.listdir(tmp_path) == []


def test_a_link_to_another_place_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "tiny").symlink_to(tmp_path / "disk")
    make_tiny(tmp_path / "tiny", pascal=(1, 1), coco=(1, 1), workers=1)
    assert (tmp_path / "disk" / make.STAMP).is_file()


# Layout and lists -----------------------------------------------------------------------------------------------------


def test_class_names(small):
    names = (small / "VOC2012" / "classes.txt").read_text().splitlines()
    assert len(set(names)) == 20 and all(name.isascii() and name.isalpha() and name.islower() for name in names)
    assert list(Benchmark("pascal", small).class_names.values()) == names
    content = json.loads((small / "COCO2014" / "annotations" / "instances_val2014.json").read_text())
    coco = [c["name"] for c in sorted(content["categories"], key=lambda c: c["id"])]
    assert len(set(coco)) == 80 and list(Benchmark("coco", small).class_names.values()) == coco


@pytest.mark.parametrize("split", ["trn", "val"])
def test_pascal_lists(small, split):
    listed: set[tuple[str, int]] = set()
    for fold in range(4):
        lines = (small / "splits" / "pascal" / split / f"fold{fold}.txt").read_text().splitlines()
        entries = [(line[:11], int(line[13:])) for line in lines]
        assert {c for _, c in entries} <= set(range(5 * fold + 1, 5 * fold + 6))
        assert not listed & set(entries)
        listed |= set(entries)
    year = {"trn": "2007", "val": "2008"}[split]
    shown = set()
    for path in (small / "VOC2012" / "SegmentationClassAug").glob(f"{year}_*.png"):
        shown |= {(path.stem, int(c)) for c in np.unique(read(path)) if c not in (0, 255)}
    assert listed == shown
    assert len({c for _, c in listed}) == (20 if split == "trn" else len({c for _, c in shown}))


@pytest.mark.parametrize("split", ["trn", "val"])
@pytest.mark.parametrize("fold", range(4))
def test_coco_lists(small, split, fold):
    content = (small / "splits" / "coco" / split / f"fold{fold}.pkl").read_bytes()
    assert content[:2] == b"\x80\x03"  # pickle protocol 3, as in the published lists
    table = pickle.loads(content)
    own = [c - 1 for c in fold_classes("coco", fold, split)]
    assert list(table) == list(range(80)) and all(not table[c] for c in range(80) if c not in own)
    for c, images in table.items():
        for image in images:
            mask = small / "COCO2014" / "annotations" / Path(image).with_suffix(".png")
            assert image.startswith({"trn": "train2014/", "val": "val2014/"}[split]) and c + 1 in np.unique(read(mask))
    bench = Benchmark("coco", small, fold=fold, split=split)
    assert {c - 1: images for c, images in bench.images_of.items()} == {c: table[c] for c in own}


def test_full_size_fills_every_episode():
    """Enough pictures of each class for a query and five shots, from the plans alone."""
    for plans, classes in ((scenes.plan_pascal, 20), (scenes.plan_coco, 80)):
        size = make.PASCAL_SIZE if classes == 20 else make.COCO_SIZE
        for split, count in zip(("trn", "val"), size, strict=True):
            pictures = [set(plan.class_ids) for plan in plans(split, count, 0)]
            assert min(sum(c in shown for shown in pictures) for c in range(1, classes + 1)) >= 8
    assert len(scenes.plan_pascal("trn", make.PASCAL_SIZE[0], 0)) >= 600


def test_pictures_have_many_sizes_and_their_masks_have_the_same(small):
    sizes = set()
    for folder, masks in (
        ("VOC2012/JPEGImages", "VOC2012/SegmentationClassAug"),
        ("COCO2014/train2014", "COCO2014/annotations/train2014"),
        ("COCO2014/val2014", "COCO2014/annotations/val2014"),
    ):
        for path in (small / folder).iterdir():
            picture, mask = read(path), read(small / masks / f"{path.stem}.png")
            assert picture.ndim == 3 and mask.dtype == np.uint8 and picture.shape[:2] == mask.shape
            sizes.add(mask.shape)
    assert len(sizes) > 20 and any(h > w for h, w in sizes) and any(h < w for h, w in sizes)


# Masks ----------------------------------------------------------------------------------------------------------------


def test_every_listed_class_shows_enough(small):
    for split in ("trn", "val"):
        for fold in range(4):
            for line in (small / "splits" / "pascal" / split / f"fold{fold}.txt").read_text().splitlines():
                mask = read(small / "VOC2012" / "SegmentationClassAug" / f"{line[:11]}.png")
                assert (mask == int(line[13:])).mean() >= 0.01, line


def test_void_line_parts_objects_from_everything_else(small):
    for path in (small / "VOC2012" / "SegmentationClassAug").iterdir():
        mask = read(path)
        assert 0.005 < (mask == 255).mean() < 0.15
        for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1]), (mask[1:, 1:], mask[:-1, :-1])):
            assert not ((a != b) & (a != 255) & (b != 255)).any(), path


def test_coco_masks_are_those_of_the_annotations(small):
    from pycocotools import mask as coco

    for part in scenes.COCO_PARTS.values():
        content = json.loads((small / "COCO2014" / "annotations" / f"instances_{part}.json").read_text())
        rank = {c: n for n, c in enumerate(sorted(c["id"] for c in content["categories"]), start=1)}
        assert max(rank) > 80  # categories have gaps, as the real ones
        for image in content["images"]:
            mask = read(small / "COCO2014" / "annotations" / part / f"{Path(image['file_name']).stem}.png")
            left = mask.copy()
            for found in content["annotations"]:
                if found["image_id"] == image["id"]:
                    inside = coco.decode([found["segmentation"]])[..., 0] == 1
                    assert (mask[inside] == rank[found["category_id"]]).all() and found["area"] == inside.sum()
                    left[inside] = 0
            assert mask.any() and not left.any()


def test_winding_counts_cells_by_their_centres():
    unit = stickers.UNIT
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]]) * unit + unit // 4  # a quarter past a cell's edge
    hole = np.array([[2, 1], [2, 2], [3, 2], [3, 1]]) * unit + unit // 4
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    expected[1, 2] = False
    assert ((stickers.count_windings([square, hole], 5, 6) != 0) == expected).all()
    moved = square - np.array([3, 0]) * unit  # what lies left of the grid still counts in it
    assert (stickers.count_windings([moved], 5, 6) != 0)[:, 0].tolist() == [False, True, True, False, False]


def test_every_symbol_has_a_body_and_none_is_a_decoy():
    for symbol in symbols.COCO_SYMBOLS:
        sticker = stickers.cut_out(symbol, (128, 128), 96, (64, 64), np.random.RandomState(0))
        assert (sticker.cover >= 8).mean() > 0.08, symbol.name
    own = {symbol.code for symbol in symbols.COCO_SYMBOLS}
    assert len(own) == 80 and not own & set(stickers.CLUTTER_CODES)


@pytest.mark.parametrize("name", ["pascal", "coco"])
def test_looks_are_shared_within_a_fold_and_nowhere_else(name):
    """No look belongs to one class alone, so that none gives its class away."""
    list_own = {"pascal": symbols.list_pascal_looks, "coco": symbols.list_coco_looks}[name]
    folds = [[list_own(c) for c in fold_classes(name, fold, "val")] for fold in range(4)]
    for classes in folds:
        assert all(len(looks) == len(set(looks)) == symbols.LOOKS for looks in classes)
        owners = [sum(look in looks for looks in classes) for look in set(sum(classes, []))]
        assert owners == [symbols.LOOKS * len(classes) // 5] * 5 and min(owners) > 1
    assert len({look for classes in folds for looks in classes for look in looks}) == 20


def test_stickers_and_decoys_take_the_looks_of_the_classes_shown():
    shared, worn, decoys = [], set(), []
    for plan in scenes.plan_pascal("val", 40, 0):
        scene = scenes.arrange_pascal(plan)
        assert all(s.look in symbols.list_pascal_looks(s.class_id) for s in scene.stickers)
        shown = [look for c in plan.class_ids for look in symbols.list_pascal_looks(c)]
        assert all(decoy.class_id == 0 and decoy.look in shown for decoy in scene.decoys)
        shared += [decoy.look in [s.look for s in scene.stickers] for decoy in scene.decoys]
        worn |= {(s.class_id, s.look) for s in scene.stickers}
        decoys.append(len(scene.decoys))
        again = scenes.arrange_pascal(plan)
        assert [s.look for s in again.stickers + again.decoys] == [s.look for s in scene.stickers + scene.decoys]
    assert set(decoys) == set(range(*stickers.DECOYS)) and True in shared
    assert len(worn) > 1.5 * len({c for c, _ in worn})  # a class has not the same look in every picture


# Sheet and command line -----------------------------------------------------------------------------------------------


def test_the_easy_version_has_the_same_masks_one_look_for_each_class_and_no_decoys(small, tmp_path):
    easy = make_tiny(tmp_path / "tiny", pascal=FEW_PASCAL, coco=FEW_COCO, workers=1, easy=True)
    names = {name for name in files(small) if name.startswith("VOC2012/SegmentationClassAug")}
    assert names and all(files(easy)[name] == files(small)[name] for name in names)
    assert json.loads((easy / make.STAMP).read_text())["easy"] is True
    shown = {}
    for plan in scenes.plan_pascal("trn", 60, 0, easy=True):
        scene = scenes.arrange_pascal(plan)
        assert not scene.decoys
        for sticker in scene.stickers:
            shown.setdefault(sticker.class_id, set()).add(sticker.look)
    assert len(shown) == 20 and all(len(looks) == 1 for looks in shown.values())


def test_sheet(tmp_path):
    file = contact_sheet.write_sheet(tmp_path / "sheet.png")
    with Image.open(file) as page:
        assert page.width == contact_sheet.WIDTH and len(page.getcolors(256)) > 200
    assert file.stat().st_size < 600_000
    with pytest.raises(InputError, match="png"):
        contact_sheet.write_sheet(tmp_path / "sheet.jpg")
    with pytest.raises(InputError, match="cannot be written"):
        contact_sheet.write_sheet(tmp_path / "no" / "sheet.png")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "ifsl.tiny", *arguments], capture_output=True, text=True)


def test_bad_options_end_with_2_and_one_sentence(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    for root, word in (("mine", "holds something"), ("file", "no folder"), ("file/below", "cannot be written")):
        done = run("--root", str(tmp_path / root))
        assert (done.returncode, done.stdout) == (2, "")
        assert word in done.stderr and "--root" in done.stderr and len(done.stderr.splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "mine"] and os.listdir(tmp_path / "mine") == ["photo.jpg"]


@pytest.mark.parametrize("seed", ["-1", "99999999999"])
@pytest.mark.parametrize("what", [["--root", "new"], ["--sheet", "new.png"]])
def test_a_seed_that_is_none_is_refused(what, seed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*what, "--seed", seed]) == 2
    assert f"There is no seed {seed}" in capsys.readouterr().err and not os.listdir(tmp_path)


def test_each_version_has_its_own_folder_and_never_replaces_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr(commands, "make_tiny", lambda root, seed, easy: made.append((root, easy)) or root)
    for arguments in ([], ["--easy"], ["--easy", "--root", "mine"]):
        assert main(arguments) == 0
    assert made == [("data/tiny", False), ("data/tiny-easy", True), ("mine", True)]
    assert "The easy version of the tiny benchmark is in data/tiny-easy." in capsys.readouterr().out
    few = {"pascal": (2, 1), "coco": (2, 1), "workers": 1}
    for root, easy, said in (
        ("a", False, "ordinary tiny benchmark, not its easy"),
        ("b", True, "its easy version, not"),
    ):
        make_tiny(root, **few, easy=easy)
        before = files(tmp_path / root)
        with pytest.raises(InputError, match=rf"{root} holds .*{said}.*--root") as refused:
            make_tiny(root, **few, easy=not easy)
        assert len(str(refused.value).splitlines()) == 1 and files(tmp_path / root) == before


def test_a_json_of_somebody_else_is_not_taken_for_ours(tmp_path):
    (tmp_path / make.STAMP).write_text('{"my": "data"}')
    with pytest.raises(InputError, match="holds something"):
        make_tiny(tmp_path)


# The converter --------------------------------------------------------------------------------------------------------


def annotation_file(folder: Path, objects: list[dict]) -> Path:
    content = {
        "images": [{"id": 7, "file_name": "COCO_val2014_000000000007.jpg", "height": 6, "width": 8}],
        "categories": [{"id": 90, "name": "b"}, {"id": 3, "name": "a"}, {"id": 91, "name": "c"}],
        "annotations": [{"id": n, "image_id": 7, "iscrowd": 0, **one} for n, one in enumerate(objects)],
    }
    file = folder / "instances_val2014.json"
    file.write_text(json.dumps(content))
    return file


def box(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def test_rasterise_rule_for_order_crowds_and_ids(tmp_path):
    file = annotation_file(
        tmp_path,
        [
            {"category_id": 90, "segmentation": box(0, 0, 4, 4)},
            {"category_id": 3, "segmentation": box(2, 2, 6, 5) + box(7, 0, 8, 1)},  # two parts, over the first
            {"category_id": 91, "segmentation": {"size": [6, 8], "counts": [0, 48]}, "iscrowd": 1},  # left out
            {"category_id": 91, "segmentation": {"size": [6, 8], "counts": [5, 1, 42]}},  # runs go down the columns
        ],
    )
    assert rasterise(file) == 1
    expected = np.zeros((6, 8), np.uint8)
    expected[:4, :4], expected[2:5, 2:6], expected[0, 7], expected[5, 0] = 2, 1, 1, 3
    assert (read(tmp_path / "val2014" / "COCO_val2014_000000000007.png") == expected).all()


def test_rasterise_keeps_what_is_there_and_leaves_no_part(tmp_path):
    file = annotation_file(tmp_path, [{"category_id": 3, "segmentation": box(0, 0, 4, 4)}])
    mask = tmp_path / "val2014" / "COCO_val2014_000000000007.png"
    mask.parent.mkdir()
    (mask.parent / f"{mask.name}.part").write_bytes(b"half")  # of a run that was cut off
    assert rasterise(file) == 1 and read(mask).any()
    mask.write_bytes(b"mine")
    assert rasterise(file) == 0 and mask.read_bytes() == b"mine"
    assert os.listdir(mask.parent) == [mask.name]


@pytest.mark.parametrize(
    "segmentation", [[[1, 2, 3]], {"size": [6, 8]}, {"size": [3, 3], "counts": [0, 9]}, "none", [["a"] * 6]]
)
def test_rasterise_names_a_broken_outline(tmp_path, segmentation):
    file = annotation_file(tmp_path, [{"category_id": 3, "segmentation": segmentation}])
    with pytest.raises(InputError, match="COCO_val2014_000000000007"):
        rasterise(file)
    assert not list(tmp_path.glob("val2014/*.png"))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"images": []}'])
def test_rasterise_names_a_file_that_is_none(tmp_path, content):
    file = tmp_path / "instances_val2014.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"instances_val2014\.json"):
        rasterise(file)


def test_rasterise_real_annotations(shared, tmp_path):
    """Every mask shows classes that its annotations name, and all the large ones of them."""
    file = shared / "coco-mini" / "COCO2014" / "annotations" / "instances_val2014.json"
    if not file.is_file():
        pytest.skip("the folder coco-mini of real annotations is not there")
    content = json.loads(file.read_text())
    assert rasterise(file, tmp_path) == len(content["images"]) == len(os.listdir(tmp_path))
    rank = {c: n for n, c in enumerate(sorted(c["id"] for c in content["categories"]), start=1)}
    for image in content["images"]:
        mask = read(tmp_path / f"{Path(image['file_name']).stem}.png")
        assert mask.shape == (image["height"], image["width"])
        named = {rank[a["category_id"]] for a in content["annotations"] if a["image_id"] == image["id"]}
        assert set(np.unique(mask).tolist()) - {0} <= named
