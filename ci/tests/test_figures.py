"""Figures are right and readable: what they say is true, nothing is cut off, no text lies on another."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch

from ifsl import Benchmark
from ifsl.data.episodes import Episode
from ifsl.pictures.benchmarks import pick_class_images, plot_class_split, plot_presence_counts
from ifsl.pictures.canvas import TINT, WAY_COLOURS, WIDTH, InlineFigure, compute_iou, overlay, rgb, way_colour
from ifsl.pictures.charts import (
    judge_order,
    plot_curves,
    plot_order,
    plot_rates,
    plot_scores,
    plot_shots,
    plot_ways,
)
from ifsl.pictures.episodes import show, show_gallery
from ifsl.pictures.folders import show_predictions
from ifsl.run.folders import Prediction, Support


def guess(ep: Episode) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A half-right prediction: the truth moved aside, everything said to be there."""
    return torch.ones_like(ep.presence)[None], [torch.roll(ep.query_mask, (20, 30), (0, 1))]


def texts(fig: InlineFigure) -> list[str]:
    return [text.get_text() for ax in fig.axes for text in ax.texts]


def extents(fig: InlineFigure) -> dict[str, np.ndarray]:
    """{text and place: pixel box x0 y0 x1 y1} of what a figure says, ticks and legends included, slants not."""
    import matplotlib.text

    fig.draw_without_rendering()
    boxes = {}
    for text in fig.findobj(matplotlib.text.Text):
        if text.get_text().strip() and text.get_visible() and text.get_rotation() % 90 == 0:
            box = text.get_window_extent()
            boxes[f"{text.get_text()} at {box.x0:.0f},{box.y0:.0f}"] = box.extents
    return boxes


def assert_readable(fig: InlineFigure) -> None:
    boxes = extents(fig)
    width, height = fig.get_size_inches() * fig.dpi
    assert boxes
    for name, (x0, y0, x1, y1) in boxes.items():
        assert x0 >= -0.5 and y0 >= -0.5 and x1 <= width + 0.5 and y1 <= height + 0.5, f"{name} is cut off"
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        apart = a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
        assert apart, f"{one} lies on {other}"


