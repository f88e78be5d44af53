"""Fused copies of backbones: they give what the backbone gives, and are made only where they may be."""

import copy

import golden
import pytest
import torch
from torch import nn

from ifsl.learners import BACKBONES
from ifsl.learners.backbones import build_backbone
from ifsl.learners.fast import use_plain
from ifsl.learners.fast.backbones import can_fuse, fuse, fused_copy
from ifsl.learners.registry import PYRAMIDS


@pytest.fixture
def net():
    """Convolution and norm, which are fused, and a norm after something else, which is not."""
    parts = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
    return golden.fill_by_name(nn.Sequential(*parts)).eval().requires_grad_(False)


X = torch.linspace(-1, 1, 3 * 9 * 9).view(1, 3, 9, 9)


def test_a_copy_gives_the_same(net):
    fused = fused_copy(net)
    assert fused is not net and fused is fused_copy(net)
    assert isinstance(fused[1], nn.Identity) and isinstance(fused[3], nn.BatchNorm2d)
    torch.testing.assert_close(fused(X), net(X))
    assert net[1].running_mean.any() and "0.bias" not in net.state_dict(), "the module itself stays as it is"


def test_a_copy_follows_the_weights(net):
    before = fused_copy(net)(X)
    net.load_state_dict({name: 2 * value for name, value in net.state_dict().items()})
    assert not torch.allclose(fused_copy(net)(X), before)
    torch.testing.assert_close(fused_copy(net)(X), net(X))
    with torch.inference_mode():
        net[0].weight.mul_(3)
        torch.testing.assert_close(fused_copy(net)(X), net(X))
    net.double()
    torch.testing.assert_close(fused_copy(net)(X.double()), net(X.double()))


def test_a_copy_that_was_made_for_inference_serves_training(net):
    with torch.inference_mode():
        fused = fused_copy(net)
    assert fused_copy(net) is fused
    head = nn.Conv2d(8, 1, 1)
    head(fused(X)).square().sum().backward()
    assert head.weight.grad.any()


def test_a_copy_is_no_part_of_the_module(net):
    """Neither saved, moved nor listed with it, and a copy of the module has no second copy of the copy."""
    names, modules = list(net.state_dict()), list(net.modules())
    fused = fused_copy(net)
    assert list(net.state_dict()) == names and list(net.modules()) == modules
    assert not any(kept in modules for kept in fused.modules())
    net[0].weight.mul_(2)
    renewed = fused_copy(net)
    assert renewed is not fused
    held = [value for module in renewed.modules() for value in vars(module).values()]
    assert "_fused" not in vars(renewed) and not any(isinstance(value, tuple) and fused in value for value in held)


def test_a_copied_module_follows_its_own_weights(net):
    fused_copy(net)
    other = copy.deepcopy(net)
    other[0].weight.mul_(2)
    assert not torch.allclose(other(X), net(X))
    torch.testing.assert_close(fused_copy(other)(X), other(X))
    torch.testing.assert_close(fused_copy(net)(X), net(X))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Identity(), nn.SiLU()])
@pytest.mark.parametrize("groups", [1, 4])
def test_the_activation_of_a_norm_is_kept(activation, groups):
    """timm's norms include one."""
    conv, norm = nn.Conv2d(8, 8, 3, padding=1, stride=2, groups=groups), nn.BatchNorm2d(8)
    plain = golden.fill_by_name(nn.Sequential(conv, norm)).eval().requires_grad_(False)
    x = torch.linspace(-9, 9, 2 * 8 * 9 * 9).view(2, 8, 9, 9)
    expected = activation(plain(x))
    assert plain(x).min() < -0.5 and plain(x).max() > 6.5
    norm.act = activation
    torch.testing.assert_close(fuse(nn.Sequential(conv, norm))(x), expected, atol=1e-5, rtol=1e-5)


def test_there_is_no_copy_where_it_would_not_do(net):
    assert can_fuse(net, X)
    net.requires_grad_(True)
    assert not can_fuse(net, X), "gradients for the weights"
    net.requires_grad_(False)
    assert not can_fuse(net, X.clone().requires_grad_()), "gradients for the images"
    with torch.no_grad():
        assert can_fuse(net, X.clone().requires_grad_())
        hook = net[2].register_forward_hook(lambda *_: None)
        assert not can_fuse(net, X), "hooks"
        hook.remove()
        assert can_fuse(net, X)
        net[1].train()
        assert not can_fuse(net, X), "batch statistics"
    with torch.inference_mode():
        assert not can_fuse(nn.Conv2d(1, 1, 1).eval(), X), "weights whose changes are not counted"


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_pyramids_are_those_of_the_plain_backbone(name):
    backbone = golden.fill_by_name(build_backbone(name)).requires_grad_(False)
    images = golden.episode(1, 1, size=64)[0]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused_copy(backbone).modules())
    found = backbone.pyramid(images)
    with use_plain():
        plain = backbone.pyramid(images)
    for a, b in zip(sum(found, []), sum(plain, []), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize("name", PYRAMIDS)
def test_facts_about_a_backbone_are_true(name):
    facts, backbone = BACKBONES[name], golden.fill_by_name(build_backbone(name))
    with torch.inference_mode():
        levels = backbone.pyramid(golden.episode(1, 1, size=64)[0])
    assert tuple(len(level) for level in levels) == facts.depths
    assert tuple(level[-1].shape[1] for level in levels) == facts.channels
    assert [level[0].shape[-1] for level in levels] == [8, 4, 2]
    assert f"{facts.key}" in backbone.state_dict()
    without = [n for n, m in backbone.named_modules() if any(n == h or n.startswith(f"{h}.") for h in facts.head)]
    assert set(facts.head) <= set(without)
    holders = {other for other in BACKBONES if facts.key in build_backbone(other).state_dict()}
    assert holders == ({"resnet50", "resnet101"} if name == "resnet50" else {name})
