"""The exercises of chapter 08, and what couples the query cells of ASNet."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor

from ifsl.learners.asnet import AttentiveSqueezeLayer


def masked_softmax(logits: Tensor, inside: Tensor) -> Tensor:
    return logits.masked_fill(~inside, -1e9).softmax(dim=-1)


RIGHT = [
    ("08.1", (7, 2)),
    ("08.1", np.array([7, 2])),
    ("08.2", masked_softmax),
    ("08.3", (48_020_000, 612_500_000)),
    ("08.3", torch.tensor([48_020_000, 612_500_000])),
]
WRONG = [
    ("08.1", (6, 1), "padding"),
    ("08.1", (7, 1), "first side"),
    ("08.1", (13, 7), "rounded down"),
    ("08.1", 7, "list"),
    ("08.2", lambda logits, inside: logits.masked_fill(~inside, -torch.inf).softmax(dim=-1), "no key is inside"),
    ("08.2", lambda logits, inside: logits.softmax(dim=-1) * inside, "sum to 1"),
    ("08.2", lambda logits, inside: masked_softmax(0 * logits, inside), "softmax of the logits"),
    ("08.2", lambda logits, inside: logits.softmax(dim=-1), "outside"),
    ("08.2", lambda logits, inside: logits[0], "same shape"),
    ("08.2", 3, "function"),
    ("08.3", (6_002_500, 76_562_500), "heads"),
    ("08.3", (48_020_000, 98_000_000), "first number"),
    ("08.3", (1, 2), "Multiply"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


@torch.inference_mode()
def test_attention_keeps_query_cells_apart_and_group_normalisation_couples_them() -> None:
    torch.manual_seed(0)
    layer = AttentiveSqueezeLayer(4, 16, 3, 2)
    x, mask = torch.rand(1, 4, 9, 6, 6), torch.ones(1, 12, 12)
    other = x.clone()
    other[:, :, 0] = 5 * torch.rand(1, 4, 6, 6)
    heads = [(head(x) - head(other))[:, :, 1:] for head in (layer.attn.qhead, layer.attn.khead, layer.attn.vhead)]
    assert max(change.abs().max() for change in heads) < 1e-6
    assert (layer(x, mask) - layer(other, mask))[:, :, 1:].abs().max() > 0.1
