"""A person with a browser, who clicks through Airflow's UI and keeps all that is shown."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.system.all_runs import ADDRESS, SECRETS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

SLOWEST = 120_000
"""Milliseconds that a page gets: other tests use the machine as well."""
ROWS, DUPLICATES, INVALID, REJECTED = 1_900, 37, 5, 3
"""Of the file: addresses that HubSpot takes, and rows that come after them."""


class Person:
    """Clicks, and keeps all that is shown. What Airflow and this package call things is here, and nowhere else.

    :param page: a tab of the browser.
    :param url: of Airflow.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.seen: list[str] = []
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._hear)
        page.context.set_default_timeout(SLOWEST)  # of new tabs as well
        self._pictures = os.environ.get("HUBPREFS_SCREENSHOTS")

    def _hear(self, message: ConsoleMessage) -> None:
        """Keep an error of this package's pages, or of what may run in any. Airflow's own requests may fail."""
        if message.type == "error" and ("/hubprefs" in message.location["url"] or "Policy" in message.text):
            self.errors.append(f"{message.text} {message.location['url']}")

    def look(self, step: str, theme: str = "light") -> None:
        """Keep what is shown, and take a picture of it."""
        self.seen += [frame.content() for frame in self.page.frames]
        if self._pictures:
            folder = Path(self._pictures)
            folder.mkdir(parents=True, exist_ok=True)
            size = self.page.viewport_size
            path = folder / f"{step}-{theme}-{size and size['width']}.png"
            self.page.screenshot(path=path, full_page=True)

    def look_at_it_in_every_way(self, step: str) -> None:
        """Light and dark, on a wide and on a narrow screen, where pictures are wanted."""
        if not self._pictures:
            self.look(step)
            return
        was = self.page.viewport_size
        for theme in ("dark", "light"):
            self.page.emulate_media(color_scheme=theme)  # of a page outside of Airflow's UI
            self.page.evaluate(
                "theme => { for (const each of ['light', 'dark'])"
                " document.documentElement.classList.toggle(each, each === theme) }",
                theme,
            )
            for width in (800, 1440):
                self.page.set_viewport_size({"width": width, "height": 900})
                self.look(step, theme)
        if was:
            self.page.set_viewport_size(was)

    def log_in(self, user: str, password: str) -> None:
        """Log in by the form of Airflow's simple auth manager."""
        self.page.goto(self.url)
        self.page.get_by_label("Username").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.url}/")

    # -- connections -----------------------------------------------------------------------------------------

    def connect(self, conn_id: str, fields: dict[str, str]) -> None:
        """Create a connection by the form.

        :param fields: by label; one that the form does not show stays empty.
        """
        self.page.goto(f"{self.url}/connections")
        self.page.get_by_role("button", name="Add Connection").click()
        form = self.page.get_by_role("dialog")
        form.get_by_label("Connection ID").fill(conn_id)
        form.get_by_role("combobox").fill("hubprefs")
        self.page.get_by_role("option", name="HubSpot").click()
        form.get_by_role("textbox", name=re.compile("Token")).wait_for()
        self.look_at_it_in_every_way("connection form")
        for label, value in fields.items():
            self._field(form, label).fill(value)
        self.look("connection form filled in")
        form.get_by_role("button", name="Save").click()
        self._row(conn_id).wait_for()
        self.look("connections")

    def test_connection(self, conn_id: str) -> str:
        """Press the button Test; returns what it says."""
        message = self.page.get_by_role("status").filter(has_text="Test Connection")
        expect(message).to_have_count(0)  # of another test
        self._row(conn_id).get_by_role("button", name="Test Connection").click()
        message.hover()  # else it is gone after some seconds
        said = message.inner_text()
        self.look_at_it_in_every_way(f"{conn_id} tested")
        return said

    def _row(self, name: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=name)

    @staticmethod
    def _field(form: Locator, label: str) -> Locator:
        """A text or a number; the label may say more than this, such as "(leave empty)"."""
        name = re.compile(rf"^{label}\b")
        return form.get_by_role("textbox", name=name).or_(form.get_by_role("spinbutton", name=name))

    # -- a DAG run -------------------------------------------------------------------------------------------

    def open_form(self, dag_id: str) -> Locator:
        """Open the form of "Trigger Dag"."""
        self.page.goto(f"{self.url}/dags/{dag_id}")
        self.page.get_by_role("button", name="Trigger").first.click()
        form = self.page.get_by_role("dialog")
        form.locator("#element_hubprefs_conn_id").wait_for()
        return form

    def trigger(self, dag_id: str, **params: str) -> str:
        """Run a DAG by its form; returns the address of the run."""
        form = self.open_form(dag_id)
        self.look_at_it_in_every_way(f"form of {dag_id}")
        for name, value in params.items():
            form.locator(f"#element_{name}").fill(value)
        self.button(form).click()
        self.page.wait_for_url(re.compile("/runs/[^/]+$"))
        self.look(f"run of {dag_id}")
        return self.page.url

    @staticmethod
    def button(form: Locator) -> Locator:
        """The one that triggers the DAG."""
        return form.get_by_role("button", name="Trigger", exact=True)

    def open_task(self, run: str, task_id: str, *, tab: str = "") -> None:
        """Show a task instance; by default its log."""
        self.page.goto(f"{run}/tasks/{task_id}/{tab}")

    def wait_for_state(self, state: str) -> None:
        """Wait until the task that is shown has a state."""
        self.page.get_by_text(state, exact=True).first.wait_for()

    # -- what this package shows in Airflow's UI -------------------------------------------------------------

    def open_tab(self) -> Locator:
        """Open the tab of the task instance that is shown; returns what is in it."""
        self.page.get_by_role("link", name="HubSpot", exact=True).click()
        return self.tab()

    def tab(self) -> Locator:
        """What the page of this package shows that Airflow has in its frame."""
        main = self.page.frame_locator("iframe").locator("main")
        main.wait_for()
        return main

    def link(self, name: str) -> Locator:
        """A link of the task that is shown."""
        return self.page.get_by_role("link", name=name, exact=True)


