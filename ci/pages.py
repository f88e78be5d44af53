"""The pages of the course: each executed chapter as HTML, and one index. They need no script and no network."""

import base64
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import keep
import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from PIL import Image

TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
.jp-RenderedHTMLCommon math[display=block] { margin: 1em 0; }
mtd[columnalign=right] { text-align: right; }
mtd[columnalign=left] { text-align: left; }
</style>{% endblock %}
"""

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>iFSL: the course</title>
<style>
:root {{ color-scheme: light dark; --ink: #1d2733; --soft: #5a6775; --page: #f7f7f4; --card: #fff; --line: #dfe2e4;
        --accent: #0072b2; --bad: #b34700; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8ebee; --soft: #a3adb8; --page: #14181d; --card: #1d232a; --line: #313943;
          --accent: #56b4e9; --bad: #ff9a52; }} }}
body {{ margin: 0; background: var(--page); color: var(--ink); font: 17px/1.5 system-ui, sans-serif; }}
main {{ max-width: 54rem; margin: 0 auto; padding: 3rem 1.2rem 4rem; }}
h1 {{ margin: 0; font-size: 2.2rem; line-height: 1.15; letter-spacing: -.02em; }}
header p {{ margin: .5rem 0 2rem; color: var(--soft); max-width: 42rem; }}
ol {{ list-style: none; margin: 0; padding: 0; }}
li {{ display: flex; gap: 1.2rem; align-items: center; margin: 0 0 .9rem; padding: 1rem 1.2rem;
     background: var(--card); border: 1px solid var(--line); border-radius: 10px; }}
.number {{ flex: none; width: 2.2rem; font-size: 1.4rem; color: var(--accent); font-variant-numeric: tabular-nums; }}
.text {{ flex: 1; min-width: 0; }}
h2 {{ margin: 0; font-size: 1.15rem; }}
h2 a {{ color: inherit; text-decoration: none; }}
h2 a:hover {{ text-decoration: underline; }}
li p {{ margin: .2rem 0; }}
.text .small {{ color: var(--soft); font-size: .85rem; }}
.text .bad {{ color: var(--bad); font-size: .85rem; }}
.small a {{ color: var(--accent); }}
.picture {{ flex: none; width: 11rem; height: 6.5rem; border-radius: 6px; background: #fff; }}
.picture img {{ width: 100%; height: 100%; object-fit: contain; border-radius: 6px; }}
@media (max-width: 40rem) {{ .picture {{ display: none; }} }}
</style>
</head>
<body>
<main>
<header>
<h1>Integrative few-shot learning</h1>
<p>Which of these classes does the picture show, and where? A course on few-shot classification and segmentation,
as run on this machine: {count}, {minutes} minutes in all.</p>
</header>
<ol>
{cards}
</ol>
</main>
</body>
</html>
"""

CARD = """<li>
<div class="number">{number}</div>
<div class="text">
<h2><a href="{name}.html">{title}</a></h2>
{sentence}
{state}
</div>
{picture}
</li>"""


def math(latex: str, display: str) -> str:
    """LaTeX as MathML, which browsers draw by themselves; as code where the converter does not know a command."""
    known = re.sub(r"(\\(?:begin|end))\{aligned\}", r"\1{split}", latex).replace(r"\operatorname*", r"\operatorname")
    try:
        drawn = convert(known.strip(), display=display)
    except Exception:  # the converter raises whatever its parser stumbles over
        drawn = "\\"
    return f"<code>{html.escape(latex)}</code>" if "\\" in drawn or "<mi>&</mi>" in drawn else drawn


