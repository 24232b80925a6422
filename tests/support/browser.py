"""A real browser without a window, for tests of pages: Chromium or Chrome as installed, driven by playwright."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def open_browser() -> Iterator[Any]:
    """Yield a browser. Without one the test is skipped, or fails if CI is set."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install -r requirements-dev.txt")
    if path is None:
        missing(f"no browser: none of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def press_until(page: Any, key: str, done: Callable[[], object]) -> None:
    """Press a key repeatedly: Chromium drops keys before its first picture, and reports their effect only later."""
    for _ in range(20):
        page.keyboard.press(key)
        for _ in range(6):
            page.wait_for_timeout(50)
            if done():
                return
    raise AssertionError(f"{key} did nothing")
