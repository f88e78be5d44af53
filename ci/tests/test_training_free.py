"""Label propagation with a null match: what it scores, how its settings are chosen, and that `evaluate` takes it."""

import math

import pytest
import torch

import ifsl
from ifsl.data.benchmarks import Benchmark
from ifsl.errors import InputError
from ifsl.learners.maps import resize
from ifsl.run.baselines import Scores, choose_thresholds, training_batches
from ifsl.run.training_free import TrainingFree, choose_match, join_levels, match, propagate


@pytest.fixture(scope="module")
def trn(tiny_root):
    return Benchmark("pascal", tiny_root, split="trn")


def unit(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("null", [-math.inf, 0.3])
def test_propagation_written_out(null):
    """Cell by cell: softmax over the cells of both shots and two null matches, then the mean of the mask."""
    query, support = unit(2, 8, 3, 3), unit(2 * 2 * 2, 8, 3, 3, seed=1)
    masks = (torch.rand(2, 2, 2, 9, 9, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    score = propagate(match(query, support, way=2), masks, 0.1, null)
    assert score.shape == (2, 2, 3, 3)
    shots = support.view(2, 2, 2, 8, 9)
    for b, n, i, j in ((0, 0, 0, 0), (0, 1, 2, 1), (1, 0, 1, 2), (1, 1, 0, 2)):
        above = below = 0.0
        for k in range(2):
            values = resize(masks[b, n, k][None, None], (3, 3)).flatten()
            for cell in range(9):
                weight = math.exp((query[b, :, i, j] @ shots[b, n, k, :, cell]).item() / 0.1)
                above, below = above + weight * values[cell].item(), below + weight
            below += math.exp(null / 0.1)
        assert score[b, n, i, j].item() == pytest.approx(above / below, abs=1e-5)


def test_without_a_null_match_some_cell_always_fits():
    """A query that resembles nothing: the softmax over cells alone still finds half of a mask that covers half."""
    cosines = torch.zeros(1, 1, 4, 4, 1, 16)
    masks = torch.zeros(1, 1, 1, 16, 16)
    masks[..., :8, :] = 1
    forced = propagate(cosines, masks, 0.05, -math.inf)
    refused = propagate(cosines, masks, 0.05, 0.6)
    assert forced.min() > 0.4 and refused.max() < 0.001
    alike = propagate(cosines + 0.9, masks, 0.05, 0.6)
    torch.testing.assert_close(alike, forced, atol=0.01, rtol=0)


def test_repeating_a_support_changes_nothing():
    query, support = unit(1, 8, 3, 3), unit(1, 8, 3, 3, seed=1)
    masks = torch.zeros(1, 1, 1, 9, 9)
    masks[..., :5] = 1
    one = propagate(match(query, support, 1), masks, 0.05, 0.4)
    three = propagate(match(query, support.repeat(3, 1, 1, 1), 1), masks.repeat(1, 1, 3, 1, 1), 0.05, 0.4)
    torch.testing.assert_close(one, three)


def test_levels_are_joined_at_stride_16():
    pyramid = [[unit(2, 4, 8, 8), unit(2, 4, 8, 8, seed=1)], [5 * unit(2, 6, 4, 4)], [unit(2, 3, 2, 2)]]
    both = join_levels(pyramid, (3, 4))
    assert both.shape == (2, 9, 4, 4)
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2, 4, 4), atol=1e-3, rtol=0)
    only = join_levels(pyramid, (3,))
    torch.testing.assert_close(only, unit(2, 6, 4, 4), atol=1e-3, rtol=0)
    assert join_levels(pyramid, (2,)).shape == (2, 8, 4, 4)


def test_the_choice_is_the_best_on_training_episodes_and_repeats_itself(trn, monkeypatch):
    """The table's thresholds are those of `choose_thresholds`, and its metrics those of the scores themselves."""
    baseline = TrainingFree().eval()
    baseline.image_size = 96
    read, plain = [], Benchmark.read
    monkeypatch.setattr(Benchmark, "read", lambda self, draw, *a, **k: read.append(draw) or plain(self, draw, *a, **k))
    grid = dict(level_sets=((3,), (3, 4)), temperatures=(0.05, 0.1), nulls=(-math.inf, 0.6), workers=0)
    table = choose_match(baseline, trn, 16, **grid)
    assert len(table) == 8 and len(read) == 16 and {c for draw in read for c in draw.classes} <= set(trn.class_ids)
    best = table[0]
    assert best.miou == max(one.miou for one in table) > 0 and best.er >= 50
    assert (baseline.levels, baseline.temperature, baseline.null) == best[:3]
    assert baseline.thresholds.tolist() == pytest.approx([best.presence, best.mask])
    assert choose_thresholds(baseline, trn, 16, workers=0) == (best.presence, best.mask)
    scores = Scores()
    for found in training_batches(trn, 96, 16, workers=0):
        with torch.inference_mode():
            scores.add(baseline.score_episode(found["query"], found["supports"], found["masks"]), found)
    assert scores.measure(best.presence, best.mask) == pytest.approx((best.er, best.miou))
    assert choose_match(baseline, trn, 16, batch=5, **grid) == table


def test_the_test_split_decides_nothing(tiny_root):
    with pytest.raises(InputError, match="trn"):
        choose_match(TrainingFree(pretrained=False), Benchmark("pascal", tiny_root), 4)


@pytest.mark.parametrize("given, word", [({"levels": (1,)}, "levels"), ({"levels": ()}, "levels")])
def test_impossible_levels(given, word):
    with pytest.raises(InputError, match=word):
        TrainingFree(**given)


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_impossible_temperatures(temperature):
    with pytest.raises(InputError, match="temperature"):
        TrainingFree(temperature=temperature)


@pytest.mark.parametrize(
    "way, shot, more", [(1, 1, {}), (3, 2, {}), (2, 1, {"augment": "full"}), (1, 2, {"task": "fs-s"})]
)
def test_it_is_evaluated_like_a_learner(tiny_root, way, shot, more):
    bench, baseline = Benchmark("pascal", tiny_root), TrainingFree()
    result = ifsl.evaluate(baseline, bench, way, shot, 4, size=96, workers=0, progress=False, **more)
    assert result.settings["method"] == "training-free" and "training-free" in result.table()
    assert len(result.counts) == 4
