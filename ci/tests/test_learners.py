"""What must hold for every learner: any way and shot, batches, weak, what is computed and what is trained."""

from functools import cache

import golden
import pytest
import torch
from torch import nn

from ifsl import Benchmark, InputError
from ifsl.data.loading import TrainEpisodes, collate
from ifsl.learners import BACKBONES, LEARNERS, build_model, learner_class
from ifsl.learners.learner import check_episode
from ifsl.learners.maps import weak_loss
from ifsl.run.checkpoints import frozen_names

PAIRS = [(m, b) for m in LEARNERS for b in learner_class(m).backbones]
LITE = "efficientnet_lite0"
SIDE = dict.fromkeys(LEARNERS, 64) | {"asnet": 257, "asnethm": 257}
"""Images as small as the learners can take."""
WITHOUT_MASKS = ["pfenet", "hsnet", "asnet"]
"""Learners that can do without masks on the tiny backbone; on a vision transformer cst can too."""
BY_SHOT = ("hsnet", "asnet", "asnethm")


@cache
def tiny(method: str) -> nn.Module:
    """A learner on the tiny backbone with ImageNet weights, untrained."""
    torch.manual_seed(0)
    options = {"width": 32} if method == "pfenet" else {}
    return build_model(method, LITE, pretrained=True, **options)


def episodes(method: str, way: int, shot: int, seeds=(0,), side: int = 0):
    """A batch of one episode per seed."""
    return golden.batch(*(golden.episode(way, shot, seed, side or SIDE[method]) for seed in seeds))


def check_maps(maps, way: int, batch: int = 1) -> None:
    h, w = maps.log_prob.shape[-2:]
    assert maps.log_prob.shape == (batch, way, 2, h, w)
    assert maps.stacked.shape == (batch, way + 1, h, w)
    assert maps.presence.shape == (batch, way) and maps.presence.dtype == torch.bool
    torch.testing.assert_close(maps.log_prob.exp().sum(2).mean(), torch.tensor(1.0), rtol=0, atol=0.1)
    assert maps.log_prob.max() <= 0 and torch.isfinite(maps.log_prob).all()


def test_every_pair_that_makes_sense_works():
    """Three pairs do not, and learners of tokens do not share the backbones of learners of pyramids, but for one."""
    of_tokens, vits = ("cst", "emat", "ematseg"), ("dino_vits8", "dinov2_vits14")
    pyramids = {(m, b) for m in LEARNERS for b in BACKBONES if m not in of_tokens and b not in vits}
    assert pyramids - set(PAIRS) == {("pfenet", "resnet101"), ("pfenet", "vgg16"), ("panet", "vgg16")}
    tokens = {(m, b) for m in of_tokens for b in (*vits, LITE)} - {("emat", vits[0]), ("ematseg", vits[0])}
    assert set(PAIRS) - pyramids == tokens


# Shapes and batches


SIZES = [(1, 1), (5, 1), (1, 5), (3, 2), (5, 5)]


@pytest.mark.parametrize(
    "method, way, shot", [(m, n, k) for m in LEARNERS for n, k in SIZES if n * k <= 6 or SIDE[m] == 64]
)
def test_any_way_and_shot(method, way, shot):
    model = tiny(method)
    with torch.inference_mode():
        check_maps(model.maps(*episodes(method, way, shot)), way)


@pytest.mark.parametrize("method, backbone", PAIRS)
def test_every_backbone(method, backbone):
    model = build_model(method, backbone)
    assert (model.method, model.backbone_name, model.training) == (method, backbone, False)
    assert model.image_size == {LITE: 272, "dinov2_vits14": 700}.get(backbone, 400)
    side = max(SIDE[method], BACKBONES[backbone].sides[0]) if method.startswith("asnet") else SIDE[method]
    side = 70 if backbone == "dinov2_vits14" else side
    with torch.inference_mode():
        check_maps(model.maps(*episodes(method, 2, 2, side=side)), 2)
    presence, masks = model.predict(*episodes(method, 2, 1, side=side), [(30, 41)])
    assert presence.shape == (1, 2) and [tuple(mask.shape) for mask in masks] == [(30, 41)]
    assert masks[0].dtype == torch.uint8 and masks[0].max() <= 2


