"""Makes the tiny benchmark: symbol stickers in the file layout of VOC 2012 and COCO 2014.

The course shows its pictures, not its code.
"""

from .make import ensure_tiny, make_tiny

__all__ = ["ensure_tiny", "make_tiny"]
