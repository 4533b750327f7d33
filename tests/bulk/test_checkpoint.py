"""A try that stops early is resumed: no row is lost, and only the rows since the last checkpoint are sent again."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, CheckpointError, Identity
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES, Outcome
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.send.pipeline import AHEAD
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.reader import read_rows, reader_of
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, StoppedError
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.hubspot.transport.settings import Settings
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.storage import ObjectPlace
from tests.helpers import people

from .conftest import sent

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
            lines.append(f"no-address-{number}")
        elif number % 30 == 29:
            lines.append("PERSON-0@example.com")
        else:
            lines.append(f"person-{number}@example.com")
    path = tmp_path / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def work(hubspot: Simulator, source: Path, tmp_path: Path, client_for: Callable[..., Client]) -> Work:
    hubspot.load({"limits": {"burst": 10_000}})

    def carry(*, brand: int | None = None, restart: bool = False, interval: float = 0.0) -> dict[str, Any]:
        client = client_for()
        write = UnsubscribeAll(client.calls, business_unit_id=brand)
        identity = Identity(client, source, arguments=write.arguments())
        return run_bulk(
            client,
            write,
            reader_of(source),
            batch_size=BATCH,
            concurrency=THREADS,
            folder=RunFolder(tmp_path),
            checkpoint=Checkpoint(ObjectPlace(tmp_path / "checkpoint"), identity, interval=interval),
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
    assert rows_of(tmp_path / "dead_letters.jsonl")
    summary = work()
    wanted = expected(source)
    assert {name: summary[name] for name in wanted if name != "changed"} == {
        name: count for name, count in wanted.items() if name != "changed"
    }
    # Requests in flight when the first try stopped were sent again, and HubSpot found nothing to change.
    assert summary["changed"] + summary["unchanged"] == wanted["changed"]
    assert summary["unchanged"] <= THREADS * BATCH
    assert summary["tries"] == 2
    letters = rows_of(tmp_path / "dead_letters.jsonl")
    assert len(letters) == len(set(letters)) == wanted["rejected"] + wanted["invalid"]


def test_nothing_is_left_beside_the_files_of_a_run_that_is_done(
    hubspot: Simulator, work: Work, tmp_path: Path
) -> None:
    stopped_by(hubspot, work, 300)
    assert list(tmp_path.glob("_part-*"))
    assert list(tmp_path.glob("checkpoint.*"))
    work()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dead_letters.jsonl",
        "people.csv",
        "report.html",
        "report.json",
    ]
    assert work()["tries"] == 1


def test_a_checkpoint_holds_no_address(hubspot: Simulator, work: Work, tmp_path: Path) -> None:
    stopped_by(hubspot, work, 300)
    saved = [path.read_text() for path in tmp_path.glob("checkpoint.*")]
    assert saved
    assert not any("@" in one or "person" in one for one in saved)


@pytest.mark.parametrize(("what", "word"), [("source", "source"), ("arguments", "arguments")])
def test_another_run_is_not_resumed(
    hubspot: Simulator, work: Work, source: Path, what: str, word: str
) -> None:
    stopped_by(hubspot, work, 300)
    again: dict[str, Any] = {}
    if what == "source":
        source.write_text(source.read_text() + "new@example.com\n")
    else:
        again["brand"] = 0
    before = len(hubspot.requests)
    with pytest.raises(CheckpointError, match=f"The {word} changed.*on_changed_source='restart'"):
        work(**again)
    assert len(hubspot.requests) == before
    assert work(**again, restart=True)["tries"] == 1


def test_a_checkpoint_that_was_cut_off_leaves_the_one_before(
    hubspot: Simulator, work: Work, tmp_path: Path
) -> None:
    stopped_by(hubspot, work, 300)
    newest = max(tmp_path.glob("checkpoint.*"), key=lambda path: json.loads(path.read_text())["saved"])
    newest.write_bytes(newest.read_bytes()[:20])
    before = len(hubspot.requests)
    assert work()["tries"] == 2
    assert len(hubspot.requests) - before < 40


def test_a_checkpoint_is_saved_after_the_first_batch_and_then_once_a_second(
    tmp_path: Path, client_for: Callable[..., Client]
) -> None:
    now, place, state = 0.0, ObjectPlace(tmp_path / "checkpoint"), RunState()
    checkpoint = Checkpoint(place, Identity(client_for(), [], arguments={}), clock=lambda: now)
    assert not checkpoint.resume(state)
    row = Row(1, "a@example.com")
    saved = []
    for tenth in range(25):  # a batch every tenth of a second
        now = tenth / 10
        state.take([row] * 10, [Outcome(row, "changed")] * 10)
        checkpoint.save(state)
        found = place.load()
        assert found
        saved.append(found["report"]["read"])
    assert saved == [10] * 10 + [110] * 10 + [210] * 5
    checkpoint.save(state, last=True)
    found = place.load()
    assert found
    assert found["report"]["read"] == 250


def test_a_try_killed_after_a_save_repeats_the_batches_since_then(
    hubspot: Simulator, work: Work, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Checkpoint, state: RunState, *, last: bool = False, ended: bool = False) -> None:
        if ended or state.rows_read > 300:
            raise Killed
        save(self, state, last=last)

    save = Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", killed)
        with pytest.raises(Killed):
            work(interval=3600)
    first, begin = sent(hubspot), len(hubspot.requests)
    summary, wanted = work(interval=3600), expected(source)
    assert summary["tries"] == 2
    assert summary["changed"] + summary["unchanged"] == wanted["changed"]
    assert len(first) > 250
    again = first & sent(hubspot, begin)
    assert 0 < len(again) <= summary["resent"] <= (AHEAD + 1) * THREADS * BATCH
    assert first - again >= {*people(BATCH)}
    letters = rows_of(tmp_path / "dead_letters.jsonl")
    assert len(letters) == len(set(letters)) == wanted["rejected"] + wanted["invalid"]


class Killed(BaseException):
    """Stands for a kill: nothing is written after it."""


def stop_after_503(hubspot: Simulator, client: Client) -> None:
    while not any(request.status == 503 for request in hubspot.requests):
        time.sleep(0.01)
    client.stop()


def test_a_client_that_is_stopped_ends_the_run_with_its_checkpoint_and_report(
    hubspot: Simulator, source: Path, tmp_path: Path, client_for: Callable[..., Client]
) -> None:
    client = client_for()
    write = UnsubscribeAll(client.calls)
    identity = Identity(client, source, arguments=write.arguments())
    place = ObjectPlace(tmp_path / "checkpoint")
    hubspot.fault("status", status=503, match={"body_contains": "person-301@"}, times=None)
    threading.Thread(target=stop_after_503, args=(hubspot, client)).start()
    client.settings = Settings(retry_first_wait=60)  # the stop must not wait for a retry
    with pytest.raises(StoppedError):
        run_bulk(
            client,
            write,
            reader_of(source),
            batch_size=BATCH,
            checkpoint=Checkpoint(place, identity),
            folder=RunFolder(tmp_path),
        )
    assert json.loads((tmp_path / "report.json").read_text())["read"] >= 250
    assert place.load() is not None


class Interrupted(BaseException):
    """What a time-out or Airflow's end of a task raises, wherever the main thread is."""


