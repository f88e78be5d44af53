"""HSNet: published numbers, the centre-pivot convolution against its definition, the network against plain layers."""

from contextlib import nullcontext

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ifsl.learners import BACKBONES, build_model
from ifsl.learners.correlation import correlation_pyramid, normalize
from ifsl.learners.fast import use_plain
from ifsl.learners.hsnet import CenterPivotConv


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


@pytest.mark.parametrize("how", [nullcontext, use_plain])
@pytest.mark.parametrize("kernel, stride, side", [(3, 2, 5), (3, 1, 2), (5, 4, 9), (5, 4, 6), (3, 2, 2)])
def test_centre_pivot_is_a_4d_convolution_with_two_planes(kernel, stride, side, how):
    conv = golden.fill_by_name(CenterPivotConv(3, 4, kernel, stride)).double()
    x = torch.randn(2, 4, 5, side, side, 3).double().movedim(-1, 1).requires_grad_()  # channels last in memory
    with how():
        found = conv(x)
    expected = naive_4d(x, conv)
    assert found.shape == (2, 4, 4, 5, -(-side // stride), -(-side // stride))
    torch.testing.assert_close(found, expected)
    wanted = [x, *conv.parameters()]
    for a, b in zip(
        torch.autograd.grad(found.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


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
    sides, depths = (12, 6, 3), BACKBONES["efficientnet_lite0"].depths
    pyramids = [
        normalize([[torch.randn(g, 4, s, s, generator=draw).double()] * d for s, d in zip(sides, depths, strict=True)])
        for g in (1, 2)
    ]
    corr2, corr3, corr4 = correlations = correlation_pyramid(*pyramids)
    found = net(correlations, torch.ones(2, 96, 96))
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
