"""Ctrl-C, a stop: a run ends after the requests in flight, and reports how far it came."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.send.pipeline import CONCURRENCY
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.hubspot.errors import StoppedError
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.simulator import Simulator

SCRIPT = """
import sys
from pathlib import Path
from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.storage import ObjectPlace
from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

folder = Path(sys.argv[3])
client = Client(StaticToken(sys.argv[2]), host=sys.argv[1], settings=Settings(retry_first_wait=0.05))
write = UnsubscribeAll(client.calls)
identity = Identity(client, folder / "people.csv", arguments=write.arguments())
source_size = SourceSize(folder / "people.csv")
run_bulk(
    client, write, reader_of(source_size.source), source_size=source_size, batch_size=10,
    folder=RunFolder(folder),
    checkpoint=Checkpoint(ObjectPlace(folder / "checkpoint"), identity),
)
"""


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


@pytest.mark.parametrize("during", ["slow answers", "retries"])
def test_ctrl_c_ends_a_script_after_the_requests_in_flight(
    hubspot: Simulator, tmp_path: Path, during: str
) -> None:
    people = [f"person-{each}@example.com" for each in range(1000)]
    (tmp_path / "people.csv").write_text("\n".join(["email", *people]) + "\n")
    if during == "retries":
        hubspot.fault("status", status=503, match={"body_contains": "person-301@"}, times=None)
        come_so_far = 40  # 30 batches before it, at most 7 beside it, the others are retries
    else:
        hubspot.fault("latency", ms=[400, 400], times=None)
        come_so_far = 3
    command = [sys.executable, "-c", SCRIPT, hubspot.url, hubspot.token, str(tmp_path)]
    # Coverage has a lock that a signal's exception can leave locked: not in this script.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as script:
        try:
            until(lambda: hubspot.stats["requests"] >= come_so_far)
            time.sleep(0.3)
            script.send_signal(signal.SIGINT)
            begin = time.monotonic()
            _, errors = script.communicate(timeout=60)
        finally:
            script.kill()
        # Twenty seconds for a busy machine: what was waited for would have taken minutes.
        assert time.monotonic() - begin < 20
    assert script.returncode == -signal.SIGINT, errors
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["complete"] is False
    assert report["incomplete_because"] == "KeyboardInterrupt"
    opted_out = sum(map(hubspot.is_opted_out, people))
    if during == "slow answers":  # what was in flight is accounted for: nothing that HubSpot did is missing
        assert report["changed"] == opted_out >= 10
    else:  # a later try sends the batches in flight behind the one that failed again
        assert report["changed"] == 300
        assert opted_out <= 300 + (CONCURRENCY - 1) * 10
    assert any((tmp_path / f"checkpoint.{slot}").exists() for slot in (0, 1))


def test_a_place_that_cannot_be_written_is_found_out_before_the_first_request(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path
) -> None:
    client = client_for()
    (tmp_path / "file").write_text("")
    folder = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(OSError, match="file"):
        run_bulk(client, UnsubscribeAll(client.calls), reader_of(["a@example.com"]), folder=folder)
    assert hubspot.requests == []


def test_a_stop_is_heard_also_where_no_row_is_sent(client_for: Callable[..., Client]) -> None:
    client = client_for()

    def endless() -> Any:
        yield "a@example.com"
        while True:
            client.stop()
            yield "no-address"

    with pytest.raises(StoppedError):
        run_bulk(client, UnsubscribeAll(client.calls), reader_of(endless()), batch_size=10)
