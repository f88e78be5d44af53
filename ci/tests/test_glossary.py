"""The glossary: in order, each term once, explained and linked to a chapter that exists."""

import re

from conftest import REPOSITORY

PAGE = REPOSITORY / "notebooks" / "glossary.md"
ENTRY = re.compile(r"- \*\*(?P<term>[^*]+)\*\*: (?P<text>.+\.) \[Chapter (?P<number>\d\d)\]\((?P<file>[^)]+)\)")


def entries() -> list[dict[str, str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("- ")]
    found = [ENTRY.fullmatch(line) for line in lines]
    assert all(found), lines[found.index(None)]
    return [one.groupdict() for one in found]


def key(term: str) -> str:
    return re.sub(r"<.*?>|[^a-z0-9 ]", "", term.lower())


def test_terms_are_in_order_and_occur_once() -> None:
    terms = [key(one["term"]) for one in entries()]
    assert len(terms) > 60 and terms == sorted(set(terms))


def test_links_lead_to_the_named_chapter() -> None:
    for one in entries():
        assert one["file"].startswith(f"{one['number']}_")
        assert (PAGE.parent / one["file"]).is_file(), one["file"]


def test_the_course_links_it() -> None:
    assert "(glossary.md)" in (PAGE.parent / "00_start_here.ipynb").read_text(encoding="utf-8")
