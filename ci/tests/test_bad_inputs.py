"""Every public entry answers a mistake with one `InputError`: one sentence that says what is wrong and what to do."""

import json
import pickle
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import ifsl
from ifsl.data.coco import rasterise_all
from ifsl.data.derive import derive_lists
from ifsl.data.download import fetch_lists
from ifsl.data.images import read_image, read_mask
from ifsl.data.loading import TestEpisodes, TrainEpisodes, loader
from ifsl.run.folders import read_support
from ifsl.run.settings import Settings
from ifsl.run.training import train

LIMIT_S = 10


class Bomb:
    """A pickle of it would write a file on being read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture(scope="module")
def at_hand(tiny_root, tmp_path_factory):
    """What the mistakes are made with: a benchmark, an episode, learners with small pictures, a folder of bad files."""
    home = tmp_path_factory.mktemp("bad")
    bench = ifsl.Benchmark("pascal", tiny_root)
    episode = bench.episode(0, 2, 1, 272)
    torch.manual_seed(0)
    models = {name: ifsl.build_model(name, "efficientnet_lite0") for name in ("panet", "hsnet", "asnet", "asnethm")}
    models["pfenet"] = ifsl.build_model("pfenet", "efficientnet_lite0", width=8)
    image = tiny_root / "VOC2012" / "JPEGImages" / f"{bench.entries[0][0]}.jpg"
    fill_folder(home, image, tiny_root)
    return SimpleNamespace(home=home, root=tiny_root, bench=bench, episode=episode, image=image, **models)


def fill_folder(home: Path, image: Path, root: Path) -> None:
    """Files that are broken or hostile, each in its own way."""
    (home / "empty.jpg").write_bytes(b"")
    (home / "short.jpg").write_bytes(image.read_bytes()[:900])
    (home / "words.jpg").write_text("no picture")
    bmp = bytearray(54)  # a bitmap's header alone, which claims 60,000 x 60,000 pixels
    bmp[:2], bmp[10], bmp[14], bmp[26], bmp[28] = b"BM", 54, 40, 1, 24
    bmp[18:26] = (60_000).to_bytes(4, "little") * 2
    (home / "huge.jpg").write_bytes(bmp)
    Image.fromarray(np.full((9, 9), 77, np.uint8)).save(home / "value77.png")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(home / "colour.png")
    (home / "empty.ckpt").write_bytes(b"")
    (home / "words.safetensors").write_text("no tensors")
    (home / "length.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    torch.save({"state_dict": {"a": torch.zeros(2)}}, home / "stranger.ckpt")
    torch.save([1, 2, 3], home / "list.ckpt")
    torch.save(Bomb(home / "ran"), home / "bomb.ckpt")
    (home / "plain.ckpt").write_bytes(pickle.dumps(Bomb(home / "ran")))
    whole = (home / "stranger.ckpt").read_bytes()
    (home / "short.ckpt").write_bytes(whole[: len(whole) // 2])
    for split in ("trn", "val"):
        for name in ("bomb", "mixed", "number", "deep", "letters", "empty", "climbing"):
            (home / "lists" / name / split).mkdir(parents=True)
    for name, content in {
        "bomb": {0: Bomb(home / "ran")},
        "mixed": {0: "val2014/COCO_val2014_000000000001.jpg"},
        "number": {99: ["val2014/COCO_val2014_000000000001.jpg"]},
        "letters": {"zero": []},
        "deep": [[]],
        "empty": {0: []},
        "climbing": {0: ["../../../etc/passwd.jpg"]},
    }.items():
        (home / "lists" / name / "val" / "fold0.pkl").write_bytes(pickle.dumps(content))
    for name, text in {
        "mixed": "2007_000033",
        "number": "2007_000033__07\n",
        "deep": "../2007_000033__01\n",
        "empty": "\n",
        "letters": "2007_000033__one\n",
    }.items():
        (home / "lists" / name / "val" / "fold0.txt").write_text(text)
    (home / "lists" / "bomb" / "val" / "fold0.txt").write_bytes(b"\xff\xfe\x00\x01")
    names = home / "names"
    (names / "VOC2012").mkdir(parents=True)
    shutil.copytree(root / "splits", names / "splits")
    (names / "VOC2012" / "classes.txt").write_text("one\ntwo\n")
    shutil.copytree(names, home / "blank")
    (home / "blank" / "VOC2012" / "classes.txt").write_text("\n \n" * 10)
    (home / "nested" / "VOCdevkit" / "VOC2012").mkdir(parents=True)
    shutil.copytree(root / "splits", home / "nested" / "splits")
    (home / "pictures" / "VOC2012" / "JPEGImages").mkdir(parents=True)
    shutil.copytree(root / "splits", home / "pictures" / "splits")
    fill_support_folders(home / "own", image)
    fill_annotations(home / "annotations")


def fill_support_folders(own: Path, image: Path) -> None:
    """Support folders that cannot be used, each for another reason."""
    for name in ("none/cat", "text/cat", "lonely/cat", "white/cat", "black/cat", "size/cat", "photo/cat", "few/dog"):
        (own / name).mkdir(parents=True)
    (own / "flat").mkdir()
    (own / "text" / "cat" / "notes.txt").write_text("no picture")
    with Image.open(image) as picture:
        side, grey = picture.size, picture.convert("L")
    for name in ("white", "black", "size", "photo"):
        shutil.copy(image, own / name / "cat" / "a.jpg")
    grey.point(lambda v: 255).save(own / "white" / "cat" / "a.png")
    grey.point(lambda v: 0).save(own / "black" / "cat" / "a.png")
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(own / "size" / "cat" / "a.png")
    with Image.open(image) as picture:
        picture.save(own / "photo" / "cat" / "a.png")
    half = Image.fromarray(np.tile(np.arange(side[0]) < side[0] // 2, (side[1], 1)))
    half.save(own / "lonely" / "cat" / "a.png")
    shutil.copy(image, own / "few" / "dog" / "a.jpg")


def fill_annotations(home: Path) -> None:
    """COCO annotation files that cannot be rasterised."""
    image = {"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "height": 9, "width": 9}
    square = {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}
    whole = {"categories": [{"id": 1}], "images": [image], "annotations": [square]}
    for name, content in {
        "words": "no JSON",
        "deep": "[" * 100_000,
        "list": "[1, 2]",
        "keys": json.dumps({"images": []}),
        "huge": json.dumps(whole | {"images": [image | {"height": 10**6, "width": 10**6}]}),
        "corner": json.dumps(whole | {"annotations": [square | {"segmentation": [[0, 0]]}]}),
        "stranger": json.dumps(whole | {"annotations": [square | {"image_id": 7}]}),
    }.items():
        folder = home / name / "COCO2014" / "annotations"
        folder.mkdir(parents=True)
        for part in ("train2014", "val2014"):
            (folder / f"instances_{part}.json").write_text(content)


# The table ------------------------------------------------------------------------------------------------------------

CASES: list[tuple[str, object, str]] = []
"""What is done wrong, how, and a word that the answer must have."""


def wrong(what: str, named: str, do) -> None:
    CASES.append((what, do, named))


# Benchmark
wrong("benchmark name", "imagenet", lambda a: ifsl.Benchmark("imagenet", a.root))
wrong("benchmark number", "7", lambda a: ifsl.Benchmark(7, a.root))
wrong("benchmark list", "benchmark", lambda a: ifsl.Benchmark(["pascal"], a.root))
for fold in (4, -1, "0", 1.5, None, True, 2.0):
    wrong(f"fold {fold!r}", "fold", lambda a, fold=fold: ifsl.Benchmark("pascal", a.root, fold=fold))
for split in ("test", "", None, 0, ["val"]):
    wrong(f"split {split!r}", "split", lambda a, split=split: ifsl.Benchmark("pascal", a.root, split=split))
wrong("root missing", "nowhere", lambda a: ifsl.Benchmark("pascal", a.home / "nowhere"))
wrong("root none", "root", lambda a: ifsl.Benchmark("pascal", None))
wrong("root number", "root", lambda a: ifsl.Benchmark("pascal", 3))
wrong("lists missing", "gone", lambda a: ifsl.Benchmark("pascal", a.root, lists=a.home / "gone"))
wrong("lists number", "lists", lambda a: ifsl.Benchmark("pascal", a.root, lists=3))
for name in ("bomb", "mixed", "number", "deep", "letters", "empty"):
    wrong(
        f"pascal list {name}",
        "fold0.txt",
        lambda a, n=name: ifsl.Benchmark("pascal", a.root, lists=a.home / "lists" / n),
    )
for name in ("bomb", "mixed", "number", "deep", "letters", "empty", "climbing"):
    wrong(
        f"coco list {name}", "fold0.pkl", lambda a, n=name: ifsl.Benchmark("coco", a.root, lists=a.home / "lists" / n)
    )
wrong("list of a fold", "fold1", lambda a: ifsl.Benchmark("coco", a.root, 1, lists=a.home / "lists" / "mixed"))
wrong("class names", "classes.txt", lambda a: ifsl.Benchmark("pascal", a.home / "names").class_names)
wrong("blank class names", "names 0 classes", lambda a: ifsl.Benchmark("pascal", a.home / "blank").class_names)
wrong("root of a long name", "too long", lambda a: ifsl.Benchmark("pascal", "x" * 300))
wrong("nested layout", "too deep", lambda a: ifsl.Benchmark("pascal", a.home / "nested").check_layout())
wrong("no masks", "SegmentationClassAug", lambda a: ifsl.Benchmark("pascal", a.home / "pictures").check_layout())

# Episodes
for way in (0, -1, 6, 1.5, "2", None, True):
    wrong(f"way {way!r}", "way", lambda a, way=way: a.bench.draw(0, way, 1))
for shot in (0, -1, 10_000, 1.5, "2", None, True):
    wrong(f"shot {shot!r}", "shot", lambda a, shot=shot: a.bench.draw(0, 1, shot))
for index in (-1, 1.5, "0", None, 2**40):
    wrong(f"index {index!r}", "index", lambda a, index=index: a.bench.draw(index, 1, 1))
for shot in (0, "x", None):
    wrong(f"queries, shot {shot!r}", "shot", lambda a, shot=shot: a.bench.queries("0-5", shot))
for size in (0, 8, 10_000, 1.5, "400", None):
    wrong(f"size {size!r}", "size", lambda a, size=size: a.bench.episode(0, 1, 1, size))
wrong("image gone", "gone", lambda a: a.bench.read(replace(a.bench.draw(0, 1, 1), query="gone"), 64))
for name in ("empty", "short", "words", "huge", "gone"):
    wrong(f"picture {name}", f"{name}.jpg", lambda a, n=name: read_image(a.home / f"{n}.jpg"))
for name in ("value77", "colour", "gone"):
    wrong(f"mask {name}", f"{name}.png", lambda a, n=name: read_mask(a.home / f"{n}.png", 20))
wrong("picture is a folder", "bad", lambda a: read_image(a.home))
for number in (0, -1, 2.5, "10", None):
    wrong(f"{number!r} test episodes", "episodes", lambda a, n=number: TestEpisodes(a.bench, 1, 1, n))
for batch in (0, -2, 1.5, None):
    wrong(f"batch of {batch!r}", "batch", lambda a, b=batch: loader(TestEpisodes(a.bench, 1, 1, 2), b))
for workers in (-1, 0.5, "two"):
    wrong(f"{workers!r} workers", "workers", lambda a, w=workers: loader(TestEpisodes(a.bench, 1, 1, 2), 1, w))
wrong("training way", "way", lambda a: TrainEpisodes(a.bench, 9, 1))
wrong("training seed", "seed", lambda a: TrainEpisodes(a.bench, 1, 1, seed=-1))


# Building and loading learners
for method in ("resnet", "", None, 3, ["asnet"]):
    wrong(f"method {method!r}", "method", lambda a, m=method: ifsl.build_model(m, "efficientnet_lite0"))
for backbone in ("vgg19", "", None, 50):
    wrong(f"backbone {backbone!r}", "backbone", lambda a, b=backbone: ifsl.build_model("asnet", b))
wrong("pfenet vgg16", "vgg16", lambda a: ifsl.build_model("pfenet", "vgg16"))
wrong("pfenet resnet101", "resnet101", lambda a: ifsl.build_model("pfenet", "resnet101"))
wrong("width of asnet", "width", lambda a: ifsl.build_model("asnet", "efficientnet_lite0", width=3))
wrong(
    "prior of asnet", "published_prior", lambda a: ifsl.build_model("asnet", "efficientnet_lite0", published_prior=True)
)
wrong("prior 1", "published_prior", lambda a: ifsl.build_model("pfenet", "efficientnet_lite0", published_prior=1))
for width in (0, -1, 1.5, "8"):
    wrong(f"width {width!r}", "width", lambda a, w=width: ifsl.build_model("pfenet", "efficientnet_lite0", width=w))
for name in ("gone.ckpt", "empty.ckpt", "short.ckpt", "list.ckpt", "stranger.ckpt", "bomb.ckpt", "plain.ckpt"):
    wrong(f"checkpoint {name}", name, lambda a, n=name: ifsl.load_model(a.home / n))
for name in ("words.safetensors", "length.safetensors", "short.jpg"):
    wrong(f"checkpoint {name}", name, lambda a, n=name: ifsl.load_model(a.home / n))
wrong("checkpoint folder", "best_model.ckpt", lambda a: ifsl.load_model(a.home))
wrong("checkpoint none", "path", lambda a: ifsl.load_model(None))
wrong("checkpoint bytes", "path", lambda a: ifsl.load_model(b"x.ckpt"))


# Tensors
def tensors(a, **changed):
    """The arguments of a learner's `maps`, some of them changed."""
    ep = a.episode
    given = {"query": ep.query[None], "supports": ep.supports[None], "masks": ep.masks[None]}
    return given | {name: change(given[name]) for name, change in changed.items()}


