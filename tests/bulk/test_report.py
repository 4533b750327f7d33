"""The report: what its schema says, over all tries, and never an address."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

import airflow_provider_hubprefs.bulk.send.run_files as module
from airflow_provider_hubprefs.bulk.report.checkpoint import (
    Checkpoint,
    CheckpointError,
    Identity,
    SupersededError,
)
from airflow_provider_hubprefs.bulk.report.dead_letters import assemble
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.history import MOST, History, Point
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES, ConservationError, Outcome
from airflow_provider_hubprefs.bulk.report.parts import Parts
from airflow_provider_hubprefs.bulk.report.progress import Progress
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.report.summary import SCHEMA, About, Summary, summary_of
from airflow_provider_hubprefs.bulk.report.words import details, last_line
from airflow_provider_hubprefs.bulk.send import pool
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import SetStatus, UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.files import Files
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from airflow_provider_hubprefs.hubspot.api.calls import Calls
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError
from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.hubspot.transport.latency import bucket_of, percentile
from airflow_provider_hubprefs.hubspot.transport.sender import Usage
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.storage import ObjectPlace
from tests.helpers import people

from .conftest import SameRun

ABOUT = About(
    run={},
    write="opt out of everything",
    done="opted out",
    kind="write",
    connection=None,
    portal=None,
    api_version="2026-09",
    provider_version="0.1.0",
    source_names=[],
    source_files=None,
)


def summarised(state: RunState, **more: Any) -> Summary:
    nothing = Budget()
    given = {"going_on": False, "budget_before": nothing, "budget_after": nothing, **more}
    return summary_of(state, Progress(state), ABOUT, **given)


class Noting(RunFolder):
    """Keeps every report that is written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reports: list[dict[str, Any]] = []
        self.pages = 0

    def write(self, path: Any, content: Any) -> None:
        super().write(path, content)
        if path == self.report:
            self.reports.append(json.loads(path.read_text()))
        self.pages += path == self.page


def test_a_report_is_as_its_schema_says(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path
) -> None:
    client, path = client_for(), tmp_path / "report.json"
    rows = [
        *(f"person-{number}@example.com" for number in range(95)),
        "no-address",
        "rejected@hubspot-rejects.example",
    ]
    summary = run_bulk(
        client,
        UnsubscribeAll(client.calls),
        reader_of(rows),
        source_size=SourceSize(rows),
        batch_size=10,
        folder=RunFolder(tmp_path),
        run={"dag_id": "dag", "map_index": None},
        connection="hubprefs_default",
    )
    report = json.loads(path.read_text())
    assert msgspec.convert(report, Summary) == report == summary
    assert report["schema"] == SCHEMA == 2
    assert report["complete"]
    assert (report["state"], report["share"], report["seconds_left"]) == ("complete", 1, None)
    assert report["run"] == {"dag_id": "dag", "map_index": None}
    assert (report["write"], report["connection"]) == ("opt out of everything", "hubprefs_default")
    assert (report["api_version"], report["portal"]) == ("2026-09", None)  # the run has no need to ask for it
    assert (report["source_names"], report["source_files"]) == ([], None)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert report["page"] == str(tmp_path / "report.html")
    first, *_, last = report["history"]
    assert first[1:4] == [0, 0, None]
    assert last[1:] == [97, report["requests"], report["budget_after"]["daily_remaining"], last[4]]
    assert 0 < last[4] <= report["requests"]
    assert report["budget_before"] == dict.fromkeys(report["budget_before"])  # no answer had come yet
    # Of the last answers that came, one may have been given before another that came before it.
    assert 0 <= report["budget_after"]["daily_remaining"] - (1_000_000 - report["requests"]) < 8
    assert report["requests"] == len(hubspot.requests)
    assert 0 < report["latency_p50_ms"] <= report["latency_p95_ms"]
    assert report["started_at"] <= report["ended_at"]
    assert "@" not in path.read_text()


def test_its_json_schema_can_be_had() -> None:
    schema = msgspec.json.schema(Summary)
    properties = schema["$defs"]["Summary"]["properties"]
    assert {"schema", "reasons", "budget_before"} <= set(properties)