@pytest.mark.parametrize("method", LEARNERS)
def test_a_batch_is_its_episodes_one_by_one(method):
    model, seeds = tiny(method), (0, 1, 2)
    with torch.inference_mode():
        together = model.maps(*episodes(method, 2, 2, seeds))
        alone = [model.maps(*episodes(method, 2, 2, (seed,))) for seed in seeds]
    for name in ("log_prob", "stacked", "presence"):
        joined = torch.cat([getattr(maps, name) for maps in alone])
        torch.testing.assert_close(getattr(together, name), joined, rtol=0, atol=1e-4)
    spread = (together.log_prob[0] - together.log_prob[1]).abs().max()
    assert spread > 1e-3, "episodes that differ, else the comparison would say nothing"


@pytest.mark.parametrize("method", BY_SHOT)
def test_shots_are_averaged_as_log_probabilities_and_vote(method):
    model = tiny(method)
    query, supports, masks = episodes(method, 2, 3)
    with torch.inference_mode():
        merged = model.maps(query, supports, masks)
        shots = [model.maps(query, supports[:, :, [k]], masks[:, :, [k]]) for k in range(3)]
    mean = torch.stack([shot.log_prob for shot in shots]).mean(0)
    torch.testing.assert_close(merged.log_prob, mean, rtol=0, atol=1e-5)
    votes = torch.stack([shot.presence for shot in shots]).float().mean(0)
    assert torch.equal(merged.presence, votes >= 0.5)


@pytest.mark.parametrize("method", LEARNERS)
def test_images_are_encoded_in_as_few_passes_as_there_can_be(method):
    """Whatever the batch, ways and shots. HM runs the masked supports in a pass of their own, PFENet all supports."""
    model, passes = tiny(method), []
    stem = model.backbone0[0] if method == "pfenet" else model.backbone.net.conv_stem
    hook = stem.register_forward_hook(lambda _, images, __: passes.append(len(images[0])))
    with torch.inference_mode():
        try:
            model.maps(*episodes(method, 2, 3, (0, 1)))
        finally:
            hook.remove()
    assert passes == {"asnethm": [14, 12], "pfenet": [2, 12]}.get(method, [14])


@pytest.mark.parametrize("method", LEARNERS)
def test_features_that_somebody_has_kept_give_the_same_maps(method):
    model, (query, supports, masks) = tiny(method), episodes(method, 2, 2, (0, 1))
    with torch.inference_mode():
        expected = model.maps(query, supports, masks)
        features = model.encode_query(query), model.encode_support(supports.flatten(0, 2), masks.flatten(0, 2))
        # other images, so that nothing but the features can give the same
        found = model.maps(query.flip(-1), supports.flip(-1), masks, features)
    for a, b in zip(found, expected, strict=True):
        assert a is b or torch.equal(a, b)


# Values


@pytest.mark.parametrize("method", LEARNERS)
def test_values_are_refused_on_a_cpu_and_by_predict(method):
    model, (query, supports, masks) = tiny(method), episodes(method, 1, 1)
    broken = query.clone()
    broken[0, 0, 3, 3] = float("nan")
    for wrong, match in (((broken, supports, masks), "NaN"), ((query, supports, masks / 2), "besides 0 and 1")):
        for refuses in (model.maps, model.predict, lambda *episode: check_episode(model, *episode)):
            with pytest.raises(InputError, match=match):
                refuses(*wrong)
    check_episode(model, query, supports, masks)


# Weak


@pytest.mark.parametrize("method", WITHOUT_MASKS)
def test_tags_alone_are_enough(method):
    model, (query, supports, masks) = tiny(method), episodes(method, 2, 2)
    with torch.inference_mode():
        weak, strong = model.maps(query, supports, None), model.maps(query, supports, masks)
    check_maps(weak, 2)
    assert (weak.log_prob - strong.log_prob).abs().max() > 1e-4


