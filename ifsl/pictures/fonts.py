"""Fonts for class names in any script (chapter 14)."""

import unicodedata
import warnings
from functools import cache
from itertools import groupby

from matplotlib import font_manager, rcParams


@cache
def find_fonts(text: str) -> list[str]:
    """Families for a text: the usual one and, if it lacks letters, an installed one for each script that it lacks."""
    families, lacking = list(rcParams["font.family"]), lacking_letters(text, default_letters())
    for path in installed_fonts() if lacking else ():
        found = lacking - lacking_letters(text, letters_of(path))
        if found:
            font_manager.fontManager.addfont(path)
            families.append(font_manager.FontProperties(fname=path).get_name())
            lacking -= found
        if not lacking:
            break
    return families


@cache
def replace_strange(text: str, instead: str) -> str:
    """A text with `instead` for every run of letters that no installed font has, and a warning that says so."""
    lacking = lacking_letters(text, default_letters())
    for path in installed_fonts() if lacking else ():
        lacking &= lacking_letters(text, letters_of(path))
    if not lacking:
        return text
    warnings.warn(
        f"No font on this computer has the letters of {text!r}, so {instead!r} is written; install one that has them, "
        "such as a Noto font of that script.",
        stacklevel=2,
    )
    runs = groupby(text, key=lambda letter: letter in lacking)
    return "".join(instead if strange else "".join(run) for strange, run in runs)


def lacking_letters(text: str, letters: frozenset[int]) -> set[str]:
    """The letters of a text that are not among `letters`; spaces and marks that only join letters do not count."""
    return {c for c in text if ord(c) not in letters and unicodedata.category(c) not in ("Cf", "Zs")}


def default_letters() -> frozenset[int]:
    """The letters of the font that everything else is written in."""
    return letters_of(font_manager.findfont(font_manager.FontProperties()))


@cache
def installed_fonts() -> tuple[str, ...]:
    """The files of the fonts on this computer."""
    return tuple(sorted(font_manager.findSystemFonts()))


@cache
def letters_of(path: str) -> frozenset[int]:
    """The letters that a font file has; none of one that cannot be drawn, such as a font of coloured pictures."""
    try:
        font = font_manager.get_font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except Exception:  # a broken font can fail in any way
        return frozenset()
