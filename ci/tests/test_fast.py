"""The twins in `ifsl/learners/fast/` compute what the plain functions do: values, gradients, and whole learners."""

from copy import deepcopy
from functools import cache

import golden
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ifsl.learners import LEARNERS, build_model
from ifsl.learners.asnet import Attention, convolve_support
from ifsl.learners.backbones import LitePyramid, ResNetPyramid, build_backbone
from ifsl.learners.blocks import GroupNorm, group_norm
from ifsl.learners.correlation import correlation_pyramid, normalize
from ifsl.learners.fast import attention as fast_attention
from ifsl.learners.fast import faster, use_plain
from ifsl.learners.fast.backbones import fused_copy
from ifsl.learners.fast.correlation import find_box
from ifsl.learners.hsnet import CenterPivotConv
from ifsl.learners.maps import resize, strong_loss

LITE = "efficientnet_lite0"
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5}
"""How far two ways to compute a number may be apart, times the largest number in the tensor."""


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def run(function, tensors: dict, wanted: list[str]) -> dict:
    """The output of `function(**tensors)`, and its gradients with respect to the `wanted` tensors."""
    tensors = {name: x.clone().requires_grad_() if name in wanted else x for name, x in tensors.items()}
    out = function(**tensors)
    outs = out if isinstance(out, list) else [out]
    total = sum((x * noise(*x.shape, seed=9, dtype=x.dtype)).sum() for x in outs)
    gradients = torch.autograd.grad(total, [tensors[name] for name in wanted])
    return {f"output {i}": x for i, x in enumerate(outs)} | dict(zip(wanted, gradients, strict=True))


def check_close(found: dict, expected: dict, dtype: torch.dtype) -> None:
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert found[name].shape == x.shape and found[name].dtype == x.dtype, name
        allowed = TOLERANCES[dtype] * max(1, x.abs().max().item())
        assert (found[name] - x).abs().max() <= allowed, name


def compare(function, tensors: dict, wanted: list[str]) -> dict:
    """Check a function's twin against the plain one; returns what the plain one gives."""
    expected = run(lambda **given: function.plain(*given.values()), tensors, wanted)
    dtype = expected["output 0"].dtype
    check_close(run(lambda **given: function.twin(*given.values()), tensors, wanted), expected, dtype)
    check_close(run(lambda **given: function(*given.values()), tensors, wanted), expected, dtype)
    return expected


MASKS = ("nothing", "everything", "one cell", "an ellipse", "a corner")