TENSORS = {
    "query without batch": ("query", {"query": lambda t: t[0]}),
    "grey query": ("query", {"query": lambda t: t[:, :1]}),
    "query of bytes": ("query", {"query": lambda t: t.byte()}),
    "query as array": ("query", {"query": lambda t: t.numpy()}),
    "query as none": ("query", {"query": lambda t: None}),
    "query with NaN": ("query", {"query": lambda t: t.where(t > 0, float("nan"))}),
    "query with infinity": ("query", {"query": lambda t: t / 0}),
    "query of other size": ("size", {"query": lambda t: t[..., :260, :260]}),
    "query not square": ("square", {n: lambda t: t[..., :260] for n in ("query", "supports", "masks")}),
    "two queries": ("batch", {"query": lambda t: t.repeat(2, 1, 1, 1)}),
    "query on another device": ("meta", {"query": lambda t: t.to("meta")}),
    "supports 3-D": ("supports", {"supports": lambda t: t[0, 0, 0]}),
    "supports 5-D": ("supports", {"supports": lambda t: t[0]}),
    "supports with NaN": ("supports", {"supports": lambda t: t * float("nan")}),
    "supports of integers": ("supports", {"supports": lambda t: t.long()}),
    "supports as list": ("supports", {"supports": lambda t: t.tolist()[:1]}),
    "no supports": ("supports", {"supports": lambda t: t[:, :0], "masks": lambda t: t[:, :0]}),
    "no shots": ("supports", {"supports": lambda t: t[:, :, :0], "masks": lambda t: t[:, :, :0]}),
    "no episodes": ("episode", {n: lambda t: t[:0] for n in ("query", "supports", "masks")}),
    "supports in double": ("float64", {"supports": lambda t: t.double()}),
    "a mask too few": ("masks", {"masks": lambda t: t[:, :1]}),
    "masks of other shots": ("masks", {"masks": lambda t: t.repeat(1, 1, 2, 1, 1)}),
    "masks of other size": ("masks", {"masks": lambda t: t[..., ::2, ::2]}),
    "masks 3-D": ("masks", {"masks": lambda t: t[0, 0]}),
    "masks up to 255": ("masks", {"masks": lambda t: t * 255}),
    "masks of halves": ("masks", {"masks": lambda t: t / 2}),
    "masks with NaN": ("masks", {"masks": lambda t: t * float("nan")}),
    "masks below 0": ("masks", {"masks": lambda t: -t}),
    "masks as array": ("masks", {"masks": lambda t: t.numpy()}),
    "no mask on the device": ("meta", {"masks": lambda t: t.to("meta")}),
}
for what, (named, changed) in TENSORS.items():
    wrong(f"maps, {what}", named, lambda a, c=changed: a.asnet.maps(**tensors(a, **c)))
    wrong(f"predict, {what}", named, lambda a, c=changed: a.panet.predict(**tensors(a, **c)))
