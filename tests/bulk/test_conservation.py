"""Conservation, as a property: whatever the source and whatever goes wrong, every row has one, true outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.columns import Columns
from airflow_provider_hubprefs.bulk.conflicts import ContradictionError
from airflow_provider_hubprefs.bulk.outcome import OUTCOMES
from airflow_provider_hubprefs.bulk.source import read_rows
from airflow_provider_hubprefs.bulk.writes import SetStatus
from airflow_provider_hubprefs.hubspot.calls import Calls
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.hubspot.models import Definition
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Done
from .test_under_way import Trial, Waiting

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.client import Client

ROWS = st.one_of(
    st.integers(0, 30).map(lambda number: f"person-{number}@example.com"),
    st.integers(0, 30).map(lambda number: f" Person-{number}@EXAMPLE.com "),
    st.integers(0, 9).map(lambda number: f"rejected-{number}@hubspot-rejects.example"),
    st.integers(0, 9).map(lambda number: f"missing-{number}@example.com"),
    st.sampled_from(["", "nobody", "two@@example.com", "a b@example.com", "@example.com"]),
)
FAULTS = st.sampled_from(
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 500},
        {"kind": "cloudflare"},
        {"kind": "burst", "retry_after": 0.01},
        {"kind": "drop"},
        {"kind": "drop", "applied": True},
        {"kind": "truncate"},
        {"kind": "fields", "missing": ["results"]},
        {"kind": "fields", "null": ["errors", "numErrors"]},
        {"kind": "text"},
    ]
)
PASSING = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=PASSING, derandomize=True)
@given(
    source=st.lists(ROWS, min_size=1, max_size=60),
    faults=st.lists(st.tuples(st.integers(1, 12), FAULTS), max_size=4),
    mode=st.sampled_from(["context", "no_context", "whole"]),
    missing_is_applied=st.booleans(),
    batch_size=st.integers(1, 25),
    concurrency=st.integers(1, 4),
)
def test_every_row_ends_in_exactly_one_outcome_and_hubspot_agrees(  # noqa: PLR0917 - hypothesis names them
    hubspot: Simulator,
    run: Callable[..., Done],
    source: list[str],
    faults: list[tuple[int, dict[str, Any]]],
    mode: str,
    missing_is_applied: bool,
    batch_size: int,
    concurrency: int,
) -> None:
    missing = {"addresses": [f"missing-{number}@example.com" for number in range(10)]}
    hubspot.clear_faults()
    hubspot.load({"batch_errors": mode, "missing": {**missing, "applied": missing_is_applied}})
    for nth, fault in faults:
        hubspot.fault(**fault, match={"nth": nth})
    done = run(source, batch_size=batch_size, concurrency=concurrency)
    rows = list(read_rows(source))
    if done.error is not None:
        assert "refused all" in str(done.error)  # nobody in the first batch whom HubSpot takes
        return
    assert done.summary["read"] == len(source) == sum(done.outcomes.values())
    lost = {one["subscriber"] for one in done.letters if one["outcome"] in {"rejected", "unconfirmed"}}
    for row in rows:
        if row.problem is None and row.subscriber not in lost:
            assert hubspot.is_opted_out(row.subscriber)
    for subscriber in done.of("rejected"):
        assert not hubspot.is_opted_out(subscriber)
        assert subscriber.startswith(("rejected-", "missing-"))


@settings(max_examples=60, deadline=None, suppress_health_check=PASSING, derandomize=True)
@given(
    source=st.lists(ROWS, min_size=1, max_size=60),
    canceled=st.sets(st.integers(0, 30), max_size=6),
    waits=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=8),
    faults=st.lists(st.tuples(st.integers(1, 12), FAULTS), max_size=2),
    scopes=st.sampled_from(["all", "all", "starter"]),
    batch_size=st.integers(1, 25),
)
def test_what_takes_hubspot_its_time_ends_in_one_true_outcome_however_often_it_is_left(  # noqa: PLR0917
    hubspot: Simulator,
    client_for: Callable[..., Client],
    tmp_path_factory: pytest.TempPathFactory,
    source: list[str],
    canceled: set[int],
    waits: list[tuple[int, bool]],
    faults: list[tuple[int, dict[str, Any]]],
    scopes: str,
    batch_size: int,
) -> None:
    outcomes = {f"person-{number}@*": "CANCELED" for number in canceled}
    hubspot.clear_faults()
    hubspot.load({"operations": {"seconds": [0, 20], "outcomes": outcomes}})
    for nth, fault in faults:
        hubspot.fault(**fault, match={"nth": nth})
    left = list(waits)

    class Planned(Waiting):
        def is_over(self) -> bool:
            return not left

        def wait(self, rows: Any) -> None:
            assert rows
            seconds, leaves = left.pop()
            hubspot.advance(seconds)
            if leaves:
                raise KeyboardInterrupt

    already = len(hubspot.requests)
    run = Trial(tmp_path_factory.mktemp("run"), client_for)
    summary: dict[str, Any] | None = None
    while summary is None:
        try:
            summary = run(source, kind=Planned, token=scopes, batch_size=batch_size)
        except KeyboardInterrupt:
            report = run.reported()
            assert report["read"] == len(source) == sum(report[name] for name in OUTCOMES)
            assert not report["complete"]
        except ValidationError as error:
            assert "refused all" in str(error)  # nobody in the first batch whom HubSpot takes
            return
    assert summary["complete"]
    assert summary["read"] == len(source) == sum(summary[name] for name in OUTCOMES)
    assert run.mark.load() is None
    rejected, unconfirmed = run.of("rejected"), run.of("unconfirmed")
    sendable = [row.subscriber for row in read_rows(source) if row.problem is None]
    for subscriber in sendable:
        if subscriber not in {*rejected, *unconfirmed}:
            assert hubspot.is_opted_out(subscriber)
    for subscriber, category in rejected.items():
        assert not hubspot.is_opted_out(subscriber)
        assert subscriber.startswith("rejected-") or category == "CANCELED"
    refused = any(subscriber.startswith("rejected-") for subscriber in sendable)
    if not (faults or refused or scopes != "all"):
        sent = [
            subscriber
            for request in hubspot.requests[already:]
            if request.endpoint == "batch_unsubscribe_all"
            for subscriber in request.json()["inputs"]
        ]
        assert sorted(sent) == sorted(sendable)


CELLS = st.tuples(
    st.integers(0, 12).map(lambda number: f"person-{number}@example.com")
    | st.sampled_from(
        ["PERSON-1@example.com", "rejected-1@hubspot-rejects.example", "missing-1@example.com", "x"]
    ),
    st.sampled_from(["SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED", "unsubscribed", "opted out", ""]),
    st.sampled_from([0, 0, 1, 2, 404404]),
    st.sampled_from(["", "NON_GDPR", "CONSENT_WITH_NOTICE", "whim"]),
)
SUBJECTS = [f"person-{number}@example.com" for number in range(13)]


@settings(max_examples=50, deadline=None, suppress_health_check=PASSING, derandomize=True)
@given(
    source=st.lists(CELLS, min_size=1, max_size=60),
    unsubscribed=st.lists(st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 2)), max_size=6),
    on_conflict=st.sampled_from(["error", "last", "opt_out_wins"]),
    allow_resubscribe=st.booleans(),
    faults=st.lists(st.tuples(st.integers(1, 12), FAULTS), max_size=4),
    mode=st.sampled_from(["context", "no_context", "whole"]),
    batch_size=st.integers(1, 25),
)
def test_what_the_columns_say_is_what_hubspot_shows_of_every_row_that_counts(  # noqa: PLR0917
    hubspot: Simulator,
    run: Callable[..., Done],
    source: list[tuple[str, str, int, str]],
    unsubscribed: list[tuple[str, int]],
    on_conflict: Any,
    allow_resubscribe: bool,
    faults: list[tuple[int, dict[str, Any]]],
    mode: str,
    batch_size: int,
) -> None:
    hubspot.clear_faults()
    before = {who: {"statuses": {}} for who, _ in unsubscribed}  # type: dict[str, dict[str, dict[str, str]]]
    ids = hubspot.subscription_ids
    for who, which in unsubscribed:
        before[who]["statuses"][str(ids[which])] = "UNSUBSCRIBED"
    missing = {"addresses": ["missing-1@example.com"], "applied": False}
    hubspot.load({"batch_errors": mode, "missing": missing, "subscribers": before})
    for nth, fault in faults:
        hubspot.fault(**fault, match={"nth": nth})
    items = [
        {"email": address, "status": status, "id": ids[at] if at < 9 else at, "basis": basis}
        for address, status, at, basis in source
    ]
    columns = Columns(status="status", subscription="id", legal_basis="basis")
    active = frozenset(ids)

    def write(calls: Any) -> SetStatus:
        return SetStatus(
            calls,
            allow_resubscribe=allow_resubscribe,
            basis_by_row=True,
            definitions=lambda: [Definition(id=number, name="") for number in active],
        )

    reading: dict[str, Any] = {"columns": columns, "on_conflict": on_conflict}
    already = len(hubspot.requests)
    done = run(items, write, batch_size=batch_size, **reading)
    if isinstance(done.error, ContradictionError):
        assert len(hubspot.requests) == already
        assert on_conflict != "last"
        return
    if done.error is not None:
        assert "refused all" in str(done.error)
        return
    assert done.summary["read"] == len(items) == sum(done.outcomes.values())
    check = write(Calls()).check_row
    lost = {letter["row"] for letter in done.letters}
    counting = [row for row in read_rows(items, check=check, **reading) if row.problem is None]
    assert len({(row.subscriber, row.wanted and row.wanted.subscription_id) for row in counting}) == len(
        counting
    )
    for row in counting:
        assert row.wanted is not None
        if row.number not in lost:
            assert hubspot.status_of(row.subscriber, row.wanted.subscription_id or 0) == row.wanted.status
    for letter in done.letters:
        if letter["category"] == "RESUBSCRIBE_NOT_ALLOWED":
            item = items[letter["row"] - 1]
            assert not allow_resubscribe
            assert hubspot.status_of(letter["subscriber"], item["id"]) == "UNSUBSCRIBED"