def test_an_exception_at_any_moment_leaves_a_checkpoint_that_adds_up(
    hubspot: Simulator, work: Work, source: Path, tmp_path: Path
) -> None:
    def interrupt(_: int, frame: FrameType | None) -> None:
        if frame is not None and "coverage" in Path(frame.f_code.co_filename).parts:
            signal.setitimer(signal.ITIMER_REAL, 0.001)  # coverage has a lock that would be left locked
        else:
            raise Interrupted

    chance = random.Random(7)
    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        while True:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.005, 0.02))
                work(interval=0.02)
                signal.setitimer(signal.ITIMER_REAL, 0)
                if interrupted > 5:  # otherwise an interruption came where Python ignores it: another run
                    break
            except (Interrupted, RuntimeError) as error:
                # Python's own conditions cannot always be left by an exception: "release unlocked lock".
                assert isinstance(error, Interrupted) or isinstance(error.__context__, Interrupted)
                interrupted += 1
                if (report := tmp_path / "report.json").exists():
                    reported = json.loads(report.read_text())
                    assert reported["read"] == sum(reported[name] for name in OUTCOMES)
                if interrupted == 20:
                    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    summary, wanted = json.loads((tmp_path / "report.json").read_text()), expected(source)
    assert summary["read"] == ROWS
    assert summary["changed"] + summary["unchanged"] == wanted["changed"]
    letters = rows_of(tmp_path / "dead_letters.jsonl")
    assert len(letters) == len(set(letters)) == wanted["rejected"] + wanted["invalid"]


def test_progress_is_logged_from_time_to_time_without_addresses(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_hubprefs.bulk.report.progress.EVERY", 0.0)
    with caplog.at_level("INFO", logger="airflow_provider_hubprefs.bulk.report.progress"):
        work()
    reported = [record.getMessage() for record in caplog.records if "a second" in record.getMessage()]
    assert reported[-1].startswith(f"{ROWS:,} rows, ")
    assert not any("@" in line for line in reported)
