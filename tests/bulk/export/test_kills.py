"""Exports whose worker is killed, time and again, while it reads and while it writes: the target is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import LONG, people

if TYPE_CHECKING:
    from tests.postgres import Database

ROWS, KILLS = (600, 20) if LONG else (200, 4)
BATCH = 20

# One process imports everything, and forks a worker for each line that it reads.
WORKERS = """
import json, os, sys
import airflow.sdk.io, airflow.providers.postgres.hooks.postgres
import airflow_provider_hubprefs.bulk.export.files, airflow_provider_hubprefs.bulk.export.table
import airflow_provider_hubprefs.bulk.export.reads, airflow_provider_hubprefs.bulk.send.run
import airflow_provider_hubprefs.hubspot.transport.client
from airflow_provider_hubprefs.operators.export import HubPrefsExportStatusesOperator

arguments = json.loads(sys.argv[1])

class TaskInstance:
    dag_id, run_id, map_index = "dag", "run", -1

for _ in sys.stdin:
    if not (worker := os.fork()):
        os.dup2(2, 1)  # where Airflow logs
        try:
            HubPrefsExportStatusesOperator(task_id="export", **arguments).execute({"ti": TaskInstance()})
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(worker, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]), flush=True)
"""


class Killer:
    """Starts workers, and kills them.

    :param arguments: of the operator.
    """

    def __init__(self, hubspot: Simulator, arguments: dict[str, Any]) -> None:
        self.hubspot = hubspot
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", WORKERS, json.dumps(arguments)], **pipes)

    def start(self, requests: int | None = None, seconds: float = 0.0) -> int:
        """Start a worker, kill it so long after so many more requests; return how it ended."""
        assert self.process.stdin
        assert self.process.stdout
        wanted = self.hubspot.stats["requests"] + (requests or 0)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        worker = int(self.process.stdout.readline())
        if requests is not None:
            until = time.monotonic() + 30
            while self.hubspot.stats["requests"] < wanted and time.monotonic() < until:
                time.sleep(0.0005)
            time.sleep(seconds)
            with suppress(ProcessLookupError):  # it was done before
                os.kill(worker, signal.SIGKILL)
        return int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate()


def reads_left(hubspot: Simulator, begin: int, rows: int) -> int:
    batches = [request for request in hubspot.requests[begin:] if "/batch/" in request.path]
    asked = {one for request in batches for one in request.json()["inputs"]}
    return (rows - len(asked)) // BATCH


@pytest.mark.parametrize("target", ["table", "file"] if LONG else ["table"])
@pytest.mark.usefixtures("hubprefs_default")
def test_a_target_is_the_same_however_often_the_worker_is_killed(
    hubspot: Simulator, warehouse: Database, tmp_path: Path, target: str
) -> None:
    newsletter = hubspot.subscription_ids[0]
    rows = people(ROWS)
    hubspot.load(
        {
            "limits": {"burst": 10_000},
            "subscribers": {one: {"statuses": {newsletter: "SUBSCRIBED"}} for one in rows[::2]},
        }
    )
    (tmp_path / "people.csv").write_text("email\n" + "\n".join([*rows, rows[3], "no address"]) + "\n")
    warehouse.run("CREATE TABLE consent (subscriber TEXT, subscription_id BIGINT, status TEXT, note TEXT)")
    warehouse.run("INSERT INTO consent VALUES ('before@example.com', 1, 'SUBSCRIBED', 'of before')")
    file = tmp_path / "target/statuses.jsonl"
    chosen = (
        {"table": "consent", "target_conn_id": "warehouse"} if target == "table" else {"target": str(file)}
    )
    killer = Killer(
        hubspot,
        {
            **{"source": str(tmp_path / "people.csv"), "output": str(tmp_path / "out"), "batch_size": BATCH},
            **{"on_rejected": "report", "columns": ["subscriber", "subscription_id", "status"], **chosen},
        },
    )
    expected = sorted((one, hubspot.status_of(one, newsletter)) for one in rows)
    query = f"SELECT subscriber, status FROM consent WHERE subscription_id = {newsletter}"

    def there() -> list[tuple[str, str]]:
        if target == "table":
            return sorted(warehouse.run(query))
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return sorted(
            (one["subscriber"], one["status"]) for one in found if one["subscription_id"] == newsletter
        )

    chance = random.Random(0)
    hubspot.fault("latency", ms=[1, 30], times=None)
    begin = len(hubspot.requests)
    try:
        for _ in range(KILLS // 2):  # while it reads
            killer.start(chance.randint(1, 6))
            assert there() in ([], expected)
        for _ in range(KILLS):  # while it writes, or removes what it needs no more
            killer.start(max(0, reads_left(hubspot, begin, ROWS)), chance.uniform(0, 0.4))
            assert there() in ([], expected), "all rows, or those of before"
        assert killer.start() == 0
    finally:
        killer.end()
    assert there() == expected
    others = warehouse.run("SELECT note FROM consent WHERE subscription_id = 1")
    assert others == [("of before",)]
    left = [path.name for path in tmp_path.rglob("*part-*")]
    assert left == []
