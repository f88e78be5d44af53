"""The classes of the tiny benchmark: their symbols, and the looks (hue and texture) that their stickers may have.

A class is its shape. Every sticker draws one of the looks of its class, and each look belongs to several classes of the
fold, so colour and texture do not tell what a sticker shows.
"""

from __future__ import annotations

from ..data.classes import FOLDS
from .stickers import TEXTURES, Look, Symbol

LOOKS = 3
"""How many looks a class has, and how many classes of a Pascal fold share each look: 1 to 5.

With 1, colour alone says what a sticker shows. With 5, all classes of a fold have the same looks.
"""

PASCAL_SYMBOLS = (
    Symbol("plane", 0x2708),
    Symbol("umbrella", 0x2602),
    Symbol("phone", 0x260E, "hole"),
    Symbol("star", 0x2605),
    Symbol("heart", 0x2665),
    Symbol("shamrock", 0x2618),
    Symbol("cloud", 0x2601),
    Symbol("skull", 0x2620, "line"),
    Symbol("gear", 0x2699),
    Symbol("scissors", 0x2702),
    Symbol("anchor", 0x2693),
    Symbol("sun", 0x2600),
    Symbol("knight", 0x265E, "hole"),
    Symbol("cup", 0x2615, "line"),
    Symbol("notes", 0x266B),
    Symbol("snowflake", 0x2744),
    Symbol("yinyang", 0x262F, "hole"),
    Symbol("flower", 0x273F),
    Symbol("flag", 0x2691),
    Symbol("recycle", 0x267B),
)
COCO_SYMBOLS = PASCAL_SYMBOLS + (
    Symbol("mouse", 0x1F42D, "line"),
    Symbol("cow", 0x1F42E, "line"),
    Symbol("cat", 0x1F431, "line"),
    Symbol("monkey", 0x1F435, "line"),
    Symbol("smile", 0x263B, "hole"),
    Symbol("frown", 0x2639, "line"),
    Symbol("cool", 0x1F60E, "line"),
    Symbol("imp", 0x1F608, "line"),
    Symbol("envelope", 0x2709, "line"),
    Symbol("pencil", 0x270F, "line"),
    Symbol("nib", 0x2712, "hole"),
    Symbol("keyboard", 0x2328, "line"),
    Symbol("warning", 0x26A0, "line"),
    Symbol("atom", 0x269B, "line"),
    Symbol("urn", 0x26B1, "line"),
    Symbol("coffin", 0x26B0, "line"),
    Symbol("coin", 0x26C0, "line"),
    Symbol("drum", 0x26C3, "line"),
    Symbol("reel", 0x2707, "line"),
    Symbol("victory", 0x270C, "line"),
    Symbol("hand", 0x261B, "hole"),
    Symbol("radiation", 0x2622, "line"),
    Symbol("biohazard", 0x2623),
    Symbol("peace", 0x262E, "line"),
    Symbol("wheel", 0x2638),
    Symbol("snowman", 0x2603, "line"),
    Symbol("moon", 0x263D, "line"),
    Symbol("king", 0x265A, "hole"),
    Symbol("queen", 0x265B, "hole"),
    Symbol("rook", 0x265C, "hole"),
    Symbol("bishop", 0x265D, "hole"),
    Symbol("pawn", 0x265F, "hole"),
    Symbol("spade", 0x2660),
    Symbol("club", 0x2663),
    Symbol("die", 0x2684, "line"),
    Symbol("hammers", 0x2692),
    Symbol("alembic", 0x2697),
    Symbol("scales", 0x2696, "line"),
    Symbol("swords", 0x2694),
    Symbol("wheelchair", 0x267F),
    Symbol("lily", 0x269C),
    Symbol("tulip", 0x2698),
    Symbol("house", 0x2302, "line"),
    Symbol("knot", 0x2318),
    Symbol("leaf", 0x2767),
    Symbol("vine", 0x2766),
    Symbol("steam", 0x2668, "line"),
    Symbol("benzene", 0x232C, "line"),
    Symbol("nut", 0x23E3, "line"),
    Symbol("arrow", 0x27A1),
    Symbol("tick", 0x2714),
    Symbol("burst", 0x2739),
    Symbol("spark", 0x2738),
    Symbol("maltese", 0x2720),
    Symbol("asterisk", 0x2731),
    Symbol("quatrefoil", 0x2724),
    Symbol("medal", 0x272A, "hole"),
    Symbol("daisy", 0x2741, "line"),
    Symbol("rosette", 0x2742, "line"),
    Symbol("card", 0x1F0A0, "line"),
)


def list_pascal_looks(class_id: int) -> list[Look]:
    """The `LOOKS` looks of a Pascal class."""
    fold, place = divmod(class_id - 1, 5)
    return list_looks(fold, place)


def list_coco_looks(class_id: int) -> list[Look]:
    """The `LOOKS` looks of a COCO class; its 20 classes a fold share five looks, as the 5 of a Pascal fold do."""
    place, fold = divmod(class_id - 1, FOLDS)
    return list_looks(fold, place)


def list_looks(fold: int, place: int) -> list[Look]:
    """The looks of the class at `place` in its fold: those at place, place + 1 … of the fold's five, in a circle.

    The five looks of a fold are a fifth of the colour circle apart and differ in texture; no two folds share a look.
    """
    looks = len(TEXTURES)
    return [
        Look(at / looks + fold / (looks * FOLDS), TEXTURES[(at + fold) % looks], dark=(at + fold) % 2 == 0)
        for at in ((place + step) % looks for step in range(LOOKS))
    ]


def to_category_id(class_id: int) -> int:
    """The COCO category id of a class: with gaps, as in the real annotations."""
    return class_id + (class_id - 1) // 8
