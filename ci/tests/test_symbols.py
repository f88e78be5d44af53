"""Every symbol of the chapters is in the table of chapter 00, and there once."""

import re
from collections import Counter

import pytest
from test_notebooks import CHAPTERS, read, text_of

LETTER = re.compile(r"\\[A-Za-z]+|[A-Za-z]'*")
GREEK = {"beta", "delta", "Delta", "epsilon", "kappa", "mu", "nu", "phi", "Phi", "rho", "sigma", "tau", "Theta", "Pr"}
MARKS = r"\\(?:text|operatorname)\{[^}]*\}|\\mathrm\{(?!Key)[^}]*\}|\\begin\{\w+\}|\\end\{\w+\}|\\mathbb\{R\}"


def formulae(text: str) -> list[str]:
    """What stands between dollars, in lines and in text; code is left out."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^ {4}.*$", "", text)
    return ["".join(pair) for pair in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", text, re.DOTALL)]


def symbols(formula: str) -> set[str]:
    """Letters and Greek letters of a formula, primes included; words, functions and layout are left out."""
    formula = re.sub(MARKS, " ", formula).replace(r"\mathrm{Key}", r"\Key ").replace(r"\mathcal{L}", r"\Loss ")
    found = set(LETTER.findall(formula))
    named = {name for name in found if name[0] == "\\"}
    return found - named | {name for name in named if name[1:] in GREEK | {"Key", "Loss"}}


def table() -> list[str]:
    text = text_of(read(CHAPTERS[0])).partition("## Symbols")[2].partition("## What runs where")[0]
    return [line.split("|")[1] for line in text.splitlines() if line.startswith("| $")]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_symbol_is_in_the_table(path) -> None:
    known = set().union(*(symbols(formula) for first in table() for formula in formulae(first)))
    text = text_of(read(path))
    used = set().union(*(symbols(formula) for formula in formulae(text)))
    missing = {name for name in used if name.rstrip("'") not in known}
    assert not missing, f"{path.stem} uses {sorted(missing)}, which the table of symbols does not have"


def test_the_table_has_each_symbol_once() -> None:
    """Marks count: a hat, a prime or a star makes another symbol of the same letter."""
    listed = [one for first in table() for one in re.findall(r"\$([^$]+)\$", first)]
    twice = [one for one, count in Counter(listed).items() if count > 1]
    assert len(listed) > 60 and not twice
