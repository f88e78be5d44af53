"""What must hold for every episode, map, figure and list, tried on hundreds of drawn cases."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ifsl
from ifsl.data.classes import CLASSES, fold_classes
from ifsl.data.lists import write_lists
from ifsl.learners.maps import find_present, merge_shots, segment

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**31 - 1)
numbers = st.integers(1, 5)


@pytest.fixture(scope="module")
def benches(tiny_root):
    return {name: ifsl.Benchmark(name, tiny_root) for name in CLASSES}


def shot_maps(seed: int, way: int, shot: int, sharp: float = 3.0) -> torch.Tensor:
    """Log-probabilities (1, N, K, 2, 3, 4), as learners make them."""
    logits = sharp * torch.randn(1, way, shot, 2, 3, 4, generator=torch.Generator().manual_seed(seed))
    return logits.log_softmax(dim=3)


# Drawing --------------------------------------------------------------------------------------------------------------


@quick
@given(name=st.sampled_from(sorted(CLASSES)), index=st.integers(0, 2**32 - 1), way=numbers, shot=numbers)
def test_an_episode_is_fixed_by_its_index_and_repeats_no_picture(benches, name, index, way, shot):
    bench = benches[name]
    drawn = bench.draw(index, way, shot)
    assert drawn == bench.draw(index, way, shot)
    assert len(set(drawn.classes)) == way and set(drawn.classes) <= set(bench.class_ids)
    for c, images in zip(drawn.classes, drawn.support, strict=True):
        assert len(set(images)) == shot and drawn.query not in images
        assert set(images) <= set(bench.images_of[c])


@quick
@given(index=st.integers(0, 2**32 - 1), way=numbers, shot=st.integers(1, 3))
def test_more_shots_change_neither_query_nor_classes(benches, index, way, shot):
    few, many = (benches["coco"].draw(index, way, k) for k in (shot, shot + 1))
    assert (few.query, few.classes) == (many.query, many.classes)


# Maps -----------------------------------------------------------------------------------------------------------------


@quick
@given(seed=seeds, way=numbers, shot=numbers)
def test_one_shot_is_a_distribution_and_the_mean_of_shots_none_above_it(seed, way, shot):
    one = merge_shots(shot_maps(seed, way, 1)).log_prob.exp().sum(dim=2)
    assert torch.allclose(one, torch.ones_like(one), atol=1e-5)
    # The mean of logarithms is the logarithm of a geometric mean, which lies below the arithmetic one.
    assert (merge_shots(shot_maps(seed, way, shot)).log_prob.exp().sum(dim=2) <= 1 + 1e-5).all()


@quick
@given(seed=seeds, way=numbers, raised=st.floats(0, 5), lower=st.floats(-5, 0), higher=st.floats(-5, 0))
def test_presence_follows_the_map_and_the_threshold(seed, way, raised, lower, higher):
    maps = merge_shots(shot_maps(seed, way, 1)).log_prob
    more = maps.clone()
    more[..., 1, 1, 2] += raised
    assert (find_present(more) >= find_present(maps)).all()
    lower, higher = sorted((lower, higher))
    assert (find_present(maps, lower) >= find_present(maps, higher)).all()


@quick
@given(seed=seeds, way=numbers, shot=numbers, data=st.data())
def test_the_order_of_ways_orders_the_answer_and_that_of_shots_does_nothing(seed, way, shot, data):
    shots = shot_maps(seed, way, shot)
    order = data.draw(st.permutations(range(way)))
    found, moved = merge_shots(shots), merge_shots(shots[:, order])
    assert torch.equal(found.presence[:, order], moved.presence)
    assert torch.equal(found.stacked[:, 1:][:, order], moved.stacked[:, 1:])
    (mask,), (other,) = segment(found.stacked, [(9, 7)]), segment(moved.stacked, [(9, 7)])
    of = torch.tensor([0, *(n + 1 for n in order)], dtype=torch.uint8)  # new number of a way: old number
    assert (of[other.long()] == mask).float().mean() > 0.98  # a tie in a pixel may fall the other way

    order = data.draw(st.permutations(range(shot)))
    again = merge_shots(shots[:, :, order])
    assert torch.equal(found.presence, again.presence)
    assert torch.allclose(found.log_prob, again.log_prob, atol=1e-6)


@pytest.mark.parametrize("method", ["panet", "pfenet", "hsnet", "asnet", "asnethm"])
def test_learners_do_not_mind_the_order_of_ways_and_shots(benches, method):
    torch.manual_seed(0)
    options = {"width": 16} if method == "pfenet" else {}
    model = ifsl.build_model(method, "efficientnet_lite0", **options)
    episode = benches["pascal"].episode(3, 3, 2, 272)
    query, supports, masks = episode.query[None], episode.supports[None], episode.masks[None]
    ways, shots = [2, 0, 1], [1, 0]
    with torch.inference_mode():
        found = model.maps(query, supports, masks)
        moved = model.maps(query, supports[:, ways], masks[:, ways])
        again = model.maps(query, supports[:, :, shots], masks[:, :, shots])
    assert torch.allclose(found.log_prob[:, ways], moved.log_prob, atol=1e-4)
    assert torch.allclose(found.log_prob, again.log_prob, atol=1e-4)
    assert torch.equal(found.presence[:, ways], moved.presence) and torch.equal(found.presence, again.presence)


# Metrics --------------------------------------------------------------------------------------------------------------


def answers(seed: int, episodes: int, way: int) -> tuple:
    """Presences, masks and classes of some episodes, and random answers to them."""
    dice = np.random.default_rng(seed)
    masks = torch.from_numpy(dice.integers(0, way + 1, (2, episodes, 5, 6)))
    present = torch.from_numpy(dice.integers(0, 2, (2, episodes, way))).bool()
    classes = torch.from_numpy(np.stack([dice.permutation(np.arange(1, 6))[:way] for _ in range(episodes)]))
    return present, masks, classes


@quick
@given(seed=seeds, episodes=st.integers(1, 6), way=numbers, cut=st.integers(0, 6))
def test_figures_stay_in_bounds_and_add_up_over_processes(seed, episodes, way, cut):
    present, masks, classes = answers(seed, episodes, way)
    cut = min(cut, episodes)

    def counted(part: slice) -> tuple:
        er, miou = ifsl.ExactRatio(way), ifsl.MeanIoU([1, 2, 3, 4, 5])
        if present[0, part].numel():
            er.update(present[0, part], present[1, part])
            miou.update(masks[0, part], masks[1, part], classes[part])
        return er, miou

    (er, miou), first, second = (counted(part) for part in (slice(None), slice(cut), slice(cut, None)))
    assert 0 <= er.compute() <= 100 and 0 <= miou.compute() <= 100 and 0 <= miou.foreground_background() <= 100
    for whole, parts in ((er, (first[0], second[0])), (miou, (first[1], second[1]))):
        for name in whole._defaults:
            assert torch.equal(getattr(whole, name), sum(getattr(part, name) for part in parts))


@quick
@given(seed=seeds, episodes=st.integers(1, 6), way=numbers)
def test_a_perfect_prediction_is_100(seed, episodes, way):
    present, masks, classes = answers(seed, episodes, way)
    shown = sorted({c for row, mask in zip(classes, masks[1], strict=True) for c in row[mask[mask > 0] - 1].tolist()})
    er = ifsl.ExactRatio(way)
    er.update(present[1], present[1])
    assert er.compute() == 100
    miou = ifsl.MeanIoU([1, 2, 3, 4, 5])
    miou.update(masks[1], masks[1], classes)
    assert all(math.isclose(miou.iou_per_class()[c], 100, rel_tol=1e-6) for c in shown)


# Lists ----------------------------------------------------------------------------------------------------------------


@quick
@given(name=st.sampled_from(sorted(CLASSES)), fold=st.integers(0, 3), split=st.sampled_from(["trn", "val"]), seed=seeds)
def test_list_files_come_back_as_they_were_written(tmp_path_factory, name, fold, split, seed):
    dice = np.random.default_rng(seed)
    part = {"trn": "train2014", "val": "val2014"}[split]
    images = [f"2007_{i:06d}" if name == "pascal" else f"{part}/COCO_{part}_{i:012d}.jpg" for i in range(30)]
    entries = [(image, c) for image in images for c in range(1, CLASSES[name] + 1) if dice.random() < 0.3]
    folder = tmp_path_factory.mktemp("lists") / name
    for each in ("trn", "val"):
        write_lists(folder, name, each, entries)
    bench = ifsl.Benchmark(name, folder, fold, split, lists=folder)
    own = fold_classes(name, fold, split)
    assert sorted(bench.entries) == sorted(entry for entry in entries if entry[1] in own)
    assert all(bench.images_of[c] == [i for i, k in entries if k == c] for c in own)
