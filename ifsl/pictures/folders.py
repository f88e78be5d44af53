"""Predictions for photos of your own, many on one page (chapter 14)."""

import numpy as np
from matplotlib.axes import Axes

from ..run.folders import Prediction
from . import canvas
from .canvas import GAP, GUTTER, LABEL, WIDTH, Frame, InlineFigure
from .episodes import place_support


def show_predictions(found: dict[str, Prediction], columns: int = 4) -> InlineFigure:
    """The examples of a folder, then predictions for photos: {title: what `ifsl.predict_folder` returned}.

    Each photo comes before its predictions, once for predictions that follow each other. Under a prediction is for each
    class whether it was found, and its share of the photo's pixels. The examples are those of the prediction that had
    the most.
    """
    support = max((one.support for one in found.values()), key=lambda support: support.supports.shape[1])
    way, shot = support.supports.shape[:2]
    thumb = min(0.85, WIDTH / shot - GAP)
    beside = min(way, max(1, int(WIDTH / max(1.6, shot * (thumb + GAP)))))  # classes in a row
    panels = add_photos(found)
    columns = min(columns, len(panels))
    side = WIDTH / columns - GAP
    sizes = [canvas.fit(side, 1.15 * side, one.photo.shape[0] / one.photo.shape[1]) for _, one, _ in panels]
    tops = [LABEL + -(-way // beside) * (LABEL + thumb + GAP) + GUTTER / 2]
    for i in range(0, len(panels), columns):
        tops.append(tops[-1] + LABEL + max(height for _, height in sizes[i : i + columns]) + (way + 0.5) * LABEL)
    fig, ax = canvas.make_canvas(WIDTH, tops[-1])
    place_support(ax, support, thumb, beside)
    for i, ((title, one, masked), size) in enumerate(zip(panels, sizes, strict=True)):
        frame = (i % columns * (side + GAP), tops[i // columns] + LABEL, *size)
        canvas.write_heading(ax, frame[0], frame[1] - LABEL, title)
        if masked:
            place_answer(ax, frame, one)
        else:
            canvas.place_image(ax, frame, one.photo)
    return fig


def add_photos(found: dict[str, Prediction]) -> list[tuple[str, Prediction, bool]]:
    """Panels (title, prediction, whether its mask is shown): the predictions, before them each new photo alone."""
    panels: list[tuple[str, Prediction, bool]] = []
    for title, one in found.items():
        if not any(np.array_equal(one.photo, before.photo) for _, before, _ in panels[-1:]):
            panels.append(("photo", one, False))
        panels.append((title, one, True))
    return panels


def place_answer(ax: Axes, frame: Frame, one: Prediction) -> None:
    """A prediction's mask over its photo in a frame; under it, for each class, yes or no and its share."""
    canvas.place_image(ax, frame, one.photo, one.segmentation)
    for n, (name, flag) in enumerate(one.presence.items(), start=1):
        share = canvas.percent((one.segmentation == n).mean())
        canvas.write_class(
            ax, frame[0], frame[1] + frame[3] + (n - 1) * LABEL, n, f"{name}: {canvas.yes(flag)}, {share}"
        )