for method in ("hsnet", "pfenet", "asnethm"):
    wrong(f"{method} forward", "masks", lambda a, m=method: getattr(a, m)(**tensors(a, masks=lambda t: t * 2)))
    wrong(f"{method} supports", "supports", lambda a, m=method: getattr(a, m)(**tensors(a, supports=lambda t: t[0])))
for method in ("panet", "asnethm"):
    wrong(
        f"{method} weak",
        "class tags",
        lambda a, m=method: getattr(a, m).predict(a.episode.query[None], a.episode.supports[None]),
    )
for side in (64, 256, 513, 640):
    for method in ("asnet", "asnethm"):
        shrunk = dict.fromkeys(("query", "supports", "masks"), lambda t, s=side: t.new_zeros(*t.shape[:-2], s, s))
        wrong(f"{method} at {side} px", "257", lambda a, m=method, c=shrunk: getattr(a, m).maps(**tensors(a, **c)))
for what, sizes in {
    "too few": [],
    "a number": 3,
    "negative": [(-1, 5)],
    "zero": [(0, 9)],
    "floats": [(9.5, 9)],
}.items():
    wrong(f"sizes {what}", "sizes", lambda a, s=sizes: a.panet.predict(**tensors(a), sizes=s))

# Metrics
ONES = torch.ones(1, 2, dtype=torch.bool)
wrong("ER of no ways", "way", lambda a: ifsl.ExactRatio(0))
wrong("ER of a word", "way", lambda a: ifsl.ExactRatio("two"))
wrong("ER of other ways", "presence", lambda a: ifsl.ExactRatio(3).update(ONES, ONES))
wrong("ER of no episode", "episode", lambda a: ifsl.ExactRatio(2).compute())
wrong("mIoU of no class", "class_ids", lambda a: ifsl.MeanIoU([]))
wrong("mIoU of background", "class_ids", lambda a: ifsl.MeanIoU([0, 1]))
GUESS = torch.zeros(1, 4, 4, dtype=torch.uint8)
IDS = torch.tensor([[1]])
wrong("mIoU stranger", "class 9", lambda a: ifsl.MeanIoU([1]).update(GUESS, GUESS, torch.tensor([[9]])))
wrong("mIoU sizes", "sizes", lambda a: ifsl.MeanIoU([1]).update(GUESS, GUESS[:, :2], IDS))
wrong("mIoU values", "values", lambda a: ifsl.MeanIoU([1]).update(GUESS + 5, GUESS, IDS))
wrong("mIoU counts", "B of each", lambda a: ifsl.MeanIoU([1]).update(GUESS, GUESS.repeat(2, 1, 1), IDS))

