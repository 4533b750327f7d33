"""Workers that are killed, time and again, at moments nobody chose: a kill costs what was under way, no more."""

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
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.simulator import Simulator

ROWS, BATCH, THREADS, KILLS = 1500, 10, 4, 25

# Starts workers by forking one process that has imported everything: 50 of them in a few seconds.
WORKERS = """
import os, sys
from pathlib import Path
from airflow_provider_hubprefs.bulk.checkpoint import Checkpoint, ObjectPlace, identity_of
from airflow_provider_hubprefs.bulk.run import run_bulk
from airflow_provider_hubprefs.bulk.source import reader_of
from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
from airflow_provider_hubprefs.hubspot.auth import StaticToken
from airflow_provider_hubprefs.hubspot.client import Client

url, token, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

def work():
    client = Client(StaticToken(token), host=url)
    write = UnsubscribeAll(client.calls)
    identity = identity_of(client, folder / "people.csv", arguments=write.arguments())
    run_bulk(
        client, write, reader_of(folder / "people.csv"), batch_size=10, concurrency=4,
        dead_letters=folder / "letters.jsonl", report_to=folder / "report.json",
        checkpoint=Checkpoint(ObjectPlace(folder / "mark"), identity, journals=folder / "journals"),
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
def workers(hubspot: Simulator, folder: Path) -> Iterator[Callable[[int | None], int]]:
    """Start a worker, and kill it when so many requests more have arrived; returns how it ended."""
    command = [sys.executable, "-c", WORKERS, hubspot.url, hubspot.token, str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=os.environ, **pipes) as process:
        assert process.stdin
        assert process.stdout
        told, heard = process.stdin, process.stdout

        def start(requests: int | None) -> int:
            wanted = None if requests is None else hubspot.stats["requests"] + requests
            told.write("go\n")
            told.flush()
            worker = int(heard.readline())
            if wanted is not None:
                until = time.monotonic() + 30
                while hubspot.stats["requests"] < wanted and time.monotonic() < until:
                    time.sleep(0.0005)
                os.kill(worker, signal.SIGKILL)
            return int(heard.readline())

        yield start
        told.close()


def people(folder: Path) -> tuple[list[str], int]:
    """Write a source; return its valid rows that HubSpot takes, and the number of those it has dead letters for."""
    taken, others, lines = [], 0, ["email"]
    for number in range(ROWS):
        if number % 97 == 96:
            lines.append(f"rejected-{number}@hubspot-rejects.example")
            others += 1
        elif number % 40 == 39:
            lines.append(f"nobody-{number}")
            others += 1
        else:
            lines.append(f"person-{number}@example.com")
            taken.append(lines[-1])
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    return taken, others


def sent(hubspot: Simulator, begin: int) -> set[str]:
    """Everybody in the requests from some number on."""
    return {one for request in hubspot.requests[begin:] for one in request.json()["inputs"]}


@pytest.mark.parametrize("seed", range(2))
def test_a_worker_killed_at_25_moments_repeats_no_more_than_what_was_under_way(
    hubspot: Simulator, tmp_path: Path, seed: int
) -> None:
    hubspot.load({"limits": {"burst": 100_000}})
    hubspot.fault("latency", ms=[1, 40], times=None)
    chance = random.Random(seed)
    taken, others = people(tmp_path)
    known: set[str] = set()
    with workers(hubspot, tmp_path) as start:
        for kill in range(KILLS):
            begin = hubspot.stats["requests"]
            assert start(chance.randint(1, 8)) == -signal.SIGKILL, f"kill {kill} came too late"
            now = sent(hubspot, begin)
            assert len(now & known) <= THREADS * BATCH
            known |= now
        begin = hubspot.stats["requests"]
        assert start(None) == 0
    assert len(sent(hubspot, begin) & known) <= THREADS * BATCH
    summary = json.loads((tmp_path / "report.json").read_text())
    assert (summary["read"], summary["complete"]) == (ROWS, True)
    assert summary["changed"] + summary["unchanged"] == len(taken)
    assert summary["rejected"] + summary["invalid"] == others
    assert all(hubspot.is_opted_out(one) for one in taken)
    letters = [json.loads(line)["row"] for line in (tmp_path / "letters.jsonl").read_text().splitlines()]
    assert len(letters) == len(set(letters)) == others
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "journals",
        "letters.jsonl",
        "people.csv",
        "report.json",
    ]
    assert list((tmp_path / "journals").iterdir()) == []
