"""FS-S, conventional few-shot segmentation: draws, masks, votes, loss, metrics, VGG-16."""

import importlib.util
import json
import pickle
import re
import zlib
from collections import Counter

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_benchmarks import invented, write_lists

import ifsl
from ifsl.data.images import resize_nearest
from ifsl.data.loading import TestEpisodes, TrainEpisodes
from ifsl.errors import InputError
from ifsl.learners import build_model
from ifsl.learners.maps import VOID, fss_loss, merge_shots, predict, vote
from ifsl.run.settings import Settings
from ifsl.tasks import check_task

LITE = "efficientnet_lite0"


@pytest.fixture(scope="module")
def fixtures(shared):
    """The functions that make the inputs of the golden files."""
    spec = importlib.util.spec_from_file_location("fixtures", shared / "golden" / "fixtures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Episodes


def test_synthetic_episodes_equal_the_published_drawing(shared, tmp_path):
    expected = json.loads((shared / "golden" / "fss-episodes-synthetic.json").read_text())
    checked = 0
    for key, episodes in expected.items():
        if key.endswith("listing"):
            continue
        name, fold, _, shot = key.split("-")
        fold, shot, listing = int(fold[-1]), int(shot[0]), expected[f"{name}-{fold}-listing"]
        lists = tmp_path / key
        if name == "pascal":
            write_lists(lists, listing, fold)
        else:
            (lists / "val").mkdir(parents=True)
            images_of = {int(c) - 1: images for c, images in listing.items()}
            (lists / "val" / f"fold{fold}.pkl").write_bytes(pickle.dumps(images_of))
        drawn = ifsl.Benchmark(name, tmp_path, fold, lists=lists)
        for e in episodes:
            found = drawn.draw(e["index"], 1, shot, task="fs-s")
            assert [found.query, found.support, found.classes] == [e["query"], e["support"], e["classes"]]
            checked += 1
    assert checked >= 100


def test_official_episodes(shared):
    expected = json.loads((shared / "golden" / "fss-episodes-official.json").read_text())
    for key, episodes in expected.items():
        name, fold, _, shot = key.split("-")
        drawn = ifsl.Benchmark(name, "nowhere", int(fold[-1]), lists=shared / "splits")
        for e in episodes:
            found = drawn.draw(e["index"], 1, int(shot[0]), task="fs-s")
            assert [found.query, found.support, found.classes] == [e["query"], e["support"], e["classes"]]


@pytest.mark.parametrize("name, counts", [("pascal", (142, 110, 70, 129)), ("coco", (30, 13, 39, 22))])
def test_as_many_repeated_supports_as_published(shared, name, counts):
    for fold, count in enumerate(counts):
        drawn = ifsl.Benchmark(name, "nowhere", fold, lists=shared / "splits")
        supports = [drawn.draw(i, 1, 5, task="fs-s").support[0] for i in range(1000)]
        assert sum(len(set(images)) < 5 for images in supports) == count


def test_the_drawing_written_out(tmp_path):
    drawn = ifsl.Benchmark("pascal", tmp_path, 2, lists=write_lists(tmp_path, invented(2), 2))
    for index in (0, 3, 17, 44):
        r = np.random.RandomState(index)
        query, c = drawn.entries[index % len(drawn.entries)]
        support = []
        while len(support) < 5:
            image = r.choice(drawn.images_of[c], 1, replace=False)[0]
            if image != query:
                support.append(image)
        found = drawn.draw(index, shot=5, task="fs-s")
        assert (found.query, found.classes, found.support) == (query, [c], [support])
        assert drawn.draw(index, task="fs-s").support[0][0] == support[0]
        assert found.query == drawn.draw(index).query


def test_a_class_of_two_images_suffices_and_of_one_does_not(tmp_path):
    entries = [("a", 1), ("b", 1), ("c", 2), *((f"d{i}", c) for c in (3, 4, 5) for i in range(9))]
    drawn = ifsl.Benchmark("pascal", tmp_path, 0, lists=write_lists(tmp_path, entries, 0))
    assert drawn.draw(0, 1, 5, task="fs-s").support == [["b"] * 5]
    with pytest.raises(InputError, match="Class 2 .* has 0 images besides the query c, too few"):
        drawn.draw(2, 1, 1, task="fs-s")
    with pytest.raises(InputError, match="too few for 5 shots"):
        drawn.draw_supports(np.random.RandomState(0), 1, "a", 5)


def test_training_draws_the_querys_class(tiny_root):
    trn = ifsl.Benchmark("pascal", tiny_root, split="trn")
    data = TrainEpisodes(trn, size=64, task="fs-s")
    for position in range(40):
        drawn = data.draw(1, position)
        assert (drawn.query, drawn.classes[0]) == trn.entries[position] and drawn.task == "fs-s"
    assert data[0, 3].presence.all()


# Masks


def write_pair(root, name, mask):
    """A grey picture and its mask, at the places of Pascal."""
    for home in ("JPEGImages", "SegmentationClassAug"):
        (root / "VOC2012" / home).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", mask.shape[::-1], "grey").save(root / "VOC2012" / "JPEGImages" / f"{name}.jpg")
    Image.fromarray(mask).save(root / "VOC2012" / "SegmentationClassAug" / f"{name}.png")


def test_masks_equal_the_published_ones(shared, fixtures, tmp_path):
    for key, expected in json.loads((shared / "golden" / "fss-masks.json").read_text()).items():
        name, seed, c, height, width = re.fullmatch(r"(\w+)-seed(\d+)-class(\d+)-(\d+)x(\d+)", key).groups()
        c, shape = int(c), (int(height), int(width))
        mask = fixtures.fss_class_mask(int(seed), c, *shape, void=name == "pascal")
        root = tmp_path / key
        root.mkdir()
        if name == "coco":
            for split in ("val2014", "annotations/val2014"):
                (root / "COCO2014" / split).mkdir(parents=True)
            for image in ("a", "b"):
                Image.new("RGB", mask.shape[::-1]).save(root / "COCO2014" / "val2014" / f"COCO_{image}.jpg")
                Image.fromarray(mask).save(root / "COCO2014" / "annotations" / "val2014" / f"COCO_{image}.png")
            (root / "val").mkdir()
            fold = (c - 1) % 4
            listing = {c - 1: ["val2014/COCO_a.jpg", "val2014/COCO_b.jpg"]}
            (root / "val" / f"fold{fold}.pkl").write_bytes(pickle.dumps(listing))
            drawn = ifsl.Benchmark("coco", root, fold, lists=root)
            names = ("val2014/COCO_a.jpg", "val2014/COCO_b.jpg")
        else:
            for image in ("a", "b"):
                write_pair(root, image, mask)
            fold = (c - 1) // 5
            drawn = ifsl.Benchmark("pascal", root, fold, lists=write_lists(root, [("a", c), ("b", c)], fold))
            names = ("a", "b")
        draw = ifsl.data.episodes.Draw(0, names[0], [[names[1]]], [c], "fs-s")
        at_400, own = drawn.read(draw, 400), drawn.read(draw, 400, own_size=True)
        for found, want in (
            (at_400.query_mask, expected["query_400"]),
            (own.query_mask, expected["query_own"]),
            (at_400.masks[0, 0].byte(), expected["support_400"]),
        ):
            found = found.numpy()
            assert list(found.shape) == want["shape"]
            assert ((found == 1).sum(), (found == VOID).sum()) == (want["foreground"], want["void"])
            assert zlib.crc32(np.ascontiguousarray(found)) == want["crc32"]
        assert at_400.size == (400, 400) == at_400.picture.shape[:2] and own.size == shape == own.picture.shape[:2]


def test_void_counts_in_the_loss_and_not_in_the_metrics(bench):
    draw = bench.draw(0, task="fs-s")
    tested, trained = bench.read(draw, 96), bench.read(draw, 96, training=True)
    assert (tested.query_mask == VOID).any() and not (trained.query_mask == VOID).any()
    assert torch.equal(tested.query_mask == 1, trained.query_mask == 1)
    coco = ifsl.Benchmark("coco", bench.root)
    assert set(coco.episode(3, size=96, task="fs-s").query_mask.unique().tolist()) == {0, 1}


def test_nearest_takes_the_rows_that_float32_takes():
    """At side 210, row i·210/400 is whole for i = 40, and float32 falls below it."""
    mask = np.arange(210, dtype=np.uint8)[:, None].repeat(210, 1)
    rows = resize_nearest(mask, 400)[:, 0]
    exact = np.arange(400) * 210 // 400
    assert (rows != exact).any() and np.abs(rows.astype(int) - exact).max() == 1


# Votes, loss


def test_votes_equal_the_published_ones(shared, fixtures):
    expected = np.load(shared / "golden" / "fss-votes.npz")
    for shot in (2, 5):
        logits = fixtures.fss_shot_logits(shot)
        for given in (logits, logits.log_softmax(dim=2)):
            for suffix, size in (("", (400, 400)), ("_own", (333, 500))):
                masks = torch.stack(vote(given, [size] * 7)).numpy()
                assert (masks != expected[f"{shot}shot{suffix}"]).sum(axis=(1, 2)).max() <= 10


def test_a_single_vote_wins_where_no_two_shots_agree():
    shots = torch.zeros(1, 5, 2, 1, 5)
    shots[0, :, 0] = 1
    shots[0, torch.arange(5), 1, 0, torch.arange(5)] = 2  # each shot marks another cell
    assert vote(shots, [(1, 5)])[0].tolist() == [[1] * 5]
    shots[0, :3, 1, 0, 0] = 2  # three shots agree on the first: one vote is less than half of three
    assert vote(shots, [(1, 5)])[0].tolist() == [[1, 0, 0, 0, 0]]
    shots[0, :, 1] = 1  # a tie of the two maps is background
    assert not vote(shots, [(1, 5)])[0].any()


def test_the_loss_is_that_of_the_raw_logits():
    logits = torch.randn(3, 2, 25, 25, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.rand(3, 90, 90, generator=torch.Generator().manual_seed(1)) > 0.5
    resized = F.interpolate(logits, (90, 90), mode="bilinear", align_corners=True)
    expected = F.cross_entropy(resized, mask.long())
    found = fss_loss(logits.log_softmax(dim=1), mask)
    torch.testing.assert_close(found, expected)
    for gradient, other in zip(*(torch.autograd.grad(x, logits) for x in (found, expected)), strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-8, rtol=1e-4)


# Learners


FSS = re.compile(r"fss-asnet-(\d)shot-(\w+?)-seed(\d+)(?:-shift([\d.]+))?")
CASES = sorted(golden.FOLDER.glob("fss-asnet-*.npz"))


@pytest.mark.parametrize(
    "path", CASES or [pytest.param(None, marks=pytest.mark.skip("no golden files"))], ids=lambda p: p.stem if p else ""
)
def test_asnet_agrees_with_the_published_half(path):
    shot, backbone, seed, shift = FSS.fullmatch(path.stem).groups()
    expected = np.load(path)
    model = golden.fill_by_name(build_model("asnet", backbone)).eval()
    golden.shift_background(model, float(shift or 0))
    query, supports, masks = golden.episode(1, int(shot), int(seed))
    with torch.inference_mode():
        found = model.maps(query, supports, masks)
    logits, exact = expected["logits"].astype(np.float32), expected["logits"].dtype == np.float32
    shots = found.shots[0, 0].numpy()
    difference = (shots[:, 1] - shots[:, 0]) - (logits[:, 1] - logits[:, 0])
    assert np.abs(difference).max() < (2e-4 if exact else 2e-3)
    presence, (mask,) = model.predict(query, supports, masks, [(400, 400)], task="fs-s")
    _, (own,) = model.predict(query, supports, masks, [(333, 500)], task="fs-s")
    assert presence.tolist() == [[True]]
    assert (mask.numpy() == expected["mask"][0]).mean() >= 0.999
    assert (own.numpy() == expected["mask_own"][0]).mean() >= 0.999
    truth = torch.from_numpy(golden.ellipse(2000 + int(seed), 400))[None]
    assert float(fss_loss(torch.from_numpy(shots[:1]), truth)) == pytest.approx(float(expected["loss"]), abs=1e-5)


def test_vgg16_numbers_wherever_the_tests_run():
    """ASNet on VGG-16, the difference of the two logits, copied from the published half's answers."""
    model = golden.fill_by_name(build_model("asnet", "vgg16")).eval()
    with torch.inference_mode():
        log_prob = model(*golden.episode(1, 1))
    found = (log_prob[0, 0, 1] - log_prob[0, 0, 0])[::33, ::33].numpy()
    np.testing.assert_allclose(found, VGG16, rtol=0, atol=2e-4)


VGG16 = [
    [0.01299, -0.05164, -0.10881, -0.16797],
    [0.94046, -0.03120, 0.01010, -0.60600],
    [0.96069, -0.00675, -0.04183, -0.50496],
    [0.43602, 0.04053, 0.02879, 0.04058],
]


def test_vgg16_reads_its_convolutions_before_their_relu():
    backbone = ifsl.learners.backbones.build_backbone("vgg16")
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        levels = backbone.pyramid(images)
        x, expected = images, []
        for number, module in enumerate(backbone.features):
            x = module(x.clone())
            if number in (17, 19, 21, 24, 26, 28, 30):
                expected.append(x.clone())
    assert [len(level) for level in levels] == [3, 3, 1]
    for found, wanted in zip(sum(levels, []), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert all((x < 0).any() for x in sum(levels[:2], [])) and not (levels[2][0] < 0).any()


def test_a_published_vgg16_checkpoint_loads(tmp_path):
    model = build_model("asnet", "vgg16")
    names = golden.published_shapes("fss-asnet", "vgg16")
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == names
    assert sum(p.numel() for p in model.learner.parameters()) == 1_310_146
    path = tmp_path / "vgg16" / "asnet" / "best_model.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": model.state_dict()}, path)
    loaded = ifsl.load_model(path)
    assert (loaded.method, loaded.backbone_name) == ("asnet", "vgg16")
    assert torch.equal(loaded.backbone.classifier[6].bias, model.backbone.classifier[6].bias)


@pytest.mark.parametrize("side, fits", [(271, False), (272, True), (519, True), (520, False)])
def test_the_sides_that_fit_vgg16(side, fits):
    model = build_model("asnet", "vgg16")
    images = torch.zeros(1, 3, side, side)
    inputs = images, images[:, None, None], torch.ones(1, 1, 1, side, side)
    if fits:
        with torch.inference_mode():
            assert model(*inputs).shape[:3] == (1, 1, 2)
    else:
        with pytest.raises(InputError, match="272 to 519"):
            model(*inputs)


@pytest.mark.parametrize("method, word", [("panet", "resnet50 or resnet101"), ("pfenet", "resnet50 or eff")])
def test_vgg16_is_for_learners_of_correlations(method, word):
    with pytest.raises(InputError, match=word):
        build_model(method, "vgg16")


def test_one_shot_at_own_size_is_the_segmentation_of_fs_cs(bench):
    model = build_model("asnet", LITE, pretrained=True)
    for index in range(2):
        ep = bench.episode(index, 1, 1, 272, task="fs-s", own_size=True)
        inputs = ep.query[None], ep.supports[None], ep.masks[None]
        (_, (one,)), (_, (other,)) = (model.predict(*inputs, [ep.size], task=t) for t in ("fs-s", "fs-cs"))
        assert (one == other).float().mean() > 0.9999


def test_every_learner_can_be_run_under_it(bench):
    ep = bench.episode(0, 1, 3, 272, task="fs-s")
    inputs = ep.query[None], ep.supports[None], ep.masks[None]
    for method, shots in (("panet", 1), ("pfenet", 1), ("hsnet", 3), ("asnethm", 3)):
        model = build_model(method, LITE, pretrained=True)
        assert model.maps(*inputs).shots.shape[:3] == (1, 1, shots)
        presence, (mask,) = model.predict(*inputs, [ep.size], task="fs-s")
        assert presence.all() and mask.shape == (272, 272) and set(mask.unique().tolist()) <= {0, 1}


# Metrics


def test_metrics_equal_the_published_ones(shared, fixtures):
    for key, expected in json.loads((shared / "golden" / "fss-metrics.json").read_text()).items():
        seed, episodes, _, size, *rest = key.split("-")
        size = int(size[4:]) if size.startswith("size") else None
        ids, void = expected["class_ids"], rest != ["novoid"]
        metric = ifsl.MeanIoU(ids)
        for guess, mask, c in fixtures.fss_metric_episodes(int(seed[4:]), int(episodes[:-8]), ids, size, void):
            truth = np.where(mask == VOID, VOID, mask == c).astype(np.uint8)
            truth = torch.from_numpy(truth if size is None else resize_nearest(truth, size))
            metric.update([guess], [truth], torch.tensor([[c]]))
        assert metric.compute().item() == pytest.approx(expected["miou"], abs=1e-4)
        assert metric.foreground_background() == pytest.approx(expected["fb_iou"], abs=1e-4)
        assert {str(c): iou for c, iou in metric.iou_per_class().items()} == pytest.approx(
            expected["iou_per_class"], abs=1e-4
        )


# Running


def test_an_evaluation(bench, tmp_path):
    model = build_model("asnet", LITE, pretrained=True)
    options = dict(episodes=6, shot=2, task="fs-s", workers=0, progress=False)
    result = ifsl.evaluate(model, bench, batch=4, **options)
    assert result.er is None and result.exact == [] and list(result.intervals()) == ["miou", "fb_iou"]
    low, high = result.intervals()["fb_iou"]
    assert low <= result.fb_iou <= high
    said = result.table()
    assert "FS-S" in said and "272 x 272" in said and "left out, as published" in said and "ER" not in said
    assert "\nER," not in result.save(tmp_path)[1].read_text()
    assert type(result).load(tmp_path / "result.json") == result
    again = ifsl.evaluate(model, bench, batch=1, **options)
    assert again.counts == result.counts
    own = ifsl.evaluate(model, bench, batch=4, own_size=True, **options)
    assert "own size" in own.table() and own.counts != result.counts
    metric = ifsl.MeanIoU(bench.class_ids)
    for index in range(6):
        ep = bench.episode(index, 1, 2, 272, task="fs-s")
        _, masks = model.predict(ep.query[None], ep.supports[None], ep.masks[None], [ep.size], task="fs-s")
        metric.update(masks, [ep.query_mask], ep.classes[None])
    assert metric.compute().item() == pytest.approx(result.miou)
    assert metric.foreground_background() == pytest.approx(result.fb_iou)


def test_the_same_queries_as_fs_cs(bench):
    queries = [draw.query for draw in TestEpisodes(bench, episodes=40).draws]
    drawn = TestEpisodes(bench, episodes=40, task="fs-s").draws
    assert [draw.query for draw in drawn] == queries
    assert Counter(draw.task for draw in drawn) == {"fs-s": 40}


@pytest.mark.parametrize(
    "given, word",
    [
        ({"task": "fss"}, "choose fs-cs or fs-s"),
        ({"task": None}, "choose fs-cs or fs-s"),
        ({"task": "fs-s", "way": 2}, "one class in each episode"),
        ({"task": "fs-s", "weak": True}, "needs the masks"),
        ({"task": "fs-s", "void_ignore": True}, "always left out of the metrics"),
        ({"own_size": True}, "every query has its own size"),
    ],
)
def test_what_a_task_does_not_have(bench, given, word):
    model = build_model("hsnet", LITE)
    with pytest.raises(InputError, match=word):
        ifsl.evaluate(model, bench, episodes=1, progress=False, **given)
    with pytest.raises(InputError, match=word):
        Settings(**given) if "own_size" not in given else check_task("fs-cs", own_size=True)


def test_fs_s_needs_masks_and_one_way_in_predict(bench):
    ep = bench.episode(0, 2, 1, 272)
    model = build_model("hsnet", LITE)
    with pytest.raises(InputError, match="one class"):
        model.predict(ep.query[None], ep.supports[None], ep.masks[None], task="fs-s")
    with pytest.raises(InputError, match="needs the masks"):
        model.predict(ep.query[None], ep.supports[None, :1], task="fs-s")


def test_presence_is_for_granted():
    maps = merge_shots(torch.tensor([-9.0, -0.1])[None, None, None, [1, 0], None, None].expand(1, 1, 1, 2, 4, 4))
    assert not maps.presence.any()
    presence, _ = predict(maps, [(4, 4)], "fs-s")
    assert presence.all() and not predict(maps, [(4, 4)])[0].any()