# Evaluation
for name, value in {
    "way": 0,
    "shot": 0,
    "episodes": 0,
    "batch": 0,
    "workers": -1,
    "size": 5,
}.items():
    wrong(f"evaluate, {name} {value}", name, lambda a, n=name, v=value: ifsl.evaluate(a.panet, a.bench, **{n: v}))
wrong("evaluate nothing", "model", lambda a: ifsl.evaluate(None, a.bench))
wrong("evaluate on a word", "bench", lambda a: ifsl.evaluate(a.panet, "pascal"))
wrong("evaluate on no device", "device", lambda a: ifsl.evaluate(a.panet, a.bench, episodes=1, device="abacus"))
wrong("evaluate weak panet", "class tags", lambda a: ifsl.evaluate(a.panet, a.bench, weak=True))
wrong("evaluate small asnet", "257", lambda a: ifsl.evaluate(a.asnet, a.bench, episodes=1, size=64, workers=0))

# Your own pictures
for name in ("none", "flat", "text", "lonely", "white", "black", "size", "photo", "gone"):
    wrong(f"folder {name}", name, lambda a, n=name: ifsl.predict_folder(a.panet, a.home / "own" / n, a.image))
for shot in (0, 2, 1.5, "1"):
    wrong(f"own shot {shot!r}", "shot", lambda a, s=shot: read_support(a.home / "own" / "few", 64, s))
