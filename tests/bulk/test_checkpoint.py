"""A run that was interrupted goes on: nothing is lost, and only what was under way is sent again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.checkpoint import ChangedError, Checkpoint, ObjectPlace, identity_of
from airflow_provider_hubprefs.bulk.run import carry_out
from airflow_provider_hubprefs.bulk.source import read_rows
from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
from airflow_provider_hubprefs.hubspot.client import Client
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, StoppedError
from airflow_provider_hubprefs.hubspot.settings import Settings
from airflow_provider_hubprefs.simulator import Simulator

ROWS, BATCH, THREADS = 600, 10, 4
Work = Callable[..., dict[str, Any]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Valid rows, among them every 50th refused by HubSpot, every 40th invalid, every 30th a repetition."""
    lines = ["email"]
    for number in range(ROWS):
        if number % 50 == 49:
            lines.append(f"rejected-{number}@hubspot-rejects.example")
        elif number % 40 == 39:
            lines.append(f"nobody-{number}")
        elif number % 30 == 29:
            lines.append("PERSON-0@example.com")
        else:
            lines.append(f"person-{number}@example.com")
    path = tmp_path / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def work(source: Path, tmp_path: Path, client_for: Callable[..., Client]) -> Work:
    def carry(*, brand: int | None = None, restart: bool = False, interval: float = 0.0) -> dict[str, Any]:
        client = client_for()
        write = UnsubscribeAll(client.calls, business_unit_id=brand)
        identity = identity_of(client, source, arguments=write.arguments())
        assert identity is not None
        return carry_out(
            client,
            write,
            read_rows(source),
            batch_size=BATCH,
            concurrency=THREADS,
            dead_letters=tmp_path / "letters.jsonl",
            report_to=tmp_path / "report.json",
            checkpoint=Checkpoint(ObjectPlace(tmp_path / "mark"), identity, interval=interval),
            restart=restart,
        )

    return carry


def expected(source: Path) -> dict[str, int]:
    problems = Counter(row.problem or "valid" for row in read_rows(source))
    rejected = sum("rejected-" in row.subscriber for row in read_rows(source))
    return {
        "read": ROWS,
        "changed": problems["valid"] - rejected,
        "rejected": rejected,
        "invalid": problems["invalid"],
        "duplicate": problems["duplicate"],
        "unconfirmed": 0,
    }


def rows_of(letters: Path) -> list[int]:
    return [json.loads(line)["row"] for line in letters.read_text().splitlines()]


def stopped_by(hubspot: Simulator, work: Work, row: int) -> None:
    """Let a run come as far as some row, and no farther."""
    hubspot.fault("daily", match={"body_contains": f"person-{row}@"}, times=None)
    with pytest.raises(DailyLimitError):
        work()
    hubspot.clear_faults()


def test_a_second_try_adds_up_with_the_first_to_one_run(
    hubspot: Simulator, work: Work, source: Path, tmp_path: Path
) -> None:
    stopped_by(hubspot, work, 300)
    partial = json.loads((tmp_path / "report.json").read_text())
    assert 250 <= partial["read"] <= 300
    assert rows_of(tmp_path / "letters.jsonl")
    summary = work()
    wanted = expected(source)
    assert {name: summary[name] for name in wanted if name != "changed"} == {
        name: count for name, count in wanted.items() if name != "changed"
    }
    # What was under way when the first try stopped was sent twice, and HubSpot found nothing to change.
    assert summary["changed"] + summary["unchanged"] == wanted["changed"]
    assert summary["unchanged"] <= THREADS * BATCH
    assert summary["tries"] == 2
    letters = rows_of(tmp_path / "letters.jsonl")
    assert len(letters) == len(set(letters)) == wanted["rejected"] + wanted["invalid"]


def test_nothing_is_left_beside_the_files_of_a_run_that_is_done(
    hubspot: Simulator, work: Work, tmp_path: Path
) -> None:
    stopped_by(hubspot, work, 300)
    assert list(tmp_path.glob("letters.jsonl.part-*"))
    assert list(tmp_path.glob("mark.*"))
    work()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters.jsonl", "people.csv", "report.json"]
    assert work()["tries"] == 1


def test_a_mark_holds_no_address(hubspot: Simulator, work: Work, tmp_path: Path) -> None:
    stopped_by(hubspot, work, 300)
    marks = [path.read_text() for path in tmp_path.glob("mark.*")]
    assert marks
    assert not any("@" in mark or "person" in mark for mark in marks)


@pytest.mark.parametrize(("what", "word"), [("source", "source"), ("arguments", "arguments")])
def test_another_run_is_not_gone_on_with(
    hubspot: Simulator, work: Work, source: Path, what: str, word: str
) -> None:
    stopped_by(hubspot, work, 300)
    again: dict[str, Any] = {}
    if what == "source":
        source.write_text(source.read_text() + "new@example.com\n")
    else:
        again["brand"] = 0
    before = len(hubspot.requests)
    with pytest.raises(ChangedError, match=f"the {word} changed.*on_changed_source='restart'"):
        work(**again)
    assert len(hubspot.requests) == before
    assert work(**again, restart=True)["tries"] == 1


