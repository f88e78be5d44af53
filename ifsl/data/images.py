"""Reading images and masks, and bringing them to the size and range that a learner takes (chapter 02).

Letters: S image side, H W size of a picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import InputError
from ..learners.maps import VOID
from .files import MAX_PIXELS

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
"""Mean of ImageNet's images, a value for each of red, green and blue."""
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
"""Standard deviation of ImageNet's images, in the same order."""


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """A context with the decoded image of a file; whatever is wrong with the file is one `InputError` that names it."""
    path = Path(path)
    try:
        image = Image.open(path)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(
                f"{path} claims {image.width} x {image.height} pixels; resize it to fewer than "
                f"{MAX_PIXELS // 1_000_000} million."
            )
        image.load()
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} is missing; see data/README.md for what goes where.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no whole picture ({error}); fetch or make it again.") from error
    with image:
        yield image


def read_image(path: str | Path, stored: tuple[int, int] | None = None) -> Image.Image:
    """An RGB image, turned upright as its EXIF orientation says; raises `InputError` for a missing or broken file.

    stored: (H, W) of the mask that belongs to it, if there is one. The masks of the data sets are made for the pixels
    in the order in which the file stores them, so an image that is stored in exactly this size is not turned.
    """
    with open_image(path) as image:
        if (image.height, image.width) != stored:
            image = ImageOps.exif_transpose(image)
        return image.convert("RGB")


def read_mask(path: str | Path, classes: int) -> np.ndarray:
    """A class-id mask (H, W) uint8 from a palette or grey PNG: values 0 … classes, and 255 for void.

    Raises `InputError` for a file that is missing, broken, coloured, or holds other values.
    """
    with open_image(path) as image:
        if image.mode not in ("P", "L", "1"):
            raise InputError(f"{path} has mode {image.mode}; a mask is a palette or grey PNG of class ids.")
        mask = np.array(image, dtype=np.uint8)
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