def test_overlay_marks_what_is_marked_and_leaves_the_rest() -> None:
    picture = np.zeros((60, 80, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 10:40], mask[10:40, 50:70] = 2, 255
    seen = overlay(picture, mask).astype(int)
    assert (seen[50:] == picture[50:]).all() and (seen[20, 45] == picture[20, 45]).all()  # outside: as it was
    colour = rgb(way_colour(2))
    assert (seen[10, 10:40] == colour).all()  # the outline: the way's colour
    assert (seen[9, 10:40] == 255).all() and (seen[20, 40:42] == 255).all()  # a white line round it
    assert np.abs(seen[25, 25] - (TINT * colour + (1 - TINT) * picture[0, 0])).max() <= 1  # inside: a light tint
    assert (seen[10, 50:70] == 255).all()  # void: white
    assert (overlay(picture, 0 * mask) == picture).all()


def test_each_way_has_its_own_colour() -> None:
    colours = [way_colour(n) for n in range(6)]
    assert len(set(colours)) == 6 and colours[1:] == list(WAY_COLOURS)
    assert np.ptp(rgb(colours[0])) == 0  # the background is grey


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("shot", [1, 2, 3, 5])
@pytest.mark.parametrize("way", [1, 2, 3, 4, 5])
def test_show_is_readable(bench: Benchmark, way: int, shot: int, predicted: bool) -> None:
    ep = bench.episode(way + shot, way, shot, 64)
    fig = show(ep, guess(ep) if predicted else None)
    assert fig.get_figwidth() <= WIDTH + 0.1
    assert len(fig.axes[0].images) == way * shot + (3 if predicted else 2)
    assert_readable(fig)


def test_show_is_readable_with_long_names(bench: Benchmark) -> None:
    ep = bench.episode(3, 5, 1, 64)
    ep.class_names[:] = ["baseball glove", "traffic light", "hair drier", "potted plant", "tennis racket"]
    assert_readable(show(ep, guess(ep)))


def test_show_tells_right_from_wrong(bench: Benchmark) -> None:
    ep = next(ep for ep in (bench.episode(i, 2, 1, 64) for i in range(100)) if ep.presence.tolist() == [True, False])
    perfect = texts(show(ep, (ep.presence, ep.query_mask)))
    assert perfect.count("yes ✓") == perfect.count("no ✓") == 1 and "100 %" in perfect and "–" in perfect
    nothing = (torch.zeros(1, 2, dtype=torch.bool), [torch.zeros_like(ep.query_mask)])
    wrong = texts(show(ep, nothing))
    assert wrong.count("no ✗") == wrong.count("no ✓") == 1 and "0 %" in wrong and "100 %" not in wrong
    assert not any("✓" in text or "✗" in text for text in texts(show(ep)))


def test_iou() -> None:
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert compute_iou(a, b) == pytest.approx(1 / 3)
    assert compute_iou(~(a | True), ~(a | True)) is None


def test_show_writes_the_number_of_each_way_of_the_masks(bench: Benchmark) -> None:
    ep = next(ep for ep in (bench.episode(i, 3, 1, 64) for i in range(300)) if ep.presence.sum() == 2)
    shown = [str(n) for n in range(1, 4) if ep.presence[n - 1]]
    said = texts(show(ep))
    for n in ("1", "2", "3"):  # once beside the support, once in the table, once over the truth if it is there
        assert said.count(n) == 2 + (n in shown)


def test_class_split(tiny_root) -> None:
    benches = [Benchmark("pascal", tiny_root, fold=f) for f in range(4)]
    pictures = {c: picture for bench in benches for c, picture in pick_class_images(bench).items()}
    assert list(pictures) == list(range(1, 21)) and all(p.shape[0] == p.shape[1] for p in pictures.values())
    folds = [bench.class_ids for bench in benches]
    fig = plot_class_split(folds, benches[0].class_names, pictures)
    cells = fig.axes[0].collections[0].get_array()
    assert cells.shape == (4, 20) and (cells.sum(axis=0) == 1).all()
    assert [np.flatnonzero(row).tolist() for row in cells] == [[c - 1 for c in fold] for fold in folds]
    assert_readable(fig)


def test_presence_counts_add_up() -> None:
    fig = plot_presence_counts({1: [0, 1, 1, 0], 2: [0, 1, 2, 2]})
    rows: dict[float, float] = {}
    for bar in fig.axes[0].patches:
        rows[bar.get_y()] = rows.get(bar.get_y(), 0) + bar.get_width()
    assert list(rows.values()) == [100, 100]
    assert_readable(fig)


def test_comparison_is_readable() -> None:
    rows = {"trained": {"ER": (88.5, 83, 92), "mIoU": (45, 40, 50)}, "nothing": {"ER": (44, 44, 44), "mIoU": (0, 0, 0)}}
    fig = plot_scores(rows)
    assert_readable(fig)
    assert [text.get_text() for text in fig.axes[0].texts] == ["88.5", "44.0"]


def test_curves_draw_what_the_rows_say() -> None:
    rows = [
        {"step": "10", "loss": "0.5", "val_er": "", "val_miou": ""},
        {"step": "20", "loss": "0.4", "val_er": "60.0", "val_miou": "10.0"},
        {"step": "40", "loss": "0.3", "val_er": "70.0", "val_miou": "20.0"},
    ]
    fig = plot_curves({"asnet": rows, "hsnet": rows[:2], "none yet": []}, best=40)
    loss, er, miou = fig.axes
    assert loss.lines[0].get_xydata().tolist() == [[10, 0.5], [20, 0.4], [40, 0.3]]
    assert er.lines[0].get_xydata().tolist() == [[20, 60], [40, 70]] and len(miou.lines[2].get_xydata()) == 0
    assert [text.get_text() for text in fig.legends[0].texts] == ["asnet", "hsnet", "none yet", "best, step 40"]
    fig.draw_without_rendering()
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):  # ticks out of view are not drawn
        low, high = axis.get_view_interval()
        axis.set_ticks([tick for tick in axis.get_majorticklocs() if low <= tick <= high])
    assert_readable(fig)


def test_ways_and_shots_span_their_intervals() -> None:
    score = {"ER": (80.0, 70.0, 85.0), "mIoU": (40.0, 41.0, 45.0)}  # an interval need not hold its value
    names = ("PANet", "PFENet", "HSNet", "ASNet", "HM", "CST", "EMAT", "ASNet, weak")
    ways = plot_ways({name: dict.fromkeys(range(1, 6), score) for name in names})
    bars = ways.axes[0].containers[0].lines[2][0].get_segments()
    assert [segment[:, 1].tolist() for segment in bars] == [[70, 85]] * 5
    dashed = next(line for line in ways.axes[0].lines if line.get_linestyle() == "--")
    assert dashed.get_ydata() == pytest.approx([80, 64, 51.2, 40.96, 32.768])
    shots = plot_shots({name: {1: score, 5: score} for name in names})
    places = [container.lines[0].get_ydata()[0] for container in shots.axes[0].containers]
    assert len(set(places)) == 2 * len(names)  # one above the other
    for fig in (ways, shots):
        assert_readable(fig)


