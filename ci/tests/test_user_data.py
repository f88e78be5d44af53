"""Data as users have them: lists, masks and annotations that do not say the same, and names as people give them.

Whatever is wrong is one sentence that names the file; nothing vanishes without a word.
"""

import json
import math
import os
import pickle
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco
from test_download import block, jpg, png

import ifsl
from ifsl.data.classes import COCO_NAMES
from ifsl.data.coco import rasterise
from ifsl.data.derive import derive_lists
from ifsl.data.lists import write_lists
from ifsl.data.palettes import COCO_CATEGORIES, voc_palette
from ifsl.download import main
from ifsl.errors import InputError

H, W = 60, 80
BOX = [5, 5, 65, 5, 65, 55, 5, 55]
"""Corners of a large box."""


def sentence(caught) -> str:
    """The one sentence that something was refused with."""
    said = str(caught.value)
    assert len(said.splitlines()) == 1 and said.endswith(".") and len(said) < 600, said
    return said


def run(capsys, *arguments: str) -> tuple[int, str]:
    """Exit status of `python -m ifsl.download` and what it said, without bars."""
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out + "\n".join(line for line in err.split("\r") if "|" not in line)


# Lists and masks that disagree ----------------------------------------------------------------------------------------


def disc(value: int) -> np.ndarray:
    """A mask with 2,400 pixels of a value and a void border."""
    return block(value, void=True)


@pytest.fixture
def pascal(tmp_path):
    """A root with four training images of each of the classes 1 … 5, four test images of 6 … 10, and lists of them."""
    home = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (home / folder).mkdir(parents=True)
    for split, classes in (("trn", range(1, 6)), ("val", range(6, 11))):
        entries = [(f"im{c:02d}{i}", c) for c in classes for i in range(4)]
        for image, c in entries:
            (home / "JPEGImages" / f"{image}.jpg").write_bytes(jpg((H, W)))
            (home / "SegmentationClassAug" / f"{image}.png").write_bytes(png(disc(c)))
        write_lists(tmp_path / "splits" / "pascal", "pascal", split, entries)
    (tmp_path / "splits" / "pascal" / "DERIVED").touch()
    return tmp_path


def palette_png(mask: np.ndarray, order: list[int]) -> Image.Image:
    """A mask as an editor saves it that puts the colours in use first: value i has VOC's colour of class order[i]."""
    values = np.zeros_like(mask)
    for value, c in enumerate(order):
        values[mask == c] = value
    image = Image.fromarray(values, "P")
    colours = voc_palette()
    image.putpalette(b"".join(colours[3 * c : 3 * c + 3] for c in order))
    return image


def two_classes(first: int, second: int) -> np.ndarray:
    mask = block(first)
    mask[45:, 20:] = second
    return mask


def spoil(mask: np.ndarray, how: str) -> np.ndarray | Image.Image:
    """A mask of class 8, spoiled."""
    if how == "of 0 and 1":
        return (mask == 8).astype(np.uint8)
    if how == "of 0 and 255":
        return np.where(mask == 8, 255, 0).astype(np.uint8)
    if how == "of 0, 1 and void":
        return np.where(mask == 255, 255, mask == 8).astype(np.uint8)
    if how == "counted from 0":
        return np.where(mask == 255, 255, np.maximum(mask, 1) - 1).astype(np.uint8)
    if how == "counted from 2":
        return np.where(mask == 8, 9, 0).astype(np.uint8)
    if how == "nothing":
        return np.zeros_like(mask)
    if how == "of another image":
        return np.where(mask == 8, 17, 0).astype(np.uint8)
    if how == "colours sorted":
        return palette_png(mask, [0, 8, 255])
    if how == "colours turned round":
        return palette_png(mask, [255, 8, 0])
    if how == "two colours changed places":
        return palette_png(two_classes(8, 9), [*range(8), 9, 8])
    return palette_png(two_classes(8, 1), [0, 8, *range(2, 8), 1])  # the listed class occurs, but is another


