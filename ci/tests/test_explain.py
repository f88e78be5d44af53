"""The pictures between an episode and its answer are right and readable."""

import numpy as np
import pytest
import torch
from test_figures import assert_readable

from ifsl import Benchmark
from ifsl.data.episodes import Episode
from ifsl.data.images import to_image
from ifsl.learners.maps import merge_classes, segment
from ifsl.pictures.canvas import colour_features, mask_of, square_query
from ifsl.pictures.correlation import select_cell, show_correlation, show_features
from ifsl.pictures.hybrid_masking import Channel, show_masking
from ifsl.pictures.maps import plot_thresholds, show_class_maps, show_merging, show_scores, show_threshold
from ifsl.pictures.panet import show_prototypes, show_shots
from ifsl.pictures.pfenet import show_bins, show_priors
from ifsl.pictures.roofline import plot_bounds, plot_roofline
from ifsl.pictures.squeezing import Step, show_grids, show_two_cells
from ifsl.pictures.supervision import (
    plot_label_shares,
    plot_scores_by_threshold,
    plot_trade,
    show_two_predictions,
)
from ifsl.pictures.tasks import show_three_tasks
from ifsl.run.roofline import CARDS, Work


def some_maps(way: int, side: int = 12) -> torch.Tensor:
    """Maps (1, N, 2, side, side) whose foreground rises from way to way and from left to right."""
    foreground = torch.linspace(0.02, 0.9, side).expand(side, side) * torch.arange(1, way + 1)[:, None, None] / way
    return torch.stack([1 - foreground, foreground], dim=1).log()[None]


@pytest.mark.parametrize("way", [1, 2, 3, 4, 5])
def test_maps_are_readable(bench: Benchmark, way: int) -> None:
    ep, log_prob = bench.episode(3, way, 1, 64), some_maps(way)
    assert_readable(show_class_maps(ep, log_prob[0]))
    if way <= 3:
        assert_readable(show_threshold(ep, log_prob[0], 0.5))
    stacked = merge_classes(log_prob)
    masks = [stacked.argmax(dim=1)[0].numpy(), segment(stacked, [ep.size])[0].numpy()]
    assert_readable(show_merging(ep, stacked[0], masks))


def test_threshold_counts_cells_and_judges(bench: Benchmark) -> None:
    ep = next(ep for ep in (bench.episode(i, 2, 1, 64) for i in range(100)) if ep.presence.tolist() == [True, False])
    log_prob = some_maps(2)[0]  # the largest probabilities are 0.45 and 0.9
    fig = show_threshold(ep, log_prob, 0.5)
    assert [text.get_text() for text in fig.axes[-1].texts] == ["0.45\nno ✗", "0.90\nyes ✗"]
    reach = int((log_prob[1, 1].exp() >= 0.5).sum())
    assert fig.axes[2].get_xlabel() == f"{reach} of 144 cells\nreach 0.50"
    low = show_threshold(ep, log_prob, 0.45 - 1e-6)
    assert low.axes[-1].texts[0].get_text() == "0.45\nyes ✓"


def test_scores_of_several_queries_share_a_scale(bench: Benchmark) -> None:
    names = ("colour", "layer2", "layer3", "layer4")
    cases = {
        title: (bench.episode(i, 1, 1, 64), {name: torch.full((4, 4), 0.2 * (i + 1)) for name in names})
        for i, title in enumerate(("same look", "other look", "class absent"))
    }
    fig = show_scores(cases, "score")
    assert_readable(fig)
    maps = [ax for ax in fig.axes if ax.get_xlabel().startswith("max")]
    assert len(maps) == 12 and {ax.images[0].get_clim() for ax in maps} == {(0, 1)}
    assert [ax.get_xlabel() for ax in maps[::4]] == ["max 0.20", "max 0.40", "max 0.60"]


def test_threshold_curve_adds_up() -> None:
    largest, present = [0.9, 0.6, 0.4, 0.2], [True, False, True, False]
    fig = plot_thresholds(largest, present, mark="0.5, as published")
    right, alarms, missed = (line.get_ydata() for line in fig.axes[0].lines[:3])
    assert np.allclose(right + alarms + missed, 100)
    limits = fig.axes[0].lines[0].get_xdata()
    assert right[np.isclose(limits, 0.5)] == 50 and right[np.isclose(limits, 0.3)] == 75
    assert_readable(fig)
    line = plot_thresholds(largest, present, "chosen on training classes", 0.3).axes[0].lines[-1]
    assert set(line.get_xdata()) == {0.3}


def test_at_asks_the_cell_under_the_point() -> None:
    values = torch.arange(4 * 6 * 2 * 2, dtype=torch.float32).reshape(1, 4, 6, 2, 2)
    assert torch.equal(select_cell({"level": values}, (0.5, 0.0))["level"], values[0, 0, 3])
    assert torch.equal(select_cell({"level": values}, (1.0, 1.0))["level"], values[0, 3, 5])


