"""Airflow's UI as `make ui` starts it, clicked through in a real browser by a person who sees it for the first time.

``HUBPREFS_SCREENSHOTS`` names a folder for a picture of every step.
"""

from __future__ import annotations

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
from urllib.parse import quote, unquote

import httpx
import psutil
import pytest

from airflow_provider_hubprefs.bulk.report.folder import name_of
from airflow_provider_hubprefs.simulator import Simulator
from tests.browser import chromium, needs_browser
from tests.conftest import ROOT
from tests.helpers import LONG
from tests.system.airflow_parts import free_port
from tests.system.all_runs import SECRETS
from tests.system.leaks import leaks
from tests.system.person import DUPLICATES, INVALID, REJECTED, ROWS, Newcomer, Person, expect
from tests.system.processes import Processes, signal_group, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
CONNECTION, READS_ONLY = "hubprefs_mine", "hubprefs_reads_only"
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
        shutil.copy(HERE / "dags" / "hubprefs_no_output.py", folder / "dags")

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
        ready = wait_for("the address", lambda: self.url in self.output() or process.poll(), timeout=600)
        assert ready is True, self.output()

    def connection(self) -> dict[str, str]:
        """What it says of a connection to its local HubSpot: by the name of the form's field."""
        (found,) = re.findall(r"Host (\S+), Port (\d+), Token (\S+)", self.output())
        return dict(zip(("Host", "Port", "Token"), found, strict=True))

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Run a DAG; returns the address of the run."""
        with httpx.Client(base_url=self.url, timeout=120) as client:
            login = client.get("/auth/token").raise_for_status().json()["access_token"]
            body = {"conf": conf, "logical_date": None}
            where, headers = f"/api/v2/dags/{dag_id}/dagRuns", {"Authorization": f"Bearer {login}"}
            run = client.post(where, json=body, headers=headers).raise_for_status().json()
        return f"{self.url}/dags/{dag_id}/runs/{quote(run['dag_run_id'], safe='')}"

    def report_of(self, run: str, name: str) -> Path:
        """Path of one file of a run of ``hubprefs_suppression``."""
        run_id = unquote(run.rpartition("/")[2])
        return self.home / "output" / "hubprefs_suppression" / name_of(run_id) / "opt_out" / name

    def hold(self, rows: list[str]) -> None:
        """Have the local HubSpot take 90 seconds for each batch with any of these rows."""
        hubspot = self.connection()
        held = {
            "match": {"endpoint": "batch_unsubscribe_all", "body_contains": rows[0].partition("-")[0]},
            "times": None,
            "fault": {"kind": "latency", "ms": 90_000},
        }
        url = f"{hubspot['Host']}:{hubspot['Port']}/_simulator/faults"
        httpx.post(url, json=held, timeout=60).raise_for_status()

    @contextlib.contextmanager
    def with_users(self, **users: str) -> Iterator[str]:
        """Start one more API server of this Airflow, whose users log in; returns its address.

        :param users: names and passwords; their rights are in :mod:`tests.ui.auth`.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        passwords = self.folder / "passwords.json"
        passwords.write_text(json.dumps(users))
        settings = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API_AUTH__JWT_SECRET": "of this server " * 5,
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.ui.auth.AuthManagerByDag",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:viewer" for user in users),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}?timeout=60",
            "AIRFLOW__HUBPREFS__OUTPUT": str(self.home / "output"),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        }
        clean = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
        with Processes() as processes:
            command = [sys.executable, "-m", "airflow", "api-server"]
            log = self.folder / "server-with-users.log"
            processes.start("API server with users", command, env={**clean, **settings}, log=log)

            def answers() -> bool:
                processes.check()
                with contextlib.suppress(httpx.HTTPError):
                    return httpx.get(f"{url}/api/v2/version", timeout=60).is_success
                return False

            wait_for(f"{url}, see {log}", answers, timeout=400)
            yield url


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def newcomer(
    ui: tuple[MakeUI, object], browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Newcomer:
    return Newcomer(browser, ui[0].url, tmp_path_factory.mktemp("newcomer"))


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


@pytest.fixture(scope="module")
def held(ui: tuple[MakeUI, object], newcomer: Newcomer) -> str:
    """Address of a run that goes on: HubSpot takes its time for all rows but the first ones."""
    slow = [f"held-{number}@example.com" for number in range(8_000)]  # 10 rounds of 8 batches: 15 minutes
    ui[0].hold(slow)
    file = newcomer.contacts.with_name("held.csv")
    file.write_text("\n".join(["Email", *[f"soon-{number}@example.com" for number in range(500)], *slow]))
    return ui[0].trigger("hubprefs_suppression", contacts=str(file))


@needs_time
@needs_browser
def test_a_connection_with_a_port_is_tested_by_the_button(connected: Newcomer) -> None:
    says = connected.test_connection(CONNECTION)
    assert "Successful" in says
    assert "48120091" in says


@needs_time
@needs_browser
def test_a_connection_that_can_only_read_does_not_test_green(
    ui: tuple[MakeUI, object], newcomer: Newcomer
) -> None:
    token = Simulator().tokens["read_only"]  # the same in each local HubSpot of this seed
    newcomer.connect(READS_ONLY, {**ui[0].connection(), "Token": token})
    says = newcomer.test_connection(READS_ONLY)
    assert "Test Connection Failed" in says
    assert "Can read. Cannot write, so nothing would be opted out: grant the token " in " ".join(says.split())


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
def test_the_links_lead_somewhere_while_the_run_goes_on(held: str, newcomer: Newcomer) -> None:
    page = newcomer.page
    newcomer.open_task(held, "opt_out", tab="details")
    newcomer.wait_for_state("Running")
    expect(newcomer.link("Dead letters")).to_be_visible()
    newcomer.look_at_it_in_every_way("links while it runs")
    newcomer.link("Report").click()
    expect(newcomer.tab()).to_contain_text("Running")
    newcomer.open_task(held, "opt_out", tab="details")
    newcomer.link("Dead letters").click()
    expect(page.get_by_role("status")).to_contain_text("put together when the run ends or waits")
    newcomer.look_at_it_in_every_way("dead letters while it runs")
    page.get_by_role("link", name="Back to the task").click()
    expect(newcomer.tab()).to_contain_text("Running")
    page.context.route("https://app.hubspot.com/**", lambda route: route.fulfill(body="HubSpot's own page"))
    newcomer.open_task(held, "opt_out", tab="details")
    with page.context.expect_page() as opened:
        newcomer.link("HubSpot settings").click()
    assert "HubSpot's own page" in opened.value.content()
    opened.value.close()
    newcomer.wait_for_state("Running")


@needs_time
@needs_browser
def test_a_run_without_a_folder_says_that_no_report_is_kept(
    ui: tuple[MakeUI, object], newcomer: Newcomer
) -> None:
    run = ui[0].trigger("hubprefs_no_output")
    newcomer.open_task(run, "opt_out")
    newcomer.wait_for_state("Success")
    main = newcomer.open_tab()
    expect(main).to_contain_text("No report and no dead letters are kept")
    expect(main).to_contain_text("This is not an e-mail address.")
    expect(main).to_contain_text("2 of 3 opted out")
    newcomer.look_at_it_in_every_way("tab without output")
    newcomer.open_task(run, "opt_out", tab="details")
    newcomer.link("Dead letters").click()
    expect(newcomer.page.get_by_role("status")).to_contain_text("this run has no output folder")
    newcomer.look_at_it_in_every_way("dead letters without output")


@needs_time
@needs_browser
def test_a_task_about_one_subscriber_has_a_tab_too(ui: tuple[MakeUI, object], newcomer: Newcomer) -> None:
    run = ui[0].trigger("hubprefs_set_status", subscriber="jane@example.com", subscription_id=348211907)
    newcomer.open_task(run, "set_status")
    newcomer.wait_for_state("Success")
    main = newcomer.open_tab()
    expect(main).to_contain_text("1 subscriber")
    expect(main).not_to_contain_text("No report")
    newcomer.look_at_it_in_every_way("tab of one subscriber")


@needs_time
@needs_browser
def test_the_report_on_disk_is_the_same_page(run: str, ui: tuple[MakeUI, object], newcomer: Newcomer) -> None:
    newcomer.open_task(run, "opt_out")
    newcomer.wait_for_state("Success")
    newcomer.page.goto(ui[0].report_of(run, "report.html").as_uri())
    expect(newcomer.page.locator("main")).to_contain_text(f"{ROWS:,}")
    newcomer.look_at_it_in_every_way("report from disk")


@needs_time
@needs_browser
def test_a_user_without_the_right_reads_in_the_tab_what_it_takes(
    run: str, ui: tuple[MakeUI, object], newcomer: Newcomer, browser: Browser
) -> None:
    where = run.removeprefix(newcomer.url)
    with ui[0].with_users(**{"no-xcoms": "secret", "viewer": "secret"}) as url:
        for user, says in (
            ("no-xcoms", "It takes the right to read this DAG's XComs"),
            ("viewer", f"{ROWS:,}"),
        ):
            with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
                visitor = Person(context.new_page(), url)
                visitor.log_in(user, "secret")
                visitor.open_task(f"{url}{where}", "opt_out")
                main = visitor.open_tab()
                expect(main).to_contain_text(says)
                visitor.look_at_it_in_every_way(f"tab of the user {user}")
                newcomer.seen += visitor.seen


@needs_time
@needs_browser
def test_the_page_of_recent_runs_shows_the_run(run: str, newcomer: Newcomer) -> None:
    newcomer.page.goto(f"{newcomer.url}/plugin/hubprefs-recent")
    expect(newcomer.tab()).to_contain_text("hubprefs_suppression")
    newcomer.look_at_it_in_every_way("recent runs")


@needs_time
@needs_browser
def test_the_pages_of_this_package_make_no_error(run: str, newcomer: Newcomer) -> None:
    without_letters = re.compile(r"404 \(Not Found\) http://\S+/download$")  # two, whose pages say why
    assert [error for error in newcomer.errors if not without_letters.search(error)] == []


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
    run = running.trigger("hubprefs_suppression", contacts=str(running.home / "contacts-20000.csv"))
    wait_for("its report", running.report_of(run, "report.json").exists, timeout=300)
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