class MathRenderer(IPythonRenderer):
    """Markdown to HTML with formulae as MathML."""

    def block_math(self, body: str) -> str:
        return math(body, "block")

    def inline_math(self, body: str) -> str:
        return math(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return math(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def markdown(source: str, attachments: dict | None = None) -> str:
    """HTML of a Markdown text."""
    return MarkdownWithMath(MathRenderer(escape=False, attachments=attachments)).render(source)


class PageExporter(HTMLExporter):
    """nbconvert's page without its scripts, which it would fetch from elsewhere at each reading."""

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        return markdown(source, context.get("cell", {}).get("attachments"))


@dataclass
class Card:
    """What the index says of a chapter; `sentence` is HTML, `picture` the first figure as PNG or None."""

    name: str
    title: str
    sentence: str
    minutes: float
    picture: bytes | None
    error: str | None


def opening(notebook: NotebookNode) -> tuple[str, str]:
    """Title and first paragraph (Markdown) of a chapter, from its first Markdown cell that has a heading."""
    for cell in notebook.cells:
        heading = re.match(r"#\s+(.+)", cell.source)
        if cell.cell_type == "markdown" and heading:
            paragraphs = [text.strip() for text in re.split(r"\n\s*\n", cell.source[heading.end() :])]
            return heading[1].strip(), next((text for text in paragraphs if text and not text.startswith("#")), "")
    return "", ""


def pictures(notebook: NotebookNode) -> Iterator[tuple[str, bytes]]:
    """The figures among a chapter's outputs, each with the id of its cell: PNG or JPEG files."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                yield cell.get("id"), base64.b64decode(output.data[kind])


def first_picture(notebook: NotebookNode) -> bytes | None:
    """The first figure among a chapter's outputs, at most 440 pixels wide, as PNG."""
    for _, file in pictures(notebook):
        picture = Image.open(BytesIO(file))
        picture.thumbnail((440, 440))
        small = BytesIO()
        picture.save(small, "png", optimize=True)
        return small.getvalue()
    return None


def card(path: Path, error: str | None) -> Card:
    """The card of an executed chapter."""
    notebook = nbformat.read(path, as_version=4)
    title, sentence = opening(keep.clean(notebook))
    title = re.sub(rf"^(Chapter )?{path.name[:2]}\W+", "", title)
    minutes = (notebook.metadata.get("papermill", {}).get("duration") or 0) / 60
    return Card(path.stem, title or path.stem, markdown(sentence), minutes, first_picture(notebook), error)


def render(card: Card) -> str:
    """A card as HTML."""
    state = f'<p class="small">{card.minutes:.1f} min · <a href="notebooks/{card.name}.ipynb">executed notebook</a></p>'
    if card.error is not None:
        state = f'<p class="bad">{html.escape(card.error.splitlines()[0])}</p>'
    picture = f'<div class="picture"><img src="{card.name}.png" alt=""></div>' if card.picture else ""
    title = html.escape(card.title)
    return CARD.format(
        number=card.name[:2], name=card.name, title=title, sentence=card.sentence, state=state, picture=picture
    )


def chapter_page(path: Path) -> str:
    """HTML of an executed chapter; links from chapter to chapter lead to pages."""
    page, _ = PageExporter(raw_template=TEMPLATE).from_notebook_node(
        keep.clean(nbformat.read(path, as_version=4)), resources={"metadata": {"name": path.stem}}
    )
    return re.sub(r'href="(\d\d_\w+)\.ipynb(#[^"]*)?"', r'href="\1.html\2"', page)


def build(chapters: list[Path], folder: Path, failed: dict[str, str]) -> Path:
    """Write the pages of all chapters executed so far under `folder`; return the index.

    `failed` maps the names of chapters whose run failed to their errors.
    """
    executed = [path for chapter in chapters if (path := folder / "notebooks" / chapter.name).exists()]
    cards = [card(path, failed.get(path.stem)) for path in executed]
    for path, shown in zip(executed, cards, strict=True):
        (folder / f"{path.stem}.html").write_text(chapter_page(path), encoding="utf-8")
        if shown.picture:
            (folder / f"{path.stem}.png").write_bytes(shown.picture)
    index = folder / "index.html"
    count = "1 chapter" if len(cards) == 1 else f"{len(cards)} chapters"
    minutes = sum(shown.minutes for shown in cards)
    text = INDEX.format(count=count, minutes=f"{minutes:.1f}", cards="\n".join(map(render, cards)))
    index.write_text(text, encoding="utf-8")
    return index