def test_two_tries_add_up() -> None:
    first = RunState(usage=Usage(requests=3, waited_for_budget=0.5, answered=Counter({32_000: 3})))
    rows = [Row(1, "a@example.com"), Row(2, "a", "invalid")]
    first.take(rows, [Outcome(rows[0], "changed"), Outcome(rows[1], "invalid", "NO_ADDRESS")])
    saved = json.loads(json.dumps(first.save()))
    second = RunState(usage=Usage(requests=2, waited_for_budget=0.25, answered=Counter({64_000: 2})))
    second.restore({**saved, "duration": 100.0})
    row = Row(3, "b@example.com")
    second.take([row], [Outcome(row, "changed")])
    summary = summarised(second)
    assert (summary["read"], summary["changed"], summary["invalid"], summary["tries"]) == (3, 2, 1, 2)
    assert summary["reasons"] == {"invalid: NO_ADDRESS": 1}
    assert (summary["requests"], summary["waited_for_budget_seconds"]) == (5, 0.75)
    assert (summary["latency_p50_ms"], summary["latency_p95_ms"]) == (32.0, 64.0)
    assert (summary["state"], summary["share"]) == ("incomplete", None)
    assert summary["started_at"] == first.started_at
    assert 0 < saved["duration"] < 60
    assert 100 < second.duration < 160


def test_letters_are_written_once_whatever_comes_between(tmp_path: Path) -> None:
    """What is held goes into one part after the other; a try that resumes writes the parts after its own again."""
    folder = RunFolder(tmp_path)
    state = RunState(Parts(folder))
    row = Row(7, "x" * 200, "invalid", "no address", "NO_ADDRESS")
    state.take([row] * 5000, [Outcome(row, "invalid")] * 5000)  # more than is held
    state.take([row], [Outcome(row, "invalid")])
    assert (state.tally.letters.written, len(state.tally.letters.held)) == (5000, 1)
    state.flush()
    state.flush()
    saved = json.loads(json.dumps(state.save()))
    state.take([row], [Outcome(row, "invalid")])
    state.flush()
    assert len(list(tmp_path.iterdir())) == 3
    folder = RunFolder(tmp_path)
    letters = Parts(folder)
    later = RunState(letters)
    later.restore(saved)
    later.take([row], [Outcome(row, "invalid")])
    later.flush()
    assert len(list(tmp_path.iterdir())) == 4
    assert letters.missing(later.tally.letters) == 0
    assemble(folder, later.tally.letters, expected=5002)
    assert (
        len((tmp_path / "dead_letters.jsonl").read_text().splitlines())
        == later.tally.counts["invalid"]
        == 5002
    )
    with pytest.raises(ConservationError, match="5002 dead letters are there, 5003"):
        assemble(folder, later.tally.letters, expected=5003)
    assert len((tmp_path / "dead_letters.jsonl").read_text().splitlines()) == 5002
    (tmp_path / f"_part-{later.tally.letters.names()[-1]}").write_text("cut off")
    assert letters.missing(later.tally.letters)


def test_percentiles_are_a_tenth_above_at_most_and_never_below() -> None:
    milliseconds = [1.001**step for step in range(10_000)]
    buckets = Counter(bucket_of(each / 1000) for each in milliseconds)
    for share in (0.5, 0.95):
        wanted = milliseconds[int(share * 10_000) - 1]
        assert wanted <= (percentile(buckets, share) or 0) <= wanted * 1.1
    assert (bucket_of(3.0), bucket_of(3.049)) == (3_000_000, 3_100_000)
    assert percentile({}, 0.5) is None
    assert len(buckets) < 450


