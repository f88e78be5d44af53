"""Episodes and predictions (all chapters): support set, query, masks, and a table of what is right.

Letters: N ways, K shots, S image side, H W image size.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes

from ..data.episodes import Episode
from ..data.images import to_image
from ..errors import InputError, shown
from ..learners.maps import VOID
from ..run.folders import Prediction
from . import canvas
from .canvas import GAP, GUTTER, LABEL, QUIET, SMALL_FONT, WIDTH, Frame, InlineFigure


def show(ep: Episode | Prediction, prediction: tuple | None = None) -> InlineFigure:
    """An episode, with a prediction if there is one; or what `ifsl.predict_folder` returned.

    Of an episode: its support set, a row for each way; the query and its true mask. prediction: presence and
    segmentation as `model.predict` returns them for this one episode: (N,) or (1, N) bool and an (H, W) mask or a list
    of one. The table below has for each class whether the query shows it, what was predicted, and the intersection over
    union (IoU) of the two masks; a dash where neither marks a pixel. Of a folder's prediction: support set, photo and
    mask, and for each class whether it was found and its share of the photo's pixels.

    Raises `InputError` for an episode of training, and for a prediction of another episode.
    """
    if isinstance(ep, Prediction):
        shares = [(ep.segmentation == n).mean() for n in range(1, len(ep.presence) + 1)]
        columns = {
            "predicted": [canvas.yes(flag) for flag in ep.presence.values()],
            "of the photo": list(map(canvas.percent, shares)),
        }
        return compose(ep.support, ep.photo, {"photo": None, "prediction": ep.segmentation}, columns)
    check_shown(ep)
    panels = {"query": None, "truth": ep.query_mask.numpy()}
    columns = {"in the query": [canvas.yes(p) for p in ep.presence.tolist()]}
    if prediction is not None:
        presence, mask = unbatch(ep, prediction)
        panels["prediction"] = mask
        columns = compare_with_truth(ep, presence, mask)
    return compose(ep, ep.picture, panels, columns)


def compose(
    support, image: np.ndarray, panels: dict[str, np.ndarray | None], columns: dict[str, list[str]]
) -> InlineFigure:
    """A support set, panels of one query, and a table under them.

    support: an episode, or the support of a folder; image: the query (H, W, 3) uint8; panels: {title: an (H, W) mask to
    lay over the query, or None}, two or three; columns: {title: N cells}.
    """
    way, shot = support.supports.shape[:2]
    side, frames = arrange(way, shot, len(panels), image.shape[0] / image.shape[1])
    left, under = frames[0][0], max(top + height for _, top, _, height in frames) + GAP
    across = max(max(x + width for x, _, width, _ in frames), left + 4.0, shot * (side + GAP)) + GAP
    down = max(under + (way + 1) * LABEL, LABEL + way * (LABEL + side + GAP)) + GAP
    fig, ax = canvas.make_canvas(across, down)
    place_support(ax, support, side)
    for frame, (title, mask) in zip(frames, panels.items(), strict=True):
        heading = canvas.write_heading(ax, frame[0], frame[1] - LABEL, title)
        if mask is None:
            canvas.place_image(ax, frame, image)
        else:
            canvas.place_prediction(ax, frame, heading, image, mask)
    canvas.write_table(ax, left, under, support.class_names, columns)
    return fig


def place_support(ax: Axes, support, side: float, beside: int = 1) -> None:
    """The images of each class, `side` inches wide, `beside` classes in a row; support: as for `compose`."""
    canvas.write_heading(ax, 0, 0, "support set")
    for n, name in enumerate(support.class_names):
        left, top = n % beside * WIDTH / beside, LABEL + n // beside * (LABEL + side + GAP)
        canvas.write_class(ax, left, top, n + 1, name)
        for k in range(support.supports.shape[1]):
            place_shot(ax, (left + k * (side + GAP), top + LABEL, side, side), support, n, k)


def place_shot(ax: Axes, frame: Frame, support, n: int, k: int, masked: bool = True) -> None:
    """Shot k of way n, both counted from 0, with its mask if there is one and it is wanted."""
    image = to_image(support.supports[n, k])
    if support.masks is None or not masked:
        canvas.place_image(ax, frame, image)
    else:
        mask = (n + 1) * support.masks[n, k].byte().numpy()
        canvas.place_image(ax, frame, canvas.fade(image, mask), mask, tint=0)


def arrange(way: int, shot: int, panels: int, aspect: float) -> tuple[float, list[Frame]]:
    """Inches: the side of a support image, and the frames of the query's `panels` (aspect: their height by width).

    The supports are to the left of the query, or above it where one or two ways have many shots. Three panels are side
    by side where there is room, else the first is above the two others.
    """
    if way <= 2 and shot >= 3:
        support = min(1.8 if way == 1 else 1.45, WIDTH / shot - GAP)
        left, top = 0.0, LABEL + way * (LABEL + support + GAP) + GUTTER / 2
    else:
        support = min(2.0, 0.42 + 2.6 / way, 4.7 / shot)
        left, top = shot * (support + GAP) - GAP + GUTTER, 0.0
    top += LABEL
    room = WIDTH - GAP - left
    if panels == 3 and room < 5.8:
        large, small = canvas.fit(room, 2.7, aspect), canvas.fit((room - GAP) / 2, 2.7, aspect)
        below = top + large[1] + LABEL
        return support, [(left, top, *large), (left, below, *small), (left + small[0] + GAP, below, *small)]
    size = canvas.fit((room - (panels - 1) * GAP) / panels, 2.9, aspect)
    return support, [(left + i * (size[0] + GAP), top, *size) for i in range(panels)]


def check_shown(ep: Episode) -> None:
    """Raise `InputError` for what is no episode, and for one without the picture that a test episode has."""
    if not isinstance(ep, Episode):
        raise InputError(f"ep is a {type(ep).__name__}; give an episode, or what ifsl.predict_folder returned.")
    if ep.picture is None:
        raise InputError("ep is an episode of training, which has no picture; give one that Benchmark.episode made.")


def unbatch(ep: Episode, prediction: tuple) -> tuple[list[bool], np.ndarray]:
    """Presence as N bools and an (H, W) mask, from a prediction for the episode with or without its batch axis."""
    try:
        presence, mask = prediction
        presence = torch.as_tensor(presence).flatten().bool().tolist()
        mask = np.asarray(mask[0] if isinstance(mask, list) or mask.ndim == 3 else mask)
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise InputError(f"prediction is {shown(prediction)}; give what model.predict returned.") from error
    found, asked = ((len(p), *m.shape) for p, m in ((presence, mask), (ep.presence, ep.query_mask)))
    if found != asked:
        raise InputError(
            f"prediction has ways, height and width {found}, the episode {asked}; predict this episode, with "
            "sizes=[episode.size]."
        )
    return presence, mask


def compare_with_truth(ep: Episode, presence: list[bool], mask: np.ndarray) -> dict[str, list[str]]:
    """For each way, whether the query shows it, what was predicted, and how far the masks agree, as words.

    FS-S does not ask for presence: there, how far the masks agree is all.
    """
    true, masks = ep.presence.tolist(), ep.query_mask.numpy()
    mask = np.where(masks == VOID, VOID, mask)  # left out
    found = {"IoU": [canvas.percent(canvas.compute_iou(mask == n, masks == n)) for n in range(1, len(true) + 1)]}
    if ep.draw.task == "fs-s":
        return found
    return {
        "in the query": [canvas.yes(t) for t in true],
        "predicted": [f"{canvas.yes(p)} {'✓' if p == t else '✗'}" for p, t in zip(presence, true, strict=True)],
    } | found


def show_gallery(items: Sequence[tuple[str, Episode, tuple]]) -> InlineFigure:
    """Many predictions on one page, two in a row: (title, episode, prediction as for `show`) each.

    Of each episode: one support of every way, the query's true mask and the predicted one, and for each class whether
    the query shows it, what was predicted, and the IoU.
    """
    side = (WIDTH / 2 - GUTTER) / 3 - GAP  # of an image
    most = max(len(ep.class_names) for _, ep, _ in items)
    down = 2 * LABEL + side + GAP + (most + 1) * LABEL + GUTTER / 2
    fig, ax = canvas.make_canvas(WIDTH, -(-len(items) // 2) * down)
    for i, (title, ep, prediction) in enumerate(items):
        left, top = i % 2 * WIDTH / 2, i // 2 * down
        canvas.write_heading(ax, left, top, title)
        place_episode(ax, left, top + LABEL, side, ep, *unbatch(ep, prediction))
    return fig


def place_episode(
    ax: Axes, left: float, top: float, side: float, ep: Episode, presence: list[bool], mask: np.ndarray
) -> None:
    """Supports, truth and prediction in a row of images not larger than `side` inches, with the table below."""
    truth, under = ep.query_mask.numpy(), top + LABEL
    columns = int(np.ceil(np.sqrt(len(presence))))
    small = side / columns
    for n in range(len(presence)):
        place_shot(ax, (left + n % columns * small, under + n // columns * small, small, small), ep, n, 0)
    size = canvas.fit(side, side, truth.shape[0] / truth.shape[1])
    for i, (title, marked) in enumerate({"support": None, "truth": truth, "prediction": mask}.items()):
        x = left + i * (side + GAP)
        heading = canvas.write(ax, x, top, title, color=QUIET, fontsize=SMALL_FONT)
        if marked is not None:
            canvas.place_prediction(ax, (x, under, *size), heading, ep.picture, marked)
    canvas.write_table(ax, left, under + side + GAP, ep.class_names, compare_with_truth(ep, presence, mask))