wrong("own photo", "short.jpg", lambda a: ifsl.predict_folder(a.asnet, a.home / "own" / "few", a.home / "short.jpg"))
wrong("folder of a long name", "too long", lambda a: ifsl.predict_folder(a.panet, a.home / ("x" * 300), a.image))
wrong("photo of a long name", "too long", lambda a: ifsl.predict_folder(a.panet, a.home / "own" / "few", "x" * 300))
wrong("own tags", "class tags", lambda a: ifsl.predict_folder(a.panet, a.home / "own" / "few", a.image))
wrong("own model", "model", lambda a: ifsl.predict_folder("asnet", a.home / "own" / "few", a.image))
wrong("own paths", "query_path", lambda a: ifsl.predict_folder(a.asnet, a.home / "own" / "few", None))

# Settings, which notebook parameters and the command line become
for name, values in {
    "method": ("resnet", None, 5),
    "benchmark": ("imagenet", None),
    "backbone": ("vgg19", None),
    "fold": (4, -1, "0", 2.0, True, None),
    "way": (0, 1.5, "1", None, 2**40),
    "shot": (0, -3),
    "bsz": (0, 0.5),
    "steps": (0, -1, "20"),
    "lr": (0, -1, "fast", float("nan"), float("inf"), True),
    "logpath": ("../out", "/root/out", "", 7, "caf\udce9", "a\nb"),
    "datapath": (None, 7, ""),
    "lists": (7,),
    "precision": ("8", 8),
    "devices": (None, 1.5),
    "workers": (-1, "two"),
    "seed": (-1, None),
    "weak": ("false", 1, None),
    "task": ("fss", None, True),
    "width": (0, 64),
    "published_prior": (True, 1, "yes", None),
    "frozen_norm": (True, 1, "yes", None),
}.items():
    for value in values:
        wrong(f"setting {name} {value!r}", name, lambda a, n=name, v=value: Settings(**{n: v}))
