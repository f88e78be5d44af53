"""What all figures of the course share: colours, sizes, and the pieces that they are put together from.

One visual language: way n has the same colour and the same number everywhere, and the background is grey. There are two
kinds of figures. On a *canvas* every image and every line of text is placed in inches from the top left corner; in a
*grid* each image or map has axes of its own, with a title above it and a note below. Nothing is shown by the functions
here, and pyplot keeps nothing.

Letters: N ways, h w map size, S image side, H W image size.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ..data.episodes import Episode
from ..data.images import to_image
from ..learners.maps import VOID, resize
from .fonts import find_fonts, replace_strange

WAY_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00")
"""Ways 1 to 5, from the palette of Okabe & Ito (2008), which colour-blind people can tell apart."""
BACKGROUND = "#8C8C8C"
INK, QUIET = "#222222", "#666666"
DARK, SOFT, LIGHT = "#2B4C6F", "#9DB6CF", "#E4E6E8"  # of what is not a way
LINES = ("#332288", "#CC6677", "#117733", "#882255", "#999933", "#44AA99")
"""Lines of what is not a way, such as learners: from the muted palette of Tol (2021)."""
HEAT = "cividis"
"""Colours of probabilities and cosines, from 0 (dark) to 1 (light): readable for colour-blind people and in grey."""
TINT = 0.3  # how much of a pixel inside a mask is the way's colour
OUTLINE, RIM = 4.5, 2  # half pixels, the outline of a mask and the white line round it

WIDTH = 9.5  # inches, a notebook's column
DPI = 100
LABEL, GAP, GUTTER = 0.27, 0.07, 0.3  # inches: a line of text; between images; between blocks
FONT, SMALL_FONT = 9.5, 8.5

SAVE_OPTIONS = {"jpeg": {"quality": 90, "subsampling": 0}, "png": {"optimize": True}}


class InlineFigure(Figure):
    """A figure that shows itself in a notebook, without pyplot and in few bytes."""

    def encode(self) -> tuple[str, bytes]:
        """("jpeg" or "png", the bytes): JPEG if there are photographs or maps, PNG for lines and text alone."""
        kind = "jpeg" if any(ax.images for ax in self.axes) else "png"
        return kind, save(self, kind, DPI)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        kind, data = self.encode()
        return {f"image/{kind}": data, "text/plain": repr(self)}


def save(fig: Figure, kind: str, dpi: int) -> bytes:
    """A figure as a file, "jpeg" or "png"."""
    file = BytesIO()
    fig.savefig(file, format=kind, dpi=dpi, pil_kwargs=SAVE_OPTIONS[kind])
    return file.getvalue()


# Colours, words and masks ---------------------------------------------------------------------------------------------


def way_colour(n: int) -> str:
    """The colour of way n, counted from 1; 0 is the background. Beyond five ways the colours repeat."""
    return BACKGROUND if n == 0 else WAY_COLOURS[(n - 1) % len(WAY_COLOURS)]


def rgb(colour: str) -> np.ndarray:
    """`#RRGGBB` to (3,) floats 0…255."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def yes(flag: bool) -> str:
    return "yes" if flag else "no"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def compute_iou(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Intersection over union of two boolean masks of one shape, 0…1; None where both are empty."""
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else None


def overlay(image: np.ndarray, mask: np.ndarray, tint: float = TINT) -> np.ndarray:
    """An image (H, W, 3) uint8 in its own colours, with the ways of a mask (H, W) of 0, n and 255 tinted and outlined.

    Inside a mask, the share `tint` of each pixel is the way's colour and the rest is the image's own. The outline is
    the way's colour alone, and outside it there is a thin white line, so that it can be seen on a photograph of any
    colour. Void pixels (255) are tinted and outlined in white.
    """
    out = image.astype(float)
    for n in np.unique(mask[mask > 0]):
        inside = mask == n
        colour = np.full(3, 255.0) if n == VOID else rgb(way_colour(n))
        out[inside] += tint * (colour - out[inside])
        out[inside & (depth(inside) <= OUTLINE)] = colour
        out[(mask == 0) & (distance_transform_edt(~inside) <= RIM)] = 255
    return out.round().astype(np.uint8)


def overlay_finely(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`overlay` at twice the size, (2H, 2W, 3), so that the outline is thin."""
    return overlay(*(a.repeat(2, axis=0).repeat(2, axis=1) for a in (image, mask)))


def depth(inside: np.ndarray) -> np.ndarray:
    """How far each pixel of a mask (H, W) bool is from its edge, in pixels; the image's border is an edge, too."""
    return distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]