SPOILED = {
    "of 0 and 1": "1 where the object is",
    "of 0 and 255": "white where the object is",
    "of 0, 1 and void": "1 where the object is",
    "counted from 0": "counted from 0",
    "counted from 2": "counted from 2",
    "nothing": "nothing is marked",
    "of another image": "another image",
    "colours sorted": "palette into another order",
    "colours turned round": "palette into another order",
    "two colours changed places": "palette into another order",
    "a listed class by accident": "palette into another order",
}


@pytest.mark.parametrize(("how", "cause"), SPOILED.items())
def test_a_mask_without_its_class_is_noticed_everywhere(pascal, how, cause, capsys):
    spoiled = spoil(disc(8), how)
    image = spoiled if isinstance(spoiled, Image.Image) else Image.fromarray(spoiled)
    path = pascal / "VOC2012" / "SegmentationClassAug" / "im081.png"
    image.save(path)
    bench = ifsl.Benchmark("pascal", pascal, fold=1)
    as_query = next(draw for i in range(20) if (draw := bench.draw(i)).query == "im081")
    as_support = next(draw for i in range(300) if (draw := bench.draw(i)).support[0][0] == "im081")
    for draw in (as_query, as_support):
        with pytest.raises(InputError) as caught:
            bench.read(draw, 64)
        said = sentence(caught)
        assert str(path) in said and cause in said, said
    if "palette" not in cause:
        assert "8 (cat)" in said
    status, said = run(capsys, "check", "pascal", "--root", str(pascal))
    assert status == 2 and str(path) in said and cause in said


