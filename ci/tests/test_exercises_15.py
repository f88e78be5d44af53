"""The exercises of chapter 15, and its norm."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor, nn

from ifsl.course.flat_map import CellNorm, use_cell_norms
from ifsl.learners import build_model


def normalise(x: Tensor, dim: int | tuple[int, ...] = 1, correction: int = 0) -> Tensor:
    variance = x.var(dim=dim, keepdim=True, correction=correction)
    return (x - x.mean(dim=dim, keepdim=True)) / (variance + 1e-5).sqrt()


RIGHT = [("15.1", -0.059), ("15.1", np.float32(-0.0589)), ("15.2", normalise)]
WRONG = [
    ("15.1", 0.059, "sign"),
    ("15.1", 0, "subtracts"),
    ("15.1", 16.97, "background"),
    ("15.1", 3, "289"),
    ("15.1", [1, 2], "number"),
    ("15.2", lambda x: normalise(x, correction=1), "biased"),
    ("15.2", lambda x: normalise(x, 2), "channels"),
    ("15.2", lambda x: normalise(x, (1, 2)), "all cells"),
    ("15.2", lambda x: x, "mean over dimension 1"),
    ("15.2", lambda x: x[0], "shape"),
    ("15.2", lambda: 0, "could not be checked"),
    ("15.2", 0, "function"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def test_a_norm_of_each_cell_keeps_cells_apart() -> None:
    x = torch.randn(2, 8, 5, 3, 3)
    changed = x.clone()
    changed[:, :, 0] += 7 * torch.randn(2, 8, 3, 3)
    for norm, apart in ((CellNorm(4, 8), True), (nn.GroupNorm(4, 8), False)):
        one, other = norm(x), norm(changed)
        assert one.shape == x.shape and torch.allclose(one[:, :, 1:], other[:, :, 1:], atol=1e-5) is apart
    assert torch.allclose(CellNorm(4, 8)(x)[:, :, 2], nn.GroupNorm(4, 8)(x[:, :, 2]), atol=1e-5)


def test_every_group_norm_is_replaced() -> None:
    network = build_model("asnet", "efficientnet_lite0", pretrained=False).learner
    before = sum(isinstance(module, nn.GroupNorm) for module in network.modules())
    assert use_cell_norms(network) is network
    norms = [module for module in network.modules() if isinstance(module, CellNorm)]
    assert before == len(norms) == sum(isinstance(module, nn.GroupNorm) for module in network.modules())
