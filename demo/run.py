"""The main job, end to end: a file of addresses goes through real Airflow into HubSpot.

Without a token it talks to a local HubSpot, the simulator, and uses the file beside this one, or ``CONTACTS``.
With ``CONTACTS=path HUBPREFS_TOKEN=...`` it opts the people in your file out of your portal, after it has shown what
it will do and asked you (``YES=1`` agrees). ``HUBPREFS_HOST`` names another host than HubSpot's usual one.

Airflow and all it writes are in ``.demo``; the demo does not touch an Airflow of your own or its settings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from rich.table import Table
from shared import HERE, ROOT, DemoError, airflow, command, console, own_airflow, simulator, the_only_one

HOME = ROOT / ".demo"
DAG_ID = "hubprefs_suppression"
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


def main() -> int:
    """Run the demo; return 0 when every task of the DAG succeeded, 2 when an argument is missing.

    :raises DemoError: it did not get so far.
    """
    token = os.environ.get("HUBPREFS_TOKEN", "").strip()
    contacts = os.environ.get("CONTACTS", "").strip()
    if token and not contacts:
        console.print(
            "HUBPREFS_TOKEN is set: say with CONTACTS=path whose preferences to change in your portal."
        )
        return 2
    path = Path(contacts).expanduser().resolve() if contacts else HERE / "contacts.csv"
    with the_only_one(HERE, "another demo"):
        check_readable(path)
        if token:
            return on_portal(token, os.environ.get("HUBPREFS_HOST", "").strip(), path)
        with simulator() as (_, hubspot):
            console.print(f"A local HubSpot answers at [bold]{hubspot['url']}[/bold]")
            return run({"host": hubspot["url"], "password": hubspot["token"]}, path)


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
    env = own_airflow(HOME, AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY="1")
    for arguments, more in (
        (["db", "migrate"], {}),
        (["dags", "test", DAG_ID, "--conf", conf], {"AIRFLOW_CONN_HUBPREFS_DEFAULT": connected}),
    ):
        with airflow(arguments, env={**env, **more}, log=log) as process:
            process.wait()
    state, outcomes = result()
    if outcomes is not None:
        show(outcomes, done=state == "success")
    if state != "success":
        raise DemoError(f"the DAG run ended as {state or 'nothing'}. {reason(log)}\nAll of it: {log}")
    return 0


def reason(log: Path) -> str:
    """Return the text of the last exception in a log: that of the task that failed last."""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^[\w.]+(?:Error|Exception|Timeout|Exit): (.+)$", text, re.MULTILINE)
    return str(found[-1]) if found else f"It said last: {text[-1000:]}"


def result() -> tuple[str | None, dict[str, Any] | None]:
    """Return the state of the DAG run as Airflow stored it, and the report of its one run.

    The report has all that the task's result in Airflow leaves out, and is there also where the task failed.
    """
    state = None
    with suppress(sqlite3.Error), closing(sqlite3.connect(HOME / "airflow.db")) as db:
        state = db.execute("select state from dag_run where dag_id = ?", (DAG_ID,)).fetchone()
    for path in (HOME / "output").glob("*/*/*/report.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        return (state[0] if state else None), {**report, "report": path}
    return (state[0] if state else None), None


def show(outcomes: dict[str, Any], *, done: bool) -> None:
    """Print what became of every row, and at the end where the page is that shows it."""
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
    if done:
        console.print(f"Read back from HubSpot: {applied:,} are opted out.")
    console.print(
        f"{outcomes['requests']} requests in {outcomes['duration_seconds']:.1f} s, "
        f"{outcomes['throttled']} answered with 429."
    )
    console.print(f"Dead letters: {outcomes['dead_letters'] or 'none'}", markup=False)
    console.print(f"Report: {outcomes.get('page') or outcomes['report']}", markup=False)


if __name__ == "__main__":
    command(main)
