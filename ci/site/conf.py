"""Sphinx's configuration of the site; ci/book.py lays out the sources and calls it (see there)."""

import inspect
import os
import re
import sys
from pathlib import Path

TOP = Path(os.environ["IFSL_TOP"])
sys.path.insert(0, str(TOP))

from ifsl import __version__  # noqa: E402
from ifsl.address import BRANCH, repository  # noqa: E402

project = "iFSL"
author = "the iFSL course authors"
project_copyright = "the iFSL course authors, MIT licence"
version = release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx.ext.mathjax"]
suppress_warnings = ["toc.empty_glob", "mystnb.unknown_mime_type"]

# Chapters: shown as they were kept, not run.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # CommonMark, the default, has no tables
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "html_image"]
myst_heading_anchors = 3
myst_url_schemes = ("http", "https", "mailto")

# API pages, from the docstrings.
default_role = "code"
autodoc_inherit_docstrings = False  # those of PyTorch and Lightning are theirs
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": False, "ignore-module-all": True, "show-inheritance": True}
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries = False
viewcode_line_numbers = True

# Formulae: MathJax from an installed package, one file, so that a page needs no network. (See ci/book.py.)
mathjax_path = "mathjax.js"
mathjax3_config = {"options": {"enableMenu": False}}

html_theme = "sphinx_book_theme"
html_title = "iFSL"
html_static_path = [str(Path(os.environ["IFSL_SOURCE"]) / "_static")]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_last_updated_fmt = None
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if repository():  # none set: no button
    html_theme_options |= {
        "repository_url": repository(),
        "repository_branch": BRANCH,
        "use_repository_button": True,
        "use_issues_button": True,
        "path_to_docs": "",
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }


def to_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text with `names` in backquotes and indented commands: make reStructuredText of them.

    A line of several options ("path: …") becomes a list, indented lines a literal block; stars mean nothing.
    """
    text = inspect.cleandoc("\n".join(lines))
    blocks = []
    for block in re.split(r"\n\s*\n", text):
        rows = block.split("\n")
        if all(row.startswith("    ") for row in rows):
            blocks.append("::\n\n" + block)
            continue
        if any(row.startswith("    ") for row in rows[1:]):  # text, then an indented continuation
            blocks.append("\n".join(f"| {escape(row.lstrip())}" for row in rows))
            continue
        blocks.append(escape(block))
    lines[:] = "\n\n".join(blocks).split("\n") + [""]


def escape(text: str) -> str:
    """Stars, bars and trailing underscores outside of backquotes lose their meaning in reStructuredText."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(?<!\*)\*([^*\s][^*\n]*?[^*\s]|[^*\s])\*(?!\*)", "\0\\1\1", parts[i])  # *emphasis* stays
        parts[i] = re.sub(r"([*|]|_(?=\W|$))", r"\\\1", parts[i]).replace("\0", "*").replace("\1", "*")
    for i in range(1, len(parts), 2):
        parts[i] = f"``{parts[i].strip('`')}``"
        if parts[i - 1] and (parts[i - 1][-1].isalnum() or parts[i - 1][-1] in "·×"):
            parts[i] = f"\\ {parts[i]}"
        if parts[i + 1] and parts[i + 1][0].isalnum():
            parts[i + 1] = f"\\ {parts[i + 1]}"
    return "".join(parts)


def drop_sourceless(app, env) -> None:
    """Modules without a page of source, such as builtins, would be dead links in the list of all modules."""
    found = getattr(env, "_viewcode_modules", {})
    for name in [name for name, entry in found.items() if not entry]:
        del found[name]


def setup(app) -> None:
    app.connect("env-check-consistency", drop_sourceless)
    app.connect("autodoc-process-docstring", to_rst)