class Newcomer(Person):
    """A person with a browser, a file of addresses, and a record of all that the browser was served."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self._record = folder / "record.har"
        self._context = browser.new_context(
            viewport={"width": 1440, "height": 900},
            record_har_path=self._record,
            record_har_content="embed",
        )
        super().__init__(self._context.new_page(), url)
        self.contacts = folder / "contacts.csv"
        rows = [ADDRESS.format(number) for number in range(ROWS)]
        rows += [*rows[:DUPLICATES], *[f"{SECRETS[0]} without an address"] * INVALID]
        rows += [f"rejected-{SECRETS[0]}-{number}@hubspot-rejects.example" for number in range(REJECTED)]
        self.contacts.write_text("\n".join(["Email", *rows]) + "\n")

    def leave(self) -> tuple[bytes, bytes]:
        """Close the browser's window; returns the dead letters that it was served, and all else, shown or served."""
        self._context.close()
        entries = json.loads(self._record.read_text())["log"]["entries"]
        assert len(entries) > 50
        letters = [_body(entry) for entry in entries if entry["request"]["url"].endswith("/download")]
        served = [_body(entry) for entry in entries if not entry["request"]["url"].endswith("/download")]
        addresses = [entry["request"]["url"].encode() for entry in entries]
        return b"\n".join(letters), b"\n".join(
            [*served, *addresses, *(shown.encode() for shown in self.seen)]
        )


def _body(entry: dict[str, Any]) -> bytes:
    content = entry["response"]["content"]
    text = content.get("text", "")
    return base64.b64decode(text) if content.get("encoding") == "base64" else text.encode()


def expect(what: Locator) -> Any:
    """Playwright's assertions; it is imported only where there is a browser."""
    from playwright.sync_api import expect

    expect.set_options(timeout=SLOWEST)
    return expect(what)