def make_mask(kind: str, size: int = 56) -> torch.Tensor:
    """(S, S) of 0 and 1; one cell is one on every grid of the tests that divides the size."""
    mask = torch.zeros(size, size)
    if kind == "everything":
        mask[:] = 1
    elif kind == "one cell":
        mask[0, 0] = 1
    elif kind == "an ellipse":
        mask = torch.from_numpy(golden.ellipse(3, size))
    elif kind == "a corner":
        mask[size // 2 :, size // 2 :] = 1
    return mask


def make_masks(*kinds: str, dtype=torch.float64) -> torch.Tensor:
    return torch.stack([make_mask(kind) for kind in kinds]).to(dtype)


GROUPS = [*((kind,) for kind in MASKS), MASKS]
"""One support each, and several together."""


# The switch


def test_every_twin_is_one_of_those_compared_here():
    from ifsl.learners import asnet, backbones, blocks, correlation, hsnet

    def decorated(holder):
        return {x for x in vars(holder).values() if hasattr(x, "twin")}

    classes = [x for m in (asnet, backbones, blocks, hsnet) for x in vars(m).values() if isinstance(x, type)]
    found = set().union(*map(decorated, [asnet, backbones, blocks, correlation, hsnet, *classes]))
    assert found == {
        Attention.forward, convolve_support, CenterPivotConv.forward, group_norm, correlation_pyramid,
        ResNetPyramid.pyramid, LitePyramid.pyramid,
    }  # fmt: skip


def double(x):
    """The docstring."""
    return "plain"


def test_the_switch():
    """Twins on a CPU, plain functions on other devices and within `use_plain`, whatever happens in there."""
    function = faster(lambda x: "twin")(double)
    other = faster(lambda x: "other twin")(double)
    assert (function.__name__, function.__doc__) == ("double", "The docstring.")
    x = torch.zeros(1)
    assert function(x) == function([[x]]) == "twin"
    assert function(torch.zeros(1, device="meta")) == function([[torch.zeros(1, device="meta")]]) == "plain"
    with use_plain():
        assert function(x) == other(x) == "plain"
        with use_plain():
            assert function(x) == "plain"
        assert function(x) == "plain", "an inner block ends, the outer one goes on"
    assert function(x) == "twin"
    with use_plain(function.twin):
        assert (function(x), other(x)) == ("plain", "other twin")
    with pytest.raises(ZeroDivisionError), use_plain():
        _ = 1 / 0
    assert function(x) == "twin", "an exception ends the block too"


# Attention


def call_layer(function, layer):
    """`function` of a layer with `x`, masks and the layer's parameters by name."""

    def with_weights(x, masks=None, **parameters):
        inputs = (x,) if masks is None else (x, masks)
        with torch.nn.utils.stateless._reparametrize_module(layer, parameters):
            return function(layer, *inputs)

    return with_weights


def compare_layers(layer, forward, tensors: dict, dtype: torch.dtype) -> dict:
    """Check the twin of a layer's `forward`, values and all gradients; returns what the plain one gives."""
    tensors = tensors | {name: value.detach() for name, value in layer.named_parameters()}
    wanted = [name for name in tensors if name != "masks"]
    expected = run(call_layer(forward.plain, layer), tensors, wanted)
    for function in (forward.twin, type(layer).__call__):
        check_close(run(call_layer(function, layer), tensors, wanted), expected, dtype)
    return expected


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kinds", GROUPS, ids="+".join)
@pytest.mark.parametrize(
    "channels, kernel, stride, pool, side",
    [(3, 5, 4, False, 14), (3, 5, 4, True, 14), (32, 5, 4, True, 7), (3, 3, 2, False, 4), (32, 1, 1, False, 2),
     (32, 2, 1, False, 2)],
)  # fmt: skip
def test_attention(channels, kernel, stride, pool, side, kinds, dtype):
    layer = golden.fill_by_name(Attention(channels, 32, kernel, stride, pool)).to(dtype)
    masks = make_masks(*kinds, dtype=dtype)
    x = noise(len(kinds), channels, 6, side, side, dtype=dtype)
    expected = compare_layers(layer, Attention.forward, {"x": x, "masks": masks}, dtype)
    assert expected["vhead.weight"].any()
    if kinds == ("nothing",):
        assert not expected["qhead.weight"].any()
    with torch.inference_mode():  # where queries and keys may be left out
        check_close({"output 0": layer(x, masks)}, {"output 0": expected["output 0"].detach()}, dtype)


def test_queries_and_keys_are_left_out_where_no_key_is_inside(monkeypatch):
    layer = golden.fill_by_name(Attention(3, 32, 5, 4, True))
    computed = []
    monkeypatch.setattr(
        fast_attention, "query_and_key", lambda *_: computed.append(1) or (layer.qhead(x), layer.khead(x))
    )
    x = noise(1, 3, 6, 7, 7, dtype=torch.float32)
    for kind, grad, expected in (("nothing", False, 0), ("nothing", True, 1), ("a corner", False, 1)):
        computed.clear()
        with torch.set_grad_enabled(grad):
            layer(x, make_masks(kind, dtype=torch.float32))
        assert len(computed) == expected


def test_query_cells_are_attended_in_portions(monkeypatch):
    """100 query cells: at once, and 32 at a time with a rest."""
    layer = golden.fill_by_name(Attention(3, 32, 5, 4, False)).double()
    tensors = {"x": noise(2, 3, 100, 14, 14), "masks": make_masks("an ellipse", "nothing")}
    compare_layers(layer, Attention.forward, tensors, torch.float64)
    monkeypatch.setattr(fast_attention, "LOGITS", 1)
    q, k = torch.zeros(8, 2, 16, 100), torch.zeros(8, 2, 49, 100)
    assert [s.start for s in fast_attention.portions(q, k)] == [0, 32, 64, 96]
    compare_layers(layer, Attention.forward, tensors, torch.float64)


# Convolutions


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "kernel, stride, side", [(1, 1, 1), (1, 1, 7), (2, 1, 2), (3, 2, 4), (3, 2, 2), (5, 4, 13), (5, 4, 25), (5, 4, 7)]
)
def test_convolution_over_the_support_grid(kernel, stride, side, bias, dtype):
    padding = kernel // 2 if kernel > 2 else 0
    tensors = {
        "x": noise(2, 3, 6, side, side, dtype=dtype),
        "weight": noise(4, 3, 1, kernel, kernel, seed=1, dtype=dtype),
        "bias": noise(4, seed=2, dtype=dtype) if bias else None,
        "stride": (1, stride, stride),
        "padding": (0, padding, padding),
    }
    compare(convolve_support, tensors, ["x", "weight", "bias"] if bias else ["x", "weight"])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kernel, stride, side", [(3, 2, 5), (3, 1, 2), (5, 4, 9), (5, 4, 6), (3, 2, 2), (5, 4, 13)])
