"""Reading images and masks, and bringing them to the size and range that a learner takes (chapter 02).

Letters: S image side, H W size of a picture.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..learners.maps import VOID
from .files import MAX_PIXELS
from .palettes import find_moved_colour

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
"""Mean of ImageNet's images, a value for each of red, green and blue."""
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
"""Standard deviation of ImageNet's images, in the same order."""


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientations: how to turn what is stored so that it is upright."""
ORIENTATION = 0x0112

TWELVE_BITS = 4095
"""A photograph of 16 bits with no larger number is black to the eye; it was probably made with 12 bits."""

CONVERT = "convert it to JPEG or PNG with 8 bits a channel"
NO_PICTURES = {
    rb"....ftyp(hei|hev|mif1|msf1)": ("a HEIC photograph, as phones save them", CONVERT),
    rb"....ftypavi": ("an AVIF photograph", CONVERT),
    rb"....ftyp": ("a film", "give a photograph"),
    rb"\xff\x0a|\0\0\0\x0cJXL ": ("a JPEG XL photograph", CONVERT),
    rb"II\*\0|MM\0\*": ("a TIFF of a kind that is not read here", CONVERT),
    rb"%PDF": ("a PDF document", CONVERT),
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg": ("an SVG drawing", CONVERT),
    rb"\s*<(!doctype )?html": ("a web page", "fetch the photograph itself"),
    rb"version https://git-lfs": ("a pointer of Git LFS", "run `git lfs pull`"),
    rb"PK\x03\x04": ("a zip archive", "unpack it"),
}
"""How files begin that are no picture, or none that is read here: what they are, and what to do."""


@contextmanager
def open_image(path: str | Path, load: bool = True) -> Iterator[Image.Image]:
    """A context with the image of a file; whatever is wrong with the file is one `InputError` that names it.

    load: decode it; otherwise only its head is read, which tells size and kind.
    """
    path = Path(path)
    try:
        image = Image.open(path)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(
                f"{path} claims {image.width} x {image.height} pixels; resize it to fewer than "
                f"{MAX_PIXELS // 1_000_000} million."
            )
        if load:
            image.load()
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} is missing; see data/README.md for what goes where.") from None
    except PermissionError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); change its permissions.") from None
    except MemoryError:
        raise
    except Exception as error:  # a broken file can fail in any way
        kind, remedy = find_kind(path) or (f"no whole picture ({error})", "fetch or make it again")
        raise InputError(f"{path} is {kind}; {remedy}.") from error
    with image:
        yield image


def find_kind(path: Path) -> tuple[str, str] | None:
    """What a file is that is no picture, whatever its name, and what to do about it; None if that is not known."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError:
        return None
    return next((kind for begin, kind in NO_PICTURES.items() if re.match(begin, head, re.DOTALL | re.IGNORECASE)), None)


def find_turn(image: Image.Image) -> Image.Transpose | None:
    """How an image has to be turned to be upright, None if not at all or if its EXIF data are spoiled."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # spoiled EXIF data can fail in any way; viewers do not turn such an image either
        return None


def check_mask_size(path: Path, mask_path: Path, shape: tuple[int, int]) -> None:
    """Raise `InputError` unless a picture has the size (H, W) of its mask, as it is stored or turned upright.

    The picture is not decoded.
    """
    with open_image(path, load=False) as image:
        stored, turn = (image.height, image.width), find_turn(image)
    upright = stored[::-1] if turn in (TURNS[5], TURNS[6], TURNS[7], TURNS[8]) else stored
    if shape not in (stored, upright):
        raise InputError(explain_sizes(mask_path, shape, path, upright))


def explain_sizes(mask_path: Path, mask: tuple[int, int], path: Path, picture: tuple[int, int]) -> str:
    """A sentence for a mask and a picture of other sizes (H, W)."""
    return (
        f"{mask_path} is {mask[1]} x {mask[0]} pixels, its picture {path.name} {picture[1]} x {picture[0]}; make the "
        "mask of the same size."
    )


def read_image(path: str | Path, stored: tuple[int, int] | None = None) -> Image.Image:
    """An RGB image, turned upright as its EXIF orientation says; raises `InputError` for a missing or broken file.

    stored: (H, W) of the mask that belongs to it, if there is one. The masks of the data sets are made for the pixels
    in the order in which the file stores them, so an image that is stored in exactly this size is not turned.
    """
    with open_image(path) as image:
        turn = None if (image.height, image.width) == stored else find_turn(image)
        rgb = to_rgb(image, path)
    return rgb if turn is None else rgb.transpose(turn)


def to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    """An image in RGB with 8 bits a channel. Raises `InputError` for numbers whose black and white are not known.

    Pillow cuts larger numbers off: an image of 16 bits would become white.
    """
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode.startswith("I;16") and high > TWELVE_BITS:
        return Image.fromarray((values / 257).round().astype(np.uint8)).convert("RGB")
    if not (low >= 0 and 1 < high <= 255) or image.mode.startswith("I;16"):
        raise InputError(
            f"{path} holds numbers from {low:.4g} to {high:.4g} in mode {image.mode}, so what is white is not known; "
            f"{CONVERT}."
        )
    return image.convert("RGB")


def read_mask(path: str | Path, classes: int) -> np.ndarray:
    """A class-id mask (H, W) uint8 from a palette or grey PNG: values 0 … classes, and 255 for void.

    Raises `InputError` for a file that is missing, broken, coloured, or holds other values, and for a palette whose
    colours were put into another order.
    """
    with open_image(path) as image:
        if image.mode not in ("P", "L", "1"):
            raise InputError(f"{path} has mode {image.mode}; a mask is a palette or grey PNG of class ids.")
        mask = np.array(image, dtype=np.uint8)
        if image.mode == "P" and (moved := find_moved_colour(image, classes)):
            raise InputError(
                f"{path} holds the value {moved[0]} with the colour of class {moved[1]}; an image editor has put its "
                "palette into another order, export it again with the palette of VOC, or as a grey PNG of class ids."
            )
    stray = mask[(mask > classes) & (mask != VOID)]
    if stray.size:
        raise InputError(f"{path} holds the value {stray[0]}; a mask holds 0…{classes} and 255 for void.")
    return mask


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """An RGB image as a float tensor (3, S, S): resized bilinearly, normalised by ImageNet's mean and deviation."""
    pixels = np.array(image.resize((size, size), Image.Resampling.BILINEAR))
    return (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - MEAN) / STD


def to_image(tensor: Tensor) -> np.ndarray:
    """A normalised tensor (3, S, S) as pixels (S, S, 3) uint8 that can be looked at: the inverse of `to_tensor`."""
    pixels = tensor.cpu().permute(1, 2, 0).numpy() * STD.flatten().numpy() + MEAN.flatten().numpy()
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def resize_nearest(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (H, W) resized to (S, S): each pixel takes the value of the nearest, as PyTorch's `interpolate` does."""
    return F.interpolate(torch.from_numpy(mask)[None, None], (size, size), mode="nearest")[0, 0].numpy()
