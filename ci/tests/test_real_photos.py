"""Real photographs: 313 of COCO 2014 with their annotations, where they lie beside this checkout."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

import ifsl
from ifsl import download
from ifsl.__main__ import main
from ifsl.data.classes import fold_classes
from ifsl.data.lists import read_coco_list
from ifsl.data.loading import TestEpisodes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools under NumPy 2

PARTS = {"trn": "train2014", "val": "val2014"}


@pytest.fixture(scope="module")
def root(shared, tmp_path_factory):
    """Links to the photographs and annotations, with masks and lists made from them."""
    photos = shared / "coco-mini" / "COCO2014"
    if not photos.is_dir():
        pytest.skip("the folder coco-mini of real photographs does not lie beside this checkout")
    root = tmp_path_factory.mktemp("photos")
    home = root / "COCO2014"
    (home / "annotations").mkdir(parents=True)
    for part in PARTS.values():
        (home / part).symlink_to(photos / part)
        (home / "annotations" / f"instances_{part}.json").symlink_to(photos / "annotations" / f"instances_{part}.json")
    assert download.main(["masks", "--root", str(root), "--workers", "1"]) == 0
    assert download.main(["derive", "coco", "--root", str(root), "--workers", "1"]) == 0
    return root


def read(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_masks_show_what_the_annotations_say(root):
    seen = 0
    for part in PARTS.values():
        content = json.loads((root / "COCO2014" / "annotations" / f"instances_{part}.json").read_text())
        rank = {c: n for n, c in enumerate(sorted(c["id"] for c in content["categories"]), start=1)}
        assert len(list((root / "COCO2014" / "annotations" / part).iterdir())) == len(content["images"])
        for image in content["images"][::5]:
            mask = read(root / "COCO2014" / "annotations" / part / image["file_name"].replace(".jpg", ".png"))
            assert mask.shape == (image["height"], image["width"])
            objects = [a for a in content["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
            assert set(np.unique(mask).tolist()) - {0} <= {rank[a["category_id"]] for a in objects}
            outlines = [coco.merge(coco.frPyObjects(a["segmentation"], *mask.shape)) for a in objects]
            inside = coco.decode(outlines).astype(bool) if outlines else np.zeros((*mask.shape, 0), bool)
            assert np.array_equal(mask > 0, inside.any(axis=2))
            if objects:  # the last object lies over all others
                assert (mask[inside[..., -1]] == rank[objects[-1]["category_id"]]).all()
            seen += 1
    assert seen == 63


def test_derived_lists_agree_with_the_published_ones(root, shared):
    """Pairs of image and class, each counted once however many folds list it: 800 of 808."""
    derived, official = set(), set()
    for split, part in PARTS.items():
        there = {f"{part}/{path.name}": None for path in (root / "COCO2014" / part).iterdir()}
        for image in there:
            sizes = np.bincount(read(root / "COCO2014" / "annotations" / image.replace(".jpg", ".png")).ravel())
            there[image] = set(np.flatnonzero(sizes >= 2048).tolist())
        for fold in range(4):
            ids = fold_classes("coco", fold, split)
            table = read_coco_list(shared / "splits" / "coco" / split / f"fold{fold}.pkl")
            official |= {(image, c) for c in ids for image in table[c] if image in there}
            derived |= {(image, c) for image, shown in there.items() for c in shown.intersection(ids)}
    assert derived <= official and (len(derived), len(official)) == (800, 808)
    tested = [(image, c) for image, c in derived if image.startswith("val")]
    often = {c for _, c in tested if sum(k == c for _, k in tested) > 1}  # a class of a single image is left out
    for fold in range(4):
        ids = often.intersection(fold_classes("coco", fold, "val"))
        assert set(ifsl.Benchmark("coco", root, fold).entries) == {(image, c) for image, c in tested if c in ids}


def test_everything_is_there(root, capsys):
    assert download.main(["check", "coco", "--root", str(root)]) == 0
    assert "val: 202 of 202 images, 202 of 202 masks" in capsys.readouterr().out


def test_episodes_of_photographs(root):
    bench = ifsl.Benchmark("coco", root)
    assert len(bench.class_ids) == 17
    for episode in (TestEpisodes(bench, way=2, shot=1, episodes=12, size=128)[i] for i in range(12)):
        assert episode.masks.flatten(2).any(dim=2).all() and torch.isfinite(episode.supports).all()
        assert episode.presence.tolist() == [(episode.query_mask == n).any().item() for n in (1, 2)]
        assert episode.picture.shape[:2] == episode.query_mask.shape


def test_figures_made_with_derived_lists_say_so(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    what = ["--eval", "--checkpoint", "untrained", "--method", "panet", "--backbone", "efficientnet_lite0"]
    where = ["--benchmark", "coco", "--datapath", str(root), "--episodes", "6", "--bsz", "3", "--workers", "0"]
    assert main([*what, *where, "--size", "128"]) == 0
    assert "derived, not the published lists" in capsys.readouterr().out


def test_an_own_folder_of_photographs(root, tmp_path):
    """Examples as a reader would lay them out; the photo is of the first class alone."""
    bench = ifsl.Benchmark("coco", root)
    for c in (21, 73):  # elephant, refrigerator
        home = tmp_path / "mine" / bench.class_names[c]
        home.mkdir(parents=True)
        for i, image in enumerate(bench.images_of[c][:2]):
            shutil.copy(bench.image_path(image), home / f"{i}.jpg")
            Image.fromarray((read(bench.mask_path(image)) == c).astype(np.uint8) * 255).save(home / f"{i}.png")
    model = ifsl.build_model("panet", "efficientnet_lite0", pretrained=True)
    photo = bench.image_path(bench.images_of[21][2])
    found = ifsl.predict_folder(model, tmp_path / "mine", photo)
    assert found.presence["elephant"]
    elephant = read(bench.mask_path(bench.images_of[21][2])) == 21
    guess = found.segmentation == 1
    assert (guess & elephant).sum() / (guess | elephant).sum() > 0.2