@pytest.mark.parametrize("method", sorted(set(LEARNERS) - set(WITHOUT_MASKS)))
def test_tags_alone_are_refused_with_the_reason(method):
    query, supports, _ = episodes(method, 1, 1)
    with pytest.raises(InputError, match="mask") as caught:
        tiny(method)(query, supports, None)
    assert str(caught.value) == tiny(method).needs_masks
    with pytest.raises(InputError):
        tiny(method).predict(query, supports)


# Training


def outside_backbone(model: nn.Module) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and not name.startswith("backbone"))


@pytest.mark.parametrize(
    "method, count",
    [("asnet", 1_320_610), ("asnethm", 1_320_610), ("hsnet", 2_573_794), ("pfenet", 10_817_034), ("panet", 0)],
)
def test_published_numbers_of_parameters(method, count):
    assert outside_backbone(build_model(method, "resnet50")) == count


@pytest.mark.parametrize("method", LEARNERS)
def test_gradients_reach_exactly_what_the_recipe_trains(method):
    """All but the frozen modules and the class's `unused`: PFENet's inner heads enter no loss, as published."""
    model = tiny(method).train()
    frozen = frozen_names(model)
    before = {name: value.clone() for name, value in model.state_dict().items() if name in frozen}
    query, supports, masks = episodes(method, 1, 1, (0, 1))
    halves = torch.zeros_like(masks)  # at grids of 2 x 2 an ellipse inside the picture is nothing at all
    halves[..., : masks.shape[-1] // 2] = 1
    try:
        found = model.maps(query, supports, halves)
        model.loss(found, masks[:, 0, 0], torch.tensor([[True], [False]])).backward()
        reached = {name for name, p in model.named_parameters() if p.grad is not None}
        still = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
    finally:
        model.zero_grad()
        model.eval()
    assert model.unused == (("learner.inner_cls",) if method == "pfenet" else ())
    trained = {n for n, _ in model.named_parameters() if n not in frozen and not n.startswith(model.unused)}
    assert reached == trained
    assert all("khead.bias" in name for name in still), still  # it moves all logits of a softmax alike
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert any(name.startswith("backbone") for name in trained) == (method == "panet")
    frozen_parameters = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen_parameters == {name for name, _ in model.named_parameters() if name in frozen}


@pytest.mark.parametrize("method", WITHOUT_MASKS)
def test_the_weak_loss_trains_too(method):
    model = tiny(method).train()
    query, supports, _ = episodes(method, 2, 1)
    try:
        weak_loss(model(query, supports, None), torch.tensor([[True, False]])).backward()
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad and ".inner_cls." not in name]
        assert all(p.grad.any() for name, p in trained if "khead.bias" not in name)
    finally:
        model.zero_grad()
        model.eval()


@pytest.mark.parametrize(
    "method, side, rate, steps",
    [
        ("panet", 160, 0.01, 12),
        ("pfenet", 128, 0.3, 80),
        ("hsnet", 128, 1e-3, 40),
        ("asnet", 257, 1e-3, 30),
        ("asnethm", 257, 1e-3, 30),
        ("cst", 128, 3e-3, 40),
        ("emat", 128, 3e-3, 40),
        ("ematseg", 128, 3e-3, 40),
    ],
)
def test_eight_episodes_are_learned(method, side, rate, steps, tiny_root):
    """The strong loss falls below a third of its start; with the recipe's optimisers and a rate for the few steps."""
    bench = Benchmark("pascal", root=tiny_root, fold=0, split="trn")
    drawn = TrainEpisodes(bench, size=side)
    batch = collate([drawn[0, position] for position in range(8)])
    torch.manual_seed(0)
    options = {"width": 32} if method == "pfenet" else {}
    model = build_model(method, LITE, pretrained=True, **options).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = model.optimizer(parameters, rate)
    masks, features, losses = batch["masks"], None, []
    for _ in range(steps):
        if features is None or not model.frozen:
            features = (
                model.encode_query(batch["query"]),
                model.encode_support(batch["supports"].flatten(0, 2), masks.flatten(0, 2)),
            )
        loss = model.loss(model.compare(*features, masks), batch["query_masks"], batch["presence"])
        losses.append(loss.item())
        if losses[-1] < losses[0] / 3:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f} only, in {steps} steps")
