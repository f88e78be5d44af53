"""Reading an episode into tensors, and loading many."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import ifsl
from ifsl.data.images import read_image, read_mask, to_image
from ifsl.data.loading import EpochSampler, TestEpisodes, TrainEpisodes, loader
from ifsl.errors import InputError
from ifsl.learners.maps import VOID


@pytest.fixture
def copied(bench, tmp_path):
    """A benchmark root with the pictures of episode 0 alone, free to be spoilt; and that episode's names."""
    drawn = bench.draw(0, 1, 1)
    for image in (drawn.query, drawn.support[0][0]):
        for path in (bench.image_path(image), bench.mask_path(image)):
            target = tmp_path / path.relative_to(bench.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copytree(bench.root / "splits", tmp_path / "splits")
    return ifsl.Benchmark("pascal", tmp_path), drawn


def test_an_episode(bench):
    way, shot, size = 3, 2, 96
    ep = bench.episode(11, way, shot, size)
    assert ep.query.shape == (3, size, size) and ep.supports.shape == (way, shot, 3, size, size)
    assert ep.masks.shape == (way, shot, size, size) and set(ep.masks.unique().tolist()) == {0, 1}
    assert ep.query_mask.dtype == torch.uint8 and ep.query_mask.shape == ep.size == ep.picture.shape[:2]
    assert ep.classes.tolist() == ep.draw.classes and len(ep.class_names) == way
    ids = np.array(Image.open(bench.mask_path(ep.draw.query)))
    for n, c in enumerate(ep.draw.classes, start=1):
        assert np.array_equal(ep.query_mask.numpy() == n, ids == c)
        assert ep.presence[n - 1].item() == (ids == c).any()
    support = np.array(Image.open(bench.mask_path(ep.draw.support[2][1])))
    rows, columns = (np.arange(size) * side // size for side in support.shape)
    assert np.array_equal(ep.masks[2, 1].numpy() == 1, support[rows[:, None], columns] == ep.draw.classes[2])


def test_images_are_normalised_as_imagenet(bench):
    ep = bench.episode(0, 1, 1, 400)
    picture = Image.fromarray(ep.picture).resize((400, 400), Image.Resampling.BILINEAR)
    for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (np.asarray(picture)[..., channel] / 255 - mean) / deviation
        np.testing.assert_allclose(ep.query[channel].numpy(), expected, atol=1e-5)
    assert np.abs(to_image(ep.query).astype(int) - np.asarray(picture)).max() <= 1


def test_void_is_background_unless_asked(bench):
    drawn = bench.draw(0, 1, 1)
    ids = np.array(Image.open(bench.mask_path(drawn.query)))
    assert (ids == VOID).any()
    assert not (bench.read(drawn, 96).query_mask == VOID).any()
    kept = bench.read(drawn, 96, void_ignore=True)
    assert np.array_equal(kept.query_mask.numpy() == VOID, ids == VOID)
    assert set(kept.masks.unique().tolist()) <= {0, 1}


def test_coco_reads_alike(tiny_root):
    ep = ifsl.Benchmark("coco", tiny_root, fold=2).episode(5, way=5, shot=2, size=64)
    assert ep.supports.shape == (5, 2, 3, 64, 64)
    assert all((ep.masks[n].flatten(1).sum(1) > 0).all() for n in range(5))


def test_half_of_the_one_way_queries_show_no_target(bench):
    presence = [bench.draw(i, 1, 1) for i in range(400)]
    own = [bench.entries[i % len(bench.entries)][1] == drawn.classes[0] for i, drawn in enumerate(presence)]
    assert 0.4 < np.mean(own) < 0.6


def test_training_visits_every_entry_once_an_epoch(tiny_root):
    bench = ifsl.Benchmark("pascal", tiny_root, split="trn")
    data = TrainEpisodes(bench, size=64)
    addresses = iter(EpochSampler(len(data), seed=3))
    epoch = [next(addresses) for _ in range(len(data))]
    assert {e for e, _ in epoch} == {0} and sorted(p for _, p in epoch) == list(range(len(data)))
    assert next(addresses)[0] == 1
    queries = [data.draw(*address).query for address in epoch[:50]]
    assert queries == [bench.entries[position][0] for _, position in epoch[:50]]
    again = data.draw(1, epoch[0][1])
    assert again == TrainEpisodes(bench, size=64).draw(1, epoch[0][1])
    ep = data[epoch[0]]
    assert ep.query_mask.shape == (64, 64) and ep.picture is None


def test_sampler_goes_on_and_shares_out():
    def take(n, **kwargs):
        stream = iter(EpochSampler(7, **kwargs))
        return [next(stream) for _ in range(n)]

    straight = take(20)
    assert take(10, start=10) == straight[10:]
    assert take(10, rank=0, world=2) == straight[0::2] and take(10, rank=1, world=2) == straight[1::2]
    assert take(20, seed=1) != straight


def test_batches_do_not_depend_on_workers(bench):
    data = TestEpisodes(bench, way=2, shot=2, episodes=5, size=64)
    alone, helped = (list(loader(data, batch=2, workers=workers)) for workers in (0, 2))
    assert [len(batch["draws"]) for batch in alone] == [2, 2, 1]
    for one, other in zip(alone, helped, strict=True):
        assert one["query"].shape[1:] == (3, 64, 64) and one["sizes"] == other["sizes"]
        assert all(torch.equal(one[name], other[name]) for name in ("query", "supports", "masks", "presence"))
        assert all(torch.equal(a, b) for a, b in zip(one["query_masks"], other["query_masks"], strict=True))


def test_exif_orientation_and_grey_and_cmyk_pictures(tmp_path):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:10] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to be upright
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = np.asarray(read_image(tmp_path / "turned.jpg"))
    assert upright.shape == (30, 20, 3) and upright[15, 17, 0] > 200 and upright[15, 2, 0] < 50
    for mode in ("L", "CMYK"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / f"{mode}.jpg")
        assert np.asarray(read_image(tmp_path / f"{mode}.jpg")).shape == (20, 30, 3)


def test_palette_grey_and_bilevel_masks_are_the_same(tmp_path):
    ids = np.array([[0, 1], [1, 0]], np.uint8)
    palette = Image.fromarray(ids, "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    for name, image in (("p", palette), ("l", Image.fromarray(ids)), ("1", Image.fromarray(ids.astype(bool)))):
        image.save(tmp_path / f"{name}.png")
        assert np.array_equal(read_mask(tmp_path / f"{name}.png", 20), ids)


def spoil(kind, image_path, mask_path):
    if kind == "missing image":
        image_path.unlink()
    elif kind == "missing mask":
        mask_path.unlink()
    elif kind == "truncated image":
        image_path.write_bytes(image_path.read_bytes()[:400])
    elif kind == "truncated mask":
        mask_path.write_bytes(mask_path.read_bytes()[:60])
    elif kind == "text":
        image_path.write_text("no picture")
    elif kind == "mask of another size":
        Image.fromarray(np.zeros((5, 5), np.uint8)).save(mask_path)
    elif kind == "coloured mask":
        Image.open(mask_path).convert("RGB").save(mask_path)
    elif kind == "stray class":
        Image.fromarray(np.full_like(np.array(Image.open(mask_path)), 77)).save(mask_path)
    elif kind == "huge":
        image_path = image_path.with_suffix(".jpg")
        Image.new("1", (9000, 9000)).save(image_path, format="PNG")


@pytest.mark.parametrize(
    "kind",
    [
        "missing image",
        "missing mask",
        "truncated image",
        "truncated mask",
        "text",
        "mask of another size",
        "coloured mask",
        "stray class",
        "huge",
    ],
)
@pytest.mark.parametrize("which", ["query", "support"])
def test_unfit_files_are_named(copied, kind, which):
    bench, drawn = copied
    image = drawn.query if which == "query" else drawn.support[0][0]
    assert bench.episode(0, 1, 1, 64)
    spoil(kind, bench.image_path(image), bench.mask_path(image))
    with pytest.raises(InputError, match=image):
        bench.episode(0, 1, 1, 64)


def test_layout_is_checked_before_a_long_run(copied):
    bench, _ = copied
    bench.check_layout()
    (bench.root / "VOCdevkit").mkdir()
    (bench.root / "VOC2012").rename(bench.root / "VOCdevkit" / "VOC2012")
    with pytest.raises(InputError, match="one folder too deep"):
        bench.check_layout()
    shutil.rmtree(bench.root / "VOCdevkit")
    with pytest.raises(InputError, match="folder .*JPEGImages"):
        bench.check_layout()


@pytest.mark.parametrize("size", [0, 31, 5000, 64.5, "64", True])
def test_impossible_sizes(bench, size):
    with pytest.raises(InputError, match="size is"):
        bench.episode(0, 1, 1, size)
