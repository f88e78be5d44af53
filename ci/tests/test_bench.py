"""The benchmark: what its rows say. How fast anything is, is not tested."""

import pytest
import torch

from ifsl import InputError
from ifsl.bench import costs, random_episode

KEYS = {"method", "trained", "seconds", "floor"}


def test_costs_of_an_episode():
    before = torch.random.get_rng_state()
    (row,) = costs(["panet"], way=2, repeats=1)
    assert row.keys() == KEYS
    assert row["method"] == "panet" and row["trained"] == 2_958_848
    assert row["seconds"] > 0 and row["floor"] > 0
    assert torch.equal(torch.random.get_rng_state(), before), "the reader's random numbers are left alone"


def test_costs_of_nothing_that_is_there():
    with pytest.raises(InputError, match="protonet"):
        costs(["protonet"])


def test_masks_cover_a_quarter():
    query, supports, masks = random_episode(2, 3, 4, 64)
    assert query.shape == (2, 3, 64, 64) and supports.shape == (2, 3, 4, 3, 64, 64) and masks.shape == (2, 3, 4, 64, 64)
    assert ((masks == 0) | (masks == 1)).all() and 0.22 < masks.mean() < 0.28