@pytest.mark.parametrize("inside_only", [False, True])
def test_answers_are_readable_and_masked(bench: Benchmark, inside_only: bool) -> None:
    ep = bench.episode(3, 1, 1, 64)
    mask = torch.zeros(64, 64)
    mask[10:40, 20:30] = 1
    values = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    levels = {name: values for name in ("layer2, 34 x 34 cells", "layer3, 17 x 17 cells", "layer4, 9 x 9 cells")}
    fig = show_correlation(ep.picture, (0.2, 0.7), ep.picture[:64, :64], mask, levels, inside_only)
    seen = fig.axes[2].images[0].get_array()
    assert np.ma.getmaskarray(seen).any() == inside_only
    assert_readable(fig)


def test_feature_colours_are_readable(bench: Benchmark) -> None:
    features = torch.randn(16, 6, 6, generator=torch.Generator().manual_seed(0))
    fig = show_features(bench.episode(3, 1, 1, 64).picture, {"one": features, "other": features})
    assert fig.axes[1].images[0].get_array().shape == (6, 6, 3)
    assert_readable(fig)


def one_present(bench: Benchmark) -> Episode:
    return next(ep for ep in (bench.episode(i, 2, 1, 64) for i in range(100)) if ep.presence.tolist() == [False, True])


def test_three_tasks(bench: Benchmark) -> None:
    ep = one_present(bench)
    fig = show_three_tasks(ep)
    said = [text.get_text() for text in fig.axes[0].texts]
    for n, name in enumerate(ep.class_names):
        assert said.count(f"{name}: {'yes' if ep.presence[n] else 'no'}") == 2  # not in FS-S, which does not ask
    assert_readable(fig)


def test_prototypes_are_readable_and_mark_the_cells(bench: Benchmark) -> None:
    ep, inside = bench.episode(3, 1, 1, 64), torch.zeros(9, 9, dtype=torch.bool)
    inside[2:5, 3:7] = True
    foreground = torch.linspace(0, 1, 9).expand(9, 9)
    fig = show_prototypes(ep, inside, torch.stack([1 - foreground, foreground]), foreground)
    assert fig.axes[1].get_xlabel() == "12 cells of the class, 69 others"
    assert np.array_equal(fig.axes[1].images[0].get_array(), inside)
    assert_readable(fig)


@pytest.mark.parametrize("shot", [2, 5])
def test_shots_are_readable(bench: Benchmark, shot: int) -> None:
    ep, each = bench.episode(3, 1, shot, 64), torch.rand(shot, 9, 9, generator=torch.Generator().manual_seed(0))
    fig = show_shots(ep, each, each.mean(dim=0))
    assert len(fig.axes) == 2 * (shot + 1) + 1
    assert_readable(fig)


def test_masks_reach_a_half() -> None:
    foreground = torch.tensor([[0.2, 0.9], [0.2, 0.9]])  # 0.5 is reached after 3.4 of the 8 steps
    assert mask_of(foreground, 9).mean(axis=0).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_priors_are_readable_and_say_whether_the_class_is_there(bench: Benchmark) -> None:
    values = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    episodes = [bench.episode(i, 1, 1, 64) for i in range(40)]
    for there in (True, False):
        ep = next(ep for ep in episodes if ep.presence.item() == there)
        fig = show_priors(ep, *values)
        assert (f"shows no {ep.class_names[0]}" in fig.axes[1].get_xlabel()) != there
        assert_readable(fig)


def test_bins_are_readable(bench: Benchmark) -> None:
    draw = torch.Generator().manual_seed(0)
    priors = [torch.rand(side, side, generator=draw) for side in (34, 17, 9, 5)]
    found, without = torch.randn(4, 6, 34, 34, generator=draw), torch.rand(4, 34, 34, generator=draw)
    fig = show_bins(bench.episode(3, 1, 1, 64), priors, list(found), without[0], list(without))
    assert [ax.get_title() for ax in fig.axes[1:5]] == [f"prior, {s} x {s}" for s in (34, 17, 9, 5)]
    assert_readable(fig)


def test_two_cells_have_one_scale_and_their_own_views(bench: Benchmark) -> None:
    views = torch.zeros(4, 4, 3, 3)
    views[0, 3], views[2, 1] = 0.5, 0.25  # row, column of A and of B
    steps = [Step("correlation\n3 x 3", views, torch.eye(3).bool()), Step("after layer 1\n2 x 2", views[..., :2, :2])]
    ep, points = bench.episode(3, 1, 1, 64), ((0.99, 0.2), (0.3, 0.6))
    fig = show_two_cells(ep, points, steps, "share of the largest", "every query cell")
    seen = [ax.images[0].get_array() for ax in fig.axes[1:9:3]]
    assert (seen[0] == 1).all() and (seen[1] == 0.5).all() and seen[2][0, 3] == 1 and seen[2][2, 1] == 0.5
    assert [ax.get_ylabel() for ax in fig.axes[1:9:3]] == ["seen from A", "seen from B", "every query cell"]
    assert fig.axes[1].get_xlabel() == "largest 0.50" and len(fig.axes[1].collections) == 1
    assert_readable(fig)
    assert_readable(show_two_cells(ep, points, 2 * steps, "weight"))