def test_centre_pivot_convolution(kernel, stride, side, dtype):
    conv = golden.fill_by_name(CenterPivotConv(3, 4, kernel, stride)).to(dtype)
    x = noise(2, 3, 4, 5, side, side, dtype=dtype)
    expected = compare_layers(conv, CenterPivotConv.forward, {"x": x}, dtype)
    assert expected["output 0"].shape == (2, 4, 4, 5, -(-side // stride), -(-side // stride))


# Normalisation


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("shape", [(2, 8, 3, 4, 5), (1, 16, 7), (3, 4, 2, 2, 2, 2), (1, 32, 67, 3)])
def test_group_normalisation(shape, layout, dtype):
    x = noise(*shape, dtype=dtype) + 0.5
    if layout == "channels last":
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    weight, bias = noise(shape[1], seed=1, dtype=dtype), noise(shape[1], seed=2, dtype=dtype)
    tensors = {"x": x, "groups": 4, "weight": weight, "bias": bias, "eps": 1e-5}
    compare(group_norm, tensors, ["x", "weight", "bias"])
    if layout == "channels last":
        assert group_norm.twin(*tensors.values()).stride() == x.stride()


def test_group_statistics_hold_for_a_million_values():
    """Channels last in memory, where PyTorch's own kernel is off by 1e-4 or so."""
    x = noise(1, 122500, 32, dtype=torch.float32).add_(0.5).movedim(-1, 1).unflatten(2, (2500, 7, 7))
    norm = golden.fill_by_name(GroupNorm(32))
    expected = F.group_norm(x.double().contiguous(), 4, norm.weight.double(), norm.bias.double())
    assert (norm(x) - expected).abs().max() < 3e-6


# Correlations


def make_pyramids(masks: torch.Tensor, dtype: torch.dtype, queries: int = 1) -> tuple[list, list]:
    """Unit vectors of queries, and of one support for each mask, 0 outside it."""
    levels = [(2, 5, 7), (3, 6, 14), (1, 4, 2)]  # bottlenecks, channels, side
    query = [[noise(queries, c, s, s, seed=10 + i, dtype=dtype) for i in range(depth)] for depth, c, s in levels]
    support = [[noise(len(masks), c, s, s, seed=20 + i, dtype=dtype) for i in range(depth)] for depth, c, s in levels]
    support = [[x * resize(masks[:, None], x.shape[-2:]) for x in level] for level in support]
    return normalize(query), normalize(support)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kinds", [*GROUPS, ("an ellipse", "nothing", "one cell", "everything")], ids="+".join)
def test_correlations(kinds, dtype):
    """With two queries where the supports can be shared out."""
    query, support = make_pyramids(make_masks(*kinds, dtype=dtype), dtype, queries=1 + (len(kinds) == 4))
    flat = {f"query {i}": x for i, x in enumerate(sum(query, []))}
    flat |= {f"support {i}": x for i, x in enumerate(sum(support, []))}

    def call(function):
        def with_levels(**given):
            values = list(given.values())
            half = len(values) // 2
            return function(*([part[:2], part[2:5], part[5:]] for part in (values[:half], values[half:])))

        return with_levels

    # where a mask is 0 the gradient of the support is not compared: the vectors there are 0 times something
    wanted = [name for name in flat if name.startswith("query")]
    expected = run(call(correlation_pyramid.plain), flat, wanted)
    for function in (correlation_pyramid.twin, correlation_pyramid):
        check_close(run(call(function), flat, wanted), expected, dtype)
    assert expected["output 0"].any() == (kinds != ("nothing",))


@pytest.mark.parametrize("kinds", GROUPS, ids="+".join)
def test_correlations_give_the_gradient_of_what_is_under_the_masks(kinds):
    """Of the support's features before they are masked and normalised, as a learner would train them."""
    masks, dtype = make_masks(*kinds), torch.float64
    query, _ = make_pyramids(masks, dtype)
    found = []
    for function in (correlation_pyramid.plain, correlation_pyramid.twin):
        leaves = [noise(len(masks), x[0].shape[1], *x[0].shape[-2:], seed=30).requires_grad_() for x in query]
        support = normalize([[x * resize(masks[:, None], x.shape[-2:])] for x in leaves])
        levels = function([level[:1] for level in query], support)
        total = sum((x * noise(*x.shape, seed=9)).sum() for x in levels)
        found.append(torch.autograd.grad(total, leaves))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert any(x.any() for x in found[0]) == (kinds != ("nothing",))


@pytest.mark.parametrize("rows, columns", [((1, 4), (2, 3)), ((0, 5), (0, 6)), ((3, 3), (2, 5))])
def test_the_box_around_what_is_not_masked(rows, columns):
    """It holds what any bottleneck sees; in the last case everything is masked, and one cell is left."""
    (top, bottom), (left, right) = rows, columns
    mask = torch.zeros(5, 6)
    mask[top:bottom, left:right] = 1
    mask[top:bottom, left] = 0  # a hole at the edge of what one bottleneck sees
    first = noise(7, 5, 6) * mask
    mask[top:bottom, left] = 1
    second = noise(7, 5, 6, seed=1) * mask
    expected = (slice(top, bottom), slice(left, right)) if bottom > top else (slice(0, 1), slice(0, 1))
    assert find_box([first, second]) == expected
    second[0, 4, 5] = torch.nan
    assert find_box([first, second])[0].stop == 5


# Backbones


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ["resnet50", LITE])
def test_backbone(name, dtype):
    backbone = golden.fill_by_name(build_backbone(name)).requires_grad_(False).to(dtype)
    images = golden.episode(1, 1, size=64)[0].to(dtype).expand(2, -1, -1, -1)
    pyramid = type(backbone).pyramid
    expected = sum(pyramid.plain(backbone, images), [])
    for found in (pyramid.twin(backbone, images), backbone.pyramid(images)):
        for a, b in zip(sum(found, []), expected, strict=True):
            assert a.shape == b.shape and (a - b).abs().max() <= TOLERANCES[dtype] * b.abs().max()
    assert "_fused" in vars(backbone), "a fused copy was used"


@pytest.mark.parametrize("where", ["weights", "images"])
def test_gradients_of_a_backbone(where):
    """No copy is made where a gradient is asked for, so it is the plain one's."""
    backbone = golden.fill_by_name(build_backbone(LITE)).requires_grad_(where == "weights")
    images = golden.episode(1, 1, size=64)[0].requires_grad_(where == "images")
    wanted = images if where == "images" else backbone.net.conv_stem.weight
    pyramid = type(backbone).pyramid
    found = [
        torch.autograd.grad(function(backbone, images)[-1][-1].square().sum(), wanted)[0]
        for function in (pyramid.twin, pyramid.plain)
    ]
    torch.testing.assert_close(*found)
    assert found[0].any()


def test_a_fused_copy_stays_with_its_learner():
    """It follows the weights, is not in the state dict, and a copied learner makes one of its own."""
    model, episode = build_model("hsnet", LITE), golden.episode(1, 1, size=64)
    names = list(model.state_dict())
    before = model(*episode)
    kept = vars(model.backbone)["_fused"]
    assert list(model.state_dict()) == names
    assert len(list(model.modules())) == len(list(build_model("hsnet", LITE).modules()))
    assert fused_copy(model.backbone) is kept[1]
    other = deepcopy(model)
    golden.fill_by_name(other)
    with use_plain():
        expected = other(*episode)
    torch.testing.assert_close(other(*episode), expected, rtol=0, atol=1e-5)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(model(*episode), before)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model(*episode), expected, rtol=0, atol=1e-5)
    assert vars(model.backbone)["_fused"][1] is not kept[1]
    assert "_fused" not in vars(vars(model.backbone)["_fused"][1])


