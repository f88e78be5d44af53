"""The site: built once from the kept notebooks; its links, search, formulae and both modes, without a network."""

import os
import re
import shutil
import time
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import book
import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image

CHAPTERS = sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's folder, built by the first process that asks; `IFSL_SITE` may name one that is built already."""
    if given := os.environ.get("IFSL_SITE"):
        return Path(given)
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site-of-all"
    try:
        home.mkdir()
    except FileExistsError:
        for _ in range(1200):
            if (home / "done").exists():
                break
            time.sleep(1)
    else:
        book.build(CHAPTERS, home)
        (home / "done").touch()
    assert (home / "site" / "index.html").is_file(), (home / "site.log").read_text()[-3000:]
    return home / "site"


class Page(HTMLParser):
    """Addresses that a page names, and the anchors in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        named = dict(attributes)
        self.anchors |= {named[key] for key in ("id", "name") if named.get(key)}
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        elif tag in ("img", "script", "iframe", "source") and named.get("src"):
            self.loaded.append(named["src"])
        elif (
            tag == "link"
            and named.get("href")
            and named.get("rel") in ("stylesheet", "preload", "icon", "modulepreload")
        ):
            self.loaded.append(named["href"])


@cache
def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_every_internal_link_leads_somewhere(site: Path) -> None:
    broken = []
    for path in sorted(site.rglob("*.html")):
        if path.name in ("webpack-macros.html", "sbt-webpack-macros.html"):  # parts of the theme, no pages
            continue
        for link in {*read(path).links, *read(path).loaded}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else Path(os.path.normpath(path.parent / unquote(parts.path)))
            if not target.exists():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors:
                broken.append(f"{path.relative_to(site)}: {link} (no such place there)")
    assert not broken, "\n".join(broken[:40])


def test_tables_of_outputs_are_tables(site: Path) -> None:
    for chapter in CHAPTERS:
        text = (site / "notebooks" / f"{chapter.stem}.html").read_text(encoding="utf-8")
        assert not re.search(r"\|[:-]*[—-]+[:—|-]*\|", re.sub(r"<(pre|script)\b.*?</\1>", "", text, flags=re.DOTALL)), (
            chapter
        )


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        outside = [link for link in read(path).loaded if urlsplit(link).netloc]
        assert not outside, f"{path.name} loads {outside}"


def test_previous_and_next_lead_through_all_chapters(site: Path) -> None:
    path, seen = site / "index.html", []
    while len(seen) < len(CHAPTERS):
        found = re.search(r'class="right-next"\s+href="([^"]+)"', path.read_text(encoding="utf-8"))
        assert found, f"{path.name} has no next page"
        path = (path.parent / found[1]).resolve()
        seen.append(path.stem)
    assert seen == [chapter.stem for chapter in CHAPTERS]


def test_chapters_lead_to_the_api_and_the_api_to_the_source(site: Path) -> None:
    links = read(site / "notebooks" / "08_asnet.html").links
    assert any("api/ifsl.learners.asnet.html#ifsl.learners.asnet" in link for link in links)
    assert any(
        "_modules/ifsl/learners/asnet.html" in link for link in read(site / "api/ifsl.learners.asnet.html").links
    )


def test_no_button_without_an_address(site: Path) -> None:
    text = (site / "notebooks" / CHAPTERS[0].name).with_suffix(".html").read_text(encoding="utf-8")
    assert "mybinder.org" not in text and "colab.research" not in text


# In a browser, from files, with the network off -----------------------------------------------------------------------


@pytest.fixture
def page(site: Path):
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium is installed on this machine")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
        page = context.new_page()
        page.set_default_timeout(120_000)
        yield page
        browser.close()


def luminance(colour: str | np.ndarray) -> float:
    """Relative luminance of "rgb(…)" or of three numbers 0…255."""
    values = re.findall(r"[\d.]+", colour)[:3] if isinstance(colour, str) else colour
    shares = np.array([float(value) for value in values]) / 255
    return float(
        np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


def contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def shot(page, selector: str) -> np.ndarray:
    """What the first element of a selector looks like, (H, W, 3)."""
    element = page.locator(selector).first
    element.scroll_into_view_if_needed()
    return np.asarray(Image.open(BytesIO(element.screenshot())).convert("RGB"))


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_plots_are_legible(site: Path, page, mode: str) -> None:
    page.add_init_script(f"localStorage.setItem('mode', '{mode}'); localStorage.setItem('theme', '{mode}')")
    page.goto((site / "notebooks" / "13_full_training.html").as_uri())
    page.wait_for_selector(f"html[data-theme='{mode}']")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) < 0.2) == (mode == "dark")
    for selector in ("article p", "article h2", "article a:not(.headerlink)", "article td"):
        for colour in page.eval_on_selector_all(selector, "all => all.slice(0, 5).map(e => getComputedStyle(e).color)"):
            assert contrast(luminance(colour), luminance(ground)) >= 4.5, f"{selector} in {mode} mode"
    pixels = shot(page, "div.cell_output img").reshape(-1, 3)
    shades, counts = np.unique(pixels, axis=0, return_counts=True)
    behind = luminance(shades[counts.argmax()])  # the ground of a plot
    ink = min((luminance(shade) for shade in shades[counts > 3]), key=lambda one: -abs(one - behind))
    assert contrast(behind, ink) >= 7, "the plot's ink on its ground"


def test_formulae_are_typeset(site: Path, page) -> None:
    page.goto((site / "notebooks" / "03_features_and_correlation.html").as_uri())
    page.wait_for_selector("mjx-container svg")
    page.wait_for_function("() => document.querySelectorAll('mjx-container').length > 5")
    assert page.locator("mjx-container [data-mml-node='merror']").count() == 0


def test_search_works_from_files(site: Path, page) -> None:
    page.goto((site / "search.html").as_uri() + "?q=centre-pivot")
    page.wait_for_selector("ul.search li a")
    assert any(
        "07_hsnet" in link for link in page.eval_on_selector_all("ul.search li a", "all => all.map(a => a.href)")
    )
