"""A real browser for tests: Chromium, without a window."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

CHROMIUM = os.environ.get("HUBPREFS_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
"""Path of the browser; None: there is none."""

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and find_spec("playwright")),
    reason="needs chromium and the package playwright: no page was looked at in a browser",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, and end it at the end of the block.

    :raises RuntimeError: there is none; a test that uses it has :data:`needs_browser`.
    """
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise RuntimeError("chromium is missing: install it, or name it in HUBPREFS_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()
