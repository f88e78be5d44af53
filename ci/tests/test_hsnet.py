"""HSNet: published numbers, the centre-pivot convolution against its definition, the network against plain layers."""

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ifsl.learners import build_model
from ifsl.learners.correlation import pyramid, unit
from ifsl.learners.hsnet import CenterPivotConv, around


def resize(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("case", golden.cases("hsnet"))
def test_agrees_with_the_published_system(case):
    golden.check(case)


def test_published_numbers_wherever_the_tests_run():
    model = golden.fill_by_name(build_model("hsnet")).eval()
    with torch.inference_mode():
        log_prob = model(*golden.episode(1, 1))
    assert log_prob.shape == (1, 1, 2, 100, 100)
    expected = [
        [-0.68683, -0.74186, -0.74404, -0.94023],
        [-0.36332, -0.39195, -0.38786, -1.11493],
        [-0.36396, -0.39276, -0.37414, -1.12517],
        [-0.64521, -0.42894, -0.42455, -0.81191],
    ]
    np.testing.assert_allclose(log_prob[0, 0, 1, ::33, ::33].numpy(), expected, rtol=0, atol=1e-4)


def test_published_names_and_shapes():
    shapes = {name: tuple(value.shape) for name, value in build_model("hsnet").state_dict().items()}
    assert shapes == golden.published_shapes("hsnet")


def naive_4d(x, conv):
    """A dense 4-D convolution with the two planes of the kernel put in place: one number at a time."""
    kernel, stride = conv.conv1.kernel_size[0], conv.conv2.stride[0]
    pad, side = kernel // 2, conv.conv2.kernel_size[0]
    padded = F.pad(x, [pad] * 8)
    w = torch.zeros(*conv.conv1.weight.shape, side, side, dtype=x.dtype)
    w[..., pad, pad] += conv.conv1.weight
    w[:, :, pad, pad] += conv.conv2.weight
    windows = padded
    for dim, step in ((2, 1), (3, 1), (4, stride), (5, stride)):
        windows = windows.unfold(dim, kernel, step)
    out = torch.einsum("gcijklabde,ocabde->goijkl", windows, w)
    return out + (conv.conv1.bias + conv.conv2.bias)[:, None, None, None, None]


@pytest.mark.parametrize("kernel, stride, side", [(3, 2, 5), (3, 1, 2), (5, 4, 9), (5, 4, 6), (3, 2, 2)])
def test_centre_pivot_is_a_4d_convolution_with_two_planes(kernel, stride, side):
    conv = golden.fill_by_name(CenterPivotConv(3, 4, kernel, stride)).double()
    x = torch.randn(2, 4, 5, side, side, 3).double().movedim(-1, 1).requires_grad_()  # channels last in memory
    found, expected = conv(x), naive_4d(x, conv)
    assert found.shape == (2, 4, 4, 5, -(-side // stride), -(-side // stride))
    torch.testing.assert_close(found, expected)
    wanted = [x, *conv.parameters()]
    for a, b in zip(
        torch.autograd.grad(found.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


CELLS = [[(0, 0)], [(6, 8)], [(4, 4)], [(3, 2), (5, 3)], [(7, 5)], [(8, 1), (8, 7)], [(0, 8), (8, 0)], []]
"""Support cells that are inside a mask, on a grid of 9 x 9."""


@pytest.mark.parametrize("kernel, stride", [(3, 2), (5, 4)])
@pytest.mark.parametrize("cells", CELLS)
def test_outside_a_box_around_the_masks_nothing_is_missed(kernel, stride, cells):
    """Values and gradients, for two supports of which the second has one cell in the middle."""
    conv, masks = golden.fill_by_name(CenterPivotConv(3, 4, kernel, stride)).double(), torch.zeros(2, 9, 9).double()
    for row, column in cells:
        masks[0, row, column] = 1
    masks[1, 4, 4] = len(cells) > 1
    x = torch.randn(2, 9, 9, 9, 9, 3).double().movedim(-1, 1) * masks[:, None, None, None]
    rows, columns = box = around(masks, (9, 9))
    assert x[..., rows, columns].count_nonzero() == x.count_nonzero()
    found = {}
    for name, inside in {"box": (x[..., rows, columns], box), "all": (x,)}.items():
        out = conv(*inside)
        found[name] = out, *torch.autograd.grad(out.square().sum(), list(conv.parameters()))
    for a, b in zip(*found.values(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_box_is_smaller_than_the_grid():
    masks = torch.zeros(1, 400, 400)
    masks[0, 170:250, 0:10] = 1
    assert around(masks, (50, 50)) == (slice(20, 33), slice(0, 5))


def plain_squeeze(block, x):
    for conv, norm in zip(block[0::3], block[1::3], strict=True):
        x = F.relu(F.group_norm(naive_pivot(conv, x), 4, norm.weight, norm.bias))
    return x


def naive_pivot(conv, x):
    """The two convolutions one after another, on copies in which the other two dimensions are part of the batch."""
    g, c, hq, wq, hs, ws = x.shape
    stride = conv.conv2.stride[0]
    kept = x[..., ::stride, ::stride]
    a = conv.conv1(kept.permute(0, 4, 5, 1, 2, 3).reshape(-1, c, hq, wq))
    a = a.view(g, *kept.shape[4:], -1, hq, wq).permute(0, 3, 4, 5, 1, 2)
    b = conv.conv2(x.permute(0, 2, 3, 1, 4, 5).reshape(-1, c, hs, ws))
    b = b.view(g, hq, wq, -1, *b.shape[-2:]).permute(0, 3, 1, 2, 4, 5)
    return (a + b).contiguous()


def plain_add(x, coarse):
    """Query dimensions resized support cell by support cell."""
    cells = [[resize(coarse[..., i, j], x.shape[2:4]) for j in range(coarse.shape[5])] for i in range(coarse.shape[4])]
    return x + torch.stack([torch.stack(row, dim=-1) for row in cells], dim=-2)


def test_the_network_is_the_plain_network():
    model = golden.fill_by_name(build_model("hsnet", "efficientnet_lite0")).double()
    net = model.learner
    draw = torch.Generator().manual_seed(0)
    sides, depths = (12, 6, 3), model.backbone.depths
    pyramids = [
        unit([[torch.randn(g, 4, s, s, generator=draw).double()] * d for s, d in zip(sides, depths, strict=True)])
        for g in (1, 2)
    ]
    corr2, corr3, corr4 = correlations = pyramid(*pyramids)
    found = net(correlations, [None] * 3)
    x = plain_squeeze(net.encoder_layer4, corr4)
    x = plain_squeeze(net.encoder_layer4to3, plain_add(plain_squeeze(net.encoder_layer3, corr3), x))
    x = plain_squeeze(net.encoder_layer3to2, plain_add(plain_squeeze(net.encoder_layer2, corr2), x))
    x = net.decoder1(x.mean(dim=(-2, -1)))
    expected = net.decoder2(resize(x, (24, 24)))
    assert found.shape == (2, 2, 24, 24)
    torch.testing.assert_close(found, expected)
    parameters = list(net.parameters())
    for (name, _), a, b in zip(
        net.named_parameters(),
        torch.autograd.grad(found.square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, msg=lambda m, n=name: f"{n}: {m}")


def test_supports_of_several_masks_need_no_more_than_the_box_around_them():
    model = golden.fill_by_name(build_model("hsnet", "efficientnet_lite0")).eval()
    query, supports, masks = golden.episode(1, 2, size=136)
    with torch.inference_mode():
        query, support = (unit(part) for part in model.encode(query, supports.flatten(0, 2), masks.flatten(0, 2)))
        whole = model.learner(pyramid(query, support), [None] * 3)
        torch.testing.assert_close(model.squeeze(query, support, masks.flatten(0, 2)), whole, rtol=0, atol=1e-5)
    assert around(masks.flatten(0, 2), (17, 17)) != (slice(0, 17), slice(0, 17))


def test_support_features_are_masked():
    model = build_model("hsnet", "efficientnet_lite0")
    _, supports, masks = golden.episode(1, 2, size=64)
    images, masks = supports[0, 0], masks[0, 0]
    with torch.inference_mode():
        plain, found = model.backbone.pyramid(images), model.encode_support(images, masks)
    for a, b in zip(plain, found, strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(y, x * resize(masks[:, None], x.shape[-2:]))


def test_any_image_size():
    model = build_model("hsnet", "efficientnet_lite0")
    for side in (40, 65, 100):
        query, supports, masks = golden.episode(1, 1, size=side)
        cells = 2 * -(-side // 8)
        with torch.inference_mode():
            assert model(query, supports, masks).shape == (1, 1, 2, cells, cells)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_portions_change_nothing(monkeypatch, size):
    """Two episodes of four supports: in parts of one, an episode at a time, or more than that."""
    model = golden.fill_by_name(build_model("hsnet", "efficientnet_lite0")).eval()
    query, supports, masks = golden.batch(golden.episode(2, 2, 0, 48), golden.episode(2, 2, 1, 48))
    with torch.inference_mode():
        features = model.encode_query(query), model.encode_support(supports.flatten(0, 2), masks.flatten(0, 2))
        whole = model.compare(*features, masks)
        monkeypatch.setattr("ifsl.learners.blocks.supports_at_once", lambda *_: size)
        for a, b in zip(whole, model.compare(*features, masks), strict=True):
            torch.testing.assert_close(a, b)