for given, named in (
    ({"devices": "7,9"}, "devices"),
    ({"devices": "many"}, "devices"),
    ({"datapath": "nowhere"}, "nowhere"),
    ({"method": "panet", "weak": True}, "class tags"),
    ({"way": 6}, "way"),
):
    wrong(f"train {given}", named, lambda a, g=given: train(lite(a, **g)))
wrong("resume nothing", "resume", lambda a: train(lite(a), resume=True))


def lite(a, **changed) -> Settings:
    given = {"backbone": "efficientnet_lite0", "datapath": str(a.root), "pretrained": False, "nowandb": True}
    return Settings(**given | changed)


# Downloads
for what in ("words", "deep", "list", "keys", "huge", "corner", "stranger"):
    wrong(f"annotations {what}", "fetch", lambda a, w=what: rasterise_all(a.home / "annotations" / w, 1))
wrong("no annotations", "instances", lambda a: rasterise_all(a.home / "nowhere", 1))
wrong("derive from nothing", "missing", lambda a: derive_lists(a.home / "nowhere", "coco", 1))
wrong("derive over lists", "not derived", lambda a: derive_lists(a.home / "names", "pascal", 1))
for url in ("file:///etc", "ftp://127.0.0.1", "http://127.0.0.1:9", "nonsense"):
    wrong(
        f"mirror {url}",
        "mirror" if "127" not in url or "ftp" in url else "127.0.0.1",
        lambda a, u=url: fetch_lists(a.home / "f", "pascal", u),
    )


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_table_is_long_and_names_each_case_once():
    assert len(CASES) >= 150
    assert len({what for what, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("do", "named"), [pytest.param(do, named, id=what) for what, do, named in CASES])
def test_a_mistake_is_one_sentence(do, named, at_hand, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = files(at_hand.home)
    start = time.monotonic()
    with pytest.raises(ifsl.InputError) as raised:
        do(at_hand)
    said = str(raised.value)
    assert time.monotonic() - start < LIMIT_S
    assert named in said and len(said.splitlines()) == 1, said
    assert said[0].isalnum() or said[0] in "-/'", said
    assert said.endswith((".", "'")) and len(said) < 600, said
    assert files(at_hand.home) == before and not files(tmp_path)  # nothing was written, no code of a file was run
