"""ASNet and HM: published numbers, layers against others written for the test, masks, sizes, what HM does to a mask."""

from contextlib import nullcontext

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ifsl.errors import InputError
from ifsl.learners import build_model
from ifsl.learners.asnet import AttentiveSqueezeLayer, attention_weights
from ifsl.learners.fast import use_plain
from ifsl.learners.hybrid_masking import merge_masked


def resize(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


# Published numbers


@pytest.mark.parametrize("case", [*golden.cases("asnet"), *golden.cases("asnethm")])
def test_agrees_with_the_published_system(case):
    golden.check(case)


@pytest.mark.parametrize(
    "method, expected",
    [
        (
            "asnet",
            [
                [-0.82412, -0.55888, -0.61858, -0.64028],
                [-0.42735, -0.55588, -0.56464, -0.70103],
                [-0.44655, -0.58803, -0.63161, -0.69009],
                [-0.67762, -0.60541, -0.64575, -0.63317],
            ],
        ),
        (
            "asnethm",
            [
                [-0.79640, -0.59170, -0.54903, -0.60232],
                [-0.40347, -0.52284, -0.62467, -0.68625],
                [-0.44194, -0.59872, -0.63366, -0.63675],
                [-0.67926, -0.71123, -0.74099, -0.68248],
            ],
        ),
    ],
)
def test_published_numbers_wherever_the_tests_run(method, expected):
    model = golden.fill_by_name(build_model(method)).eval()
    with torch.inference_mode():
        log_prob = model(*golden.episode(1, 1))
    assert log_prob.shape == (1, 1, 2, 100, 100)
    np.testing.assert_allclose(log_prob[0, 0, 1, ::33, ::33].numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ["asnet", "asnethm"])
def test_published_names_and_shapes(method):
    shapes = {name: tuple(value.shape) for name, value in build_model(method).state_dict().items()}
    assert shapes == golden.published_shapes(method)


# The layers, against layers written for reading alone


def plain_attention(attn, x, mask):
    """Every convolution by itself, head after head, logits of masked keys replaced."""
    q, k, v = attn.qhead(x), attn.khead(x), attn.vhead(x)
    shortcut = x
    if not isinstance(attn.short_cut, torch.nn.Identity):
        shortcut = F.relu(plain_norm(attn.short_cut[1], attn.short_cut[0](x)))
    outside = (resize(mask[:, None], k.shape[-2:]) == 0).flatten(2)[:, None]  # G, 1, 1, keys
    width, found = q.shape[1] // 8, []
    for h in range(8):
        head = slice(h * width, (h + 1) * width)
        logits = torch.einsum("gcqi,gcqj->gqij", q[:, head].flatten(3), k[:, head].flatten(3))
        weights = logits.masked_fill(outside, -1e9).softmax(dim=-1)
        found.append(torch.einsum("gqij,gcqj->gcqi", weights, v[:, head].flatten(3)))
    found = torch.cat(found, dim=1).reshape(q.shape)
    found = F.relu(plain_norm(attn.agg[3], attn.agg[2](F.relu(plain_norm(attn.agg[0], found)))))
    return plain_norm(attn.out_norm, found + shortcut)


def plain_norm(norm, x):
    return F.group_norm(x.contiguous(), 4, norm.weight, norm.bias)


def plain_layer(layer, x, mask):
    x = plain_attention(layer.attn, x, mask)
    first, norm, _, second = layer.ff.ff
    return plain_norm(layer.ff.out_norm, x + second(F.relu(plain_norm(norm, first(x)))))


def blobs(count: int, size: int = 64):
    """An ellipse, nothing, everything, and ellipses again."""
    masks = torch.stack([torch.from_numpy(golden.ellipse(seed, size)) for seed in range(count)])
    masks[1:2], masks[2:3] = 0, 1
    return masks


LAYERS = [
    ((3, 32, 5, 4), 13, {}),
    ((32, 128, 3, 2), 4, {}),
    ((6, 32, 5, 4), 25, {"pool": True}),
    ((32, 128, 5, 4), 7, {"pool": True}),
    ((128, 128, 1, 1), 2, {}),
    ((128, 128, 2, 1), 2, {}),
]
"""Every kind of layer: its arguments, and the support side that it gets at 400 px."""


@pytest.mark.parametrize("some", [True, False])
@pytest.mark.parametrize("arguments, side, options", LAYERS)
def test_a_layer_is_what_the_paper_says(arguments, side, options, some):
    """Forward and gradients, in double precision, for masks that are partly, nowhere and everywhere 1, or all of 0."""
    layer = golden.fill_by_name(AttentiveSqueezeLayer(*arguments, **options)).double()
    x = torch.randn(4, arguments[0], 6, side, side, generator=torch.Generator().manual_seed(1)).double()
    x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    masks, found = blobs(4) * some, {}
    for name, context in (("as it runs", nullcontext()), ("plain", use_plain()), ("by the test", None)):
        if context is None:
            out = plain_layer(layer, x, masks)
        else:
            with context:
                out = layer(x, masks)
        weighting = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        named = {"x": x, **dict(layer.named_parameters())}
        gradients = torch.autograd.grad((out * weighting).sum(), list(named.values()))
        found[name] = {"out": out, **dict(zip(named, gradients, strict=True))}
    with torch.no_grad():
        torch.testing.assert_close(layer(x, masks), found["as it runs"]["out"])
    expected = found.pop("by the test")
    for how, tensors in found.items():
        for name, tensor in tensors.items():
            message = f"{name}, {how}: {{}}".format
            torch.testing.assert_close(tensor, expected[name], rtol=1e-7, atol=1e-7, msg=message)


# Masks


def test_attention_of_a_query_cell_lies_inside_the_mask():
    attn = golden.fill_by_name(AttentiveSqueezeLayer(4, 32, 5, 4, pool=True)).attn
    x = torch.randn(3, 4, 6, 25, 25)
    q, k = attn.qhead(x), attn.khead(x)
    found = attention_weights(q, k, blobs(3))
    assert found.shape == (3, 6, 8, 49, 49)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(3, 6, 8, 49))
    outside = (resize(blobs(3)[:1, None], (7, 7))[0, 0] == 0).flatten()
    assert outside.any() and not found[0][..., outside].any() and found[0][..., ~outside].all()
    torch.testing.assert_close(found[1], torch.full_like(found[1], 1 / 49))  # no key inside: all alike
    assert found[2].std() > 1e-3
    logits = torch.einsum("hdxi,hdxj->xhij", *(t[2].unflatten(0, (8, -1)).flatten(3) for t in (q, k)))
    torch.testing.assert_close(found[2], logits.softmax(-1))