def test_a_mark_that_was_cut_off_leaves_the_one_before(
    hubspot: Simulator, work: Work, tmp_path: Path
) -> None:
    stopped_by(hubspot, work, 300)
    newest = max(tmp_path.glob("mark.*"), key=lambda path: json.loads(path.read_text())["saved"])
    newest.write_bytes(newest.read_bytes()[:20])
    before = len(hubspot.requests)
    assert work()["tries"] == 2
    assert len(hubspot.requests) - before < 40


def test_the_mark_is_not_written_more_often_than_told(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[dict[str, Any]] = []
    monkeypatch.setattr(ObjectPlace, "save", lambda self, state: saved.append(state))
    work(interval=3600)
    assert len(saved) == 1


def test_a_client_that_is_told_to_stop_ends_the_run_with_its_mark_and_report(
    hubspot: Simulator, source: Path, tmp_path: Path, client_for: Callable[..., Client]
) -> None:
    client = client_for()
    write = UnsubscribeAll(client.calls)
    identity = identity_of(client, source, arguments=write.arguments())
    assert identity is not None
    places: Any = {"dead_letters": tmp_path / "letters.jsonl", "report_to": tmp_path / "report.json"}
    place = ObjectPlace(tmp_path / "mark")
    hubspot.fault("status", status=503, match={"body_contains": "person-301@"}, times=None)
    threading.Timer(0.3, client.stop).start()
    client.settings = Settings(retry_first_wait=60)  # the stop must not wait for a retry
    with pytest.raises(StoppedError):
        carry_out(
            client,
            write,
            read_rows(source),
            batch_size=BATCH,
            checkpoint=Checkpoint(place, identity),
            **places,
        )
    assert json.loads((tmp_path / "report.json").read_text())["read"] >= 250
    assert place.load() is not None


WORKER = """
import sys
from pathlib import Path
from airflow_provider_hubprefs.bulk.checkpoint import Checkpoint, ObjectPlace, identity_of
from airflow_provider_hubprefs.bulk.run import carry_out
from airflow_provider_hubprefs.bulk.source import read_rows
from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
from airflow_provider_hubprefs.hubspot.auth import StaticToken
from airflow_provider_hubprefs.hubspot.client import Client

url, token, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
client = Client(StaticToken(token), host=url)
write = UnsubscribeAll(client.calls)
identity = identity_of(client, folder / "people.csv", arguments=write.arguments())
carry_out(
    client, write, read_rows(folder / "people.csv"), batch_size=10, concurrency=4,
    dead_letters=folder / "letters.jsonl", report_to=folder / "report.json",
    checkpoint=Checkpoint(ObjectPlace(folder / "mark"), identity, interval=0.0),
)
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_killed_at_any_moment_is_followed_by_one_that_ends_the_run(
    hubspot: Simulator, source: Path, tmp_path: Path, seed: int
) -> None:
    hubspot.load({"limits": {"burst": 100_000}})
    hubspot.fault("latency", ms=[1, 15], times=None)
    random_moment = random.Random(seed)
    command = [sys.executable, "-c", WORKER, hubspot.url, hubspot.token, str(tmp_path)]
    kills = 0
    while True:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as worker:
            before = len(hubspot.requests)
            wanted = before + random_moment.randint(1, 25)
            while worker.poll() is None and (len(hubspot.requests) < wanted or kills >= 3):
                time.sleep(0.001)
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
                kills += 1
                continue
            assert worker.returncode == 0, worker.stderr.read() if worker.stderr else ""
            break
    summary = json.loads((tmp_path / "report.json").read_text())
    wanted_counts = expected(source)
    assert summary["read"] == ROWS
    assert summary["changed"] + summary["unchanged"] == wanted_counts["changed"]
    assert summary["rejected"] == wanted_counts["rejected"]
    letters = rows_of(tmp_path / "letters.jsonl")
    assert len(letters) == len(set(letters)) == wanted_counts["rejected"] + wanted_counts["invalid"]
    assert all(
        hubspot.is_opted_out(row.subscriber)
        for row in read_rows(source)
        if row.problem is None and "rejected" not in row.subscriber
    )
    # Each kill repeats at most what was under way: its threads' batches, one that waits for a thread, and one
    # whose mark was not yet written.
    assert len(hubspot.requests) <= 57 + kills * (THREADS + 2)
    assert kills == 3


def test_progress_is_told_from_time_to_time_without_addresses(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_hubprefs.bulk.run.PROGRESS", 0.0)
    with caplog.at_level("INFO", logger="airflow_provider_hubprefs.bulk.run"):
        work()
    told = [record.getMessage() for record in caplog.records if "a second" in record.getMessage()]
    assert told[-1].startswith(f"{ROWS} rows, ")
    assert not any("@" in line for line in told)
