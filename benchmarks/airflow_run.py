"""A bulk opt-out in real Airflow: what it takes, and that no subscriber is missing.

    .venv/bin/python -m benchmarks.airflow_run                        # 100,000 rows, no rate limit
    .venv/bin/python -m benchmarks.airflow_run --rows 1000000         # for the record
    .venv/bin/python -m benchmarks.airflow_run --limit 190 --latency-ms 300

API server, scheduler with LocalExecutor and DAG processor run in a folder of their own, and so does the local HubSpot.
The task's process writes down what it used; an idle task's is there to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from tests.system.airflow_parts import Airflow, airflow

HERE = Path(__file__).parent
BATCH = 100
INTERVAL = 10.0
"""Seconds in which HubSpot allows so many requests."""
DAG_ID = "hubprefs_one_task"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--rows", type=int, default=100_000, help="distinct addresses (%(default)s)")
    add("--limit", type=int, help="requests HubSpot allows in 10 s (no limit)")
    add("--latency-ms", type=float, default=0.0, help="how long HubSpot's answers take (%(default)s)")
    options = parser.parse_args()
    print(f"{options.rows:,} distinct addresses, batches of {BATCH}; {os.cpu_count()} CPUs, "
          f"load before {os.getloadavg()[0]:.1f}")  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        hubspot(Path(folder), limit=options.limit, latency_ms=options.latency_ms) as portal,
        httpx.Client(base_url=portal["url"], timeout=600) as control,
        running_airflow(Path(folder), portal) as running,
    ):
        source = Path(folder) / "people.csv"
        write_people(source, options.rows)
        measure(source, running, control, options)
        print(f"load after {os.getloadavg()[0]:.1f}")


@contextmanager
def hubspot(folder: Path, *, limit: int | None, latency_ms: float) -> Iterator[dict[str, Any]]:
    """Run a local HubSpot, with a token of its own: this machine's other budgets have nothing to do with it."""
    # Without a limit, almost: with a much shorter interval the pacer would take each pause for a rest of the account's.
    limits = {"burst": limit} if limit else {"burst": 10_000, "interval_ms": 1000}
    portal = folder / "portal.json"
    portal.write_text(json.dumps({"limits": {**limits, "daily": 1_000_000_000}}))
    options = {
        "--portal": portal,
        "--seed": random.randrange(1 << 32),  # noqa: S311 - no secret
        "--latency-ms": latency_ms,
        "--record": 10_000 if limit else 10,
    }
    arguments = [str(each) for pair in options.items() for each in pair]
    command = [sys.executable, "-m", "airflow_provider_hubprefs.simulator", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline() if process.stdout else "")
        finally:
            process.terminate()


@contextmanager
def running_airflow(folder: Path, portal: dict[str, Any]) -> Iterator[Airflow]:
    """Start Airflow with the DAGs and the plugin, and the connection as people have it."""
    (folder / "usage").mkdir()
    connection = {"conn_type": "hubprefs", "host": portal["url"], "password": portal["token"]}
    env = {
        "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(connection),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(HERE / "plugins"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "HUBPREFS_USAGE": str(folder / "usage"),
    }
    with airflow(folder / "airflow", dags=[HERE / "dags" / f"{DAG_ID}.py"], env=env) as running:
        running.login()
        yield running


def write_people(path: Path, rows: int) -> None:
    """Write a file of distinct addresses."""
    with path.open("w", encoding="ascii") as file:
        file.write("email,name\n")
        file.writelines(f"person-{number}@mail{number % 97}.example.com,P\n" for number in range(rows))


def measure(source: Path, running: Airflow, control: httpx.Client, options: argparse.Namespace) -> None:
    """Run the DAG over the file, see that all is done, and print what it took."""
    begin = time.monotonic()
    run_id = running.trigger(DAG_ID, contacts=str(source), output=str(source.parent / "output"))
    state = running.wait(DAG_ID, run_id, timeout=3600)
    wall = time.monotonic() - begin
    if state != "success":
        states = running.states(DAG_ID, run_id)
        logs = "\n".join(running.log(DAG_ID, run_id, each)[-5000:] for each in states)
        sys.exit(f"{state} {states}\n{logs}")
    summary = json.loads(Path(running.xcom(DAG_ID, run_id, "opt_out")["report"]).read_text())
    check(summary, control, options.rows)
    stats = control.get("/_simulator/stats").json()
    usage = usage_of(source.parent / "usage", run_id)
    idle = usage_of(source.parent / "usage", "")["idle"][0]
    task = usage["opt_out"][0]
    refused = sum(statuses.get("429", 0) for statuses in stats["answers"].values())
    print(f"  requests          {stats['requests']:,}, of which answered 429: {refused}")
    print(f"  seconds           {wall:.1f} for the DAG run, {summary['duration_seconds']:.1f} for sending")
    print(f"  CPU seconds       {task['cpu']:.1f}; an idle task {idle['cpu']:.1f}")
    print(f"  MB at most        {task['memory']:.1f}; an idle task {idle['memory']:.1f}")
    print(f"  MB over idle      {task['memory'] - idle['memory']:.1f}")
    if options.limit:
        print(paced(control, options.limit))
    print(f"  summary           {json.dumps(summary)}", flush=True)


def usage_of(folder: Path, run_id: str) -> dict[str, list[dict[str, float]]]:
    """What the processes of a run's tasks have used, by task."""
    found: dict[str, list[dict[str, float]]] = {}
    for path in sorted(folder.glob(f"{run_id}*.json")):
        found.setdefault(path.name.split(".")[-3], []).append(json.loads(path.read_text()))
    return found


def check(summary: dict[str, Any], control: httpx.Client, rows: int) -> None:
    """End here unless all subscribers have opted out, and the report says so."""
    counts = control.get("/_simulator/subscribers").json()
    reported = {name: summary[name] for name in ("read", *OUTCOMES)}
    expected = {name: rows if name in {"read", "changed"} else 0 for name in reported}
    if (counts["subscribers"], counts["opted_out"], reported) != (rows, rows, expected):
        sys.exit(f"expected {rows} to be opted out and {expected}, got {counts} and {reported}")


def paced(control: httpx.Client, limit: int) -> str:
    """How long all requests took, from the first that came in to the last, beside what the limit allows."""
    requests = control.get("/_simulator/requests", params={"limit": 10_000}).json()["requests"]
    times = [datetime.fromisoformat(each["time"]) for each in requests]
    took = (times[-1] - times[0]).total_seconds()
    least = (len(times) - 1) // limit * INTERVAL
    return f"  first to last     {took:.2f} s; the limit allows {least:.2f}: ratio {least / took:.3f}"


if __name__ == "__main__":
    main()
