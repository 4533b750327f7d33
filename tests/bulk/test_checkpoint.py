"""A run that was interrupted goes on: nothing is lost, and only what was under way is sent again."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from airflow_provider_hubprefs.bulk.checkpoint import ChangedError, Checkpoint, ObjectPlace, identity_of
from airflow_provider_hubprefs.bulk.report import OUTCOMES, Report
from airflow_provider_hubprefs.bulk.run import run_bulk
from airflow_provider_hubprefs.bulk.source import read_rows, reader_of
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
        return run_bulk(
            client,
            write,
            reader_of(source),
            batch_size=BATCH,
            concurrency=THREADS,
            dead_letters=tmp_path / "letters.jsonl",
            report_to=tmp_path / "report.json",
            checkpoint=Checkpoint(
                ObjectPlace(tmp_path / "mark"), identity, interval=interval, journals=tmp_path / "journals"
            ),
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
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "journals") == [
        "letters.jsonl",
        "people.csv",
        "report.json",
    ]
    assert list((tmp_path / "journals").iterdir()) == []
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


def stop_after_503(hubspot: Simulator, client: Client) -> None:
    while not any(request.status == 503 for request in hubspot.requests):
        time.sleep(0.01)
    client.stop()


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
    threading.Thread(target=stop_after_503, args=(hubspot, client)).start()
    client.settings = Settings(retry_first_wait=60)  # the stop must not wait for a retry
    with pytest.raises(StoppedError):
        run_bulk(
            client,
            write,
            reader_of(source),
            batch_size=BATCH,
            checkpoint=Checkpoint(place, identity),
            **places,
        )
    assert json.loads((tmp_path / "report.json").read_text())["read"] >= 250
    assert place.load() is not None


@pytest.mark.parametrize("lost", ["folder", "lock", "disk"])
def test_without_a_journal_a_run_goes_on_and_says_so_once(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    def no(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    if lost == "folder":
        (tmp_path / "journals").touch()
    else:
        monkeypatch.setattr(f"airflow_provider_hubprefs.bulk.journal.{NO[lost]}", no)
    assert work(interval=3600)["complete"]
    assert sum("goes on without a journal" in record.getMessage() for record in caplog.records) == 1


NO = {"lock": "fcntl.flock", "disk": "os.pwrite"}


class Killed(BaseException):
    """Stands for a kill: nothing is written after it."""


def test_a_journal_is_its_users_alone_and_holds_no_address_but_of_dead_letters(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "reached", lambda self, report, **_: no_more(self, report))
        with pytest.raises(Killed):
            work(interval=3600)
    (journal,) = (tmp_path / "journals").iterdir()
    assert journal.stat().st_mode & 0o777 == 0o600
    assert journal.parent.stat().st_mode & 0o777 == 0o700
    found = journal.read_bytes()
    assert b"rejected-49@" in found
    assert b"person-" not in found
    assert work(interval=3600)["tries"] == 2
    assert list(journal.parent.iterdir()) == []


REACHED = Checkpoint.reached


def no_more(checkpoint: Checkpoint, report: Report) -> None:
    if report.rows_read > 200:
        raise Killed
    REACHED(checkpoint, report)


def test_a_journal_that_nobody_came_back_for_is_removed_by_and_by(work: Work, tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    folder.mkdir(mode=0o700)
    for name, days in (("old.run", 31), ("young.run", 29), ("other", 31)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - days * 86_400,) * 2)
    work()
    assert sorted(path.name for path in folder.iterdir()) == ["other", "young.run"]


class Interrupted(BaseException):
    """What a time-out or Airflow's end of a task raises, wherever the main thread is."""


def test_an_exception_out_of_nowhere_leaves_a_mark_that_adds_up(
    hubspot: Simulator, work: Work, source: Path, tmp_path: Path
) -> None:
    def interrupt(_: int, frame: FrameType | None) -> None:
        if frame is not None and "coverage" in Path(frame.f_code.co_filename).parts:
            signal.setitimer(signal.ITIMER_REAL, 0.001)  # coverage has a lock that would be left locked
        else:
            raise Interrupted

    hubspot.load({"limits": {"burst": 100_000}})
    chance = random.Random(7)
    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        while True:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.005, 0.04))
                work(interval=0.02)
                signal.setitimer(signal.ITIMER_REAL, 0)
                break
            except (Interrupted, RuntimeError) as error:
                # Python's own conditions cannot always be left by an exception: "release unlocked lock".
                assert isinstance(error, Interrupted) or isinstance(error.__context__, Interrupted)
                interrupted += 1
                if text := (tmp_path / "report.json").read_text():
                    told = json.loads(text)
                    assert told["read"] == sum(told[name] for name in OUTCOMES)
                if interrupted == 20:
                    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 5
    summary, wanted = json.loads((tmp_path / "report.json").read_text()), expected(source)
    assert summary["read"] == ROWS
    assert summary["changed"] + summary["unchanged"] == wanted["changed"]
    letters = rows_of(tmp_path / "letters.jsonl")
    assert len(letters) == len(set(letters)) == wanted["rejected"] + wanted["invalid"]


def test_progress_is_told_from_time_to_time_without_addresses(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_provider_hubprefs.bulk.progress.EVERY", 0.0)
    with caplog.at_level("INFO", logger="airflow_provider_hubprefs.bulk.progress"):
        work()
    told = [record.getMessage() for record in caplog.records if "a second" in record.getMessage()]
    assert told[-1].startswith(f"{ROWS} rows, ")
    assert not any("@" in line for line in told)
