"""The demo as `make demo` runs it, in a copy: what it prints, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import ROOT
from tests.helpers import OUTCOMES
from tests.system.processes import none_is_left, processes_with, signal_group, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

TOKEN = "pat-eu1-0f0f0f0f-not-in-any-process"


class Demo:
    """A copy of the demo: a demo that a developer runs meanwhile is not disturbed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".demo"
        shutil.copytree(ROOT / "demo", folder / "demo")
        shutil.copytree(ROOT / "dags", folder / "dags")

    def run(self, **variables: str) -> tuple[int, str]:
        """Run it to its end; returns its exit code and its output."""
        with self.start(**variables) as process:
            output, _ = process.communicate(timeout=200)
            return process.returncode, output

    @contextmanager
    def start(self, **variables: str) -> Iterator[subprocess.Popen[str]]:
        clean = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
        # As make passes on the variables of its command line.
        flags = " ".join(f"{name}={value}" for name, value in variables.items())
        env = {**clean, "COLUMNS": "200", "MAKEFLAGS": f"s -- {flags}", **variables}
        with subprocess.Popen(
            [sys.executable, str(self.folder / "demo" / "run.py")],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                signal_group(process.pid, signal.SIGTERM)

    def letters(self) -> Path:
        """The file of the demo's one run."""
        (path,) = self.home.glob("output/hubprefs_suppression/*/opt_out/dead_letters.jsonl")
        return path

    def report(self) -> Path:
        """The page of the demo's one run; without pages, its report."""
        report = self.letters().parent / "report.json"
        return Path(json.loads(report.read_text()).get("page") or report)

    def dead_letters(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.letters().read_text().splitlines()]

    def running(self) -> list[str]:
        return processes_with(str(self.folder))


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path)


@pytest.fixture
def portal() -> Iterator[Simulator]:
    """A portal that only a token opens."""
    tokens = {"of_the_demo": {"value": TOKEN}, "without_batches": {"value": f"{TOKEN}-2", "scopes": []}}
    with Simulator(portal={"tokens": tokens}) as hubspot:
        yield hubspot


@pytest.fixture
def contacts(tmp_path: Path) -> Path:
    path = tmp_path / "my contacts.csv"
    path.write_text(
        "Name;Asked on;EMAIL\nJane;2026-11-20; Jane@Example.com\nJoe;;joe@example.com\nJim;;no-address\n"
    )
    return path


def table(output: str) -> dict[str, int]:
    """Numbers of the table in the demo's output."""
    rows = re.findall(r"^[│|]\s*(\w+)\s*[│|]\s*([\d,]+)\s*[│|]", output, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in rows}


def test_it_shows_what_became_of_every_row_and_leaves_an_airflow_of_ones_own_alone(
    demo: Demo, tmp_path: Path
) -> None:
    mine = tmp_path / "airflow of mine"
    code, output = demo.run(
        AIRFLOW_HOME=str(mine),
        AIRFLOW_CONFIG=str(mine / "airflow.cfg"),
        AIRFLOW__CORE__DAGS_FOLDER=str(mine),
        AIRFLOW__CORE__EXECUTOR="CeleryExecutor",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD="false",
        AIRFLOW_CONN_HUBPREFS_DEFAULT="hubprefs://:secret@localhost:1",
    )
    assert not mine.exists()
    assert code == 0, output
    assert table(output) == dict(zip((*OUTCOMES, "read"), (888, 60, 2, 12, 38, 0, 1000), strict=True))
    assert "948 are opted out" in output
    assert str(demo.letters()) in output
    assert output.splitlines()[-1] == f"Report: {demo.report()}"
    letters = demo.dead_letters()
    assert len(letters) == 14
    assert all(letter["row"] and letter["category"] and letter["message"] for letter in letters)
    assert none_is_left(str(demo.folder))
    port = re.search(r"http://127\.0\.0\.1:(\d+)", output)
    with socket.socket() as probe:
        assert port and probe.connect_ex(("127.0.0.1", int(port[1]))) != 0


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "Performing upgrade"), (signal.SIGTERM, "starting task_id=opt_out")],
    ids=["Ctrl-C while the database is made", "SIGTERM while a task runs"],
)
def test_interrupted_it_leaves_nothing_running(demo: Demo, number: signal.Signals, moment: str) -> None:
    log = demo.home / "airflow.log"
    with demo.start() as process:
        wait_for(moment, lambda: log.exists() and moment in log.read_text(), timeout=100, every=0.05)
        assert len(demo.running()) >= 3  # the demo, a local HubSpot, Airflow
        process.send_signal(number)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert output.rstrip().endswith("Stopped; nothing is left running.")
    assert "Traceback" not in output
    assert none_is_left(str(demo.folder))


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "there is no such file"), ("", "empty"), ("Name,Phone\nJane,1\n", 'no column is called "email"')],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(
    demo: Demo, tmp_path: Path, text: str | None, says: str
) -> None:
    path = tmp_path / "contacts.csv"
    if text is not None:
        path.write_text(text)
    code, output = demo.run(CONTACTS=str(path))
    assert code == 1
    assert says in output.splitlines()[-1]
    assert "Traceback" not in output
    assert not demo.home.exists()