def test_a_mask_of_ones_is_no_mask():
    model = build_model("asnet", "efficientnet_lite0")
    query, supports, masks = golden.episode(1, 1, size=257)
    with torch.inference_mode():
        torch.testing.assert_close(model(query, supports, torch.ones_like(masks)), model(query, supports, None))


def test_a_mask_of_zeros_gives_numbers():
    for method in ("asnet", "asnethm"):
        model = build_model(method, "efficientnet_lite0")
        query, supports, masks = golden.episode(1, 1, size=257)
        with torch.inference_mode():
            assert torch.isfinite(model(query, supports, torch.zeros_like(masks))).all()


# Sizes


@pytest.mark.parametrize("side", [257, 300, 512])
def test_sides_that_fit(side):
    model, cells = build_model("asnet", "efficientnet_lite0"), 2 * -(-side // 8)
    with torch.inference_mode():
        assert model(*golden.episode(1, 1, size=side)).shape == (1, 1, 2, cells, cells)
        levels = model.encode_support(torch.zeros(1, 3, side, side), torch.ones(1, side, side))
    assert all(17 <= level[0].shape[-1] <= 32 for level in levels[:2])


@pytest.mark.parametrize("method", ["asnet", "asnethm"])
@pytest.mark.parametrize("side", [64, 256, 513])
def test_other_sides_are_refused_with_the_range(method, side):
    image = torch.zeros(1, 3, side, side)
    with pytest.raises(InputError, match="257 to 512"):
        build_model(method, "efficientnet_lite0")(image, image[:, None, None], image[:, :1, None])


def test_support_is_pooled_as_published():
    """At 400 px layer2 alone, 50 to 25 cells; zeros of the padding count."""
    model = build_model("asnet", "resnet50")
    images = torch.randn(1, 3, 400, 400)
    with torch.inference_mode():
        plain, pooled = model.backbone.pyramid(images), model.encode_support(images, torch.ones(1, 400, 400))
    assert [level[0].shape[-1] for level in pooled] == [25, 25, 13]
    corner = plain[0][1][..., :2, :2].sum(dim=(-2, -1)) / 9
    torch.testing.assert_close(pooled[0][1][..., 0, 0], corner)
    assert all(torch.equal(a, b) for a, b in zip(plain[1] + plain[2], pooled[1] + pooled[2], strict=True))


# HM


def test_hybrid_features_are_masked_ones_where_positive():
    features = torch.tensor([[[[2.0, -3.0], [4.0, 5.0]]]])
    others = torch.tensor([[[[-1.0, 6.0], [7.0, -8.0]]]])
    mask = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])
    found = merge_masked(features, others, mask)
    assert found.tolist() == [[[[2.0, 6.0], [7.0, 5.0]]]]


def test_hm_masks_images_and_pooled_features():
    model = build_model("asnethm", "efficientnet_lite0")
    _, supports, masks = golden.episode(1, 2, size=272)
    images, masks = supports[0, 0], masks[0, 0]
    with torch.inference_mode():
        found = model.encode_support(images, masks)
        plain, masked = model.backbone.pyramid(images), model.backbone.pyramid(images * masks[:, None])
    for level, (a, b) in enumerate(zip(plain, masked, strict=True)):
        a, b = (F.avg_pool2d(x[0], 3, 2, 1) if level == 0 else x[0] for x in (a, b))
        product = a * resize(masks[:, None], a.shape[-2:])
        torch.testing.assert_close(found[level][0], torch.where(product > 0, product, b), rtol=1e-4, atol=1e-4)
