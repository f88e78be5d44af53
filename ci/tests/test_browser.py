"""The widgets in real JupyterLab, in headless Chromium: run a chapter, move its controls, and the picture changes."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed on this machine")

RUN_S, REDRAW_S = 300, 30  # patience, where many tests share few cores
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # draw cells that are out of sight, too
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[str]:
    """JupyterLab over a copy of the chapters; yields its address with the token, up to the notebook's name."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(REPOSITORY / "notebooks", home / "notebooks", ignore=shutil.ignore_patterns(".*"))
    long = home / "notebooks" / "14_your_own_images.ipynb"
    long.write_text(long.read_text(encoding="utf-8").replace("most_shots = 3", "most_shots = 2"), encoding="utf-8")
    (home / "data").symlink_to(REPOSITORY / "data")
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
        + ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"],
        cwd=home,
        env=os.environ | folders | {"PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "", "OMP_NUM_THREADS": "1"},
        stdout=(home / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.5)
        yield f"{address}/lab/tree/notebooks/{{name}}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def page(lab: str) -> Iterator:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.errors = []
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page
        browser.close()


def run_all(page, address: str) -> None:
    """Open a chapter and run all its cells."""
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_selector(".jp-StatusBar-Widget :text('| Idle')", timeout=60_000)
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    page.wait_for_selector("img.widget-image", timeout=RUN_S * 1000)
    page.wait_for_function(
        "() => ![...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'))",
        timeout=RUN_S * 1000,
    )


def changed(page, before: str) -> str:
    """Wait until the widget's picture is another; returns its pixels as a data address."""
    pixels = """before => {
        const image = document.querySelector('img.widget-image');
        if (!image.complete || !image.naturalWidth) return null;
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext('2d').drawImage(image, 0, 0);
        const now = canvas.toDataURL();
        return now === before ? null : now;
    }"""
    return page.wait_for_function(pixels, arg=before, timeout=REDRAW_S * 1000, polling=100).json_value()


def nudge(page, name: str, key: str = "ArrowRight", times: int = 1) -> None:
    """Move the slider of a name by keys."""
    row = page.locator(".widget-hslider", has=page.locator(f".widget-label:text-is('{name}')"))
    for _ in range(times):
        row.locator(".noUi-handle").press(key)


def assert_clean(page) -> None:
    outputs = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.{}']"
    for kind in ("stderr", "error"):
        assert page.locator(outputs.format(kind)).all_inner_texts() == []
    assert page.errors == []


def test_way_shot_and_episode(page, lab: str) -> None:
    run_all(page, lab.format(name="02_episodes.ipynb"))
    picture = changed(page, "")
    for name in ("way N", "shot K", "episode"):
        nudge(page, name)
        picture = changed(page, picture)
    assert_clean(page)


def test_cross_over_the_query(page, lab: str) -> None:
    run_all(page, lab.format(name="03_features_and_correlation.ipynb"))
    picture = changed(page, "")
    for name in ("across, %", "down, %"):
        nudge(page, name, "PageUp")
        picture = changed(page, picture)
    page.click(".widget-checkbox input")
    changed(page, picture)
    assert_clean(page)


def test_threshold(page, lab: str) -> None:
    run_all(page, lab.format(name="04_from_maps_to_predictions.ipynb"))
    picture = changed(page, "")
    nudge(page, "threshold", "PageUp")
    picture = changed(page, picture)
    page.locator(".widget-dropdown select").select_option(index=1)
    changed(page, picture)
    assert_clean(page)


def test_buttons_for_classes(page, lab: str) -> None:
    run_all(page, lab.format(name="01_the_task.ipynb"))
    picture = changed(page, "")
    page.locator(".widget-toggle-button").nth(3).click()
    picture = changed(page, picture)
    nudge(page, "query")
    changed(page, picture)
    assert_clean(page)


def test_more_examples(page, lab: str) -> None:
    run_all(page, lab.format(name="14_your_own_images.ipynb"))
    picture = changed(page, "")
    nudge(page, "shot K")
    changed(page, picture)
    assert_clean(page)