def test_dead_letters_of_the_last_demo_are_not_deleted_when_they_are_the_source(demo: Demo) -> None:
    demo.home.mkdir()
    letters = demo.home / "dead_letters.jsonl"
    letters.write_text('{"email": "jane@example.com"}\n')
    code, output = demo.run(CONTACTS=str(letters))
    assert code == 1
    assert "move it elsewhere" in output
    assert letters.exists()


def test_a_token_without_a_file_is_refused(demo: Demo) -> None:
    code, output = demo.run(HUBPREFS_TOKEN=TOKEN)
    assert code == 2
    assert "CONTACTS=path" in output
    assert TOKEN not in output


def test_a_real_portal_is_written_when_the_user_agrees(demo: Demo, portal: Simulator, contacts: Path) -> None:
    given = {"HUBPREFS_TOKEN": TOKEN, "HUBPREFS_HOST": portal.url, "CONTACTS": str(contacts), "YES": "1"}
    with demo.start(**given) as process:
        wait_for("Airflow", (demo.home / "airflow.log").exists, timeout=100, every=0.02)
        migrating = wait_for("db migrate", lambda: environments(demo, "migrate"), timeout=30, every=0.02)
        output, _ = process.communicate(timeout=200)
    assert not [environment for environment in migrating if TOKEN in environment]
    assert process.returncode == 0, output
    assert f"Portal {portal.portal.settings.portal_id}" in output
    assert "2 addresses would be opted out of ALL marketing e-mail" in output
    assert table(output)["changed"] == 2
    assert portal.is_opted_out("jane@example.com")
    assert portal.is_opted_out("joe@example.com")
    assert TOKEN not in output
    assert not [
        path for path in demo.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]


def test_a_real_portal_is_not_written_when_no_user_agrees(
    demo: Demo, portal: Simulator, contacts: Path
) -> None:
    code, output = demo.run(HUBPREFS_TOKEN=TOKEN, HUBPREFS_HOST=portal.url, CONTACTS=str(contacts))
    assert code == 1
    assert "2 addresses would be opted out" in output
    assert output.splitlines()[-1].endswith("YES=1 agrees. Nothing was sent.")
    assert {request.method for request in portal.requests if "communication" in request.path} == {"GET"}
    assert not demo.home.exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"HUBPREFS_TOKEN": "pat-eu1-wrong"}, "401"),
        ({"HUBPREFS_HOST": "http://127.0.0.1:1"}, "no connection"),
        ({"HUBPREFS_HOST": "http://hubspot.example"}, "https"),
    ],
)
def test_a_portal_that_cannot_be_reached_fails_the_demo_before_anything_is_sent(
    demo: Demo, portal: Simulator, contacts: Path, given: dict[str, str], says: str
) -> None:
    variables = {"HUBPREFS_TOKEN": TOKEN, "HUBPREFS_HOST": portal.url, "CONTACTS": str(contacts), **given}
    code, output = demo.run(YES="1", **variables)
    assert code == 1
    assert says in output.splitlines()[-1]
    assert "Traceback" not in output
    assert variables["HUBPREFS_TOKEN"] not in output
    assert not demo.home.exists()


def test_a_run_that_fails_says_why_in_a_sentence(demo: Demo, portal: Simulator, contacts: Path) -> None:
    portal.fault("daily", match={"method": "POST"}, times=None)
    given = {"HUBPREFS_TOKEN": TOKEN, "HUBPREFS_HOST": portal.url, "CONTACTS": str(contacts)}
    code, output = demo.run(YES="1", **given)
    assert code == 1
    assert "Not done: the DAG run ended as failed" in output
    assert "HubSpot answered 429" in output.splitlines()[-2]
    assert str(demo.home / "airflow.log") in output.splitlines()[-1]
    assert "Traceback" not in output
    assert none_is_left(str(demo.folder))


def test_two_demos_do_not_disturb_each_other(demo: Demo) -> None:
    with demo.start():
        wait_for("the first", (demo.home / "airflow.log").exists, timeout=100, every=0.02)
        code, output = demo.run()
        assert code == 1
        assert "another demo is running" in output
        assert (demo.home / "airflow.log").exists()


def environments(demo: Demo, word: str) -> list[str]:
    """Environments of this demo's processes with a word in their command line."""
    found = []
    for line in demo.running():
        number, _, command = line.partition(": ")
        if word in command:
            found.append(Path("/proc", number, "environ").read_text(errors="replace"))
    return found


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_git_ignores_what_it_writes() -> None:
    command = ["git", "check-ignore", ".demo/airflow.db"]
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