def test_masks_that_agree_are_read_and_counted(pascal, capsys):
    """Grey, VOC's palette, a grey palette, colours of one's own: values are ids."""
    folder = pascal / "VOC2012" / "SegmentationClassAug"
    for number, colours in enumerate((voc_palette(), bytes(i // 3 for i in range(768)), bytes(range(256)) * 3)):
        image = Image.fromarray(disc(8), "P")
        image.putpalette(colours)
        image.save(folder / f"im08{number}.png")
    bench = ifsl.Benchmark("pascal", pascal, fold=1)
    episodes = [bench.episode(i, size=64) for i in range(40)]
    assert all(ep.masks.any() for ep in episodes)
    status, said = run(capsys, "check", "pascal", "--root", str(pascal))
    assert "pascal val: 20 of 20 images, 20 of 20 masks, 5 classes, 20 objects looked at" in said and status == 0
    (pascal / "splits" / "pascal" / "trn" / "fold0.txt").write_text("im080__01\n")
    status, said = run(capsys, "check", "pascal", "--root", str(pascal))
    assert status == 2 and "fold 1 trains on 1 image that it tests, such as im080" in said


def test_masks_with_category_ids_in_place_of_ranks(tmp_path):
    home = tmp_path / "COCO2014"
    names = [f"val2014/COCO_val2014_{i:012d}.jpg" for i in range(4)]
    for folder in (home / "val2014", home / "annotations" / "val2014"):
        folder.mkdir(parents=True)
    for name in names:
        (home / name).write_bytes(jpg((H, W)))
    entries = [(name, c) for name, c in zip(names, (17, 17, 25, 25), strict=True)]
    for name, c in entries:
        (home / "annotations" / name).with_suffix(".png").write_bytes(png(block(COCO_CATEGORIES[c - 1])))
    write_lists(tmp_path / "splits" / "coco", "coco", "val", entries)
    (tmp_path / "splits" / "coco" / "DERIVED").touch()
    for index in range(4):
        with pytest.raises(InputError) as caught:
            ifsl.Benchmark("coco", tmp_path).episode(index, size=64)
        assert re.search("(18|27) is the id of this category in COCO's annotations", sentence(caught))
    assert len(COCO_CATEGORIES) == len(COCO_NAMES) and COCO_CATEGORIES[-1] == 90


# COCO annotations that cannot be right --------------------------------------------------------------------------------


def annotations(objects: list[dict], **changed) -> dict:
    """An annotation file: two whole objects of class 1 and 2 on images 1 and 2, then the given ones on image 3."""
    whole = [{"id": i, "image_id": i, "category_id": i, "segmentation": [BOX]} for i in (1, 2)]
    given = [{"id": 70 + n, "image_id": 3, "category_id": 1} | one for n, one in enumerate(objects)]
    named = [image(i, f"COCO_val2014_{i:012d}.jpg") for i in range(1, 5)]
    return {
        "images": named,
        "annotations": whole + given,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    } | changed


def write_coco(root: Path, content: dict | str, pictures: bool = True) -> Path:
    """The content as the annotations of both parts, and a picture for each file name; returns val2014's masks."""
    home = root / "COCO2014" / "annotations"
    home.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    for part in ("train2014", "val2014"):
        (home / f"instances_{part}.json").write_text(text.replace("val2014", part))
        (home.parent / part).mkdir(exist_ok=True)
        for image in json.loads(text)["images"] if pictures else []:
            name = image["file_name"].replace("val2014", part).replace("\\", "/").rsplit("/", 1)[-1]
            (home.parent / part / name).write_bytes(jpg((image["height"], image["width"])))
    return home / "val2014"


def runs(*counts: int, size=(H, W)) -> dict:
    return {"segmentation": {"size": list(size), "counts": list(counts)}}


def packed(counts: list[int]) -> str:
    """Run lengths in COCO's packed form, right or wrong."""
    return pycoco.frPyObjects({"size": [H, W], "counts": counts}, H, W)["counts"].decode()


ALL = H * W
IMPOSSIBLE = {
    "runs too short": (runs(10, 20), "add up to 30"),
    "runs too long": (runs(10, 20, ALL), "add up to 4830"),
    "runs one short": (runs(0, ALL - 1), "add up to 4799"),
    "no runs": (runs(), "add up to 0"),
    "negative run": (runs(ALL + 5, -5), "whole numbers"),
    "half a run": (runs(10.5, ALL - 10.5), "whole numbers"),
    "runs of words": (runs("a", "b"), "whole numbers"),
    "run of NaN": (runs(math.nan, ALL), "whole numbers"),
    "runs for a turned image": (runs(0, ALL, size=(W, H)), "[80, 60]"),
    "runs without a size": ({"segmentation": {"counts": [0, ALL]}}, "None"),
    "runs without counts": ({"segmentation": {"size": [H, W]}}, "whole numbers"),
    "packed runs too short": ({"segmentation": {"size": [H, W], "counts": packed([9, 9])}}, "add up to 18"),
    "packed runs too long": ({"segmentation": {"size": [H, W], "counts": packed([0, ALL, 1, 1])}}, "add up to 4802"),
    "packed runs cut off": ({"segmentation": {"size": [H, W], "counts": packed([5, ALL - 5])[:-1]}}, "run lengths"),
    "packed runs of other letters": ({"segmentation": {"size": [H, W], "counts": "§§"}}, "whole numbers"),
    "a corner at 2e8": ({"segmentation": [[1, 1, 2e8, 3.5e8, 20, 30]]}, "200000000"),
    "a corner far below": ({"segmentation": [[1, 1, -9e9, 5, 20, 30]]}, "-9000000000"),
    "a corner a bit too far": ({"segmentation": [[1, 1, 20, 200, 20, 30]]}, "y = 200"),
    "a corner of NaN": ({"segmentation": [[1, 1, math.nan, 5, 20, 30]]}, "nan"),
    "a corner at infinity": ({"segmentation": [[1, 1, 5, math.inf, 20, 30]]}, "inf"),
    "second polygon with 1e999": ({"segmentation": [BOX, [1, 1, 5, -math.inf, 20, 30]]}, "-inf"),
    "a corner of words": ({"segmentation": [["1"] * 6]}, "no number"),
    "a corner of nothing": ({"segmentation": [[None] * 6]}, "no number"),
    "an odd count": ({"segmentation": [[1, 1, 20, 1, 20, 20, 7]]}, "7 numbers"),
    "empty outline": ({"segmentation": []}, "no outline"),
    "an empty polygon": ({"segmentation": [[]]}, "no outline"),
    "no outline": ({}, "no outline"),
    "outline null": ({"segmentation": None}, "no outline"),
    "empty runs": ({"segmentation": {}}, "no outline"),
    "a box in place of a polygon": ({"segmentation": [[5, 5, 60, 50]]}, "three corners"),
    "a flat list": ({"segmentation": BOX}, "neither a list of polygons"),
    "a word": ({"segmentation": "polygon"}, "neither a list of polygons"),
    "shares of the image": ({"segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]]}, "from 0 to 1"),
    "an unknown category": ({"category_id": 9, "segmentation": [BOX]}, "its category"),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_an_impossible_object_leaves_out_its_image_and_no_other(kind, tmp_path, capsys):
    """Its mask would say that the class is absent; the others are as they would be without it."""
    bad, why = IMPOSSIBLE[kind]
    masks = write_coco(tmp_path, annotations([bad]))
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 0 and sorted(path.stem[-1] for path in masks.glob("*.png")) == ["1", "2", "4"]
    line = next(line for line in said.splitlines() if "instances_val2014.json" in line)
    assert "1 image left out" in line and "annotation 70 of COCO_val2014_000000000003" in line and why in line, line
    assert set(np.unique(Image.open(masks / "COCO_val2014_000000000002.png"))) == {0, 2}
    (masks / "COCO_val2014_000000000003.png").write_bytes(png(block(1)))  # as an older version wrote it
    write_lists(
        tmp_path / "splits" / "coco", "coco", "val", [(f"val2014/COCO_val2014_{i:012d}.jpg", 1) for i in (1, 3)]
    )
    write_lists(tmp_path / "splits" / "coco", "coco", "trn", [("train2014/COCO_train2014_000000000002.jpg", 2)])
    (tmp_path / "splits" / "coco" / "DERIVED").touch()
    status, said = run(capsys, "check", "coco", "--root", str(tmp_path))
    assert status == 2 and "annotation 70" in said


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_nothing_but_impossible_objects_is_an_error(kind, tmp_path, capsys):
    bad = {"id": 70, "image_id": 3, "category_id": 1} | IMPOSSIBLE[kind][0]
    masks = write_coco(tmp_path, annotations([], annotations=[bad]))
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 2 and "annotation 70" in said and "instances_train2014.json" in said
    assert not masks.exists()


POSSIBLE = {
    "packed runs": {"segmentation": {"size": [H, W], "counts": packed([600, 3000, ALL - 3600])}},
    "runs": runs(600, 3000, ALL - 3600),
    "polygon that leaves the image": {"segmentation": [[-30, -20, 100, -20, 100, 80, -30, 80]]},
    "polygon with a speck of two corners": {"segmentation": [BOX, [1, 1, 2, 2]]},
    "numbers that are whole": {"segmentation": [[5, 5, 65, 5, 65, 55]]},
    "no crowd, in words": {"segmentation": [BOX], "iscrowd": "0"},
    "no crowd, in false": {"segmentation": [BOX], "iscrowd": False},
}


@pytest.mark.parametrize("kind", POSSIBLE)
def test_an_unusual_object_is_painted(kind, tmp_path, capsys):
    masks = write_coco(tmp_path, annotations([POSSIBLE[kind]]))
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 0 and "left out" not in said
    assert (np.asarray(Image.open(masks / "COCO_val2014_000000000003.png")) == 1).sum() > 1400


def test_painting_does_not_depend_on_what_the_memory_held(tmp_path):
    """Random masks in every form come back as they are."""
    stream = np.random.RandomState(0)
    for n in range(40):
        shape = tuple(stream.randint(1, 40, 2).tolist())
        mask = np.asfortranarray((stream.rand(*shape) > stream.rand()).astype(np.uint8))
        mask[0, 0] = 1
        counts = pycoco.encode(mask)["counts"].decode()
        image = {"id": 1, "file_name": "a.jpg", "height": shape[0], "width": shape[1]}
        one = {"id": 1, "image_id": 1, "category_id": 5, "segmentation": {"size": list(shape), "counts": counts}}
        file = tmp_path / f"instances_{n}.json"
        file.write_text(json.dumps({"images": [image], "annotations": [one], "categories": [{"id": 5}]}))
        rasterise(file)
        assert (np.asarray(Image.open(tmp_path / str(n) / "a.png")) == mask).all()


# Objects that vanish --------------------------------------------------------------------------------------------------


def crowd(number: int, image: int, **more) -> dict:
    return {"id": number, "image_id": image, "category_id": 1, "segmentation": [BOX], "iscrowd": 1} | more


def image(number, name: str, **more) -> dict:
    return {"id": number, "file_name": name, "height": H, "width": W} | more


VANISHED = {
    "all crowds": ({"annotations": [crowd(1, 1), crowd(2, 2)]}, "2 of 2 objects are marked as crowd"),
    "most crowds": ({"annotations": [crowd(1, 1), crowd(2, 2), crowd(3, 3, iscrowd=0)]}, "2 of 3 objects are marked"),
    "crowds, in words": ({"annotations": [crowd(1, 1, iscrowd="1")]}, "1 of 1 objects are marked as crowd"),
    "one name for two": ({"images": [image(1, "a.jpg"), image(2, "a.jpg")]}, "gives the name a to the images 1 and 2"),
    "one stem for two": ({"images": [image(1, "a.jpg"), image(2, "a.png")]}, "gives the name a to the images 1 and 2"),
    "two folders": ({"images": [image(1, "v1/0.jpg"), image(2, "v2/0.jpg")]}, "gives the name 0 to the images"),
    "two folders of Windows": ({"images": [image(1, "v1\\0.jpg"), image(2, "v2\\0.jpg")]}, "gives the name 0"),
    "one id for two": ({"images": [image(1, "a.jpg"), image(1, "b.jpg")]}, "gives the id 1 to the images a and b"),
    "ids in words": ({"images": [image("1", "a.jpg"), image("2", "b.jpg")]}, "an image that the file does not have"),
    "no objects": ({"annotations": []}, "4 images and no object"),
    "two categories with one id": ({"categories": [{"id": 1}, {"id": 1}, {"id": 2}]}, "two categories with the id 1"),
    "too many categories": ({"categories": [{"id": i} for i in range(1, 92)]}, "91 categories"),
    "a line break in a name": ({"images": [image(1, "a\nb.jpg"), image(2, "c.jpg")]}, "rename it"),
    "a name of spaces": ({"images": [image(1, " a .jpg"), image(2, "c.jpg")]}, "rename it"),
    "half a letter": ({"images": [image(1, "\ud800.jpg"), image(2, "c.jpg")]}, "rename it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", VANISHED)
def test_annotations_that_would_lose_objects_are_refused(kind, tmp_path, capsys):
    changed, why = VANISHED[kind]
    masks = write_coco(tmp_path, annotations([], **changed), pictures=False)
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 2 and why in said and "instances_train2014.json" in said
    assert len(said.strip().splitlines()) == 1 and not masks.exists()


def test_two_files_with_other_categories_are_refused(tmp_path, capsys):
    masks = write_coco(tmp_path, annotations([]))
    other = annotations([], categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "c"}])
    (masks.parent / "instances_val2014.json").write_text(json.dumps(other))
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 2 and "other categories" in said and not masks.exists()


def test_few_crowds_and_strangers_are_counted(tmp_path, capsys):
    more = [crowd(8, 1), {"id": 9, "image_id": 99, "category_id": 1, "segmentation": [BOX]}]
    write_coco(tmp_path, annotations(more))
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 0 and "1 crowd region" in said and "1 object left out" in said and "annotation 9" in said
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 0 and "8 masks were there and are kept" in said


NAMES = {
    "published": "COCO_val2014_{:012d}.jpg",
    "COCO 2017": "{:012d}.jpg",
    "a path of Windows": "..\\images\\COCO_val2014_{:012d}.jpg",
    "a whole path of Windows": "C:\\data\\images\\COCO_val2014_{:012d}.jpg",
    "a path": "some/folder/IMG_{}.jpg",
    "spaces": "my photo {}.jpg",
    "letters of Chinese": "照片 {}.jpg",
    "letters with dots, joined": "Gr\u00fc\u00dfe{}.jpg",
    "letters with dots, apart": "Gru\u0308\u00dfe{}.jpg",
    "points and signs": "a.b-c_d+e,f(g)'h'&{}.jpg",
    "a class's mark": "x__07__{}.jpg",
    "a colon": "12:30:{}.jpg",
}


@pytest.mark.parametrize("kind", NAMES)
def test_from_annotations_to_an_episode_whatever_the_names(kind, tmp_path, capsys):
    """What `masks` and `derive` write, `check` and the reader accept."""
    images = [image(i, NAMES[kind].format(i)) for i in range(1, 7)]
    objects = [{"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": [BOX]} for i in range(1, 7)]
    write_coco(tmp_path, annotations([], images=images, annotations=objects))
    status, said = run(capsys, "masks", "--root", str(tmp_path))
    assert status == 0 and "12 masks" in said
    status, said = run(capsys, "derive", "coco", "--root", str(tmp_path), "--workers", "1")
    assert status == 0 and "val has 6 of 6 images, 2 of 80 classes" in said
    status, said = run(capsys, "check", "coco", "--root", str(tmp_path))
    assert status == 0 and "coco val: 6 of 6 images, 6 of 6 masks, 2 classes, 6 objects looked at" in said, said
    bench = ifsl.Benchmark("coco", tmp_path, 0)
    assert len(bench.entries) == 3 and bench.read_pair(bench.entries[0][0])[1].max() == 1
    with pytest.raises(InputError, match="no image of the classes of fold 2"):
        ifsl.Benchmark("coco", tmp_path, 2).draw(0)
    with pytest.raises(InputError, match="no image of the classes of fold 2"):
        ifsl.Benchmark("coco", tmp_path, 2).check_layout()


def voc(root: Path, names: list[str], val: str | bytes) -> Path:
    """Images of class 1 with masks, and VOC's list of test images."""
    home = root / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    for name in names:
        (home / "JPEGImages" / f"{name}.jpg").write_bytes(jpg((H, W)))
        (home / "SegmentationClassAug" / f"{name}.png").write_bytes(png(block(1)))
    listed = home / "ImageSets" / "Segmentation" / "val.txt"
    listed.write_bytes(val.encode() if isinstance(val, str) else val)
    return home


TESTED = {
    "plain": (["t1", "t2"], "t1\nt2\n"),
    "spaces": (["my photo 1", "my photo 2"], "my photo 1\nmy photo 2\n"),
    "Chinese": (["照片1", "照片2"], "照片1\n照片2\n"),
    "line ends of Windows": (["t1", "t2"], "t1\r\nt2\r\n"),
    "Windows' mark first": (["t1", "t2"], "\ufefft1\nt2\n"),
    "no line end, empty lines": (["t1", "t2"], "\n\nt1\n\nt2"),
    "letters in two parts on the disk": (["u\u0308 1", "u\u0308 2"], "\u00fc 1\n\u00fc 2\n"),
    "letters in two parts in the list": (["\u00fc 1", "\u00fc 2"], "u\u0308 1\nu\u0308 2\n"),
    "a class's mark": (["t__01", "t__02"], "t__01\nt__02\n"),
}


@pytest.mark.parametrize("kind", TESTED)
def test_test_images_stay_out_of_training(kind, tmp_path, capsys):
    tested, val = TESTED[kind]
    trained = ["a1", "my photo", "照片", "a4"]
    voc(tmp_path, tested + trained, val)
    status, said = run(capsys, "derive", "pascal", "--root", str(tmp_path), "--workers", "1")
    assert status == 0, said
    val = ifsl.Benchmark("pascal", tmp_path, 0)
    trn = ifsl.Benchmark("pascal", tmp_path, 1, "trn")
    assert {name for name, _ in val.entries} == set(tested) and {name for name, _ in trn.entries} == set(trained)
    assert run(capsys, "check", "pascal", "--root", str(tmp_path))[0] == 0


@pytest.mark.parametrize(
    "line", ["t1 -1", "t1.jpg", "JPEGImages/t1.jpg", "JPEGImages/t1.jpg Masks/t1.png", "T1", "t1\t1", "x\\t1.jpg"]
)
def test_a_line_that_is_no_name_of_a_picture_is_refused(line, tmp_path, capsys):
    voc(tmp_path, ["t1", "t2", "t3", "a1", "a2"], f"t2\nt3\n{line}\n")
    status, said = run(capsys, "derive", "pascal", "--root", str(tmp_path), "--workers", "1")
    assert status == 2 and "val.txt holds the line" in said and not (tmp_path / "splits").joinpath("pascal").exists()


EMPTY = {
    "no name in common": ("{:012d}.jpeg", [BOX], "without a .jpg of its name"),
    "pictures in PNG": ("{:012d}.png", [BOX], "without a .jpg of its name"),
    "small objects": ("{:012d}.jpg", [[1, 1, 9, 1, 9, 9]], "under 2,048 pixels"),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_list_that_comes_out_empty_is_an_error(kind, tmp_path, capsys):
    name, outline, why = EMPTY[kind]
    images = [image(i, name.format(i)) for i in range(1, 5)]
    objects = [{"id": i, "image_id": i, "category_id": 1, "segmentation": outline} for i in range(1, 5)]
    write_coco(tmp_path, annotations([], images=images, annotations=objects))
    assert run(capsys, "masks", "--root", str(tmp_path))[0] == 0
    status, said = run(capsys, "derive", "coco", "--root", str(tmp_path), "--workers", "1")
    assert status == 2 and "No image of trn" in said and why in said and not any((tmp_path / "splits").glob("*"))


def test_no_bar_is_left_where_there_is_nothing_to_measure(tmp_path, capsys):
    voc(tmp_path, ["a1", "a2"], "")
    assert main(["derive", "pascal", "--root", str(tmp_path), "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert "No image of val" in said and "masks of val:" not in said


def test_masks_that_cannot_be_ids_are_refused_in_deriving(tmp_path, capsys):
    """Else 81 and more would be left out without a word."""
    home = voc(tmp_path, ["t1", "t2", "a1", "a2"], "t1\nt2\n")
    (home / "SegmentationClassAug" / "a1.png").write_bytes(png(block(33)))
    status, said = run(capsys, "derive", "pascal", "--root", str(tmp_path), "--workers", "1")
    assert status == 2 and "a1.png holds the value 33" in said


def test_a_name_that_no_list_can_hold(tmp_path):
    home = voc(tmp_path, ["t1", "t2", "a1", "a2"], "t1\nt2\n")
    for folder, suffix in (("JPEGImages", ".jpg"), ("SegmentationClassAug", ".png")):
        os.rename(home / folder / f"a1{suffix}", os.fsencode(home / folder) + b"/a\xff" + suffix.encode())
    with pytest.raises(InputError) as caught:
        derive_lists(tmp_path, "pascal", 1)
    assert "rename it" in sentence(caught) and "\\udcff" in str(caught.value)


@pytest.mark.parametrize("name", ["val2014/a b.jpg", "val2014/照片.jpg", "train2014/1.jpg", "val2014/.a.jpg"])
def test_lists_take_any_name_inside_their_folder(name, tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "fold0.pkl").write_bytes(pickle.dumps({0: [name]}))
    assert ifsl.Benchmark("coco", tmp_path, lists=tmp_path).entries == [(name, 1)]


@pytest.mark.parametrize(
    "name",
    ["val2014/../a.jpg", "val2014/a/b.jpg", "val2014/a\\b.jpg", "val2017/a.jpg", "val2014/a.png", "val2014/\n.jpg"],
)
def test_lists_take_no_name_outside_it(name, tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "fold0.pkl").write_bytes(pickle.dumps({0: [name]}))
    with pytest.raises(InputError, match=re.escape(repr(name))):
        ifsl.Benchmark("coco", tmp_path, lists=tmp_path)


def test_letters_of_one_form_are_told_apart_from_none():
    assert unicodedata.normalize("NFC", NAMES["letters with dots, apart"]) == NAMES["letters with dots, joined"]
