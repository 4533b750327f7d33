"""The page in a real browser: nothing runs, nothing is loaded, nothing sticks out; a tab follows its run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.page.page import Live, render
from tests.browser import chromium, needs_browser
from tests.bulk.page import reports
from tests.bulk.page.test_page import everywhere
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGE = ROOT / "docs" / "images" / "report.png"
INK = "getComputedStyle(document.body).color"
DARK_INK, LIGHT_INK = "rgb(26, 34, 48)", "rgb(232, 234, 238)"
CUT_OFF = """[...document.querySelectorAll("figure text")].filter(one =>
  one.getBoundingClientRect().right > one.closest("svg").getBoundingClientRect().right).map(one => one.textContent)"""
NONCE = "dGVzdC1ub25jZQ"
POLICY = (
    f"default-src 'none'; script-src 'nonce-{NONCE}'; style-src 'nonce-{NONCE}'; connect-src 'self'; "
    "frame-src 'self'"
)


class Airflow:
    """Serves a run's page as the plugin does, in a frame of a page that may be dark."""

    def __init__(self) -> None:
        self.report: dict[str, Any] | None = reports.RUNNING
        self.letters: list[dict[str, Any]] = reports.LETTERS
        self.status = 200
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                page = self.path.endswith(("/page", "/fragment"))
                live = Live(NONCE, task_state="running")
                body = '<!doctype html><html class="dark"><title>UI</title><iframe src="/tab/page"></iframe>'
                if page:
                    body = render(
                        site.report, site.letters, live=live, fragment=self.path.endswith("/fragment")
                    )
                self.send_response(site.status if page else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", POLICY)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    site = Airflow()
    thread = threading.Thread(target=site.server.serve_forever, args=[0.01])
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must be quiet: no message in its console, no dialog, no error."""
    said: list[str] = []
    with browser.new_context(viewport={"width": 800, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.said = said  # type: ignore[attr-defined]
        yield page
    assert said == []


def sticks_out(page: Page) -> list[str]:
    """What is wider than the window."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('main, main *')].filter(one => one.getBoundingClientRect().right > "
        "innerWidth + 1).map(one => one.outerHTML.slice(0, 100))"
    )
    return found


