"""Workers that are killed, time and again, at any moment: retries finish the run, and its report adds up."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.report.checkpoint import INTERVAL
from airflow_provider_hubprefs.bulk.send.pipeline import AHEAD
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import LONG, OUTCOMES, writes

from .conftest import sent

ROWS, BATCH, THREADS, KILLS = 1500, 10, 4, 50 if LONG else 10

# Starts workers by forking one process that has imported everything.
WORKERS = """
import os, sys
from pathlib import Path
from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys
from airflow_provider_hubprefs.bulk.audit.records import Same
from airflow_provider_hubprefs.bulk.audit.recorder import AuditRecorder
from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.send import run_files
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.storage import ObjectPlace
from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client

url, token, folder, interval = sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
run_files.REPORT_EVERY = 5 * interval

def work():
    client = Client(StaticToken(token), host=url)
    write = UnsubscribeAll(client.calls)
    identity = Identity(client, folder / "people.csv", arguments=write.arguments())
    run_folder = RunFolder(folder)
    recorders = []
    if sys.argv[5:]:
        recorders = [AuditRecorder(run_folder, Same.of(write.arguments()), dict, AuditKeys("a secret of the tests"))]
    run_bulk(
        client, write, reader_of(folder / "people.csv"), batch_size=10, concurrency=4,
        folder=run_folder, recorders=recorders,
        checkpoint=Checkpoint(ObjectPlace(folder / "checkpoint"), identity, interval=interval),
    )

for _ in sys.stdin:
    if not (worker := os.fork()):
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(worker, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]), flush=True)
"""


@contextmanager
def workers(
    hubspot: Simulator, folder: Path, interval: float, *, audit: bool = False
) -> Iterator[Callable[[int | None], int]]:
    """Start a worker, and kill it when so many requests more have arrived; returns how it ended."""
    command = [sys.executable, "-c", WORKERS, hubspot.url, hubspot.token, str(folder), str(interval)]
    command += ["audit"] * audit
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=os.environ, **pipes) as process:
        assert process.stdin
        assert process.stdout
        commands, answers = process.stdin, process.stdout

        def start(requests: int | None) -> int:
            wanted = None if requests is None else hubspot.stats["requests"] + requests
            commands.write("go\n")
            commands.flush()
            worker = int(answers.readline())
            if wanted is not None:
                until = time.monotonic() + 30
                while hubspot.stats["requests"] < wanted and time.monotonic() < until:
                    time.sleep(0.0005)
                os.kill(worker, signal.SIGKILL)
            return int(answers.readline())

        yield start
        commands.close()


def people(folder: Path) -> tuple[list[str], int]:
    """Write a source; return its valid rows that HubSpot takes, and the number of those it has dead letters for."""
    taken, others, lines = [], 0, ["email"]
    for number in range(ROWS):
        if number % 97 == 96:
            lines.append(f"rejected-{number}@hubspot-rejects.example")
            others += 1
        elif number % 40 == 39:
            lines.append(f"no-address-{number}")
            others += 1
        else:
            lines.append(f"person-{number}@example.com")
            taken.append(lines[-1])
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    return taken, others


def check_report(report: dict[str, Any], state: str) -> None:
    """A report adds up, and nothing in its history ever falls; it ends with what the report says."""
    assert report["state"] == state
    assert report["read"] == sum(report[name] for name in OUTCOMES)
    history = report["history"]
    for before, after in pairwise(history):
        assert all(was <= now for was, now in zip(before[:3], after[:3], strict=True)), history
    assert history[-1][1:3] == [report["read"], report["requests"]]


@pytest.mark.parametrize(("seed", "interval"), [(0, 0.0), (1, INTERVAL)])
def test_all_tries_of_a_run_add_up_however_often_its_worker_is_killed(
    hubspot: Simulator, tmp_path: Path, seed: int, interval: float
) -> None:
    """No row is skipped and no dead letter lost or doubled; what no checkpoint knew is sent again, and nothing else."""
    most = THREADS * BATCH if interval == 0 else ROWS
    hubspot.load({"limits": {"burst": 10_000}})
    hubspot.fault("latency", ms=[1, 40], times=None)
    chance = random.Random(seed)
    taken, others = people(tmp_path)
    known: set[str] = set()
    twice: set[str] = set()
    with workers(hubspot, tmp_path, interval) as start:
        for kill in range(KILLS):
            begin = hubspot.stats["requests"]
            assert start(chance.randint(1, 8)) == -signal.SIGKILL, f"kill {kill} came too late"
            now = sent(hubspot, begin)
            assert len(now & known) <= most
            twice |= now & known
            known |= now
            check_report(json.loads((tmp_path / "report.json").read_text()), "running")
        begin = hubspot.stats["requests"]
        assert start(None) == 0
    now = sent(hubspot, begin) & known
    assert len(now) <= most
    twice |= now
    summary = json.loads((tmp_path / "report.json").read_text())
    assert (summary["read"], summary["complete"]) == (ROWS, True)
    check_report(summary, "complete")
    assert summary["changed"] + summary["unchanged"] == len(taken)
    assert (
        summary["unchanged"] <= len(twice) <= summary["resent"] <= (KILLS + 1) * (AHEAD + 2) * THREADS * BATCH
    )
    assert summary["requests"] >= writes(hubspot)
    assert summary["rejected"] + summary["invalid"] == others
    assert all(hubspot.is_opted_out(one) for one in taken)
    letters = [json.loads(line)["row"] for line in (tmp_path / "dead_letters.jsonl").read_text().splitlines()]
    assert len(letters) == len(set(letters)) == others
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dead_letters.jsonl",
        "people.csv",
        "report.html",
        "report.json",
    ]
