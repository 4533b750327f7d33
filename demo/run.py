"""The main job, end to end: a file of addresses goes through real Airflow into HubSpot.

Without a token it talks to a local HubSpot, the simulator, and uses the file beside this one, or ``CONTACTS``.
With ``CONTACTS=path HUBPREFS_TOKEN=...`` it opts the people in your file out of your portal, after it has shown what
it will do and asked you (``YES=1`` agrees). ``HUBPREFS_HOST`` names another host than HubSpot's usual one.

Airflow and all it writes are in ``.demo``; the demo does not touch an Airflow of your own or its settings.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HOME = ROOT / ".demo"
DAG_ID = "hubprefs_suppression"
GRACE = 3
"""Seconds that a process gets to end by itself."""
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHORT_RETRIES = {"connect_timeout": 5, "retry_total": 20}
"""Extra of the connection: a person is watching, so the demo reports soon that HubSpot does not answer."""

EXPLANATIONS = {
    "changed": "opted out now",
    "unchanged": "had opted out before",
    "rejected": "HubSpot refused",
    "invalid": "no e-mail address",
    "duplicate": "stands in an earlier row",
    "unconfirmed": "neither confirmed nor refused",
}
console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """Why the demo cannot go on, in a sentence for the person who started it."""


def main() -> int:
    """Run the demo; return 0 when every task of the DAG succeeded, 2 when an argument is missing."""
    token = os.environ.get("HUBPREFS_TOKEN", "").strip()
    contacts = os.environ.get("CONTACTS", "").strip()
    if token and not contacts:
        console.print(
            "HUBPREFS_TOKEN is set: say with CONTACTS=path whose preferences to change in your portal."
        )
        return 2
    path = Path(contacts).expanduser().resolve() if contacts else HERE / "contacts.csv"
    try:
        with the_only_demo():
            check_readable(path)
            if token:
                return on_portal(token, os.environ.get("HUBPREFS_HOST", "").strip(), path)
            with simulator() as hubspot:
                console.print(f"A local HubSpot answers at [bold]{hubspot['url']}[/bold]")
                return run({"host": hubspot["url"], "password": hubspot["token"]}, path)
    except DemoError as error:
        console.print(f"[bold red]Not done:[/bold red] {escape(str(error))}")
        return 1


@contextmanager
def the_only_demo() -> Iterator[None]:
    """Refuse to wipe the folder of a demo that is still running."""
    folder = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DemoError("another demo is running in this folder; wait for its end, or end it") from None
    finally:
        os.close(folder)


def check_readable(path: Path) -> None:
    """Look at the file before anything is started.

    :raises DemoError: the file is missing, has no column of addresses, or is in the folder that the demo empties.
    """
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.bulk.source.reader import read_rows

    if path.is_relative_to(HOME):
        raise DemoError(f"{path} is in {HOME}, which every demo empties first: move it elsewhere")
    try:
        next(iter(read_rows(path)), None)
    except SourceError as error:
        raise DemoError(str(error)) from None


def on_portal(token: str, host: str, path: Path) -> int:
    """Say what would be done to a real portal, ask, and do it.

    :raises DemoError: the portal does not accept the token, or the user did not agree.
    """
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.bulk.source.reader import read_rows
    from airflow_provider_hubprefs.hooks.connection import describe_access
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError
    from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.hubspot.transport.settings import Settings

    try:
        client = Client(
            StaticToken(token), host=host or None, settings=Settings(connect_timeout=5, retry_total=5)
        )
        works, said = describe_access(client, business_unit_id=None)
        if not works:
            raise DemoError(said.replace("\n", " "))
        console.print(said, markup=False)
        found = Counter(row.problem or "valid" for row in read_rows(path))
    except (HubSpotError, SourceError) as error:
        raise DemoError(str(error)) from None
    console.print(
        f"{path}: {found['valid']:,} addresses would be opted out of ALL marketing e-mail of this portal "
        f"({found['duplicate']:,} duplicates and {found['invalid']:,} invalid rows would not be sent).",
        markup=False,
    )
    if os.environ.get("YES") != "1":
        if not sys.stdin.isatty():
            raise DemoError("there is no terminal to ask on; YES=1 agrees. Nothing was sent.")
        if console.input("Opt them out? Type 'yes': ").strip().lower() != "yes":
            raise DemoError("you did not agree. Nothing was sent.")
    return run({**({"host": host} if host else {}), "password": token}, path)


def run(connection: dict[str, Any], path: Path) -> int:
    """Run the DAG in real Airflow on SQLite, and show what became of every row.

    :param connection: host and password of Airflow's connection to HubSpot.
    """
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(mode=0o700)  # the dead letters are addresses
    log = HOME / "airflow.log"
    conf = json.dumps({"contacts": str(path), "output": str(HOME / "output")})
    connected = json.dumps({"conn_type": "hubprefs", **connection, "extra": SHORT_RETRIES})
    console.print(f"Airflow runs the DAG [bold]{DAG_ID}[/bold] on {path} (log: {log})")
    for command, more in (
        (["db", "migrate"], {}),
        (["dags", "test", DAG_ID, "--conf", conf], {"AIRFLOW_CONN_HUBPREFS_DEFAULT": connected}),
    ):
        env = {**environment(), **airflow_settings(), **more}
        with (
            log.open("a") as output,
            child(
                [sys.executable, "-m", "airflow", *command],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            process.wait()
    state, outcomes = result()
    if outcomes is not None:
        show(outcomes)
    if state != "success":
        raise DemoError(f"the DAG run ended as {state or 'nothing'}. {reason(log)}\nAll of it: {log}")
    return 0


def environment() -> dict[str, str]:
    """Return the environment for child processes: without settings of your own Airflow, and without your token.

    The token is looked for in every value, because ``make NAME=value`` passes its arguments on under several names.
    """
    token = os.environ.get("HUBPREFS_TOKEN", "").strip()
    return {
        name: value
        for name, value in os.environ.items()
        if "AIRFLOW" not in name and not (token and token in value)
    }


def airflow_settings() -> dict[str, str]:
    """Airflow's settings: a home of its own, this repository's DAGs."""
    return {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    }


def reason(log: Path) -> str:
    """Return the text of the last exception in a log: that of the task that failed last."""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^[\w.]+(?:Error|Exception|Timeout|Exit): (.+)$", text, re.MULTILINE)
    return str(found[-1]) if found else f"It said last: {text[-1000:]}"


def result() -> tuple[str | None, dict[str, Any] | None]:
    """Return the state of the DAG run and the result of its task, as Airflow stored them."""
    stored: dict[str, Any] = {}
    state = None
    with suppress(sqlite3.Error), closing(sqlite3.connect(HOME / "airflow.db")) as db:
        state = db.execute("select state from dag_run where dag_id = ?", (DAG_ID,)).fetchone()
        query = "select task_id, value from xcom where dag_id = ? and key = 'return_value'"
        stored.update(db.execute(query, (DAG_ID,)))
    found = stored.get("opt_out")
    while isinstance(found, str):
        found = json.loads(found)
    return (state[0] if state else None), found


def show(outcomes: dict[str, Any]) -> None:
    """Print what became of every row."""
    table = Table(title="What became of every row", title_justify="left")
    table.add_column("outcome")
    table.add_column("rows", justify="right")
    table.add_column("meaning")
    for name, meaning in EXPLANATIONS.items():
        table.add_row(name, f"{outcomes[name]:,}", meaning)
    table.add_section()
    table.add_row("read", f"{outcomes['read']:,}", "the sum of the above")
    console.print(table)
    for reason, count in outcomes["reasons"].items():
        console.print(f"  {count:,} {reason}")
    applied = outcomes["changed"] + outcomes["unchanged"]
    console.print(f"Read back from HubSpot: {applied:,} are opted out.")
    console.print(
        f"{outcomes['requests']} requests in {outcomes['duration_seconds']:.1f} s, "
        f"{outcomes['throttled']} answered with 429."
    )
    console.print(f"Report: {outcomes['report']}", markup=False, soft_wrap=True)
    console.print(f"Dead letters: {outcomes['dead_letters'] or 'none'}", markup=False, soft_wrap=True)


@contextmanager
def simulator() -> Iterator[dict[str, Any]]:
    """Run a local HubSpot in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "airflow_provider_hubprefs.simulator", "--port", "0"]
    command += ["--portal", str(HERE / "portal.json")]
    with (
        tempfile.TemporaryFile("w+") as errors,
        child(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            errors.seek(0)
            raise DemoError(f"the local HubSpot did not start. {errors.read()[-1000:]}")
        yield json.loads(line)


@contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a group of its own; end the whole group when the block ends."""
    process = None
    try:
        with signals_held_back():
            process = subprocess.Popen(command, text=True, start_new_session=True, **options)
        yield process
    finally:
        if process is not None:
            with process:
                end_group(process)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold signals back while a process is being started: until then there is nothing to end."""
    received: list[int] = []
    before = {ending: signal.signal(ending, lambda number, _: received.append(number)) for ending in ENDINGS}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
    for number in received:
        end(number, None)


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process and all of its group: by SIGTERM, then by SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def end(number: int, frame: FrameType | None) -> None:
    """End the demo and all its processes; a second signal does not interrupt that."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    for ending in ENDINGS:
        signal.signal(ending, end)
    try:
        sys.exit(main())
    except KeyboardInterrupt as interrupt:
        console.print("\nStopped; nothing is left running.")
        sys.exit(128 + interrupt.args[0])