def test_a_grid_marks_the_points_that_read_the_mask(bench: Benchmark) -> None:
    ep = bench.episode(3, 1, 1, 65)
    ep.masks[0, 0] = 0
    ep.masks[0, 0, 30:35, 30:35] = 1  # the middle alone
    fig = show_grids(ep, (9, 4, 3), ("layer4", "none", "middle"))
    assert [ax.get_xlabel() for ax in fig.axes] == [f"{n} points inside" for n in ("1 of 81", "0 of 16", "1 of 9")]
    assert np.allclose(fig.axes[2].collections[1].get_offsets(), [[32, 32]])
    assert_readable(fig)


@pytest.mark.parametrize("size", [32, 64])
def test_kinds_of_masking_are_readable_and_the_source_is_right(bench: Benchmark, size: int) -> None:
    ep, draw = bench.episode(3, 1, 1, size), torch.Generator().manual_seed(0)
    rows = {}
    for name, side in (("layer2, channel 3", 17), ("layer3, channel 4", 17), ("layer4, channel 128", 9)):
        feature, hidden = torch.randn(2, side, side, generator=draw)
        feature[: side // 2] = 0
        rows[name] = Channel(feature, hidden, torch.where(feature > 0, feature, hidden))
    picture, mask = to_image(ep.supports[0, 0]), ep.masks[0, 0].byte().numpy()
    fig = show_masking(picture, picture, mask, rows)
    columns = [fig.axes[10 + i].images[0] for i in range(1, 5)]
    assert (columns[2].get_array()[:4] == 0).all() and 0.2 < columns[2].get_array()[4:].mean() < 0.8
    assert {columns[i].get_clim() for i in (0, 1, 3)} == {columns[0].get_clim()}
    assert np.allclose(columns[3].get_array()[:4], columns[1].get_array()[:4])
    assert_readable(fig)


def test_colours_can_be_compared_between_maps() -> None:
    one, other = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    other[:, 2, 3] = one[:, 1, 1]
    a, b = colour_features(one, other)
    assert np.allclose(a[1, 1], b[2, 3])


def test_what_labels_teach_is_readable() -> None:
    evidence, weak, strong = (torch.linspace(*ends, 10).tolist() for ends in ((0.1, 0.7), (0.4, 0.9), (0, 0.6)))
    fig = plot_label_shares({name: (evidence, weak, strong) for name in ("inside the mask", "anywhere")})
    assert [line.get_ydata()[-1] for line in fig.axes[0].lines[:2]] == pytest.approx([90, 60])
    assert_readable(fig)


def test_thresholds_are_readable() -> None:
    lines = {"strong": [10, 90, 30], "weak": [5, 5, 60]}
    fig = plot_scores_by_threshold([0, 0.5, 1], {"ER (%)": lines, "IoU (%)": lines})
    assert list(fig.axes[1].lines[1].get_ydata()) == [5, 5, 60]
    assert_readable(fig)


def test_two_answers_are_judged(bench: Benchmark) -> None:
    episodes = [bench.episode(i, 1, 1, 64) for i in range(40)]
    there, absent = (next(ep for ep in episodes if ep.presence.item() == said) for said in (True, False))
    no, yes = torch.zeros(8, 8), torch.ones(8, 8)
    fig = show_two_predictions({"best": (there, no, yes), "without": (absent, no, yes)})
    said = [ax.get_xlabel() for ax in fig.axes if ax.get_xlabel()]
    share = (square_query(there)[1] > 0).mean()
    levels = ["on 0.00, off 0.00", "on 1.00, off 1.00", "mean 0.00", "mean 1.00"]
    assert said == [
        levels[0],
        "IoU 0 %",
        levels[1],
        f"IoU {100 * share:.0f} %",
        levels[2],
        "right",
        levels[3],
        "false alarm",
    ]
    assert_readable(fig)


def test_trades_and_rooflines_are_readable() -> None:
    runs = {"AUC (%)": [50, 55], "ER (%)": [70.0, 71.0]}
    fig = plot_trade({"all cells": runs, "each cell": {name: [x + 10 for x in xs] for name, xs in runs.items()}})
    assert fig.axes[0].get_ylabel().startswith("ER (%)")
    assert_readable(fig)
    works = [Work("mm", 1e9, 1e7), Work("relu", 0, 3e7), Work("conv", 1e6, 1e6)]
    parts = {"encode": works, "compare, loss": works, "backward": works}
    fig = plot_roofline(parts, {name: CARDS[name] for name in ("T4, 32 bits", "A100 80 GB, bf16")})
    assert [bar.get_width() for bar in fig.axes[1].patches] == pytest.approx([3000 / 41] * 3)
    assert_readable(fig)
    fig = plot_bounds({name: dict.fromkeys(parts, 20.0) for name in CARDS}, "milliseconds")
    assert {text.get_text() for text in fig.axes[0].texts} == {"60"}
    assert_readable(fig)
