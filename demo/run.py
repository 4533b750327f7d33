"""The main job, end to end: a file of addresses goes through real Airflow into HubSpot.

Without a token it talks to a local HubSpot, the simulator, and uses the file beside this one. With
``CONTACTS=path HUBPREFS_TOKEN=...`` it opts the people in your file out of your portal, after saying what it
would do and asking (``YES=1`` answers).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HOME = ROOT / ".demo"
DAG_ID = "hubprefs_suppression"
PATIENCE = 10
"""Seconds a process gets to end by itself."""

EXPLANATIONS = {
    "changed": "opted out now",
    "unchanged": "had opted out before",
    "rejected": "HubSpot refused",
    "invalid": "no e-mail address",
    "duplicate": "stands in an earlier row",
    "unconfirmed": "neither confirmed nor refused",
}
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo; 0 when every step of the DAG succeeded."""
    token = os.environ.get("HUBPREFS_TOKEN", "").strip()
    contacts = os.environ.get("CONTACTS", "").strip()
    if token and not contacts:
        console.print(
            "HUBPREFS_TOKEN is set: say with CONTACTS=path whose preferences to change in your portal."
        )
        return 2
    path = Path(contacts).expanduser().resolve() if contacts else HERE / "contacts.csv"
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    if token:
        connection: dict[str, Any] = {"conn_type": "hubprefs", "password": token}
        return run(connection, path) if agreed(connection, path) else 1
    with simulator() as hubspot:
        console.print(f"A local HubSpot answers at [bold]{hubspot['url']}[/bold]")
        return run({"conn_type": "hubprefs", "host": hubspot["url"], "password": hubspot["token"]}, path)


def agreed(connection: dict[str, Any], path: Path) -> bool:
    """Say what would be done to a real portal, and ask."""
    os.environ["AIRFLOW_CONN_HUBPREFS_DEFAULT"] = json.dumps(connection)
    os.environ.update(environment(connection))
    from airflow_provider_hubprefs.bulk.source import SourceError, read_rows
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

    reachable, access = HubPrefsHook().test_connection()
    console.print(access)
    if not reachable:
        return False
    try:
        found = Counter(row.problem or "valid" for row in read_rows(path))
    except SourceError as error:
        console.print(str(error))
        return False
    console.print(
        f"{path}: {found['valid']} addresses would be opted out of ALL marketing e-mail of this portal "
        f"({found['duplicate']} duplicates and {found['invalid']} invalid rows would not be sent)."
    )
    if os.environ.get("YES") == "1":
        return True
    return sys.stdin.isatty() and console.input("Opt them out? Type 'yes': ").strip().lower() == "yes"


def run(connection: dict[str, Any], path: Path) -> int:
    """Run the DAG in real Airflow on SQLite, and show what became of every row."""
    dead_letters = HOME / "dead_letters.jsonl"
    log = HOME / "airflow.log"
    env = {**os.environ, **environment(connection)}
    conf = json.dumps({"contacts": str(path), "dead_letters": str(dead_letters)})
    console.print(f"Airflow runs the DAG [bold]{DAG_ID}[/bold] on {path} (log: {log})")
    airflow = [sys.executable, "-m", "airflow"]
    with log.open("w") as output:
        for command in (["db", "migrate"], ["dags", "reserialize"], ["dags", "test", DAG_ID, "--conf", conf]):
            with child([*airflow, *command], env=env, stdout=output, stderr=subprocess.STDOUT) as process:
                process.wait()
    state, outcomes = result()
    if outcomes is not None:
        show(outcomes, dead_letters)
    if state != "success":
        console.print(f"[bold red]The DAG run ended as {state or 'nothing'}.[/bold red] The end of {log}:")
        console.print("".join(log.read_text().splitlines(keepends=True)[-40:]), markup=False)
        return 1
    return 0


def environment(connection: dict[str, Any]) -> dict[str, str]:
    """Airflow's settings: its own home, this repository's DAGs, the one connection."""
    return {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
        "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(connection),
    }


def result() -> tuple[str | None, dict[str, Any] | None]:
    """State of the DAG run and what its last task returned, as Airflow stored them."""
    with sqlite3.connect(HOME / "airflow.db") as db:
        state = db.execute("select state from dag_run where dag_id = ?", (DAG_ID,)).fetchone()
        stored = dict(
            db.execute("select task_id, value from xcom where dag_id = ? and key = 'return_value'", (DAG_ID,))
        )
    found = stored.get("summarise") or stored.get("opt_out")
    while isinstance(found, str):
        found = json.loads(found)
    return (state[0] if state else None), found


def show(outcomes: dict[str, Any], dead_letters: Path) -> None:
    """Print the table people came for."""
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
    if verified := outcomes.get("verified"):
        console.print(f"Read back from HubSpot: {verified['as_wanted']:,} are opted out.")
    console.print(
        f"{outcomes['requests']} requests in {outcomes['duration_seconds']:.1f} s, "
        f"{outcomes['throttled']} answered with 429."
    )
    console.print(f"Dead letters: [bold]{dead_letters}[/bold]")


@contextmanager
def simulator() -> Iterator[dict[str, Any]]:
    """A local HubSpot of its own process, gone when the block is left."""
    command = [sys.executable, "-m", "airflow_provider_hubprefs.simulator", "--port", "0"]
    command += ["--portal", str(HERE / "portal.json")]
    with (
        tempfile.TemporaryFile("w+") as errors,
        child(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            errors.seek(0)
            raise SystemExit(f"the simulator did not start:\n{errors.read()}")
        yield json.loads(line)


@contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a group of its own, and leave nothing of the group behind."""
    with subprocess.Popen(command, text=True, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    break
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    continue


def end(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does: with everything it started."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        sys.exit(130)
