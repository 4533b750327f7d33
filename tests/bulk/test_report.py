"""The report: what its schema says, over all tries, and never an address."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from airflow_provider_hubprefs.bulk.report import SCHEMA, Details, Report, Summary
from airflow_provider_hubprefs.bulk.run import run_bulk
from airflow_provider_hubprefs.bulk.source import reader_of
from airflow_provider_hubprefs.bulk.spending import Spending
from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
from airflow_provider_hubprefs.hubspot.client import Client
from airflow_provider_hubprefs.hubspot.latency import bucket_of, percentile
from airflow_provider_hubprefs.simulator import Simulator


def test_a_report_is_as_its_schema_says(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path: Path
) -> None:
    client, path = client_for(), tmp_path / "report.json"
    people = [
        *(f"person-{number}@example.com" for number in range(95)),
        "nobody",
        "rejected@hubspot-rejects.example",
    ]
    summary = run_bulk(client, UnsubscribeAll(client.calls), reader_of(people), batch_size=10, report_to=path)
    report = msgspec.convert(json.loads(path.read_text()), Details)
    assert msgspec.convert(summary, Summary).schema == report.schema == SCHEMA == 1
    assert report.complete
    assert report.budget_before == dict.fromkeys(report.budget_before or {})  # nobody had asked
    assert report.budget_after
    # Of the last answers that came, one may have been given before another that came before it.
    assert 0 <= (report.budget_after["daily_remaining"] or 0) - (1_000_000 - report.requests) < 8
    assert sum(report.answered_within_ms.values()) == report.requests == len(hubspot.requests)
    assert 0 < (report.latency_p50_ms or 0) <= (report.latency_p95_ms or 0)
    assert sum(report.rows_per_second) * report.rows_per_second_every_seconds == pytest.approx(97)
    assert report.started_at <= report.ended_at
    assert "@" not in path.read_text()


def test_its_json_schema_can_be_had() -> None:
    schema = msgspec.json.schema(Details)
    properties = schema["$defs"]["Details"]["properties"]
    assert {"schema", "reasons", "rows_per_second", "budget_before"} <= set(properties)


def test_two_tries_add_up() -> None:
    now = 0.0
    first, second = Report(), Report(spending=Spending(clock=lambda: now))
    first.take(0, [])
    first.spending.rows = [100, 50]
    state = json.loads(json.dumps({**first.state(), "spending": first.spending.state()}))
    state["spending"]["figures"]["duration_seconds"] = 2
    state["spending"]["answered"] = {"20": 3}
    second.restore(state)
    now = 1.0
    second.spending.passed(70)
    details = second.details()
    assert details["tries"] == 2
    assert details["duration_seconds"] == 3
    assert details["rows_per_second"] == [100, 50, 0, 70]
    assert details["answered_within_ms"] == {"32.0": 3}


def test_rows_a_second_take_no_more_room_however_long_a_run_is() -> None:
    now = 0.0
    spending = Spending(clock=lambda: now)
    for _ in range(100_000):
        now += 1
        spending.passed(3)
    assert len(spending.rows) <= 120
    assert sum(spending.rows) == 300_000
    assert spending.every == 1024


def test_percentiles_are_a_tenth_off_at_most() -> None:
    milliseconds = [1.07**step for step in range(150)]
    buckets = Counter(bucket_of(each / 1000) for each in milliseconds)
    for share in (0.5, 0.95):
        wanted = milliseconds[int(share * 150) - 1]
        assert percentile(buckets, share) == pytest.approx(wanted, rel=0.1)
    assert percentile({}, 0.5) is None
    assert len(buckets) < 70
