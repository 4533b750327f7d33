"""Airflow's UI as `make ui` starts it, clicked through in a real browser by a person who sees it for the first time.

``HUBPREFS_SCREENSHOTS`` names a folder for a picture of every step.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.browser import chromium, needs_browser
from tests.conftest import ROOT
from tests.helpers import LONG
from tests.system.airflow_parts import free_port
from tests.system.all_runs import ADDRESS, SECRETS
from tests.system.leaks import leaks
from tests.system.processes import signal_group, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SLOWEST = 120_000
"""Milliseconds that a page gets: other tests use the machine as well."""
CONNECTION = "hubprefs_mine"
ROWS, DUPLICATES, INVALID, REJECTED = 1_900, 37, 5, 3
"""Of the file: addresses that HubSpot takes, and rows that come after them."""
needs_time = pytest.mark.skipif(not LONG, reason="all of them take more than a minute: in make test-long")


class MakeUI:
    """A copy of what `make ui` runs: a developer's own is not disturbed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".ui"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, str(folder / "demo" / "ui.py")]
        shutil.copytree(ROOT / "demo", folder / "demo")
        shutil.copytree(ROOT / "dags", folder / "dags")

    @contextlib.contextmanager
    def start(self, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        clean = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
        with (self.folder / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                self.command,
                env={**clean, "COLUMNS": "200", "PORT": str(self.port), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with process:
            try:
                yield process
            finally:
                signal_group(process.pid, signal.SIGTERM)

    def run(self, **variables: str) -> tuple[int, str]:
        """Run it to its end; returns its exit code and its output."""
        with self.start(**variables) as process:
            return process.wait(60), self.output()

    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        ready = wait_for("the address", lambda: self.url in self.output() or process.poll(), timeout=400)
        assert ready is True, self.output()

    def connection(self) -> dict[str, str]:
        """What it says of a connection to its local HubSpot: by the name of the form's field."""
        (found,) = re.findall(r"Host (\S+), Port (\d+), Token (\S+)", self.output())
        return dict(zip(("Host", "Port", "Token"), found, strict=True))

    def trigger(self, dag_id: str, **conf: Any) -> None:
        """Run a DAG."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            login = client.get("/auth/token").raise_for_status().json()["access_token"]
            body = {"conf": conf, "logical_date": None}
            where, headers = f"/api/v2/dags/{dag_id}/dagRuns", {"Authorization": f"Bearer {login}"}
            client.post(where, json=body, headers=headers).raise_for_status()


def started_by(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes that it has started, and those have. Airflow's overwrite their names and their environment."""
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return found


def all_end(processes: list[psutil.Process]) -> bool:
    """Whether all of them end; those just killed get a moment."""

    def none_runs() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        return False  # one has just ended

    return bool(wait_for("their end", none_runs, timeout=30))


@pytest.fixture
def make_ui(tmp_path: Path) -> MakeUI:
    return MakeUI(tmp_path)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MakeUI, subprocess.Popen[bytes]]]:
    """One that is ready."""
    one = MakeUI(tmp_path_factory.mktemp("ui"))
    with one.start() as process:
        one.wait_until_ready(process)
        yield one, process


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
        page.set_default_timeout(SLOWEST)
        self._pictures = os.environ.get("HUBPREFS_SCREENSHOTS")

    def _hear(self, message: ConsoleMessage) -> None:
        """Keep an error of this package's pages, or of what may run in any. Airflow's own requests may fail."""
        if message.type == "error" and ("/hubprefs" in message.location["url"] or "Policy" in message.text):
            self.errors.append(message.text)

    def look(self, step: str) -> None:
        """Keep what is shown, and take a picture of it."""
        self.seen += [frame.content() for frame in self.page.frames]
        if self._pictures:
            folder = Path(self._pictures)
            folder.mkdir(parents=True, exist_ok=True)
            size = self.page.viewport_size
            theme = "dark" if self._is_dark() else "light"
            self.page.screenshot(path=folder / f"{step}-{theme}-{size and size['width']}.png")

    def look_at_it_in_every_way(self, step: str) -> None:
        """Light and dark, on a wide and on a narrow screen, where pictures are wanted."""
        if not self._pictures:
            self.look(step)
            return
        was = self.page.viewport_size
        for theme in ("dark", "light"):
            self.page.evaluate(
                "theme => { for (const each of ['light', 'dark'])"
                " document.documentElement.classList.toggle(each, each === theme) }",
                theme,
            )
            for width in (800, 1440):
                self.page.set_viewport_size({"width": width, "height": 900})
                self.look(step)
        if was:
            self.page.set_viewport_size(was)

    def _is_dark(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.classList.contains('dark')"))

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
        self._row(conn_id).get_by_role("button", name="Test Connection").click()
        message = self.page.get_by_role("status").filter(has_text="Test Connection").first
        message.wait_for()
        self.look("connection tested")
        return message.inner_text()

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

    def __init__(self, browser: Browser, ui: MakeUI, folder: Path) -> None:
        self._record = folder / "record.har"
        self._context = browser.new_context(
            viewport={"width": 1440, "height": 900},
            record_har_path=self._record,
            record_har_content="embed",
        )
        super().__init__(self._context.new_page(), ui.url)
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


@pytest.fixture(scope="module")
def newcomer(ui: tuple[MakeUI, object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    with chromium() as browser:
        yield Newcomer(browser, ui[0], tmp_path_factory.mktemp("newcomer"))


@pytest.fixture(scope="module")
def connected(ui: tuple[MakeUI, object], newcomer: Newcomer) -> Newcomer:
    """One who has created the connection by the form."""
    newcomer.connect(CONNECTION, ui[0].connection())
    return newcomer


@pytest.fixture(scope="module")
def run(connected: Newcomer) -> str:
    """Address of a run that was triggered by the form."""
    return connected.trigger(
        "hubprefs_suppression", contacts=str(connected.contacts), hubprefs_conn_id=CONNECTION
    )


def expect(what: Locator) -> Any:
    """Playwright's assertions; it is imported only where there is a browser."""
    from playwright.sync_api import expect

    expect.set_options(timeout=SLOWEST)
    return expect(what)


@needs_time
@needs_browser
def test_a_connection_with_a_port_is_tested_by_the_button(connected: Newcomer) -> None:
    says = connected.test_connection(CONNECTION)
    assert "Successful" in says
    assert "48120091" in says


@needs_time
@needs_browser
@pytest.mark.parametrize("dag_id", ["hubprefs_set_status", "hubprefs_wait_and_branch"])
def test_a_form_without_a_subscriber_cannot_be_sent(newcomer: Newcomer, dag_id: str) -> None:
    form = newcomer.open_form(dag_id)
    newcomer.look_at_it_in_every_way(f"form of {dag_id}")
    expect(newcomer.button(form)).to_be_disabled()
    form.locator("#element_subscriber").fill("jane@example.com")
    if dag_id == "hubprefs_set_status":
        expect(newcomer.button(form)).to_be_disabled()
        form.get_by_role("spinbutton").fill("348211907")
    expect(newcomer.button(form)).to_be_enabled()


@needs_time
@needs_browser
def test_ids_of_subscriptions_are_found_in_the_log_of_a_dag(newcomer: Newcomer) -> None:
    run = newcomer.trigger("hubprefs_subscriptions")
    newcomer.open_task(run, "list_subscriptions")
    newcomer.wait_for_state("Success")
    for subscription in ("348211900  Marketing Information", "348211919  Partner offers (not active)"):
        expect(newcomer.page.get_by_text(subscription, exact=False).first).to_be_visible()
    newcomer.look("subscriptions")


@needs_time
@needs_browser
def test_the_tab_changes_while_the_run_goes_on(run: str, newcomer: Newcomer) -> None:
    newcomer.open_task(run, "opt_out")
    main = newcomer.open_tab()
    at_first = main.inner_text()
    newcomer.look("tab at first")
    expect(main).not_to_have_text(at_first)
    newcomer.look_at_it_in_every_way("tab while it runs")
    expect(main).to_contain_text(f"{ROWS:,}")


@needs_time
@needs_browser
def test_the_run_ends_well(run: str, newcomer: Newcomer) -> None:
    newcomer.open_task(run, "opt_out")
    newcomer.wait_for_state("Success")
    newcomer.look_at_it_in_every_way("task that has ended")


@needs_time
@needs_browser
def test_a_link_leads_to_the_report_and_one_to_the_dead_letters(run: str, newcomer: Newcomer) -> None:
    newcomer.open_task(run, "opt_out", tab="details")
    newcomer.wait_for_state("Success")
    newcomer.look_at_it_in_every_way("links")
    newcomer.link("Report").click()
    main = newcomer.tab()
    for count in (ROWS, DUPLICATES, INVALID, REJECTED):
        expect(main).to_contain_text(f"{count:,}")
    newcomer.look_at_it_in_every_way("report")
    newcomer.open_task(run, "opt_out", tab="details")
    with newcomer.page.expect_download() as download:
        newcomer.link("Dead letters").click()
    letters = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert len(letters) == INVALID + REJECTED
    assert all(SECRETS[0] in letter["subscriber"] for letter in letters)
    # The record of what the browser was served has no file that it saved: so once more, read by the page itself.
    read = "url => fetch(url).then(answer => answer.text()).then(text => text.length)"
    assert newcomer.page.evaluate(read, download.value.url) > 0


@needs_time
@needs_browser
def test_the_page_of_recent_runs_shows_the_run(run: str, newcomer: Newcomer) -> None:
    newcomer.page.goto(f"{newcomer.url}/plugin/hubprefs-recent")
    expect(newcomer.tab()).to_contain_text("hubprefs_suppression")
    newcomer.look_at_it_in_every_way("recent runs")


@needs_time
@needs_browser
def test_the_pages_of_this_package_make_no_error(run: str, newcomer: Newcomer) -> None:
    assert newcomer.errors == []


@needs_time
@needs_browser
def test_no_page_and_no_answer_has_an_address_of_the_file(run: str, newcomer: Newcomer) -> None:
    letters, everything_else = newcomer.leave()
    assert leaks(letters, SECRETS[:1])  # so that the search finds what the browser was served
    assert leaks(everything_else, ["hubprefs_suppression"])
    assert leaks(everything_else, SECRETS) == []


def test_another_one_in_the_same_folder_is_refused(make_ui: MakeUI) -> None:
    with make_ui.start():
        kept = make_ui.home / "kept"
        wait_for("its folder", make_ui.home.exists, timeout=100, every=0.05)
        kept.touch()
        done = subprocess.run(make_ui.command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "another `make ui` is running in this folder" in done.stdout
        assert kept.exists()


@needs_time
def test_ctrl_c_while_a_task_runs_leaves_nothing(ui: tuple[MakeUI, subprocess.Popen[bytes]]) -> None:
    running, process = ui
    running.trigger("hubprefs_suppression", contacts=str(running.home / "contacts-20000.csv"))
    wait_for("its report", lambda: list(running.home.glob("output/*/*/*/report.json")), timeout=120)
    processes = started_by(process)
    assert len(processes) >= 6  # a local HubSpot, four parts of Airflow, a task
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    assert running.output().rstrip().endswith("Stopped; nothing is left running.")
    assert "Traceback" not in running.output()
    assert all_end(processes)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=[] if number == signal.SIGKILL else needs_time)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
    ],
    ids=["SIGTERM", "SIGHUP", "SIGKILL"],
)
def test_ended_while_airflow_starts_it_leaves_nothing(make_ui: MakeUI, number: signal.Signals) -> None:
    with make_ui.start() as process:
        wait_for("a process of Airflow", lambda: len(started_by(process)) >= 2, timeout=100, every=0.05)
        processes = started_by(process)
        process.send_signal(number)
        assert process.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
    assert all_end(processes)


@needs_time
def test_when_a_part_ends_it_says_which_and_ends_all(make_ui: MakeUI) -> None:
    with make_ui.start() as process:
        (triggerer,) = wait_for(
            "the triggerer",
            lambda: [one for one in started_by(process) if "triggerer" in one.cmdline()],
            timeout=200,
        )
        processes = started_by(process)
        triggerer.kill()
        assert process.wait(100) == 1
    assert "Not done: the triggerer has ended (exit code -9)" in make_ui.output()
    assert str(make_ui.home / "triggerer.log") in make_ui.output()
    assert all_end(processes)


@pytest.mark.parametrize(
    ("port", "says"),
    [("0", "expected a number"), ("http", "expected a number"), ("taken", "another program has it")],
)
def test_a_port_that_cannot_be_used_is_refused_at_once(make_ui: MakeUI, port: str, says: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, output = make_ui.run(PORT=str(taken.getsockname()[1]) if port == "taken" else port)
    assert code == 1
    assert says in output
    assert "Traceback" not in output
    assert not make_ui.home.exists()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_git_ignores_what_it_writes() -> None:
    command = ["git", "check-ignore", ".ui/airflow.db"]
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
