"""A round trip whose workers are killed while they plan, apply and export, and tried again: the end is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import LONG, OUTCOMES
from tests.system.consents import UNEQUAL, fill, scene

from .test_round_trip import exporting, load, reconciling

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator
    from tests.postgres import Database

ROWS, BATCH = (3000, 20) if LONG else (300, 10)
PLANNING, APPLYING, EXPORTING = (8, 7, 5) if LONG else (2, 2, 1)
"""How many workers are killed meanwhile."""

# One process imports everything, and forks a worker for each line that it reads: the name of a task.
WORKERS = """
import json, os, sys
import airflow.sdk.io, airflow.providers.postgres.hooks.postgres
import airflow_provider_hubprefs.bulk.export.files, airflow_provider_hubprefs.bulk.export.table
import airflow_provider_hubprefs.bulk.export.reads, airflow_provider_hubprefs.bulk.plan.run
import airflow_provider_hubprefs.bulk.page.page, airflow_provider_hubprefs.hubspot.transport.client, pygal
import airflow.providers.openlineage.sqlparser
from airflow_provider_hubprefs.operators.export import HubPrefsExportStatusesOperator
from airflow_provider_hubprefs.operators.reconcile import HubPrefsReconcileOperator

arguments = json.loads(sys.argv[1])
operators = {"reconcile": HubPrefsReconcileOperator, "export": HubPrefsExportStatusesOperator}

class TaskInstance:
    dag_id, run_id, map_index = "dag", "run", -1

for line in sys.stdin:
    if not (worker := os.fork()):
        os.dup2(2, 1)  # where Airflow logs
        name = line.strip()
        try:
            result = operators[name](task_id=name, **arguments[name]).execute({"ti": TaskInstance()})
            print(json.dumps(result), file=open(sys.argv[2], "w"))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    print(worker, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]), flush=True)
"""

Start = Callable[..., int]


@contextmanager
def workers(arguments: dict[str, Any], result: Path) -> Iterator[Start]:
    """Start a worker for a task, and kill it when something is so; returns how it ended."""
    command = [sys.executable, "-c", WORKERS, json.dumps(arguments), str(result)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ, **pipes) as process:
        assert process.stdin
        assert process.stdout
        commands, answers = process.stdin, process.stdout

        def start(task: str, kill_when: Callable[[], bool] | None = None) -> int:
            commands.write(f"{task}\n")
            commands.flush()
            worker = int(answers.readline())
            if kill_when is not None:
                until = time.monotonic() + 30
                while not kill_when() and time.monotonic() < until:
                    time.sleep(0.0005)
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            return int(answers.readline())

        yield start
        commands.close()


def written(hubspot: Simulator, begin: int) -> Counter[Any]:
    """Who was written in the requests from some number on, and of which subscription."""
    found: Counter[Any] = Counter()
    for request in hubspot.requests[begin:]:
        if request.method == "POST" and request.path.endswith(("/write", "/unsubscribe-all")):
            for one in request.json()["inputs"]:
                wide = isinstance(one, str)
                found[one if wide else (one["subscriberIdString"], one["subscriptionId"])] += 1
    return found


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("seed", range(2) if LONG else [0])
def test_the_end_is_the_same_however_often_workers_are_killed(
    hubspot: Simulator, warehouse: Database, tmp_path: Path, seed: int
) -> None:
    made = scene(hubspot.subscription_ids, ROWS, seed=seed)
    load(hubspot, made)
    fill(warehouse.run, made.rows)
    given = {"output": str(tmp_path / "runs"), "batch_size": BATCH}
    folder = tmp_path / "runs/dag/run"
    plan = folder / "reconcile/plan/plan.jsonl"
    chance = random.Random(seed)
    hubspot.fault("latency", ms=[1, 30], times=None)
    known: Counter[Any] = Counter()
    killed: Counter[str] = Counter()

    def after(requests: int, seconds: float, *, applying: bool = False) -> Callable[[], bool]:
        wanted: list[int] = [] if applying else [hubspot.stats["requests"] + requests]

        def is_time() -> bool:
            if not wanted and plan.exists():
                wanted.append(hubspot.stats["requests"] + requests)
            if not wanted or hubspot.stats["requests"] < wanted[0]:
                return False
            time.sleep(seconds)
            return True

        return is_time

    def try_once(start: Start, task: str, kill_when: Callable[[], bool] | None = None) -> int:
        begin = len(hubspot.requests)
        ended = start(task, kill_when)
        now = written(hubspot, begin)
        # A second of writes may be repeated. None is: each is read first, and those under way have ended by then.
        assert not now & known, "what HubSpot has already was written again"
        known.update(now)
        return ended

    arguments = {"reconcile": {**reconciling, **given}, "export": {**exporting, **given}}
    with workers(arguments, tmp_path / "result") as start:
        for kill in range(PLANNING + APPLYING):
            applying = kill >= PLANNING
            when = after(chance.randint(1, 12), chance.uniform(0, 0.03), applying=applying)
            ended = try_once(start, "reconcile", when)
            assert ended == -signal.SIGKILL, f"kill {kill} came too late"
            killed["apply" if plan.exists() else "plan"] += 1
        assert try_once(start, "reconcile") == 0
        result = json.loads((tmp_path / "result").read_text())
        assert (result["read"], result["rejected"], result["invalid"], result["unconfirmed"]) == (
            ROWS,
            0,
            0,
            0,
        )
        assert sum(result[name] for name in OUTCOMES) == ROWS
        for _ in range(EXPORTING):
            start("export", after(chance.randint(1, ROWS // BATCH), chance.uniform(0, 0.1)))
        assert start("export") == 0
    assert killed["plan"] and killed["apply"] >= APPLYING // 2, killed
    assert warehouse.run(UNEQUAL) == []
    for history in hubspot.portal.preferences.values():
        changes = Counter(one.subscription for one in history if one.source == "Public status API")
        assert not changes or max(changes.values()) == 1, "a change was made twice"
    assert [path.name for path in tmp_path.rglob("*part-*")] == []
