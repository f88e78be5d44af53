"""CST and EMAT: the published numbers, a second way to compute them, class tags, checkpoints, weights, training.

`Reference` is written from the papers' descriptions, without the package. Whole systems are compared with it on small
images, and what is given to the part named `learner` with the golden files. The large golden files, whole systems on
images of 400 and 700 pixels, take minutes and are not read here.
"""

import hashlib
import importlib.util
import json
import re
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ifsl
from ifsl import InputError, download, weights
from ifsl.__main__ import main
from ifsl.learners import build_model, tokens, vit
from ifsl.learners.maps import VOID
from ifsl.learners.vit import resize_positions
from ifsl.run.checkpoints import load_model, save_learner
from ifsl.run.settings import Settings
from ifsl.run.training import train

LITE, DINO, DINOV2 = "efficientnet_lite0", "dino_vits8", "dinov2_vits14"


def module_at(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fixtures(shared):
    """The functions that make the inputs of the golden files."""
    return module_at(shared / "golden" / "fixtures.py")


def fill(model):
    """Values by name; positions and layer scales get a size at which they matter."""
    golden.fill_by_name(model)
    for name, value in model.state_dict().items():
        if "pos_embed" in name:
            value.mul_(20)
        elif "token" in name:
            value.mul_(5)
        elif "gamma" in name:
            value.abs_().add_(0.5)
    return model.eval()


@pytest.fixture(scope="module")
def cst():
    return fill(build_model("cst", DINO))


@pytest.fixture
def one_learner():
    torch.manual_seed(0)
    return build_model("cst", LITE, pretrained=True)


# Published names and numbers


@pytest.mark.parametrize(
    "method, backbone, trained, count",
    [
        ("cst", DINO, 366_004, 60),
        ("cst", DINOV2, 366_004, 60),
        ("cst", LITE, 361_284, 60),
        ("emat", DINOV2, 86_020, 70),
        ("emat", LITE, 53_924, 70),
        ("ematseg", DINOV2, 74_098, 56),
    ],
)
def test_numbers_of_parameters_and_tensors(method, backbone, trained, count):
    with torch.device("meta"):
        model = build_model(method, backbone)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trained
    assert len(model.learner.state_dict()) == count
    assert len(model.backbone.state_dict()) == {DINO: 150, DINOV2: 175, LITE: 296}[backbone]


@pytest.mark.parametrize("method, backbone", [("cst", DINO), ("emat", DINOV2)])
def test_names_and_shapes_are_published(method, backbone):
    with torch.device("meta"):
        state = build_model(method, backbone).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == golden.published_shapes(
        method, backbone.split("_")[1]
    )
    names = golden.published_shapes("cst", "vits8"), golden.published_shapes("emat", "vits14")
    with torch.device("meta"):
        star = build_model("cst", DINOV2).state_dict()
    assert star.keys() == {
        name for one, part in zip(names, ("learner.", "backbone."), strict=True) for name in one if part in name
    }


TOKENS = sorted(golden.FOLDER.glob("*-tokens*-seed*.npz"))


@pytest.mark.parametrize(
    "path", TOKENS or [pytest.param(None, marks=pytest.mark.skip("no golden files"))], ids=lambda p: p.stem if p else ""
)
def test_learners_of_tokens_agree_with_the_published_ones(path, fixtures):
    method, way, shot, empty, seed = re.fullmatch(
        r"(\w+)-(\d)way-(\d)shot-tokens(-empty)?-seed(\d+)", path.stem
    ).groups()
    way, shot, expected = int(way), int(shot), np.load(path)
    model = build_model(method, DINOV2)
    fixtures.shift_heads(fixtures.fill_vit_by_name(model).eval(), *expected["shift"])
    given = fixtures.correlation_episode(way, shot, int(seed), support=model.support_side, cls=model.class_tokens)
    if empty:
        given["masks"][0] = torch.from_numpy(fixtures.dot(400))
    with torch.inference_mode():
        found = [x if x is None else x.unflatten(0, (1, way, shot)) for x in model.learner(*given.values())]
        maps = tokens.merge_logits(*found)
    np.testing.assert_allclose(found[0].numpy(), expected["mask_logits"], rtol=0, atol=1e-4)
    presence, (segmentation,) = model.decide(maps, [golden.SIZE])
    assert (segmentation.numpy() == expected["pred_seg"][0]).mean() >= 0.999
    if method != "ematseg":
        np.testing.assert_allclose(found[1].numpy(), expected["cls_logits"], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(presence.numpy(), expected["pred_cls"])
    if "loss" in expected:
        truth = torch.from_numpy(fixtures.blob(2000))[None]
        losses = [model.loss(maps, truth * p, torch.tensor([[bool(p)]])).item() for p in (1, 0)]
        np.testing.assert_allclose(losses, expected["loss"], rtol=0, atol=1e-5)


# A second way to compute whole systems


class Reference:
    """A system with vision transformer, in double precision and plain steps, from its tensors alone."""

    def __init__(self, model):
        self.state = {name: value.double() for name, value in model.state_dict().items()}
        self.cst, self.classes = model.method == "cst", model.method != "ematseg"
        self.patch, self.scaled = (14, True) if model.backbone_name == DINOV2 else (8, False)

    def __getitem__(self, name):
        return self.state[name]

    def linear(self, name, x):
        """Over the last axis; also the 1 x 1 convolutions, with or without bias."""
        weight = self[f"{name}.weight"].flatten(1)
        return x @ weight.T + self.state.get(f"{name}.bias", torch.zeros(len(weight)).double())

    def layer_norm(self, name, x):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self[f"{name}.weight"] + self[f"{name}.bias"]

    def positions(self, n):
        """Keys' cubic kernel with a = -0.75; cell i of n reads the table of m at (i + 0.5) m / (n + 0.1) - 0.5."""
        table = self["backbone.pos_embed"][0]
        m = round((len(table) - 1) ** 0.5)
        matrix = torch.zeros(n, m).double()
        for i in range(n):
            place = (i + 0.5) * m / (n + 0.1) - 0.5
            for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
                x = abs(place - tap)
                near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
                matrix[i, min(max(tap, 0), m - 1)] += near if x <= 1 else far if x < 2 else 0.0
        cells = torch.einsum("ia,jb,abd->ijd", matrix, matrix, table[1:].view(m, m, -1))
        return torch.cat([table[:1], cells.flatten(0, 1)])

    def encode(self, image):
        """(3, S, S) to 12 x (1 + n * n, 384), n, and queries and keys of the last block, (6, 1 + n * n, 64)."""
        n, p = image.shape[-1] // self.patch, self.patch
        cells = image.double().view(3, n, p, n, p).permute(1, 3, 0, 2, 4).reshape(n * n, -1)
        cells = self.linear("backbone.patch_embed.proj", cells)
        x = torch.cat([self["backbone.cls_token"][0], cells]) + self.positions(n)
        outputs = []
        for block in range(12):
            name = f"backbone.blocks.{block}"
            scales = [self[f"{name}.ls{i}.gamma"] if self.scaled else 1.0 for i in (1, 2)]
            qkv = self.linear(f"{name}.attn.qkv", self.layer_norm(f"{name}.norm1", x))
            q, k, v = qkv.view(-1, 3, 6, 64).permute(1, 2, 0, 3)
            mixed = (q @ k.mT / 8).softmax(-1) @ v
            x = x + scales[0] * self.linear(f"{name}.attn.proj", mixed.transpose(0, 1).flatten(1))
            hidden = F.gelu(self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", x)))
            x = x + scales[1] * self.linear(f"{name}.mlp.fc2", hidden)
            outputs.append(self.layer_norm("backbone.norm", x))
        return outputs, n, q, k

    def correlation(self, query, support):
        """(Q, T, 72), the channels last."""
        side = 12 if self.cst else 20
        (query, *_), (support, n, *_) = self.encode(query), self.encode(support)
        columns = {}
        for block in range(12):
            cells = support[block][1:].T.view(1, 384, n, n)
            cells = F.interpolate(cells, (side, side), mode="bilinear", align_corners=True)[0].flatten(1).T
            row = torch.cat([support[block][:1], cells]) if self.classes else cells
            for head in range(6):
                part = slice(64 * head, 64 * head + 64)
                q, s = (x[:, part] / x[:, part].norm(dim=1, keepdim=True) for x in (query[block][1:], row))
                columns[head * 12 + block] = q @ s.T
        return torch.stack([columns[channel] for channel in range(72)], dim=-1)

    def norm(self, name, x):
        """GroupNorm with four groups over all rows and tokens: (Q, T, C)."""
        parts = x.unflatten(-1, (4, -1))
        mean = parts.mean((0, 1, 3), keepdim=True)
        variance = (parts - mean).square().mean((0, 1, 3), keepdim=True)
        parts = ((parts - mean) / (variance + 1e-5).sqrt()).flatten(-2)
        return parts * self[f"{name}.weight"] + self[f"{name}.bias"]

    def reduce(self, name, x, pool):
        """(Q, T, C) to (Q, T', C'). CST: convolution, then pool; EMAT: strided convolution, then pool."""
        if self.cst:
            x, weight = self.linear(name, x), None
        else:
            weight, bias = self[f"{name}.q_seg.weight"][:, :, 0], self.state.get(f"{name}.q_seg.bias")
        side = int(x.shape[1] ** 0.5)
        cells = x[:, -side * side :].permute(0, 2, 1).unflatten(2, (side, side))
        if weight is not None:
            cells = F.conv2d(cells, weight, bias, 2)
        cells = F.avg_pool2d(cells, pool).flatten(2).permute(0, 2, 1)
        if not self.classes:
            return cells
        return torch.cat([x[:, :1] if self.cst else self.linear(f"{name}.q_cls", x[:, :1]), cells], dim=1)

    def layer(self, number, x, mask, pool):
        name = f"learner.corrtransformer.{number}"
        attn = f"{name}.attn"
        if self.cst:
            half = self[f"{attn}.qkv.bias"].numel() // 3
            key, value = self.linear(f"{attn}.qkv", x)[..., half:].chunk(2, -1)
            query = self.reduce(f"{attn}.qkv", x, pool)[..., :half]
        else:
            query, (key, value) = self.reduce(f"{attn}.q", x, pool), self.linear(f"{attn}.kv", x).chunk(2, -1)
        side = int(x.shape[1] ** 0.5)
        small = F.interpolate(mask[None, None].double(), (side, side), mode="bilinear", align_corners=True).flatten()
        kept = [0] * self.classes + [self.classes + i for i in range(side * side) if small[i] != 0]
        heads = []
        for q, k, v in zip(*(part.chunk(8, -1) for part in (query, key[:, kept], value[:, kept])), strict=True):
            heads.append((q @ k.mT).softmax(-1) @ v)
        out = self.norm(f"{attn}.agg.0", torch.cat(heads, -1)).relu()
        out = self.norm(f"{attn}.agg.3", self.linear(f"{attn}.agg.2", out)).relu()
        short = self.reduce(f"{attn}.short_cut.0", x, pool)
        out = self.norm(f"{attn}.out_norm", out + self.norm(f"{attn}.short_cut.{2 if self.cst else 1}", short).relu())
        inner = self.norm(f"{name}.ff.ff.1", self.linear(f"{name}.ff.ff.0", out)).relu()
        return self.norm(f"{name}.ff.out_norm", out + self.linear(f"{name}.ff.ff.3", inner))

    def convolve(self, name, x):
        weight = self[f"{name}.weight"]
        return F.conv2d(x, weight, self[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def __call__(self, query, support, mask):
        """Logits of the mask (2, h, w) and of the class (2,) or None, for one support."""
        x = self.correlation(query, support)
        side = int(len(x) ** 0.5)
        for number, pool in enumerate((4, 3) if self.cst else (1, 5)):
            x = self.layer(number, x, mask, pool)
        for i in (0, 3):
            x = self.norm(f"learner.linear.{i + 1}", self.linear(f"learner.linear.{i}", x)).relu()
        x = x.permute(1, 2, 0).unflatten(2, (side, side))
        logits = x[-1:]
        for i in (0, 2):
            logits = self.convolve(f"learner.decoder1_seg.{i}", logits).relu()
        logits = F.interpolate(logits, (2 * side, 2 * side), mode="bilinear", align_corners=True)
        logits = self.convolve("learner.decoder2_seg.2", self.convolve("learner.decoder2_seg.0", logits).relu())[0]
        if not self.classes:
            return logits, None
        found = x[:1]
        for i in (0, 2):
            found = self.convolve(f"learner.decoder1_cls.{i}", found).relu()
        found = F.avg_pool2d(found, 3, 2, 1)
        found = self.convolve("learner.decoder2_cls.2", self.convolve("learner.decoder2_cls.0", found).relu())
        return logits, found[0].mean((-2, -1))

    def similarity(self, support, image):
        """Of the support's class token, as a query, with the keys of an image: (n, n)."""
        (_, _, q, _), (_, n, _, k) = self.encode(support), self.encode(image)
        q, k = (x / x.norm(dim=-1, keepdim=True) for x in (q[:, :1], k[:, 1:]))
        return (q @ k.mT).mean(0).view(n, n)


@pytest.mark.parametrize(
    "method, backbone, side, way, shot",
    [("cst", DINO, 72, 2, 2), ("cst", DINOV2, 112, 1, 1), ("emat", DINOV2, 112, 2, 1), ("ematseg", DINOV2, 112, 1, 2)],
)
def test_whole_systems_agree_with_a_plain_reference(method, backbone, side, way, shot):
    model = fill(build_model(method, backbone)).double()
    query, supports, masks = (x.double() for x in golden.episode(way, shot, 3, side))
    masks[0, 0, 0] = 0  # one empty mask
    with torch.inference_mode():
        found, plain = model.maps(query, supports, masks), Reference(model)
        logits = [[plain(query[0], supports[0, n, k], masks[0, n, k]) for k in range(shot)] for n in range(way)]
    shots = torch.stack([torch.stack([mask for mask, _ in row]) for row in logits]).log_softmax(2)
    torch.testing.assert_close(found.shots[0], shots, rtol=0, atol=1e-9)
    full = F.interpolate((shots[:, :, 1] - shots[:, :, 0]), (50, 70), mode="bilinear", align_corners=True)
    foreground = full.sigmoid().mean(1)
    expected = torch.where(foreground.amax(0) < 0.5, 0, foreground.argmax(0) + 1)
    presence, (segmentation,) = model.decide(found, [(50, 70)])
    assert torch.equal(segmentation.long(), expected)
    assert shots.std() > 0.01, "maps that differ from cell to cell, else the comparison would say nothing"
    if method == "ematseg":
        assert found.classes is None
        return
    classes = torch.stack([torch.stack([one.softmax(0) for _, one in row]) for row in logits]).mean(1)
    torch.testing.assert_close(found.classes[0].exp(), classes, rtol=0, atol=1e-9)
    assert torch.equal(presence[0], classes[:, 1] > 0.5)


def test_pseudo_masks_agree_with_a_plain_reference(cst):
    query, supports, masks = golden.episode(2, 2, 3, 72)
    keys = cst.backbone.blocks[-1].attn.qkv.bias
    old, seen = keys.detach().clone(), []
    hook = cst.learner.register_forward_hook(lambda _, given, __: seen.append(given[1]))
    try:
        with torch.no_grad():
            keys[384:768:64] -= 4.5  # so that the masks split the images
            keys[0:384:64] += 4.5
            found, plain = cst.maps(query, supports, None), Reference(cst)
            of_supports = [[plain.similarity(s, s) for s in shots] for shots in supports[0]]
            of_query = [torch.stack([plain.similarity(s, query[0]) for s in shots]).mean(0) for shots in supports[0]]
    finally:
        hook.remove()
        with torch.no_grad():
            keys.copy_(old)

    def mask(cosines):
        return (F.interpolate(cosines[None, None], (72, 72), mode="bilinear", align_corners=True)[0, 0] + 1) / 2 > 0.4

    expected = torch.stack([torch.stack([mask(one) for one in row]) for row in of_supports])  # N, K, S, S
    assert (torch.stack(seen, dim=1) == expected).float().mean() > 0.999
    assert 0.05 < expected.float().mean() < 0.95
    torch.testing.assert_close(found.similarity[0].double(), torch.stack(of_query), rtol=0, atol=1e-5)
    strong = cst.loss(found, masks[:, 0, 0], torch.tensor([[True, False]]))
    weak = cst.loss(found, masks[:, 0, 0], torch.tensor([[True, False]]), weak=True)
    other = cst.loss(found, 1 - masks[:, 0, 0], torch.tensor([[True, False]]), weak=True)
    assert weak == other != strong, "no mask is read"


@pytest.mark.parametrize("name, model, side", [(DINO, "vit_small_patch8_224.dino", 224)])
def test_tokens_are_timms_where_no_position_is_resized(name, model, side):
    import timm

    encoder = golden.fill_by_name(vit.build(name))
    other = timm.create_model(model, num_classes=0, dynamic_img_size=True).eval()
    other.load_state_dict(encoder.state_dict())
    images = golden.episode(1, 1, size=side)[0]
    with torch.inference_mode():
        cells, first, _, _ = encoder.encode(images)
        pairs = other.forward_intermediates(images, indices=12, norm=True, return_prefix_tokens=True)[1]
    for a, b, (c, d) in zip(cells, first, pairs, strict=True):
        torch.testing.assert_close(a, c, rtol=0, atol=1e-5)
        torch.testing.assert_close(b, d[:, 0], rtol=0, atol=1e-5)
    assert resize_positions(encoder.pos_embed, 28) is encoder.pos_embed


# Predictions and losses


def some_logits(way: int, shot: int, batch: int = 2):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(batch, way, shot, 2, 6, 6, generator=draw), torch.randn(batch, way, shot, 2, generator=draw)


@pytest.mark.parametrize("way, shot", [(1, 1), (3, 1), (2, 5)])
def test_masks_are_those_of_probabilities_averaged_after_the_resizing(way, shot):
    model, (mask_logits, class_logits) = build_model("cst", LITE), some_logits(way, shot)
    found = tokens.merge_logits(mask_logits, class_logits)
    presence, masks = model.decide(found, [(33, 20), (7, 50)])
    for b, size in enumerate([(33, 20), (7, 50)]):
        full = F.interpolate(mask_logits[b].flatten(0, 1), size, mode="bilinear", align_corners=True)
        foreground = full.softmax(1)[:, 1].unflatten(0, (way, shot)).mean(1)
        expected = torch.where(foreground.amax(0) < 0.5, 0, foreground.argmax(0) + 1)
        assert (masks[b] == expected).float().mean() > 0.999 and masks[b].dtype == torch.uint8
    assert torch.equal(presence, class_logits.softmax(-1).mean(2)[..., 1] > 0.5)
    torch.testing.assert_close(found.log_prob.exp().sum(2), torch.ones(2, way, 6, 6))
    torch.testing.assert_close(found.log_prob.exp(), mask_logits.softmax(3).mean(2))
    if shot == 1:  # then the stacked maps say the same
        at_once = F.interpolate(found.stacked[:1], (33, 20), mode="bilinear", align_corners=True).argmax(1)[0]
        assert (at_once == masks[0]).float().mean() > 0.999
    assert model.decide(found, [(33, 20), (7, 50)], "fs-s")[0].all()


def test_a_class_may_be_absent_and_have_pixels():
    model = build_model("cst", LITE)
    mask_logits, class_logits = torch.tensor([0.0, 9.0]), torch.tensor([1.0, 0.0])
    found = tokens.merge_logits(
        mask_logits[None, None, None, :, None, None].expand(1, 1, 1, 2, 4, 4), class_logits.view(1, 1, 1, 2)
    )
    presence, (mask,) = model.decide(found, [(5, 5)])
    assert not presence.any() and mask.all()


def test_the_loss_by_hand():
    model, (mask_logits, class_logits) = build_model("cst", LITE), some_logits(2, 1)
    truth = torch.randint(0, 3, (2, 9, 9), generator=torch.Generator().manual_seed(1)).byte()
    truth[0, :4] = VOID
    present = torch.tensor([[True, False], [True, True]])
    full = F.interpolate(mask_logits[:, :, 0].flatten(0, 1), (9, 9), mode="bilinear", align_corners=True)
    log_prob = full.log_softmax(1).unflatten(0, (2, 2))
    of_masks = [
        -log_prob[b, n, int(truth[b, i, j] == n + 1), i, j]
        for b, n, i, j in np.ndindex(2, 2, 9, 9)
        if truth[b, i, j] != VOID
    ]
    of_classes = [-class_logits[b, n, 0].log_softmax(0)[int(present[b, n])] for b, n in np.ndindex(2, 2)]
    by_hand = torch.stack(of_masks).mean() + 0.1 * torch.stack(of_classes).mean()
    found = tokens.merge_logits(mask_logits, class_logits)
    torch.testing.assert_close(model.loss(found, truth, present), by_hand)
    without = tokens.merge_logits(mask_logits, None)
    torch.testing.assert_close(model.loss(without, truth, present), torch.stack(of_masks).mean())


def test_nothing_inside_gives_nothing_and_values_outside_do_not_matter():
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 16, 5, t, generator=draw) for t in (3, 9, 9))
    inside = torch.arange(9).expand(2, 9) < torch.tensor([[4], [0]])
    found = tokens.attend(query, key, value, inside)
    assert not found[1].any()
    key[..., 4:] = value[..., 4:] = 1e4
    torch.testing.assert_close(tokens.attend(query, key, value, inside), found)
    short = tokens.attend(query[:1], key[:1, ..., :4], value[:1, ..., :4], inside[:1, :4])
    torch.testing.assert_close(short, found[:1])


def test_the_class_token_always_takes_part():
    masks = torch.zeros(2, 40, 40)
    masks[1, :, :20] = 1
    assert tokens.find_inside(masks, 10)[:, 0].all() and not tokens.find_inside(masks, 10)[0, 1:].any()
    assert not tokens.find_inside(masks, 9)[0].any()
    assert tokens.find_inside(masks, 10)[1].tolist() == [True, *[True, True, False] * 3]


# The tiny preset


def test_tokens_of_the_tiny_preset(one_learner):
    images, grid = golden.episode(1, 1, size=272)[0], (17, 17)
    with torch.inference_mode():
        levels = one_learner.backbone.pyramid(images)
        cells, first = one_learner.encode_query(images)
        small, _ = one_learner.encode_support(images, None)
    expected = [F.avg_pool2d(x, 2) for x in levels[0]] + levels[1]
    expected += [F.interpolate(x, grid, mode="bilinear", align_corners=True) for x in levels[2]]
    for a, b, mean, few in zip(cells, expected, first, small, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(mean, b.mean((2, 3)))
        torch.testing.assert_close(few, F.interpolate(b, (12, 12), mode="bilinear", align_corners=True))
    with torch.inference_mode():
        assert one_learner(*golden.episode(1, 1, size=272)).shape == (1, 1, 2, 34, 34)


# Refusals


@pytest.mark.parametrize(
    "method, backbone, word", [("emat", DINOV2, "no pseudo masks"), ("cst", LITE, "only a vision transformer")]
)
def test_tags_alone_are_refused_with_the_reason(method, backbone, word):
    model = build_model(method, backbone)
    query, supports, _ = golden.episode(1, 1, size=56)
    for refuses in (model, model.predict):
        with pytest.raises(InputError, match=word) as caught:
            refuses(query, supports)
        assert ". " not in str(caught.value)


@pytest.mark.parametrize("method, backbone, side", [("cst", DINO, 100), ("cst", DINOV2, 400), ("emat", DINOV2, 64)])
def test_sides_that_are_no_whole_patches(method, backbone, side):
    patch = 8 if backbone == DINO else 14
    with pytest.raises(InputError, match=f"multiples of {patch}") as caught:
        build_model(method, backbone)(*golden.episode(1, 1, size=side))
    assert str(side) in str(caught.value) and ". " not in str(caught.value)


@pytest.mark.parametrize("method", ["emat", "ematseg"])
def test_pairs_that_do_not_work(method):
    with pytest.raises(InputError, match="dinov2_vits14 or efficientnet_lite0"):
        build_model(method, DINO)
    with pytest.raises(InputError, match="resnet101 or efficientnet_lite0 or vgg16"):
        build_model("hsnet", DINO)
    with pytest.raises(InputError, match="does not work on resnet50"):
        build_model("cst")


# Published checkpoints


def random_state(method: str, backbone: str) -> dict:
    draw = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        state = build_model(method, backbone).state_dict()
    return {name: torch.randn(value.shape, generator=draw, device="cpu") for name, value in state.items()}


def test_published_files_of_cst_load(tmp_path):
    """Lightning 1.6: no hyper-parameters, and a resumed run has a new version beside the old one."""
    folder = tmp_path / "logs" / "pascal" / "fold0" / "vit-small" / "cst" / "mask"
    folder.mkdir(parents=True)
    state = random_state("cst", DINO)
    plain = {"epoch": 1, "global_step": 5, "pytorch-lightning_version": "1.6.5", "loops": {}, "callbacks": {}}
    torch.save(plain | {"state_dict": {name: value * 0 for name, value in state.items()}}, folder / "best_model.ckpt")
    torch.save(plain | {"state_dict": state}, folder / "best_model-v1.ckpt")
    model = load_model(folder)
    assert (model.method, model.backbone_name, model.image_size, model.training) == ("cst", DINO, 400, False)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("method, size", [("emat", 401), ("cst", 145), ("ematseg", 401)])
def test_published_files_of_emat_load(method, size, tmp_path):
    """Lightning 2.2, with a config.yaml in the folder; CST* is among them."""
    folder = tmp_path / "experiments" / f"{method}-pascal" / "fold-0"
    folder.mkdir(parents=True)
    state = random_state(method, DINOV2)
    assert state["backbone.mask_token"].shape == (1, 384)
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.2.0"}, folder / "best.ckpt")
    (folder / "config.yaml").write_text(f"METHOD:\n  NAME: {method}\n  SUPPORT_DIM: {size}\nDATA:\n  IMG_SIZE: 700\n")
    model = load_model(folder)
    assert (model.method, model.backbone_name, model.image_size) == (method, DINOV2, 700)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda s: {n: v for n, v in s.items() if n != "learner.linear.0.bias"}, "learner.linear.0.bias is missing"),
        (lambda s: s | {"learner.extra": torch.zeros(1)}, "learner.extra is not known"),
        (lambda s: s | {"backbone.pos_embed": torch.zeros(1, 785, 384)}, "backbone.pos_embed has shape"),
        (lambda s: {n: v for n, v in s.items() if n != "backbone.mask_token"}, "backbone.mask_token is missing"),
        (lambda s: {n: v for n, v in s.items() if not n.startswith("backbone")}, "holds no whole learner"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_sentence(change, word, tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": change(random_state("emat", DINOV2))}, path)
    with pytest.raises(InputError, match=word) as caught:
        load_model(path)
    assert str(path) in str(caught.value) and ". " not in str(caught.value)


def test_cst_large_is_refused(tmp_path):
    torch.save({"state_dict": random_state("cst", DINOV2)}, tmp_path / "best.ckpt")
    (tmp_path / "config.yaml").write_text("METHOD:\n  NAME: cst\n  SUPPORT_DIM: 325\n")
    with pytest.raises(InputError, match="CST-large"):
        load_model(tmp_path / "best.ckpt")


def test_a_kept_learner_of_the_tiny_preset(one_learner, tmp_path):
    path = save_learner(one_learner, tmp_path / "cst.safetensors", fold=0)
    assert path.stat().st_size < 1e6
    model, episode = load_model(path), golden.episode(2, 1, size=96)
    assert (model.method, model.backbone_name, model.image_size) == ("cst", LITE, 272)
    with torch.inference_mode():
        torch.testing.assert_close(model(*episode), one_learner(*episode), rtol=0, atol=5e-3)


# Weights of the backbones


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """PyTorch's folder of downloaded files, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder whose files a server of this machine offers in place of DINOv2's."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(folder))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/dinov2_vits14_pretrain.pth"
    monkeypatch.setitem(weights.VIT_FILES, DINOV2, url)
    yield folder
    server.shutdown()
    server.server_close()


def save_backbone(name: str, path: Path) -> None:
    torch.save({n.removeprefix("backbone."): v for n, v in random_state("cst", name).items() if "backbone" in n}, path)


def test_dinov2_is_downloaded_once(hub, server, capfd):
    save_backbone(DINOV2, server / "dinov2_vits14_pretrain.pth")
    for _ in range(2):
        model = build_model("emat", DINOV2, pretrained=True)
        assert torch.equal(model.backbone.pos_embed, random_state("cst", DINOV2)["backbone.pos_embed"])
        (server / "dinov2_vits14_pretrain.pth").unlink(missing_ok=True)
    assert [path.name for path in hub.iterdir()] == ["dinov2_vits14_pretrain.pth"]


def test_without_a_network_one_sentence_says_what_to_fetch_and_where_to_put_it(hub, monkeypatch):
    url = "http://127.0.0.1:9/dinov2_vits14_pretrain.pth"  # nobody listens there
    monkeypatch.setitem(weights.VIT_FILES, DINOV2, url)
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        build_model("emat", DINOV2, pretrained=True)
    said = str(caught.value)
    assert f"fetch {url}" in said and f"put it at {hub / 'dinov2_vits14_pretrain.pth'}." in said and ". " not in said


def test_weights_are_downloaded_ahead(hub, server, capsys):
    save_backbone(DINOV2, server / "dinov2_vits14_pretrain.pth")
    for _ in range(2):
        assert download.main(["weights", DINOV2]) == 0
        assert f"{hub / 'dinov2_vits14_pretrain.pth'} is there." in capsys.readouterr().out
        (server / "dinov2_vits14_pretrain.pth").unlink(missing_ok=True)
    for wrong in (["weights", DINO], ["weights", "pascal"], ["weights", "--mirror", "http://127.0.0.1:9"]):
        assert download.main(wrong) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_cst_says_where_its_weights_are(hub):
    with pytest.raises(InputError, match="come with CST's published checkpoints") as caught:
        build_model("cst", DINO, pretrained=True)
    path = hub / "dino_deitsmall8_300ep_pretrain.pth"
    assert str(path) in str(caught.value) and ". " not in str(caught.value)
    save_backbone(DINO, path)
    model = build_model("cst", DINO, pretrained=True)
    assert torch.equal(model.backbone.pos_embed, random_state("cst", DINO)["backbone.pos_embed"])


@pytest.mark.parametrize("name", [DINO, DINOV2])
def test_files_that_hold_something_else(name, hub):
    path = hub / weights.VIT_FILES[name].rsplit("/", 1)[-1]
    for content in (b"broken", None):
        path.write_bytes(content) if content else save_backbone(DINOV2 if name == DINO else DINO, path)
        with pytest.raises(InputError, match=re.escape(str(path))) as caught:
            build_model("cst", name, pretrained=True)
        assert "delete it" in str(caught.value)


@pytest.fixture
def little(hub, monkeypatch):
    """A small file in the place of ResNet-50's weights, with its hash in its name."""
    torch.save({"a": torch.ones(2)}, hub / "new.pth")
    path = hub / f"little-{hashlib.sha256((hub / 'new.pth').read_bytes()).hexdigest()[:8]}.pth"
    (hub / "new.pth").rename(path)
    url = f"http://127.0.0.1:9/{path.name}"  # nobody listens there
    monkeypatch.setitem(weights.TORCHVISION_WEIGHTS, "resnet50", SimpleNamespace(url=url))
    return path


def test_a_file_with_the_hash_of_its_name_is_read_and_hashed_once(little, capsys):
    before = weights.check_sum.cache_info()
    for _ in range(2):
        assert weights.read_torchvision_weights("resnet50")["a"].tolist() == [1, 1]
        assert download.main(["weights", "resnet50"]) == 0 and f"{little} is there." in capsys.readouterr().out
    after = weights.check_sum.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 3)


@pytest.mark.parametrize("content", [{"a": torch.full((2,), torch.nan)}, [1], torch.ones(2), {}, {"b": 1}], ids=str)
def test_a_file_with_another_hash_is_refused(content, little, capsys):
    torch.save(content, little)
    assert download.main(["weights", "resnet50"]) == 2
    with pytest.raises(InputError) as caught:
        build_model("asnet", "resnet50", pretrained=True)
    for said in (str(caught.value), capsys.readouterr().err.removeprefix("ifsl: ").strip()):
        assert said.startswith(f"{little} is not the file of http") and "delete it" in said and ". " not in said


def test_a_file_that_may_not_be_read_is_not_called_missing(little, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(weights, "check_sum", fail)
    with pytest.raises(InputError, match="Permission denied.*change its permissions") as caught:
        weights.read_torchvision_weights("resnet50")
    assert str(caught.value).startswith(str(little))


# Training and testing

FAST = {"backbone": LITE, "size": 64, "bsz": 2, "workers": 0, "val_every": 2, "val_episodes": 4, "nowandb": True}


@pytest.fixture
def fast(tiny_root, tmp_path, monkeypatch):
    """Settings of a quick run; its log folder lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda **other: Settings(**(FAST | {"devices": "cpu", "datapath": str(tiny_root)} | other))


@pytest.mark.parametrize("method", ["cst", "emat"])
def test_a_resumed_run_is_the_undisturbed_one(method, fast, one_thread):
    straight = train(fast(method=method, logpath="straight", steps=4, cache_features=True))
    train(fast(method=method, logpath="resumed", steps=2, cache_features=True))
    resumed = train(fast(method=method, logpath="resumed", steps=4, cache_features=True), resume=True)
    one, other = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (straight, resumed))
    assert all(torch.equal(one["state_dict"][name], other["state_dict"][name]) for name in one["state_dict"])
    assert not any(name.startswith("backbone") for name in one["state_dict"])
    model = load_model(straight)
    assert (model.method, model.backbone_name, model.image_size) == (method, LITE, 64)


def test_weak_cst_trains_on_pseudo_masks(fast, hub, tiny_root, one_thread):
    """The best checkpoint is chosen by mIoU, as published."""
    torch.save(fill(vit.build(DINO)).state_dict(), hub / "dino_deitsmall8_300ep_pretrain.pth")
    settings = fast(method="cst", backbone=DINO, weak=True, size=32, steps=2)
    assert settings.monitor == "val_miou" and fast(weak=True).monitor == "val_er"
    model = load_model(train(settings))
    assert (model.backbone_name, model.needs_masks) == (DINO, None)
    bench = ifsl.Benchmark("pascal", tiny_root)
    result = ifsl.evaluate(model, bench, 2, 2, 2, size=32, weak=True, workers=0, progress=False)
    assert result.settings["supervision"] == "weak" and result.er is not None
    for method, backbone, word in (("cst", LITE, "vision transformer"), ("emat", LITE, "no pseudo masks")):
        with pytest.raises(InputError, match=word):
            train(fast(method=method, backbone=backbone, weak=True, logpath="refused"))


def test_the_command_line(tiny_root, tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.chdir(tmp_path)
    options = {
        "--datapath": tiny_root,
        "--backbone": LITE,
        "--size": 64,
        "--bsz": 2,
        "--workers": 0,
        "--devices": "cpu",
    }
    given = ["--nowandb", *(str(part) for pair in options.items() for part in pair)]
    untrained = ["--eval", "--checkpoint", "untrained", "--episodes", "2", "--vis"]
    assert main([*given, "--method", "emat", "--way", "2", "--shot", "2", *untrained, "--precision", "bf16"]) == 0
    folder = tmp_path / "logs" / "pascal" / "fold0" / LITE
    assert len(list((folder / "untrained-emat-seed0" / "vis-2way-2shot").glob("*.png"))) == 2
    assert json.loads((folder / "untrained-emat-seed0" / "test-2way-2shot.json").read_text())["er"] is not None
    fss = [*given, "--method", "ematseg", "--task", "fs-s"]
    assert main([*fss, "--steps", "1", "--val-episodes", "2"]) == 0
    assert main([*fss, "--eval", "--episodes", "2", "--shot", "5", "--vis"]) == 0
    assert "FB-IoU" in capsys.readouterr().out
    assert main([*given, "--method", "cst", "--weak", *untrained]) == 2
    assert "class tags alone" in capsys.readouterr().err