def fade(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A support (H, W, 3) uint8 whose pixels off the mask (H, W) are grey and pale. Queries are never faded."""
    grey = image.mean(axis=2, keepdims=True)
    return np.where(mask[..., None] > 0, image, grey + 0.25 * (255 - grey)).round().astype(np.uint8)


def mark_support(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A support (S, S, 3) uint8: its mask (S, S) of 0 and 1 outlined in the colour of way 1, the rest faded."""
    return overlay(fade(image, mask), mask, tint=0)


def support_image(ep: Episode, n: int = 0, k: int = 0) -> np.ndarray:
    """Shot k of way n, both counted from 0, as `mark_support` shows it: (S, S, 3) uint8."""
    return mark_support(to_image(ep.supports[n, k]), ep.masks[n, k].byte().numpy())


def square_query(ep: Episode) -> tuple[np.ndarray, np.ndarray]:
    """The query (S, S, 3) uint8 and its true mask (S, S) uint8 at the size that a learner sees."""
    query = to_image(ep.query)
    return query, np.asarray(Image.fromarray(ep.query_mask.numpy()).resize(query.shape[1::-1], Image.NEAREST))


def mask_of(foreground: Tensor, side: int) -> np.ndarray:
    """Where a map (h, w) of probabilities, resized to (side, side), reaches 0.5, as uint8."""
    return (resize(foreground[None, None], (side, side))[0, 0] >= 0.5).byte().numpy()


def colour_features(*maps: Tensor) -> list[np.ndarray]:
    """Feature maps (D, h, w) as (h, w, 3) colours 0…1 with directions and scale in common; cells of zeros are grey.

    The three strongest directions of all cells become red, green and blue: cells with similar colours have similar
    features.
    """
    cells = torch.cat([values.flatten(1).T for values in maps])
    some = cells[cells.abs().sum(dim=1) > 0]
    _, _, directions = torch.linalg.svd(some - some.mean(dim=0), full_matrices=False)
    low, high = ((some @ directions[:3].T).quantile(share, dim=0) for share in (0.02, 0.98))
    images = []
    for values in maps:
        colours = ((values.movedim(0, -1) @ directions[:3].T - low) / (high - low)).clamp(0, 1)
        colours[(values == 0).all(dim=0)] = torch.tensor(to_rgb(LIGHT))
        images.append(colours.numpy())
    return images


# On a canvas, in inches from the top left corner ----------------------------------------------------------------------

Frame = tuple[float, float, float, float]
"""Left, top, width, height in inches."""


def make_canvas(across: float, down: float, kind: type[InlineFigure] = InlineFigure) -> tuple[InlineFigure, Axes]:
    """A figure of a size in inches, and axes over all of it whose units are inches from the top left corner."""
    across, down = round(across * DPI) / DPI, round(down * DPI) / DPI  # whole pixels
    fig = kind(figsize=(across, down), dpi=DPI)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, across), ylim=(down, 0))
    ax.set_axis_off()
    return fig, ax


def fit(width: float, height: float, aspect: float) -> tuple[float, float]:
    """The largest size of an aspect (height by width) that fits into a width and a height."""
    width = min(width, height / aspect)
    return width, width * aspect


def place_image(
    ax: Axes, frame: Frame, image: np.ndarray, mask: np.ndarray | None = None, sharp: int = 1, tint: float = TINT
) -> None:
    """An image (H, W, 3) in a frame, with its mask (H, W) over it if there is one; sharp: pixels for each of DPI."""
    left, top, width, height = frame
    fine = 2 * sharp * DPI  # twice as fine as it is seen, for smooth outlines
    size = round(fine * width), round(fine * height)
    seen = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    if mask is not None:
        mask_seen = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
        seen = Image.fromarray(overlay(np.asarray(seen), mask_seen, tint))
    ax.imshow(seen.reduce(2), extent=(left, left + width, top + height, top), aspect="auto")


def place_prediction(ax: Axes, frame: Frame, title: Text, image: np.ndarray, mask: np.ndarray) -> None:
    """An image (H, W, 3) with its mask (H, W) over it; the numbers of the ways in the mask follow the title above it.

    So a number never covers what is marked, nor what should have been.
    """
    place_image(ax, frame, image, mask)
    right = title.get_window_extent().x1 / ax.figure.dpi
    for i, n in enumerate(np.unique(mask[(mask > 0) & (mask != VOID)]).tolist()):
        place_number(ax, right + 0.16 + 0.2 * i, title.get_position()[1], n)


def place_number(ax: Axes, x: float, y: float, n: int) -> None:
    """The number of a way, on its colour."""
    disc = {"boxstyle": "circle,pad=0.18", "facecolor": way_colour(n), "edgecolor": "white", "linewidth": 0.8}
    ax.text(x, y, str(n), ha="center", va="center_baseline", fontsize=SMALL_FONT, color=INK, bbox=disc)


