"""Paints one picture of the tiny benchmark: textured, glossy stickers on soft clouds.

Colours, light and clouds may differ between machines in the last bit of a pixel; masks never do (see `stickers`).

Letters: H W picture height and width.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from .stickers import CELLS, CLUTTER_CODES, Scene, Sticker, Symbol, cut_out, shift

HUE_SPREAD = 0.03  # largest distance of a sticker's hue from its look's hue, in turns
EVENING = 0.2  # share of dark backgrounds
CLUTTER = (2, 7)  # least and (excluded) most small shapes behind the stickers that belong to no class

LAB_TO_CONE = ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
CONE_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def convert_oklch(light: float, chroma: float, hue: float) -> np.ndarray:
    """OKLCH (light 0-1, chroma 0-0.3, hue in turns) to sRGB (3, 1, 1) float32 0-1, with chroma lowered until it fits.

    Unlike in HSV, equal steps of hue look about equally large. Source: B. Ottosson, "A perceptual color space for image
    processing", 2020.
    """
    while True:
        a, b = chroma * math.cos(2 * math.pi * hue), chroma * math.sin(2 * math.pi * hue)
        cone = np.array([light + at_a * a + at_b * b for at_a, at_b in LAB_TO_CONE])
        linear = CONE_TO_RGB @ cone**3
        if (linear.min() >= -1e-3 and linear.max() <= 1.001) or chroma < 1e-3:
            linear = np.clip(linear, 0, 1)
            gamma = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
            return gamma.astype(np.float32)[:, None, None]
        chroma *= 0.94


def choose_tones(hue: float, dark: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first tone, the second tone and the dark tone of inner lines for a hue: sRGB (3, 1, 1) each."""
    light = 0.68 + 0.13 * math.cos(2 * math.pi * (hue - 0.29))  # yellow is light, blue and violet are deep
    second = light - 0.24 if dark else min(light + 0.22, 0.96)
    return (
        convert_oklch(light, 0.19, hue),
        convert_oklch(second, 0.13 if dark else 0.09, hue),
        convert_oklch(0.28, 0.07, hue),
    )


def make_clouds(shape: tuple[int, int], grain: float, r) -> np.ndarray:
    """Smooth noise (H, W) float32, 0-1, of two sizes of lumps, the larger `grain` pixels wide."""
    height, width = shape
    out = np.zeros(shape, np.float32)
    for step, weight in ((grain, 0.7), (grain / 2.5, 0.3)):
        small = r.rand(int(height / step) + 3, int(width / step) + 3).astype(np.float32)
        box = (0.5, 0.5, 0.5 + width / step, 0.5 + height / step)
        out += weight * np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC, box=box))
    low, high = out.min(), out.max()
    return (out - low) / (high - low + 1e-6)


def make_texture(kind: str, shape: tuple[int, int], degrees: float, period: float, r) -> np.ndarray:
    """How much of the second tone each pixel gets: (H, W) float32, 0-1. period: of the pattern, in pixels."""
    if kind == "plain":
        return 0.12 * make_clouds(shape, 3 * period, r)
    if kind == "clouds":
        lumps = make_clouds(shape, 1.6 * period, r)
        return np.clip((lumps - 0.5) * 4 + 0.5, 0, 1)
    turn = math.radians(degrees)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    frequency = 2 * math.pi / period
    u = np.sin((math.cos(turn) * x + math.sin(turn) * y) * frequency + r.uniform(0, 6.28))
    if kind == "stripes":
        return np.clip(u * period / 5 + 0.5, 0, 1)
    v = np.sin((math.cos(turn) * y - math.sin(turn) * x) * frequency + r.uniform(0, 6.28))
    if kind == "checks":
        return np.clip(u * v * period / 4 + 0.5, 0, 1)
    return np.clip((u + v - 0.75) * period / 6 + 0.5, 0, 1)  # dots


def _blur(cover: np.ndarray, radius: float) -> np.ndarray:
    """Soften a coverage: (H, W) float32 0-1, before and after."""
    picture = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(picture, np.float32) / 255


