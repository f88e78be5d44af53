"""PFENet: published numbers, and each of its parts against a straightforward version."""

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet50

from ifsl.errors import InputError
from ifsl.learners import LEARNERS, build_model
from ifsl.learners.backbones import LitePyramid
from ifsl.learners.pfenet import Enrichment, bins, dilate, masked_mean, prior_maps, published_prior_maps
from ifsl.weights import read_lite_weights


@pytest.fixture(scope="module")
def model():
    return golden.fill_by_name(build_model("pfenet", "resnet50")).eval()


@pytest.fixture(scope="module")
def tiny():
    """Narrow, on the tiny backbone, with weights that say different things of different cells."""
    torch.manual_seed(0)
    return build_model("pfenet", "efficientnet_lite0", pretrained=True, width=16)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def resize(maps, size):
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("case", golden.cases("pfenet"))
def test_agrees_with_the_published_system(case):
    golden.check(case, tolerance=1e-3)  # its logits reach 40 with these weights


def test_published_numbers_wherever_the_tests_run(model):
    with torch.inference_mode():
        log_prob = model(*golden.episode(1, 1))
    assert log_prob.shape == (1, 1, 2, 50, 50)
    cells = log_prob[0, 0].flatten(1)[:, ::416]
    expected = [
        [-0.00097, -6.78006, -5.00069, -5.75247, -4.27535, -0.01229, 0.0],
        [-6.93604, -0.00114, -0.00676, -0.00318, -0.01400, -4.40478, -29.65495],
    ]
    np.testing.assert_allclose(cells.numpy(), expected, rtol=0, atol=1e-3)


def test_published_numbers_of_two_ways_wherever_the_tests_run(model):
    """With the published prior, which mixes ways; the sound one says something else."""
    published = golden.fill_by_name(build_model("pfenet", "resnet50", published_prior=True)).eval()
    episode = golden.episode(2, 1, seed=1)
    with torch.inference_mode():
        found, sound = (learner(*episode)[0, :, 1].flatten(1)[:, ::416] for learner in (published, model))
    expected = [
        [-4.91402, -0.00068, -0.01008, -0.00086, -0.07086, -0.97596, -24.33496],
        [-4.85108, -0.00067, -0.00967, -0.00163, -0.03742, -0.74395, -24.65186],
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-3)
    assert np.abs(sound.numpy() - expected).max() > 0.1


def test_published_names_and_shapes(model):
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == golden.published_shapes("pfenet")


def test_refuses_the_backbone_that_the_published_code_never_builds():
    with pytest.raises(InputError, match="silently builds resnet50"):
        build_model("pfenet", "resnet101")


# The backbone


def test_every_kernel_of_the_deep_stages_is_dilated(model):
    for stage, dilation in ((model.backbone3, 2), (model.backbone4, 4)):
        for name, conv in stage.named_modules():
            if isinstance(conv, nn.Conv2d):
                expected = dilation if name.endswith("conv2") else 1
                assert (conv.stride, conv.dilation) == ((1, 1), (expected, expected)), name
    assert model.backbone2[0].conv2.stride == (2, 2)


