"""Widgets answer without a browser: their pictures change with their controls, quickly, and errors are sentences."""

import time

import numpy as np
import torch

from ifsl import Benchmark
from ifsl.data.episodes import Episode
from ifsl.pictures import widgets
from ifsl.run.folders import Prediction, Support


def test_sliders_change_the_picture(bench: Benchmark) -> None:
    screen = widgets.explore_episodes(bench, way=1, shot=1, index=3, size=64)
    first = screen.picture.value
    for name, value in (("way", 4), ("shot", 3), ("index", 8)):
        before = screen.picture.value
        screen.controls[name].value = value
        assert screen.picture.value != before, f"moving {name} changes nothing"
    for name, value in (("way", 1), ("shot", 1), ("index", 3)):
        screen.controls[name].value = value
    assert screen.picture.value == first


def test_sliders_span_what_can_be_asked(bench: Benchmark) -> None:
    controls = widgets.explore_episodes(bench, size=64).controls
    assert [(controls[name].min, controls[name].max) for name in ("way", "shot", "index")] == [(1, 5), (1, 5), (0, 999)]


def test_an_error_is_a_sentence_and_the_picture_stays(bench: Benchmark) -> None:
    scarce = Benchmark("pascal", bench.root)
    scarce.images_of = {c: images[:3] for c, images in scarce.images_of.items()}
    screen = widgets.explore_episodes(scarce, way=1, shot=1, size=64)
    before = screen.picture.value
    screen.controls["shot"].value = 5
    assert "too few for 5 shots" in screen.note.value and screen.picture.value == before
    screen.controls["shot"].value = 2
    assert screen.note.value == "" and screen.picture.value != before


def test_the_largest_episode_is_redrawn_within_a_second(bench: Benchmark) -> None:
    screen = widgets.explore_episodes(bench, way=5, shot=5)
    threads, seconds = torch.get_num_threads(), []
    torch.set_num_threads(1)  # threads that wait for each other count as work, too
    for index in range(3):
        start = time.process_time()  # not the wall: other tests run beside this one
        screen.controls["index"].value = index + 1
        seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    assert min(seconds) < 1


def test_buttons_ask_for_classes(bench: Benchmark) -> None:
    asked = []

    def ask(query: int, classes: list[int]) -> Episode:
        asked.append((query, classes))
        return bench.episode(query, len(classes), 1, 64)

    screen = widgets.explore_question(ask, {c: bench.class_names[c] for c in bench.class_ids}, queries=10)
    before = screen.picture.value
    screen.controls["4"].value = True
    screen.controls["query"].value = 6
    assert asked == [(0, [1, 2]), (0, [1, 2, 4]), (6, [1, 2, 4])] and screen.picture.value != before
    for c in ("1", "2", "4"):
        screen.controls[c].value = False
    assert "at least one class" in screen.note.value


def test_threshold_slider_changes_the_picture(bench: Benchmark) -> None:
    foreground = torch.linspace(0.05, 0.95, 64).reshape(1, 8, 8)
    log_prob = torch.stack([1 - foreground, foreground], dim=1).log()
    cases = {str(i): (bench.episode(i, 1, 1, 64), log_prob) for i in (1, 2)}
    screen = widgets.explore_threshold(cases)
    pictures = [screen.picture.value]
    for name, value in (("limit", 0.8), ("limit", 0.99), ("case", "2")):
        screen.controls[name].value = value
        pictures.append(screen.picture.value)
    assert len(set(pictures)) == 4


def test_the_cross_moves(bench: Benchmark) -> None:
    ep = bench.episode(1, 1, 1, 64)
    values = torch.rand(3, 8, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    screen = widgets.explore_correlation(ep, {"layer2": values, "layer3": values[:, ::2, ::2, ::2, ::2]})
    pictures = [screen.picture.value]
    for name, value in (("x", 10), ("y", 90), ("inside_only", True)):
        screen.controls[name].value = value
        pictures.append(screen.picture.value)
    assert len(set(pictures)) == 4


def answered(shot: int, shade: int) -> Prediction:
    """What a learner could have said of a photo with that many examples: one class, in the upper `shade` rows."""
    support = Support(["star"], [[]], torch.zeros(1, shot, 3, 272, 272), torch.ones(1, shot, 272, 272))
    segmentation = np.zeros((400, 500), np.uint8)
    segmentation[:shade] = 1
    return Prediction({"star": True}, segmentation, np.full((400, 500, 3), 90, np.uint8), support)


def test_the_slider_over_shots_changes_the_picture_within_a_second() -> None:
    found = {shot: {f"learner {i}": answered(shot, 30 * i + 9 * shot) for i in range(6)} for shot in range(1, 6)}
    screen = widgets.explore_shots(found)
    control = screen.controls["shot"]
    assert (control.min, control.max, control.value) == (1, 5, 1)
    threads, pictures, seconds = torch.get_num_threads(), [screen.picture.value], []
    torch.set_num_threads(1)
    for shot in (2, 5, 3):
        start = time.process_time()
        control.value = shot
        seconds.append(time.process_time() - start)
        pictures.append(screen.picture.value)
    torch.set_num_threads(threads)
    assert len(set(pictures)) == 4 and min(seconds) < 1
