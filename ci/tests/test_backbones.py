"""Folded copies of backbones: they give what the backbone gives, and are made only where they may be."""

import golden
import pytest
import torch
from torch import nn

from ifsl.backbones import build_backbone, folded


@pytest.fixture
def net():
    """Convolution and norm, which fold, and a norm after something else, which does not."""
    parts = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
    return golden.fill_by_name(nn.Sequential(*parts)).eval().requires_grad_(False)


X = torch.linspace(-1, 1, 3 * 9 * 9).view(1, 3, 9, 9)


def test_a_copy_gives_the_same(net):
    copy = folded(net)
    assert copy is not net and copy is folded(net)
    assert isinstance(copy[1], nn.Identity) and isinstance(copy[3], nn.BatchNorm2d)
    torch.testing.assert_close(copy(X), net(X))
    assert net[1].running_mean.any() and "0.bias" not in net.state_dict(), "the module itself stays as it is"


def test_a_copy_follows_the_weights(net):
    before = folded(net)(X)
    net.load_state_dict({name: 2 * value for name, value in net.state_dict().items()})
    assert not torch.allclose(folded(net)(X), before)
    torch.testing.assert_close(folded(net)(X), net(X))
    with torch.inference_mode():
        net[0].weight.mul_(3)
        torch.testing.assert_close(folded(net)(X), net(X))
    net.double()
    torch.testing.assert_close(folded(net)(X.double()), net(X.double()))


def test_a_copy_that_was_made_for_inference_serves_training(net):
    with torch.inference_mode():
        copy = folded(net)
    assert folded(net) is copy
    images = X.clone().requires_grad_()
    copy(images).square().sum().backward()
    assert images.grad.any()


def test_there_is_no_copy_where_it_would_not_do(net):
    net.requires_grad_(True)
    assert folded(net) is net, "gradients for the weights"
    with torch.no_grad():
        assert folded(net) is not net
        hook = net[2].register_forward_hook(lambda *_: None)
        assert folded(net) is net, "hooks"
        hook.remove()
        net[1].train()
        assert folded(net) is net, "batch statistics"
    with torch.inference_mode():
        weights = nn.Conv2d(1, 1, 1).eval()
        assert folded(weights) is weights, "weights whose changes are not counted"


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_pyramids_are_those_of_the_plain_backbone(name):
    backbone = golden.fill_by_name(build_backbone(name)).requires_grad_(False)
    images = golden.episode(1, 1, size=64)[0]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded(backbone).modules())
    found = backbone.pyramid(images)
    hook = backbone.register_forward_hook(lambda *_: None)
    plain = backbone.pyramid(images)
    hook.remove()
    for a, b in zip(sum(found, []), sum(plain, []), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