def test_it_is_written_before_the_first_request_and_while_nothing_but_one_answer_is_waited_for(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "TICK", 0.02)
    monkeypatch.setattr(module, "REPORT_EVERY", 0.04)
    hubspot.fault("latency", ms=[300, 300], times=None)
    client, folder = client_for(), Noting(tmp_path)
    (tmp_path / "jane@example.com.csv").write_text("\n".join(["email", *people(20)]))
    source_size = SourceSize(tmp_path / "jane@example.com.csv")
    run_bulk(
        client,
        UnsubscribeAll(client.calls),
        reader_of(source_size.source),
        source_size=source_size,
        batch_size=20,
        folder=folder,
    )
    first, *while_waiting, last = folder.reports
    assert (first["state"], first["requests"], first["share"]) == ("running", 0, None)
    assert 3 <= len(while_waiting) <= 8
    assert {(one["state"], one["read"]) for one in while_waiting[:3]} == {("running", 0)}
    assert (last["state"], last["read"], folder.pages) == ("complete", 20, 2)
    assert (last["source_names"], last["source_files"]) == (["j***@e***.csv"], 1)


@pytest.mark.parametrize("what", ["render", "first_letters", "store"])
def test_a_page_that_cannot_be_made_or_written_fails_nothing(  # noqa: PLR0917 - fixtures
    hubspot: Simulator,
    client_for: Callable[..., Client],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("jane@example.com")

    if what == "store":
        (tmp_path / "report.html").mkdir()
    else:
        monkeypatch.setattr(module, what, broken)
    client = client_for()
    summary = run_bulk(
        client, UnsubscribeAll(client.calls), reader_of([*people(3), "x"]), folder=RunFolder(tmp_path)
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == summary
    assert (report["complete"], report["changed"], report["page"]) == (True, 3, None)
    (said,) = [one.getMessage() for one in caplog.records if "page report" in one.getMessage()]
    assert "the run goes on, and report.json says the same" in said
    assert "@" not in caplog.text


def test_a_page_that_can_be_written_again_is_there_again(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "TICK", 0.02)
    for every in ("REPORT_EVERY", "PAGE_EVERY"):
        monkeypatch.setattr(module, every, 0.04)
    hubspot.fault("latency", ms=[300, 300], times=None)

    class Full(Noting):
        full = 2  # times, at the beginning and once more

        def write(self, path: Any, content: Any) -> None:
            if path == self.page and self.full:
                self.full -= 1
                raise OSError("no space left")
            super().write(path, content)

    client, folder = client_for(), Full(tmp_path)
    run_bulk(client, UnsubscribeAll(client.calls), reader_of(people(3)), folder=folder)
    pages = [bool(one["page"]) for one in folder.reports]
    assert pages[0]  # it is to be written next
    assert pages == [True, *[False] * pages.count(False), *[True] * (pages.count(True) - 1)]
    assert pages.count(False) >= 2
    assert pages[-1]


def test_a_report_that_cannot_be_written_in_the_middle_fails_nothing_but_at_the_begin_and_the_end_it_does(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_EVERY", 0.0)

    class Full(RunFolder):
        writes = 0

        def write(self, path: Any, content: Any) -> None:
            self.writes += path == self.report
            if path == self.report and self.writes in failing:
                raise OSError(28, "No space left on device")
            super().write(path, content)

    client = client_for()
    for failing, requests in (({1}, 0), ({2, 3}, 4), (set(range(5, 99)), 8)):
        begin, folder = len(hubspot.requests), Full(tmp_path)
        try:
            run_bulk(
                client, UnsubscribeAll(client.calls), reader_of(people(40)), batch_size=10, folder=folder
            )
        except OSError:
            assert failing != {2, 3}
        else:
            assert failing == {2, 3}
        assert len(hubspot.requests) - begin == min(requests, 4)


def test_a_try_writes_nothing_when_a_later_one_has_begun(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_EVERY", 0.0)
    client, place = client_for(), ObjectPlace(tmp_path / "checkpoint")
    read = reader_of(people(100))

    def overtaken() -> Any:
        for row in read():
            if row.number == 60:
                later = Checkpoint(ObjectPlace(tmp_path / "checkpoint"), SameRun(client, None, arguments={}))
                later.resume(RunState())
                for name in ("report.json", "report.html"):
                    (tmp_path / name).write_text("of the later try")
            yield row

    with pytest.raises(SupersededError):
        run_bulk(
            client,
            UnsubscribeAll(client.calls),
            overtaken,
            batch_size=10,
            concurrency=1,
            stop_when_refused_alike=False,
            folder=RunFolder(tmp_path),
            checkpoint=Checkpoint(place, SameRun(client, None, arguments={}), interval=3600),
        )
    assert {(tmp_path / name).read_text() for name in ("report.json", "report.html")} == {"of the later try"}


def test_of_a_long_run_the_history_keeps_points_that_are_evenly_apart() -> None:
    history = History()
    for number in range(10_000):
        history.add(Point(number * 5.0, number * 950, number * 10))
    points = history.points
    gaps = [after.seconds - before.seconds for before, after in pairwise(points)]
    assert len(points) == MOST
    assert (points[0].seconds, points[-1].seconds) == (0, 9_999 * 5)
    assert max(gaps) <= 6 * min(gaps)
    assert len(json.dumps(points)) < 12_000


def test_neither_time_nor_counts_fall_in_a_history() -> None:
    """A killed try may have counted more than its checkpoint; the clock may be set back."""
    history = History()
    for point in (Point(0, 0, 0), Point(5, 100, 2), Point(10, 300, 5), Point(70, 200, 4), Point(60, 400, 8)):
        history.add(point)
    assert [point[:3] for point in history.points] == [(0, 0, 0), (5, 100, 2), (70, 200, 4), (70, 400, 8)]


@pytest.mark.parametrize("left", ["", "{", '{"schema": 1, "started_at": "x"}', None], ids=repr)
def test_a_history_begins_anew_where_an_earlier_report_has_none(tmp_path: Path, left: str | None) -> None:
    path = tmp_path / "report.json"
    if left is not None:
        path.write_text(left)
    history = History()
    history.resume(path, started_at="x")
    assert history.points == []


class TestATryThatDoesNotBegin:
    """It leaves a report that says why: nothing on the page contradicts Airflow's error."""

    def test_says_so_in_a_first_report(
        self, client_for: Callable[..., Client], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        client, folder, source = client_for(), RunFolder(tmp_path / "run"), Files([tmp_path / "missing.csv"])
        checkpoint = Checkpoint(ObjectPlace(folder.checkpoint), Identity(client, source, arguments={}))
        with pytest.raises(SourceError) as raised:
            run_bulk(
                client,
                UnsubscribeAll(client.calls),
                reader_of(source),
                source_size=SourceSize(source),
                folder=folder,
                checkpoint=checkpoint,
            )
        found = json.loads((tmp_path / "run" / "report.json").read_text())
        assert (found["state"], found["read"], found["incomplete_because"]) == (
            "incomplete",
            0,
            "UnavailableError",
        )
        assert found["error"] == str(raised.value)
        assert str(raised.value) in html.unescape((tmp_path / "run" / "report.html").read_text())
        assert caplog.messages[-1].startswith("Stopped early (UnavailableError) before any row was done -> ")

    def test_keeps_the_counts_of_the_try_before_and_replaces_its_reason(
        self, hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path
    ) -> None:
        client, folder = client_for(), RunFolder(tmp_path / "run")
        write = UnsubscribeAll(client.calls)

        def run(rows: list[str]) -> None:
            identity = Identity(client, rows, arguments={})
            place = ObjectPlace(folder.checkpoint)
            run_bulk(
                client,
                write,
                reader_of(rows),
                batch_size=5,
                concurrency=1,
                folder=folder,
                checkpoint=Checkpoint(place, identity),
            )

        hubspot.fault("daily", match={"body_contains": "person-15@"}, times=None)
        with pytest.raises(DailyLimitError):
            run(people(20))
        (tmp_path / "run" / "report.json").write_text(  # as it is where the worker was killed
            json.dumps(
                {
                    **json.loads((tmp_path / "run" / "report.json").read_text()),
                    "state": "running",
                    "incomplete_because": None,
                }
            )
        )
        with pytest.raises(CheckpointError, match="The source changed"):
            run(people(20)[::-1])
        found, page = (
            json.loads((tmp_path / "run" / "report.json").read_text()),
            html.unescape((tmp_path / "run" / "report.html").read_text()),
        )
        assert (found["state"], found["read"], found["seconds_left"]) == ("incomplete", 15, None)
        assert "The source changed since an earlier try stopped after 15 rows" in page
        assert "Clear the task: the run resumes" not in page


class TestTheLastLine:
    """One sentence that a person reads first."""

    @pytest.mark.parametrize(
        ("counts", "more", "line"),
        [
            (
                {"changed": 888, "unchanged": 60, "duplicate": 38, "invalid": 12, "rejected": 2},
                {},
                "948 of 1,000 opted out (888 new), 38 duplicates, 14 not: 12 invalid, 2 refused -> /r/report.html",
            ),
            ({"changed": 1}, {}, "1 of 1 opted out (1 new) -> /r/report.html"),
            (
                {"unchanged": 1, "duplicate": 1, "unconfirmed": 1},
                {"page": None},
                "1 of 3 opted out (0 new), 1 duplicate, 1 not: 1 unconfirmed -> /r/report.json",
            ),
            ({}, {"page": None, "report": None}, "No rows were read -> set output to keep a report"),
            ({}, {"skipped": 2}, "No rows were read, 2 left out by where -> /r/report.html"),
            ({}, {"plan": {"changes": 0}}, "Nothing was to change -> /r/report.html"),
            ({}, {"plan": {}, "kind": "plan"}, "No rows were read -> /r/report.html"),
            (
                {"changed": 90, "unconfirmed": 10},
                {"state": "running", "share": 0.1, "ended_at": "2026-11-26T03:00:00+00:00"},
                "Still running as of 2026-11-26T03:00:00+00:00, 10% of the source read: 90 of 100 opted out (90 new), "
                "10 not: 10 not finished by HubSpot yet -> /r/report.html",
            ),
            (
                {},
                {"state": "running", "ended_at": "2026-11-26T03:00:00+00:00"},
                "Still running as of 2026-11-26T03:00:00+00:00: no row has an outcome yet -> /r/report.html",
            ),
            (
                {"changed": 1_000, "unconfirmed": 2_500},
                {"state": "waiting"},
                "1,000 of 3,500 opted out (1,000 new), 2,500 not: 2,500 not finished by HubSpot yet -> /r/report.html",
            ),
            (
                {"changed": 1},
                {"state": "incomplete", "incomplete_because": "ServerError"},
                "Stopped early (ServerError) after 1 row: 1 of 1 opted out (1 new) -> /r/report.html",
            ),
            (
                {"changed": 1_500},
                {
                    "state": "incomplete",
                    "incomplete_because": "too few are left: this takes up to 24, and more",
                },
                "Stopped early (too few are left) after 1,500 rows: 1,500 of 1,500 opted out (1,500 new) -> "
                "/r/report.html",
            ),
            (
                {},
                {"state": "incomplete", "incomplete_because": "ServerError"},
                "Stopped early (ServerError) before any row was done -> /r/report.html",
            ),
            (
                {"changed": 900, "rejected": 5},
                {"reasons": {"rejected: CHANGED_IN_HUBSPOT": 3, "rejected: VALIDATION_ERROR": 2}},
                "900 of 905 opted out (900 new), 3 left to HubSpot, 2 not: 2 refused -> /r/report.html",
            ),
            (
                {"changed": 12, "unchanged": 985, "rejected": 3},
                {
                    "kind": "plan",
                    "plan": {"actions": {"opt_out": 3, "subscribe": 9, "unchanged": 985, "refused": 3}},
                    "reasons": {"rejected: NEWER_IN_HUBSPOT": 2, "rejected: LEGAL_BASIS_MISSING": 1},
                },
                "12 of 1,000 would change (3 opted out of everything, 9 subscribed), 985 as wanted, 2 left to HubSpot, "
                "1 refused -> /r/report.html",
            ),
            (
                {"changed": 1, "invalid": 1},
                {
                    "kind": "plan",
                    "plan": {
                        "guards": [
                            {"name": "max_changes", "tripped": True},
                            {"name": "max_shrink", "tripped": True, "report_only": True},
                            {"name": "legal_basis", "tripped": False},
                        ]
                    },
                },
                "1 of 2 would change, 1 invalid; tripped: max_changes -> /r/report.html",
            ),
            (
                {"changed": 1},
                {
                    "kind": "plan",
                    "plan": {"approved_by": "ada", "guards": [{"name": "max_changes", "tripped": True}]},
                },
                "1 of 1 would change -> /r/report.html",
            ),
            (
                {"unchanged": 1_000},
                {"kind": "read", "done": "read"},
                "1,000 subscribers read -> /r/report.html",
            ),
            (
                {"unchanged": 998, "invalid": 2},
                {"kind": "read", "done": "have links"},
                "998 of 1,000 subscribers have links, 2 not: 2 invalid -> /r/report.html",
            ),
        ],
        ids=[
            *("all kinds", "one", "no page", "no report", "where"),
            *("nothing to apply", "nothing to plan", "running", "not yet", "waiting"),
            *("early", "partial", "at once"),
            *("left to HubSpot", "plan", "guards", "approved", "read", "links"),
        ],
    )
    def test_says_what_became_of_all_rows_and_where_the_report_is(
        self, counts: dict[str, int], more: dict[str, Any], line: str
    ) -> None:
        nothing: dict[str, Any] = dict.fromkeys(OUTCOMES, 0)
        places: dict[str, Any] = {"state": "complete", "page": "/r/report.html", "report": "/r/report.json"}
        summary = {**nothing, **counts, "read": sum(counts.values()), "done": "opted out", **places, **more}
        assert last_line(summary) == line

    def test_says_what_it_can_of_a_report_that_lacks_fields(self) -> None:
        assert (
            last_line({"schema": 1, "read": 5, "changed": 5}, hint="none") == "5 of 5 applied (5 new) -> none"
        )

    @pytest.mark.parametrize(
        ("write", "phrase", "done"),
        [
            (UnsubscribeAll(Calls()), "opt out of everything", "opted out"),
            (UnsubscribeAll(Calls(), business_unit_id=0), "opt out of brand 0", "opted out of brand 0"),
            (
                SetStatus(Calls(), subscription_id=7, status="UNSUBSCRIBED"),
                "set subscription 7 to UNSUBSCRIBED",
                "set to UNSUBSCRIBED",
            ),
            (
                SetStatus(Calls()),
                "set the subscription of each row to the status of each row",
                "set as their rows say",
            ),
        ],
        ids=["all", "brand", "status", "rows"],
    )
    def test_names_what_was_wanted(self, write: Any, phrase: str, done: str) -> None:
        assert (write.phrase, write.done) == (phrase, done)

    @pytest.mark.parametrize("kept", [True, False], ids=["output", "no output"])
    def test_is_the_last_one_and_details_come_before_it_where_no_report_has_them(
        self,
        hubspot: Simulator,
        client_for: Callable[..., Client],
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        kept: bool,
    ) -> None:
        client = client_for()
        folder = RunFolder(tmp_path) if kept else None
        with caplog.at_level("INFO"):
            run_bulk(client, UnsubscribeAll(client.calls), reader_of([*people(3), "x"]), folder=folder)
        *before, last = [one.getMessage() for one in caplog.records if one.name.endswith("send.run")]
        where = str(tmp_path / "report.html") if kept else "set output to keep a report"
        assert last == f"3 of 4 opted out (3 new), 1 not: 1 invalid -> {where}"
        said = "1 request, none answered with 429, 1 try; not applied: 1 INVALID_ADDRESS"
        assert before == ([] if kept else [said])

    def test_details_count_what_went_wrong(self) -> None:
        summary = {"requests": 2_000, "throttled": 1, "tries": 2, "reasons": {}}
        assert details(summary) == "2,000 requests, 1 answered with 429, 2 tries"
