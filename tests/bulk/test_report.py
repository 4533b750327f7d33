"""The report: what its schema says, over all tries, and never an address."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from airflow_provider_hubprefs.bulk.report.dead_letters import DeadLetters
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import ConservationError, Outcome
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.report.summary import SCHEMA, Summary, summary_of
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.hubspot.transport.latency import bucket_of, percentile
from airflow_provider_hubprefs.hubspot.transport.sender import Usage
from airflow_provider_hubprefs.simulator import Simulator


def test_a_report_is_as_its_schema_says(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path
) -> None:
    client, path = client_for(), tmp_path / "report.json"
    people = [
        *(f"person-{number}@example.com" for number in range(95)),
        "no-address",
        "rejected@hubspot-rejects.example",
    ]
    summary = run_bulk(
        client, UnsubscribeAll(client.calls), reader_of(people), batch_size=10, folder=RunFolder(tmp_path)
    )
    report = json.loads(path.read_text())
    assert msgspec.convert(report, Summary) == report == summary
    assert report["schema"] == SCHEMA == 1
    assert report["complete"]
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
    nothing = Budget()
    summary = summary_of(second, dead_letters=None, report=None, budget_before=nothing, budget_after=nothing)
    assert (summary["read"], summary["changed"], summary["invalid"], summary["tries"]) == (3, 2, 1, 2)
    assert summary["reasons"] == {"invalid: NO_ADDRESS": 1}
    assert (summary["requests"], summary["waited_for_budget_seconds"]) == (5, 0.75)
    assert (summary["latency_p50_ms"], summary["latency_p95_ms"]) == (32.0, 64.0)
    assert summary["started_at"] == first.started_at
    assert 0 < saved["duration"] < 60
    assert 100 < second.duration < 160


def test_letters_are_written_once_whatever_comes_between(tmp_path: Path) -> None:
    """What is held goes into one part after the other; a try that resumes writes the parts after its own again."""
    folder = RunFolder(tmp_path)
    state = RunState(DeadLetters(folder))
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
    letters = DeadLetters(RunFolder(tmp_path))
    later = RunState(letters)
    later.restore(saved)
    later.take([row], [Outcome(row, "invalid")])
    later.flush()
    assert len(list(tmp_path.iterdir())) == 4
    assert letters.missing(later.tally.letters) == 0
    letters.assemble(later.tally.letters, expected=5002)
    assert (
        len((tmp_path / "dead_letters.jsonl").read_text().splitlines())
        == later.tally.counts["invalid"]
        == 5002
    )
    with pytest.raises(ConservationError, match="5002 dead letters are there, 5003"):
        letters.assemble(later.tally.letters, expected=5003)
    assert len((tmp_path / "dead_letters.jsonl").read_text().splitlines()) == 5002
    (tmp_path / f"_part-{[*later.tally.letters.names()][-1]}").write_text("cut off")
    assert letters.missing(later.tally.letters)


def test_percentiles_are_a_twentieth_off_at_most() -> None:
    milliseconds = [1.001**step for step in range(10_000)]
    buckets = Counter(bucket_of(each / 1000) for each in milliseconds)
    for share in (0.5, 0.95):
        wanted = milliseconds[int(share * 10_000) - 1]
        assert percentile(buckets, share) == pytest.approx(wanted, rel=0.05)
    assert percentile({}, 0.5) is None
    assert len(buckets) < 450
