"""Baselines: what they score, how their thresholds are chosen, and that `evaluate` takes them."""

import numpy as np
import pytest
import torch

import ifsl
from ifsl.data.benchmarks import Benchmark
from ifsl.data.images import MEAN, STD
from ifsl.data.loading import EpochSampler, TrainEpisodes, collate
from ifsl.errors import InputError
from ifsl.learners.maps import resize, segment
from ifsl.run.baselines import (
    STEPS,
    ColourHistogram,
    Constant,
    UntrainedThreshold,
    build_baselines,
    choose_mask,
    choose_presence,
    choose_thresholds,
    count_above,
)
from ifsl.run.metrics import ExactRatio, MeanIoU

RED, GREEN, BLUE, GREY = (0.9, 0.1, 0.1), (0.1, 0.9, 0.1), (0.1, 0.1, 0.9), (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def trn(tiny_root):
    return Benchmark("pascal", tiny_root, split="trn")


def paint(background, *patches, side=64):
    """An image (3, S, S), normalised, of one colour with square patches (colour, row, column, side)."""
    image = torch.tensor(background)[:, None, None].repeat(1, side, side)
    for colour, row, column, width in patches:
        image[:, row : row + width, column : column + width] = torch.tensor(colour)[:, None, None]
    return (image - MEAN) / STD


def square(row, column, width, side=64):
    mask = torch.zeros(side, side)
    mask[row : row + width, column : column + width] = 1
    return mask


# Scores ---------------------------------------------------------------------------------------------------------------


def test_constants_reply_the_same_to_everything(tiny_root):
    bench = Benchmark("pascal", tiny_root)
    never, always = (ifsl.evaluate(Constant(there), bench, episodes=60, progress=False) for there in (False, True))
    shown = [bench.episode(index, 1, 1, 32).presence.item() for index in range(60)]
    assert 0 < sum(shown) < 60
    assert always.er == pytest.approx(100 * np.mean(shown)) and never.er == pytest.approx(100 - always.er)
    assert never.miou == 0 and all(union for counts in always.counts for c, (_, union) in counts.items() if c)
    assert all(bg == (0, bg[1]) for bg in (counts[0] for counts in always.counts))  # no pixel is left to background
    assert always.settings["method"] == "always-there" and never.settings["method"] == "nothing-there"


def test_constants_at_two_ways():
    query, supports = torch.randn(3, 3, 32, 32), torch.randn(3, 2, 2, 3, 32, 32)
    masks = torch.ones(3, 2, 2, 32, 32)
    presence, masks_found = Constant(True).predict(query, supports, masks)
    assert presence.all() and all((mask > 0).all() for mask in masks_found)
    presence, masks_found = Constant(False).predict(query, supports, masks)
    assert not presence.any() and not torch.stack(masks_found).any()


def test_colour_histogram_finds_the_colour_under_the_mask():
    support = paint(GREY, (RED, 8, 8, 24), (BLUE, 40, 40, 16))
    queries = torch.stack([paint(GREEN, (RED, 32, 24, 28), (BLUE, 4, 4, 20)), paint(GREEN, (BLUE, 16, 16, 28))])
    masks = square(8, 8, 24).expand(2, 1, 1, -1, -1)
    score = ColourHistogram().score_episode(queries, support.expand(2, 1, 1, -1, -1, -1), masks)
    assert score.shape == (2, 1, 32, 32) and score.min() >= 0 and score.max() <= 1
    assert score[0, 0, 20:26, 16:22].min() > 0.9  # red, away from its edge
    assert score[0, 0, :12, :12].max() < 0.1 and score[1].max() < 0.1  # blue is beside the mask, green nowhere


def test_a_colour_on_both_sides_of_the_mask_says_little():
    support = paint(RED)
    masks = square(0, 0, 32)[None, None, None]
    score = ColourHistogram().score_episode(paint(RED)[None], support[None, None, None], masks)
    assert score.sub(0.5).abs().max() < 0.01


def test_ways_and_shots_have_their_own_colours():
    one, two = paint(GREY, (RED, 8, 8, 24)), paint(GREY, (BLUE, 8, 8, 24))
    masks = square(8, 8, 24).expand(1, 2, 2, -1, -1)
    supports = torch.stack([torch.stack([one, one]), torch.stack([two, two])])[None]
    query = paint(GREEN, (BLUE, 20, 20, 30))[None]
    peaks = ColourHistogram().score_episode(query, supports, masks).amax(dim=(0, 2, 3))
    assert peaks[0] < 0.1 and peaks[1] > 0.9
    mixed = torch.stack([torch.stack([one, two]), torch.stack([one, one])])[None]
    peaks = ColourHistogram().score_episode(query, mixed, masks).amax(dim=(0, 2, 3))
    assert peaks[0] > 0.9 and peaks[1] < 0.1


@pytest.mark.parametrize("level", [2, 3, 4])
def test_untrained_threshold_is_the_largest_cosine_inside_the_mask(level):
    torch.manual_seed(0)
    baseline = UntrainedThreshold(level, pretrained=False).eval()
    query, supports, masks = torch.randn(2, 3, 96, 96), torch.randn(2, 2, 2, 3, 96, 96), torch.zeros(2, 2, 2, 96, 96)
    masks[..., 40:90, 20:60] = 1
    with torch.inference_mode():
        score = baseline.score_episode(query, supports, masks)
        encode = baseline.backbone.pyramid
        for b, n in ((0, 1), (1, 0)):
            cosines = []
            for k in range(2):
                bottlenecks = []
                levels = (encode(images)[level - 2] for images in (query[b : b + 1], supports[b, n, k][None]))
                for q, s in zip(*levels, strict=True):
                    q, s = (x[0].flatten(1) / (x[0].flatten(1).norm(dim=0) + 1e-5) for x in (q, s))
                    bottlenecks.append((q.T @ s).relu())
                grid = score.shape[-2:]
                resized = resize(masks[b, n, k][None, None], grid)
                cosines.append(torch.stack(bottlenecks).mean(dim=0)[:, resized.flatten() > 0])
            expected = torch.cat(cosines, dim=1).amax(dim=1).view(grid)
            torch.testing.assert_close(score[b, n], expected, atol=1e-4, rtol=1e-4)


def test_no_level_besides_2_3_and_4():
    with pytest.raises(InputError, match="level"):
        UntrainedThreshold(1)


# Thresholds -----------------------------------------------------------------------------------------------------------


def test_presence_threshold_by_hand():
    peaks, present = torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([False, False, True, True])
    assert 0.4 < choose_presence(peaks, present) <= 0.6
    assert choose_presence(peaks, torch.tensor([True, False, False, True])) > 0.6  # three of four, at best
    assert choose_presence(peaks, torch.ones(4, dtype=bool)) <= 0.2
    assert choose_presence(peaks, torch.zeros(4, dtype=bool)) > 0.8


def test_pixels_are_counted_above_thresholds():
    score, truth = torch.tensor([[0.0, 0.25], [0.5, 1.0]]), torch.tensor([[True, True], [False, True]])
    counts = count_above(score, truth)
    assert counts[:, 0].tolist() == [3, 1]  # all
    assert counts[:, 1].tolist() == [2, 1]  # above 0
    assert counts[:, 251].tolist() == [1, 1] and counts[:, 250].tolist() == [2, 1]  # above 0.25, above 0.249
    assert counts[:, STEPS].tolist() == [1, 0]


def test_mask_threshold_leaves_out_the_absent():
    """Half of the pixels from 0.2 to 0.6 are the object's. The second episode has no object and every score."""
    score = torch.linspace(0, 1, 1001)[None]
    even = torch.arange(1001) % 2 == 0
    truths = torch.stack([(score > 0.6) | (score > 0.2) & even, score > 2])
    counts = torch.stack([count_above(score, truth) for truth in truths])
    classes = torch.tensor([6, 6])
    assert choose_mask(counts, torch.tensor([True, False]), classes) == pytest.approx(0.2, abs=0.01)
    assert choose_mask(counts, torch.tensor([True, True]), classes) == pytest.approx(0.6, abs=0.01)


def test_chosen_thresholds_are_the_best_on_the_training_episodes(trn):
    """The metrics themselves, over what `maps` returns, agree: no other threshold does better."""
    baseline = ColourHistogram()
    baseline.image_size = 64
    first, second = choose_thresholds(baseline, trn, 40, workers=0)
    assert baseline.thresholds.tolist() == pytest.approx([first, second])
    data = TrainEpisodes(trn, size=64)
    addresses = zip(EpochSampler(len(data)), range(40), strict=False)
    batch = collate([data[address] for address, _ in addresses])

    def score(presence: float, mask: float) -> tuple[float, float]:
        baseline.thresholds.copy_(torch.tensor([presence, mask]))
        found = baseline.maps(batch["query"], batch["supports"], batch["masks"])
        er, miou = ExactRatio(1), MeanIoU(trn.class_ids)
        er.update(found.presence, batch["presence"])
        miou.update(segment(found.stacked, [(64, 64)] * 40), batch["query_masks"], batch["classes"])
        return er.compute().item(), miou.compute().item()

    with torch.no_grad():
        best_er, best_miou = score(first, second)
        assert best_er > 50 and best_miou > 0
        tried = torch.linspace(0, 1, 21).tolist()
        assert all(score(other, second)[0] <= best_er for other in tried)
        mious = [score(first, other)[1] for other in tried]
    assert all(miou <= best_miou + 1e-3 for miou in mious) and min(mious) < best_miou - 0.5


def test_thresholds_never_see_the_test_classes(trn, tiny_root, monkeypatch):
    read, plain = [], Benchmark.read
    monkeypatch.setattr(Benchmark, "read", lambda self, draw, *a, **k: read.append(draw) or plain(self, draw, *a, **k))
    baseline = ColourHistogram()
    baseline.image_size = 32
    once = choose_thresholds(baseline, trn, 30, workers=0)
    classes = {c for draw in read for c in draw.classes}
    assert len(read) == 30 and classes <= set(trn.class_ids) and len(classes) > 8  # from all over the list
    assert choose_thresholds(baseline, trn, 30, workers=0, batch=7) == once  # the same in every call
    with pytest.raises(InputError, match="trn"):
        choose_thresholds(baseline, Benchmark("pascal", tiny_root), 30)
    with pytest.raises(InputError, match="episodes"):
        choose_thresholds(baseline, trn, 0)


def test_all_baselines_are_evaluated_like_learners(trn, tiny_root):
    baselines = build_baselines(trn, pretrained=False, episodes=8)
    assert list(baselines) == [
        "nothing-there",
        "always-there",
        "colour-histogram",
        "untrained-layer2",
        "untrained-layer3",
        "untrained-layer4",
    ]
    bench = Benchmark("pascal", tiny_root)
    for name, baseline in baselines.items():
        result = ifsl.evaluate(baseline, bench, 2, 1, 4, size=96, progress=False)
        assert result.settings["method"] == name and name in result.table()
        low, high = result.intervals()["er"]
        assert low <= result.er <= high