def write(ax: Axes, left: float, top: float, text: str, **style) -> Text:
    """A line of text in the middle of a `LABEL` under `top`."""
    style = {"fontsize": FONT, "color": INK, "va": "center_baseline", "family": find_fonts(text)} | style
    return ax.text(left, top + LABEL / 2, text, **style)


def write_heading(ax: Axes, left: float, top: float, text: str) -> Text:
    return write(ax, left, top, text, fontweight="bold")


def write_class(ax: Axes, left: float, top: float, n: int, name: str) -> None:
    """The way's number, then the class name; where no font has its letters, "class n"."""
    place_number(ax, left + 0.1, top + LABEL / 2, n)
    write(ax, left + 0.25, top, replace_strange(name, f"class {n}"))


def write_table(ax: Axes, left: float, top: float, names: Sequence[str], columns: dict[str, list[str]]) -> None:
    """A line for each class, a column for each {title: cells}."""
    for i, (title, cells) in enumerate(columns.items()):
        x = left + 1.4 + (i + 1) * 0.85
        write(ax, x, top, title, ha="right", fontsize=SMALL_FONT, color=QUIET)
        for n, cell in enumerate(cells, start=1):
            write(ax, x, top + n * LABEL, cell, ha="right")
    for n, name in enumerate(names, start=1):
        write_class(ax, left, top + n * LABEL, n, name)


# In a grid of axes ----------------------------------------------------------------------------------------------------


def make_grid(rows: int, columns: int, aspect: float, extra: float = 0.4) -> tuple[InlineFigure, np.ndarray]:
    """A figure of `rows` x `columns` axes for images of an aspect (height by width), at most a notebook wide.

    extra: inches for the titles of a row.
    """
    side = min(2.4, (WIDTH - 0.9) / columns)
    size = (columns * side + 0.9, rows * (side * aspect + extra) + 0.1)
    fig = InlineFigure(figsize=size, dpi=DPI, layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    return fig, axes


def show_image(ax: Axes, image: np.ndarray, title: str, note: str = "", **style) -> None:
    """An image with its title, and a note under it."""
    ax.imshow(image, aspect="auto", **style)
    ax.set_title(title, fontsize=FONT, color=INK)
    write_note(ax, note)


def show_map(ax: Axes, values: Tensor, title: str, colour: str | None = None, note: str = "") -> None:
    """A map (h, w) of values 0…1 as cells, without smoothing, in a frame of a colour; a note under it."""
    show_image(ax, values.detach().cpu().numpy(), title, note, cmap=HEAT, vmin=0, vmax=1, interpolation="nearest")
    if colour:
        ax.spines[:].set(visible=True, color=colour, linewidth=2.5)


def write_note(ax: Axes, note: str) -> None:
    ax.set_xlabel(note, fontsize=SMALL_FONT, color=QUIET)


def outline(ax: Axes, inside: np.ndarray) -> None:
    """A white line round cells (h, w) bool, along their edges."""
    if inside.any():
        fine = np.kron(np.pad(inside, 1), np.ones((8, 8)))
        extent = (-1.5, inside.shape[1] + 0.5, -1.5, inside.shape[0] + 0.5)
        ax.contour(fine, [0.5], colors="white", linewidths=1.6, extent=extent)
        ax.set(xlim=(-0.5, inside.shape[1] - 0.5), ylim=(inside.shape[0] - 0.5, -0.5))


def outline_mask(ax: Axes, mask: np.ndarray, grid: Sequence[int] | None = None) -> None:
    """A white line round a mask (H, W) on an image, or on a map of `grid` cells (h, w)."""
    if not mask.any():
        return
    height, width = grid or mask.shape
    extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    for colour, thickness in ((INK, 2.6), ("white", 1.3)):
        ax.contour(mask > 0, [0.5], colors=colour, linewidths=thickness, extent=extent)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def mark_point(ax: Axes, point: tuple[float, float], width: int, height: int) -> None:
    """Two lines through a point (x and y as shares) of an image of so many pixels."""
    for line, style in ((ax.axvline, {"x": point[0] * width}), (ax.axhline, {"y": point[1] * height})):
        line(**style, color="white", linewidth=2.6)
        line(**style, color=INK, linewidth=1.2)


def add_colour_bar(fig: InlineFigure, axes: np.ndarray, label: str) -> None:
    """The colour bar of `show_map`."""
    bar = fig.colorbar(ScalarMappable(cmap=HEAT), ax=axes, shrink=0.9, pad=0.01, aspect=18)
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)