@needs_browser
@pytest.mark.parametrize("name", ["complete", "running", "million", "planned"])
def test_a_file_loads_nothing_and_fits_every_window(page: Page, tmp_path: Path, name: str) -> None:
    asked: list[str] = []
    file = tmp_path / "report.html"
    report, letters = reports.ALL[name]
    if report and name == "complete":  # the last label is at the end of the axis
        report = {**report, "history": reports.history(1000, 25.0)}
    file.write_text(render(report, letters), encoding="utf-8")
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    for width in (1440, 800, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert (width, sticks_out(page)) == (width, [])
        assert (width, page.evaluate(CUT_OFF)) == (width, [])
    for scheme, colour in ("light", DARK_INK), ("dark", LIGHT_INK):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate(INK) == colour
    assert [one for one in asked if not one.startswith("data:")] == [file.as_uri()]


@needs_browser
def test_text_that_would_run_is_shown_as_text(page: Page, airflow: Airflow, tmp_path: Path) -> None:
    text = " ".join(reports.EVIL)
    airflow.report, airflow.letters = everywhere(text)
    file = tmp_path / "report.html"
    file.write_text(render(airflow.report, airflow.letters), encoding="utf-8")
    for address in (file.as_uri(), f"{airflow.url}/tab/page"):
        page.goto(address)
        assert text in page.inner_text("main")
        assert page.locator("main script, main img, svg[onload]").count() == 0


@needs_browser
def test_a_tab_follows_its_run_and_the_ui_around_it(page: Page, airflow: Airflow) -> None:
    page.clock.install()
    page.goto(f"{airflow.url}/ui")
    tab = page.frames[1]
    tab.wait_for_selector("text=405,132 opted out so far")
    assert tab.evaluate("document.documentElement.className") == "live dark"
    assert tab.evaluate(INK) == LIGHT_INK
    page.evaluate("document.documentElement.className = ''")
    tab.wait_for_selector("html:not(.dark)", state="attached")
    tab.click("#letters summary")  # open at first, closed now
    tab.click("#sources summary")
    tab.evaluate("scrollTo(0, 300)")
    airflow.report = {**reports.RUNNING, "changed": 500_000}
    page.clock.run_for(2000)
    tab.wait_for_selector("text=514,112 opted out so far")
    assert tab.evaluate("[letters.open, sources.open, scrollY]") == [False, True, 300]
    assert tab.evaluate("document.activeElement.parentElement.id") == "sources"
    airflow.report = reports.COMPLETE
    page.clock.run_for(2000)
    tab.wait_for_selector("text=948 of 1,000 opted out")
    assert tab.evaluate("document.title") == "948 of 1,000 opted out - HubSpot preferences"
    asked = len(airflow.asked)
    page.clock.run_for(60_000)
    page.wait_for_timeout(500)
    assert len(airflow.asked) == asked
    assert set(airflow.asked) == {"/ui", "/tab/page", "/tab/fragment"}


@needs_browser
def test_a_tab_says_that_airflow_does_not_answer_and_when_it_is_not_allowed(
    page: Page, airflow: Airflow
) -> None:
    page.clock.install()
    page.goto(f"{airflow.url}/tab/page")
    airflow.status = 500
    page.clock.run_for(2000)
    page.wait_for_selector("text=Airflow does not answer. Trying again.")
    assert "405,132 opted out so far" in page.inner_text("main")
    airflow.status = 403
    page.clock.run_for(2000)
    page.wait_for_selector("text=Not allowed to read this run")
    asked = len(airflow.asked)
    page.clock.run_for(60_000)
    page.wait_for_timeout(500)
    assert len(airflow.asked) == asked
    page.said[:] = [one for one in page.said if "the server responded with a status" not in one]  # type: ignore[attr-defined]


@needs_browser
def test_the_keyboard_reaches_all_that_can_be_used_and_shows_where_it_is(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(reports.MILLION, reports.MANY_LETTERS), encoding="utf-8")
    page.goto(file.as_uri())
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == [
        "dead_letters.jsonl",
        "The first 100 dead letters, addresses masked",
        "64 files",
        "report.json",
    ]
    assert page.locator("#letters table").is_hidden()
    page.focus("#letters summary")
    page.keyboard.press("Enter")
    assert page.locator("#letters tbody tr").count() == 100
    assert page.locator("#letters table").is_visible()


@needs_browser
def test_it_prints_light_and_whole(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(reports.MILLION, reports.MANY_LETTERS), encoding="utf-8")
    page.goto(file.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 without its margins
    assert page.evaluate(INK) == DARK_INK
    assert page.locator("#letters tbody tr").last.is_visible()  # although it is closed on the screen
    assert sticks_out(page) == []
    assert page.pdf().startswith(b"%PDF")


def test_the_picture_in_the_readme_is_there_and_small() -> None:
    assert IMAGE.read_bytes().startswith(b"\x89PNG\r\n")
    assert IMAGE.stat().st_size < 200_000
    assert "/main/docs/images/report.png" in (ROOT / "README.md").read_text("utf-8")


@needs_browser
@pytest.mark.skipif(
    "HUBPREFS_PICTURES" not in os.environ, reason="only HUBPREFS_PICTURES=1 takes the README's picture anew"
)
def test_take_the_picture(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(reports.COMPLETE, reports.LETTERS), encoding="utf-8")
    with browser.new_context(viewport={"width": 1080, "height": 900}) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        below = page.locator("#h-letters").bounding_box()
        assert below
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        clip = {"x": 0, "y": 0, "width": 1080, "height": below["y"] - 30}
        page.screenshot(path=str(IMAGE), full_page=True, clip=clip)  # type: ignore[arg-type]
