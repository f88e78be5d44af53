"""Folded copies of backbones: they give what the backbone gives, and are made only where they may be."""

import golden
import pytest
import torch
from torch import nn

from ifsl.learners.backbones import build_backbone, folded, fused


@pytest.fixture
def net():
    """Convolution and norm, which fold, and a norm after something else, which does not."""
    parts = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
    return golden.fill_by_name(nn.Sequential(*parts)).eval().requires_grad_(False)


X = torch.linspace(-1, 1, 3 * 9 * 9).view(1, 3, 9, 9)


def test_a_copy_gives_the_same(net):
    copy = folded(net, X)
    assert copy is not net and copy is folded(net, X)
    assert isinstance(copy[1], nn.Identity) and isinstance(copy[3], nn.BatchNorm2d)
    torch.testing.assert_close(copy(X), net(X))
    assert net[1].running_mean.any() and "0.bias" not in net.state_dict(), "the module itself stays as it is"


def test_a_copy_follows_the_weights(net):
    before = folded(net, X)(X)
    net.load_state_dict({name: 2 * value for name, value in net.state_dict().items()})
    assert not torch.allclose(folded(net, X)(X), before)
    torch.testing.assert_close(folded(net, X)(X), net(X))
    with torch.inference_mode():
        net[0].weight.mul_(3)
        torch.testing.assert_close(folded(net, X)(X), net(X))
    net.double()
    torch.testing.assert_close(folded(net, X)(X.double()), net(X.double()))


def test_a_copy_that_was_made_for_inference_serves_training(net):
    with torch.inference_mode():
        copy = folded(net, X)
    assert folded(net, X) is copy
    head = nn.Conv2d(8, 1, 1)
    head(copy(X)).square().sum().backward()
    assert head.weight.grad.any()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Identity(), nn.SiLU()])
@pytest.mark.parametrize("groups", [1, 4])
def test_an_activation_is_computed_on_the_way(activation, groups):
    conv = golden.fill_by_name(nn.Conv2d(8, 8, 3, padding=1, stride=2, groups=groups)).requires_grad_(False)
    x = torch.linspace(-9, 9, 2 * 8 * 9 * 9).view(2, 8, 9, 9)
    assert conv(x).min() < -0.5 and conv(x).max() > 6.5
    torch.testing.assert_close(fused(conv, activation)(x), activation(conv(x)), atol=1e-5, rtol=1e-5)


def test_there_is_no_copy_where_it_would_not_do(net):
    net.requires_grad_(True)
    assert folded(net, X) is net, "gradients for the weights"
    net.requires_grad_(False)
    assert folded(net, X.clone().requires_grad_()) is net, "gradients for the images"
    with torch.no_grad():
        assert folded(net, X) is not net
        hook = net[2].register_forward_hook(lambda *_: None)
        assert folded(net, X) is net, "hooks"
        hook.remove()
        net[1].train()
        assert folded(net, X) is net, "batch statistics"
    with torch.inference_mode():
        weights = nn.Conv2d(1, 1, 1).eval()
        assert folded(weights, X) is weights, "weights whose changes are not counted"


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_pyramids_are_those_of_the_plain_backbone(name):
    backbone = golden.fill_by_name(build_backbone(name)).requires_grad_(False)
    images = golden.episode(1, 1, size=64)[0]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded(backbone, images).modules())
    found = backbone.pyramid(images)
    hook = backbone.register_forward_hook(lambda *_: None)
    plain = backbone.pyramid(images)
    hook.remove()
    for a, b in zip(sum(found, []), sum(plain, []), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
