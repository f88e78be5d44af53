"""Numbers of ways stand outside the pictures, so none covers what is marked or should be, however small it is."""

import dataclasses

import numpy as np
import pytest
import torch
from test_figures import assert_readable, texts

from ifsl import Benchmark
from ifsl.data.episodes import Episode
from ifsl.pictures.canvas import DPI, InlineFigure
from ifsl.pictures.episodes import show, show_gallery
from ifsl.pictures.tasks import show_three_tasks


@pytest.fixture(scope="module")
def ep(tiny_root) -> Episode:
    """A 5-way episode whose query shows every class, each in one small spot, and void round the first."""
    ep = Benchmark("pascal", tiny_root).episode(1, 5, 1, 64)
    mask = torch.zeros_like(ep.query_mask)
    for n in range(1, 6):
        mask[20 * n : 20 * n + 4, 25 * n : 25 * n + 4] = n
    mask[18:20, 25:29] = 255
    return dataclasses.replace(ep, query_mask=mask, presence=torch.ones(5, dtype=torch.bool))


def assert_outside(fig: InlineFigure) -> None:
    """No text lies on an image, its disc included."""
    (ax,) = fig.axes
    fig.draw_without_rendering()
    assert ax.images
    for text in ax.texts:
        patch = text.get_bbox_patch()
        x0, y0, x1, y1 = (patch or text).get_window_extent().extents / DPI
        for image in ax.images:
            left, right, bottom, top = image.get_extent()
            high, low = fig.get_figheight() - top, fig.get_figheight() - bottom
            assert x1 <= left or x0 >= right or y1 <= low or y0 >= high, f"{text.get_text()} lies on an image"


def test_numbers_are_outside_the_pictures(ep: Episode) -> None:
    whole = torch.full_like(ep.query_mask, 3)  # leaves no room beside it
    for mask in (ep.query_mask, whole):
        prediction = torch.ones(1, 5, dtype=torch.bool), [mask]
        for fig in (show(ep, prediction), show_gallery([("one", ep, prediction), ("two", ep, prediction)])):
            assert_outside(fig)
            assert_readable(fig)


def test_a_title_is_followed_by_the_ways_of_its_mask(ep: Episode) -> None:
    marked = torch.where(ep.query_mask == 4, 4, 0)
    said = texts(show(ep, (torch.ones(1, 5, dtype=torch.bool), [marked])))
    truth, prediction = said.index("truth"), said.index("prediction")
    assert said[truth + 1 : truth + 6] == list("12345")  # void has no number
    assert said[prediction + 1 : prediction + 3] == ["4", "in the query"]


def test_an_answer_has_its_number_outside(tiny_root) -> None:
    bench = Benchmark("pascal", tiny_root)
    ep = next(ep for ep in (bench.episode(i, 2, 1, 64) for i in range(100)) if ep.presence.sum() == 1)
    fig = show_three_tasks(ep)
    n = str(int(ep.presence.nonzero()[0, 0]) + 1)
    assert [texts(fig)[i + 1] for i, text in enumerate(texts(fig)) if text == "answer"][1:] == [n, n]
    assert_outside(fig)


def test_a_query_keeps_its_colours_and_a_support_shows_one_object(ep: Episode) -> None:
    nothing = torch.zeros(1, 5, dtype=torch.bool), [torch.zeros_like(ep.query_mask)]
    for fig in (show(ep, nothing), show_gallery([("one", ep, nothing)])):
        images = [np.asarray(image.get_array(), int) for image in fig.axes[0].images]
        query = ep.picture.astype(float).mean(axis=(0, 1))
        assert np.abs(images[-1].mean(axis=(0, 1)) - query).max() < 3  # the prediction marks nothing
        colourful = [(np.ptp(image, axis=2) > 12).mean() for image in images]
        assert max(colourful[:5]) < colourful[-1]  # faded off the mask