# Whole learners


@cache
def learner(method: str) -> nn.Module:
    options = {"width": 16} if method == "pfenet" else {}
    torch.manual_seed(0)
    return build_model(method, LITE, pretrained=True, **options)


def make_episode(kinds: tuple[str, ...], side: int):
    """One way, and a shot for each mask."""
    query, supports, _ = golden.episode(1, len(kinds), size=side)
    masks = torch.stack([make_mask(kind, side) for kind in kinds])[None, None]
    return query, supports, masks


PAIRS = [("an ellipse", "a corner"), ("nothing", "everything"), ("one cell", "an ellipse")]
"""Masks of two shots."""


@pytest.mark.parametrize("kinds", PAIRS, ids="+".join)
@pytest.mark.parametrize("method", LEARNERS)
def test_maps_of_a_whole_learner(method, kinds):
    with torch.inference_mode():
        found = learner(method).maps(*make_episode(kinds, 272))
        with use_plain():
            expected = learner(method).maps(*make_episode(kinds, 272))
    tolerance = 5e-5 if method == "panet" else 1e-5  # its cosines are multiplied by 20
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", ["panet", "hsnet", "asnet"])  # no twin runs in pfenet, and HM trains as ASNet does
def test_gradients_of_a_whole_learner(method):
    """In double precision: in single, a value next to 0 may fall on either side of a ReLU.

    Double precision takes long, so only a corner of the query is compared, a third of its side.
    """
    model = deepcopy(learner(method)).double()
    side = 257 if method == "asnet" else 128
    kinds = ("an ellipse", "nothing", "one cell")
    query, supports, masks = (x.double() for x in make_episode(kinds, side))
    truth = make_mask("an ellipse", side)[None]
    named = {n: p for n, p in model.named_parameters() if p.requires_grad and not n.startswith(model.unused)}

    def gradients():
        support = model.encode_support(supports.flatten(0, 2), masks.flatten(0, 2))
        corners = [
            [x[..., : x.shape[-2] // 3 + 1, : x.shape[-1] // 3 + 1] for x in level]
            for level in model.encode_query(query)
        ]
        loss = strong_loss(model.compare(corners, support, masks).stacked, truth)
        return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))

    found = gradients()
    with use_plain():
        expected = gradients()
    total = torch.stack([x.norm() for x in expected.values()]).norm()
    assert total > 0
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-8 * total, name