def test_an_order_is_judged_by_the_paired_interval() -> None:
    assert judge_order(1, 3, 0.5) == judge_order(-3, -1, -8) == "same"
    assert judge_order(1, 3, -0.5) == judge_order(-3, -1, 8) == "opposite"
    assert judge_order(-1, 3, 5) == judge_order(1, 3, 0) == "open"
    pairs = {f"A − {name}": {"ER": (2.0, 1.0, 3.0, -1.0), "mIoU": (-2.0, -3.0, 1.0, 7.0)} for name in "BCDEFGH"}
    fig = plot_order(pairs)
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == list(pairs)
    fig.draw_without_rendering()
    for ax in fig.axes:  # ticks out of view are not drawn
        low, high = ax.get_xlim()
        ax.set_xticks([tick for tick in ax.get_xticks() if low <= tick <= high])
    assert_readable(fig)


def test_rates_show_medians() -> None:
    groups = {"batch size": {"1": [1.0, 3.0, 2.0], "2": [4.0]}, "precision": {"32 bits": [1500.0]}, "a": {"b": [9.0]}}
    fig = plot_rates(groups, "episodes per second")
    assert [bar.get_width() for bar in fig.axes[0].patches] == [2, 4]
    assert [text.get_text() for ax in fig.axes for text in ax.texts] == ["2", "4", "1,500", "9"]
    assert_readable(fig)


@pytest.mark.parametrize("way", [1, 2, 5])
def test_a_page_of_predictions_says_whose_they_are(bench: Benchmark, way: int) -> None:
    eps = [bench.episode(index, way, 1, 64) for index in range(3)]
    fig = show_gallery([(f"episode {ep.draw.index}", ep, guess(ep)) for ep in eps])
    said = texts(fig)
    assert [f"episode {ep.draw.index}" in said for ep in eps] == [True] * 3
    assert sum(text.startswith("yes ✗") for text in said) == sum((~ep.presence).sum().item() for ep in eps)
    assert len(fig.axes[0].images) == 3 * (way + 2)
    assert_readable(fig)


def test_a_figure_shows_itself_in_few_bytes(bench: Benchmark) -> None:
    bundle = show(bench.episode(1, 2, 1, 272))._repr_mimebundle_()
    assert bundle["image/jpeg"].startswith(b"\xff\xd8") and len(bundle["image/jpeg"]) < 200_000
    assert "0x" not in bundle["text/plain"]
    chart = plot_presence_counts({1: [0, 1]})._repr_mimebundle_()
    assert chart["image/png"].startswith(b"\x89PNG")


def test_pyplot_is_not_needed() -> None:
    code = "import sys, ifsl.pictures.episodes; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# A reader's own folder ------------------------------------------------------------------------------------------------


def answered(shot: int, photo: np.ndarray, seed: int = 0, masks: bool = True) -> Prediction:
    """What `predict_folder` could have said of a photo: heart in its left half, no star."""
    images = torch.rand(2, shot, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    segmentation = np.zeros(photo.shape[:2], np.uint8)
    segmentation[:, : photo.shape[1] // 2] = 1
    marked = torch.zeros(2, shot, 32, 32).index_fill(3, torch.arange(10, 20), 1) if masks else None
    support = Support(["heart", "star"], [[], []], images, marked)
    return Prediction({"heart": True, "star": False}, segmentation, photo, support)


@pytest.mark.parametrize("shape", [(60, 80, 3), (90, 50, 3)])
@pytest.mark.parametrize("count, masks", [(1, True), (3, False), (7, True)])
def test_answers_to_a_photo(shape: tuple[int, ...], count: int, masks: bool) -> None:
    photo = np.full(shape, 90, np.uint8)
    fig = show_predictions({f"learner {i}": answered(1 + i % 5, photo, i, masks) for i in range(count)})
    said = texts(fig)
    assert said.count("photo") == 1 and said.count("heart: yes, 50 %") == said.count("star: no, 0 %") == count
    assert len(fig.axes[0].images) == 1 + count + 2 * min(count, 5)  # the photo, its answers, the most examples
    assert_readable(fig)


def test_each_new_photo_stands_before_its_answers() -> None:
    photos = [np.full((60, 80, 3), value, np.uint8) for value in (10, 10, 200)]
    fig = show_predictions({name: answered(1, photo) for name, photo in zip("abc", photos, strict=True)})
    assert [text for text in texts(fig) if text in ("photo", *"abc")] == ["photo", "a", "b", "photo", "c"]


@pytest.mark.parametrize("masks", [True, False])
def test_show_takes_the_prediction_of_a_folder(masks: bool) -> None:
    fig = show(answered(2, np.full((60, 80, 3), 90, np.uint8), masks=masks))
    said = texts(fig)
    assert ["photo" in said, "truth" in said] == [True, False]
    assert said.count("yes") == said.count("no") == said.count("50 %") == said.count("0 %") == 1
    assert len(fig.axes[0].images) == 4 + 2
    assert_readable(fig)