def _mix(canvas: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix canvas and other, each (3, H, W) or (3, 1, 1), by share (H, W): 0 is all canvas."""
    return canvas + (other - canvas) * share


def _find_window(sticker: Sticker, margin: int) -> tuple[slice, slice]:
    """The rows and columns that a sticker takes, with `margin` pixels round it."""
    spans = (np.flatnonzero(sticker.cover.any(axis)) for axis in (1, 0))
    rows, columns = (slice(max(span[0] - margin, 0), span[-1] + 1 + margin) for span in spans)
    return rows, columns


def paint_sticker(canvas: np.ndarray, sticker: Sticker, sun: tuple[float, float], r) -> None:
    """Paint one sticker on canvas (3, H, W) in place. sun: (x, y), the unit vector towards the light."""
    size, look = sticker.size, sticker.look
    window = _find_window(sticker, int(0.12 * size) + 4)
    counts = (sticker.cover, sticker.body, sticker.lines)
    cover, body, lines = (count[window].astype(np.float32) / CELLS**2 for count in counts)
    below = canvas[:, *window]
    first, second, dark = choose_tones(look.hue + r.uniform(-HUE_SPREAD, HUE_SPREAD), look.dark)

    shadow = _blur(shift(cover, -sun[1] * 0.035 * size, -sun[0] * 0.035 * size), 0.03 * size)
    below[...] = _mix(below, 0.35 * below, 0.62 * shadow)

    period = 0.055 * size + 8
    pattern = make_texture(
        look.texture, cover.shape, sticker.degrees + r.uniform(20, 70), period * r.uniform(0.9, 1.1), r
    )
    face = _mix(first, second, pattern)
    face = _mix(face, dark, 0.85 * lines)
    border = first + (1 - first) * 0.78
    face = _mix(border, face, body)

    edge_y, edge_x = np.gradient(_blur(cover, 0.018 * size + 0.6))
    pillow_y, pillow_x = np.gradient(_blur(cover, 0.07 * size))
    facing = -(edge_x * sun[0] + edge_y * sun[1]) * 0.018 * size * 0.55
    rounded = -(pillow_x * sun[0] + pillow_y * sun[1]) * 0.07 * size * 0.75
    face = face * (1 + np.clip(facing + rounded, -0.45, 0.45))
    slope = 0.07 * size * 2.2
    gloss = np.exp(-((pillow_x * slope + 0.62 * sun[0]) ** 2 + (pillow_y * slope + 0.62 * sun[1]) ** 2) / 0.035)
    face = _mix(face, np.float32(1), 0.5 * gloss * body)
    below[...] = _mix(below, face, cover)


def paint_background(shape: tuple[int, int], r, evening: float = EVENING) -> np.ndarray:
    """Soft coloured clouds (3, H, W) float32, dark ones with probability `evening`."""
    hue, dark = r.rand(), r.rand() < evening
    light, chroma = (0.48, 0.055) if dark else (0.86, 0.05)
    light += r.uniform(-0.06, 0.05)
    low = convert_oklch(light - 0.07, chroma, hue + r.uniform(-0.12, 0.12))
    high = convert_oklch(min(light + 0.10, 0.97), chroma * 0.6, hue)
    return _mix(low, high, make_clouds(shape, 0.4 * min(shape), r))


def paint_clutter(canvas: np.ndarray, sun: tuple[float, float], r) -> None:
    """Paint small pale shapes that belong to no class on canvas (3, H, W) in place."""
    height, width = canvas.shape[1:]
    for _ in range(r.randint(*CLUTTER)):
        symbol = Symbol("clutter", int(r.choice(CLUTTER_CODES)))
        size = min(height, width) * r.uniform(0.06, 0.17)
        sticker = cut_out(symbol, (height, width), size, (r.uniform(0, width), r.uniform(0, height)), r)
        if not sticker.cover.any():
            continue
        window = _find_window(sticker, 8)
        cover = sticker.cover[window].astype(np.float32) / CELLS**2
        shade = _blur(shift(cover, -3 * sun[1], -3 * sun[0]), 2.5)
        below = canvas[:, *window]
        below[...] = _mix(below, 0.5 * below, 0.35 * shade)
        below[...] = _mix(below, convert_oklch(r.uniform(0.45, 0.92), 0.03, r.rand()), 0.9 * cover)


def paint_scene(scene: Scene, r) -> np.ndarray:
    """The picture of a scene: (H, W, 3) uint8. r: a RandomState for paint alone."""
    angle = r.uniform(1.15, 1.85) * math.pi  # from above, left or right
    sun = (math.cos(angle), math.sin(angle))
    canvas = paint_background(scene.shape, r)
    paint_clutter(canvas, sun, r)
    for sticker in scene.decoys + scene.stickers:
        paint_sticker(canvas, sticker, sun, r)
    height, width = scene.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    lamp = r.uniform(0.9, 1.06) + r.uniform(0.03, 0.12) * (x * sun[0] + y * sun[1])
    grain = r.standard_normal(scene.shape).astype(np.float32) * 0.008
    return to_pixels(canvas * lamp + grain)


def to_pixels(canvas: np.ndarray) -> np.ndarray:
    """Canvas (3, H, W) float, 0-1, to pixels (H, W, 3) uint8."""
    return np.ascontiguousarray((np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