def test_undilated_it_would_be_the_ordinary_resnet():
    """The five parts are torchvision's ResNet-50 in its order: its ImageNet weights go where they belong."""
    torch.manual_seed(0)
    plain = golden.fill_by_name(resnet50()).eval()
    model = build_model("pfenet", "resnet50")
    parts = ("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)
    for i, names in enumerate(parts):
        for j, name in enumerate(names):
            part = getattr(model, f"backbone{i}")
            (part[j] if i == 0 else part).load_state_dict(getattr(plain, name).state_dict())
    images = noise(1, 3, 64, 64)
    with torch.inference_mode():
        (layer2,), _, _ = model.encode_query(images)
        torch.testing.assert_close(layer2, plain.layer2(plain.layer1(model.backbone0(images))), rtol=1e-4, atol=1e-4)


def test_the_tiny_backbone_keeps_stride_8_and_its_weights(tiny):
    with torch.inference_mode():
        levels = tiny.encode_query(noise(2, 3, 96, 96))
    assert [tuple(level[0].shape) for level in levels] == [(2, 40, 12, 12), (2, 112, 12, 12), (2, 320, 12, 12)]
    weights = read_lite_weights(LitePyramid().net)
    torch.testing.assert_close(tiny.backbone0[0].weight, weights["conv_stem.weight"])
    torch.testing.assert_close(tiny.backbone4[1][0].conv_pwl.weight, weights["blocks.6.0.conv_pwl.weight"])


def test_dilation_keeps_the_values_of_kernels_apart():
    conv = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
    dilate(conv, 4)
    with torch.no_grad():
        spread = conv(F.pad(torch.ones(1, 1, 1, 1), (10, 10, 10, 10)))[0, 0]
    assert spread.shape == (21, 21)
    assert torch.nonzero(spread).tolist() == [[i, j] for i in (6, 10, 14) for j in (6, 10, 14)]


def test_layer4_sees_nothing_of_the_support_outside_the_mask(tiny):
    images = noise(1, 3, 96, 96)
    mask = torch.zeros(1, 96, 96)
    mask[:, 24:72, 24:72] = 1
    changed = images.clone()
    changed[..., 88:] += 1
    with torch.inference_mode():
        one, other, none = (tiny.encode_support(i, m) for i, m in ((images, mask), (changed, mask), (images, mask * 0)))
    assert (one[2][0][..., 0, 0] == 0).all() and one[2][0].abs().max() > 0
    assert not torch.equal(one[1][0], other[1][0])  # layer3 itself is not masked
    assert (none[2][0] == 0).all()


# Prior, class vector, enrichment


def test_prior_is_the_best_cosine_scaled():
    query, support = noise(2, 6, 3, 4).relu(), noise(2, 2, 3, 6, 3, 4, seed=1).relu()  # B C h w, B N K C h w
    found = prior_maps(query, support)
    assert found.shape == (2, 2, 3, 3, 4)
    for b, n, k in np.ndindex(2, 2, 3):
        q, s = query[b].flatten(1), support[b, n, k].flatten(1)
        cosine = (q.T @ s) / (q.norm(dim=0)[:, None] * s.norm(dim=0)[None] + 1e-7)
        best = cosine.amax(dim=1)
        expected = (best - best.min()) / (best.max() - best.min() + 1e-7)
        torch.testing.assert_close(found[b, n, k].flatten(), expected, rtol=1e-4, atol=1e-5)


def test_prior_of_an_empty_mask_is_nothing():
    assert (prior_maps(noise(1, 6, 3, 3), torch.zeros(1, 1, 1, 6, 3, 3)) == 0).all()


def test_published_prior_reads_the_memory_of_all_ways_as_that_of_one():
    """Spelled out with numpy, which reads memory again without moving anything."""
    query, support = noise(2, 6, 3, 4).relu(), noise(2, 3, 2, 6, 3, 4, seed=1).relu()  # B C h w, B N K C h w
    found = published_prior_maps(query, support)
    assert found.shape == (2, 3, 2, 3, 4)
    for b, k in np.ndindex(2, 2):
        q = query[b].reshape(6, 12).numpy()
        s = np.frombuffer(support[b, :, k].contiguous().numpy().tobytes(), np.float32).reshape(6, 3 * 12)
        cosine = (q.T @ s) / (np.linalg.norm(q, axis=0)[:, None] * np.linalg.norm(s, axis=0) + 1e-7)
        best = cosine.max(axis=1)
        expected = (best - best.min()) / (best.max() - best.min() + 1e-7)
        for way in range(3):
            np.testing.assert_allclose(found[b, way, k].flatten().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (found - prior_maps(query, support)).abs().max() > 0.05


def test_at_one_way_the_published_prior_is_the_sound_one():
    query, support = noise(2, 6, 3, 4).relu(), noise(2, 1, 3, 6, 3, 4, seed=1).relu()
    torch.testing.assert_close(published_prior_maps(query, support), prior_maps(query, support))


def test_class_vector_is_the_mean_under_the_mask():
    features, mask = noise(1, 5, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, 1:3] = 1
    expected = features[..., 1:3, 1:3].sum(dim=(2, 3)) / (4 + 0.0005)
    torch.testing.assert_close(masked_mean(features, mask), expected)


def test_bins():
    assert bins((50, 50)) == [(50, 50), (25, 25), (13, 13), (7, 7)]
    assert bins((34, 20)) == [(34, 20), (17, 10), (9, 5), (5, 3)]


def test_enrichment_against_the_straightforward_version():
    """Query repeated for each way, everything put side by side before it is convolved, as the paper tells it."""
    torch.manual_seed(0)
    net = Enrichment(8).eval()
    query, vectors, prior = noise(2, 8, 10, 10), noise(2, 3, 8, seed=1), noise(2, 3, 10, 10, seed=2)
    q, v, p = query.repeat_interleave(3, dim=0), vectors.flatten(0, 1)[..., None, None], prior.flatten(0, 1)[:, None]
    found = []
    for i, side in enumerate((10, 5, 3, 2)):
        pooled = F.adaptive_avg_pool2d(q, side)
        x = net.init_merge[i](torch.cat([pooled, v.expand(-1, -1, side, side), resize(p, (side, side))], dim=1))
        if i > 0:
            x = x + net.alpha_conv[i - 1](torch.cat([x, resize(found[-1], (side, side))], dim=1))
        x = x + net.beta_conv[i](x)
        found.append(resize(x, (10, 10)))
    x = net.res1(torch.cat(found, dim=1))
    expected = net.cls(x + net.res2(x)).unflatten(0, (2, 3))
    torch.testing.assert_close(net(query, vectors, prior), expected, rtol=1e-4, atol=1e-5)


# The learner


def test_ways_are_independent_and_shots_are_averaged(tiny):
    query, supports, masks = golden.episode(2, 3, size=96)
    with torch.inference_mode():
        both = tiny(query, supports, masks)
        alone = [tiny(query, supports[:, n : n + 1], masks[:, n : n + 1]) for n in range(2)]
        turned = tiny(query, supports.flip(2), masks.flip(2))
    torch.testing.assert_close(both, torch.cat(alone, dim=1), rtol=0, atol=1e-5)
    torch.testing.assert_close(both, turned, rtol=0, atol=1e-5)
    assert (both[:, 0] - both[:, 1]).abs().max() > 1e-4


def test_the_published_prior_is_an_option(tiny):
    """It changes the maps of several ways and of nothing else, and is no part of the weights."""
    torch.manual_seed(0)
    published = build_model("pfenet", "efficientnet_lite0", pretrained=True, width=16, published_prior=True)
    assert (tiny.published_prior, published.published_prior) == (False, True)
    published.load_state_dict(tiny.state_dict())
    for way, alike in ((1, True), (2, False)):
        episode = golden.episode(way, 2, size=96)
        with torch.inference_mode():
            difference = (published(*episode) - tiny(*episode)).abs().max()
        assert (difference < 1e-5) == alike, f"{way} ways: {difference}"


@pytest.mark.parametrize("method", [name for name in LEARNERS if name != "pfenet"])
@pytest.mark.parametrize("options", [{"published_prior": True}, {"published_prior": False}, {"width": 8}])
def test_other_learners_refuse_the_options(method, options):
    [name] = options
    with pytest.raises(InputError, match=f"{method} has no option {name}; it has"):
        build_model(method, "efficientnet_lite0", **options)


@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_the_published_prior_is_true_or_false(value):
    with pytest.raises(InputError, match="published_prior is .*; give True or False"):
        build_model("pfenet", "efficientnet_lite0", published_prior=value)


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="pfenet has no option depth; it has width and published_prior"):
        build_model("pfenet", "efficientnet_lite0", depth=3)


def test_without_masks_the_whole_image_is_the_class(tiny):
    query, supports, masks = golden.episode(1, 2, size=96)
    with torch.inference_mode():
        weak = tiny(query, supports, None)
        assert torch.equal(weak, tiny(query, supports, torch.ones_like(masks)))
        assert not torch.equal(weak, tiny(query, supports, masks))


def test_width_is_that_of_the_learner(tiny):
    assert tiny.width == 16
    assert {p.shape[0] for n, p in tiny.learner.named_parameters() if n.endswith("0.weight")} == {16}


def test_dropout_in_training_only(tiny):
    query, supports, masks = golden.episode(1, 1, size=64)
    try:
        tiny.train()
        assert not torch.equal(tiny(query, supports, masks), tiny(query, supports, masks))
        assert not tiny.backbone4.training
    finally:
        tiny.eval()
    assert torch.equal(tiny(query, supports, masks), tiny(query, supports, masks))
