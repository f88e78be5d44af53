"""Draws the tiny benchmark: symbol stickers in the file layout of VOC 2012 and COCO 2014. Nobody needs to read this."""

from .scenes import draw_tiny, ensure_tiny

__all__ = ["draw_tiny", "ensure_tiny"]
