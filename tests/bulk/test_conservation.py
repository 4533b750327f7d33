"""Conservation, as a property: whatever the source and whatever goes wrong, every row has one, true outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from airflow_provider_hubprefs.bulk.send.writes import SetStatus
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import ContradictionError
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.hubspot.api.calls import Calls
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import LONG

from .conftest import Done
from .test_pending_wait import Trial, Waiting

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.transport.client import Client

NOT_REFUSED = st.one_of(
    st.integers(0, 30).map(lambda number: f"person-{number}@example.com"),
    st.integers(0, 30).map(lambda number: f" Person-{number}@EXAMPLE.com "),
    st.integers(0, 9).map(lambda number: f"missing-{number}@example.com"),
    st.sampled_from(["", "nobody", "two@@example.com", "a b@example.com", "@example.com"]),
)
ROWS = NOT_REFUSED | st.integers(0, 9).map(lambda number: f"rejected-{number}@hubspot-rejects.example")
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
Faults = list[tuple[int, dict[str, Any]]]


def property_of(examples: int) -> settings:
    """The same examples each time, and no deadline: a fault may take HubSpot a while."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )


def strike(hubspot: Simulator, faults: Faults) -> None:
    """Arm the faults, each for one of the next requests about subscribers."""
    hubspot.clear_faults()
    for nth, fault in faults:
        hubspot.fault(**fault, match={"nth": nth, "path_contains": "/statuses"})


class Ends:
    """How the examples of a property ended: a property that often returns early proves little."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def note(self, how: str) -> None:
        event(how)
        self.seen.append(how)

    def share(self, how: str) -> float:
        return self.seen.count(how) / len(self.seen)


def test_every_row_ends_in_exactly_one_outcome_and_hubspot_agrees(
    hubspot: Simulator, run: Callable[..., Done]
) -> None:
    ends = Ends()
    missing = {"addresses": [f"missing-{number}@example.com" for number in range(10)]}

    @property_of(60)
    @given(
        source=st.lists(ROWS, min_size=1, max_size=60),
        faults=st.lists(st.tuples(st.integers(1, 12), FAULTS), max_size=4),
        mode=st.sampled_from(["context", "no_context", "whole"]),
        missing_is_applied=st.booleans(),
        batch_size=st.integers(1, 25),
        concurrency=st.integers(1, 4),
    )
    def holds(
        *,
        source: list[str],
        faults: Faults,
        mode: str,
        missing_is_applied: bool,
        batch_size: int,
        concurrency: int,
    ) -> None:
        hubspot.load({"batch_errors": mode, "missing": {**missing, "applied": missing_is_applied}})
        strike(hubspot, faults)
        done = run(source, batch_size=batch_size, concurrency=concurrency)
        if done.error is not None:
            assert "refused all" in str(done.error)  # HubSpot accepted no row of the first batch
            ends.note("refused")
            return
        assert done.summary["read"] == len(source) == sum(done.outcomes.values())
        lost = {one["subscriber"] for one in done.letters if one["outcome"] in {"rejected", "unconfirmed"}}
        for row in read_rows(source):
            if row.problem is None and row.subscriber not in lost:
                assert hubspot.is_opted_out(row.subscriber)
        for subscriber in done.of("rejected"):
            assert not hubspot.is_opted_out(subscriber)
            assert subscriber.startswith(("rejected-", "missing-"))
        ends.note("compared")

    holds()
    assert ends.share("compared") > 0.9


def test_pending_rows_end_in_one_true_outcome_however_often_a_run_is_left(
    hubspot: Simulator, client_for: Callable[..., Client], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ends = Ends()

    @property_of(60)
    @given(
        source=st.lists(NOT_REFUSED, min_size=1, max_size=60) | st.lists(ROWS, min_size=1, max_size=60),
        canceled=st.sets(st.integers(0, 30), max_size=6),
        waits=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=8),
        faults=st.just([]) | st.lists(st.tuples(st.integers(1, 12), FAULTS), max_size=2),
        scopes=st.sampled_from(["all", "all", "starter"]),
        batch_size=st.integers(1, 25),
    )
    def holds(
        *,
        source: list[str],
        canceled: set[int],
        waits: list[tuple[int, bool]],
        faults: Faults,
        scopes: str,
        batch_size: int,
    ) -> None:
        outcomes = {f"person-{number}@*": "CANCELED" for number in canceled}
        hubspot.load({"operations": {"seconds": [0, 20], "outcomes": outcomes}})
        strike(hubspot, faults)
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
        trial = Trial(tmp_path_factory.mktemp("run"), client_for)
        summary: dict[str, Any] | None = None
        while summary is None:
            try:
                summary = trial(source, kind=Planned, token=scopes, batch_size=batch_size)
            except KeyboardInterrupt:
                report = trial.reported()
                assert report["read"] == len(source) == sum(report[name] for name in OUTCOMES)
                assert not report["complete"]
            except ValidationError as error:
                assert "refused all" in str(error)  # HubSpot accepted no row of the first batch
                ends.note("refused")
                return
        assert summary["complete"]
        assert summary["read"] == len(source) == sum(summary[name] for name in OUTCOMES)
        assert trial.place.load() is None
        sendable = [row.subscriber for row in read_rows(source) if row.problem is None]
        check_truth(hubspot, trial, sendable)
        refused = any(subscriber.startswith("rejected-") for subscriber in sendable)
        if faults or refused or scopes != "all":
            ends.note("compared")
            return
        sent = [
            subscriber
            for request in hubspot.requests[already:]
            if request.endpoint == "batch_unsubscribe_all"
            for subscriber in request.json()["inputs"]
        ]
        assert sorted(sent) == sorted(sendable)
        ends.note("compared, and counted what was sent")

    holds()
    assert ends.share("refused") < 0.1
    assert ends.share("compared, and counted what was sent") > 0.2


def check_truth(hubspot: Simulator, trial: Trial, sendable: list[str]) -> None:
    """Compare the outcomes of a run with what HubSpot has."""
    rejected, unconfirmed = trial.of("rejected"), trial.of("unconfirmed")
    for subscriber in sendable:
        if subscriber not in {*rejected, *unconfirmed}:
            assert hubspot.is_opted_out(subscriber)
    for subscriber, category in rejected.items():
        assert not hubspot.is_opted_out(subscriber)
        assert subscriber.startswith("rejected-") or category == "CANCELED"


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
COLUMNS = Columns(status="status", subscription="id", legal_basis="basis")


def test_what_the_columns_say_is_what_hubspot_shows_of_every_row_that_counts(
    hubspot: Simulator, run: Callable[..., Done]
) -> None:
    ends = Ends()
    ids = hubspot.subscription_ids

    @property_of(50)
    @given(
        source=st.lists(CELLS, min_size=1, max_size=60),
        unsubscribed=st.lists(st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 2)), max_size=6),
        on_conflict=st.sampled_from(["error", "last", "last", "opt_out_wins", "opt_out_wins"]),
        allow_resubscribe=st.booleans(),
        faults=st.lists(st.tuples(st.integers(1, 12), FAULTS), max_size=4),
        mode=st.sampled_from(["context", "no_context", "whole"]),
        batch_size=st.integers(1, 25),
    )
    def holds(
        *,
        source: list[tuple[str, str, int, str]],
        unsubscribed: list[tuple[str, int]],
        on_conflict: Any,
        allow_resubscribe: bool,
        faults: Faults,
        mode: str,
        batch_size: int,
    ) -> None:
        before: dict[str, dict[str, dict[str, str]]] = {who: {"statuses": {}} for who, _ in unsubscribed}
        for who, which in unsubscribed:
            before[who]["statuses"][str(ids[which])] = "UNSUBSCRIBED"
        missing = {"addresses": ["missing-1@example.com"], "applied": False}
        hubspot.load({"batch_errors": mode, "missing": missing, "subscribers": before})
        strike(hubspot, faults)
        items = [
            {"email": address, "status": status, "id": ids[at] if at < 9 else at, "basis": basis}
            for address, status, at, basis in source
        ]
        reading: dict[str, Any] = {"columns": COLUMNS, "on_conflict": on_conflict}

        def write(calls: Calls) -> SetStatus:
            return SetStatus(calls, allow_resubscribe=allow_resubscribe, basis_by_row=True)

        already = len(hubspot.requests)
        done = run(items, write, batch_size=batch_size, **reading)
        if isinstance(done.error, ContradictionError):
            assert {request.endpoint for request in hubspot.requests[already:]} <= {"definitions"}
            assert on_conflict != "last"
            ends.note("contradiction")
            return
        if done.error is not None:
            assert "refused all" in str(done.error)
            ends.note("refused")
            return
        assert done.summary["read"] == len(items) == sum(done.outcomes.values())
        compare(hubspot, rows_of(items, write(Calls()), frozenset(ids), reading), done)
        for letter in done.letters:
            if letter["category"] == "RESUBSCRIBE_NOT_ALLOWED":
                item = items[letter["row"] - 1]
                assert not allow_resubscribe
                assert hubspot.status_of(letter["subscriber"], item["id"]) == "UNSUBSCRIBED"
        ends.note("compared")

    holds()
    assert ends.share("compared") > 0.5


def rows_of(
    items: list[dict[str, Any]], write: SetStatus, active: frozenset[int], reading: dict[str, Any]
) -> list[Row]:
    """The rows that can be sent."""
    assert write.row_check is not None
    write.row_check.active = active
    return [row for row in read_rows(items, check=write.row_check, **reading) if row.problem is None]


def compare(hubspot: Simulator, counting: list[Row], done: Done) -> None:
    """Compare what rows want with what HubSpot shows, where they are not dead letters."""
    lost = {letter["row"] for letter in done.letters}
    wanted = {(row.subscriber, row.wanted and row.wanted.subscription_id) for row in counting}
    assert len(wanted) == len(counting)
    for row in counting:
        assert row.wanted is not None
        if row.number not in lost:
            assert hubspot.status_of(row.subscriber, row.wanted.subscription_id or 0) == row.wanted.status


SLOPPY = st.sampled_from(
    [
        {"json": {"status": "PENDING"}},
        {"json": {"status": "CANCELED", "results": []}},
        {"json": {"status": "FINISHED"}},
        {"json": {"results": None}},
        {"json": {"numErrors": 2}},
        {"json": {"errors": [{"category": "ODD"}]}},
        {"json": {"errors": [{"category": "ODD", "context": {"x": ["PERSON-1@example.com"]}}]}},
        {"of": {"subscriptionId": 0}, "drop": True},
        {"of": {"subscriptionId": 0}, "row": {"status": "OPTED_OUT"}},
        {"of": {"subscriptionId": 0}, "row": {"status": None}},
        {"of": {"subscriberIdString": "person-1@example.com"}, "row": {"statuses": None}},
        {"of": {"subscriberIdString": "person-1@example.com"}, "row": {"subscriberIdString": None}},
        {"row": {"subscriberIdString": "person-2@example.com"}},
        {"row": {"setStatusSuccessReason": None}},
    ]
)
"""Edits of true answers, none of which makes a lie of them; subscription 0 stands for the one that is written."""
WISHES = st.tuples(
    st.integers(0, 7).map("person-{}@example.com".format),
    st.sampled_from(["SUBSCRIBED", "SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"]),
)


def test_a_sloppy_hubspot_makes_no_run_subscribe_who_unsubscribed_or_claim_what_is_not_so(
    hubspot: Simulator, run: Callable[..., Done]
) -> None:
    ends = Ends()
    number = hubspot.subscription_ids[0]

    @property_of(200 if LONG else 50)
    @given(
        wishes=st.lists(WISHES, min_size=1, max_size=8, unique_by=lambda wish: wish[0]),
        opted_out=st.sets(st.integers(0, 7).map("person-{}@example.com".format), max_size=4),
        sloppy=st.lists(st.tuples(st.integers(1, 8), SLOPPY), min_size=1, max_size=5),
        faults=st.lists(st.tuples(st.integers(1, 8), FAULTS), max_size=2),
        batch_size=st.integers(1, 8),
        scopes=st.sampled_from(["all", "all", "starter"]),
    )
    def holds(
        *,
        wishes: list[tuple[str, str]],
        opted_out: set[str],
        sloppy: Faults,
        faults: Faults,
        batch_size: int,
        scopes: str,
    ) -> None:
        hubspot.load({"subscribers": {one: {"opted_out": True} for one in opted_out}})
        strike(hubspot, faults)
        for nth, edit in sloppy:
            named = (
                {**edit, "of": {"subscriptionId": number}} if "subscriptionId" in edit.get("of", {}) else edit
            )
            hubspot.fault("edit", **named, match={"nth": nth, "path_contains": "/statuses"})
        done = run(
            [{"email": who, "status": status} for who, status in wishes],
            lambda calls: SetStatus(calls, subscription_id=number),
            columns=Columns(status="status"),
            batch_size=batch_size,
            token=scopes,
        )
        assert all(hubspot.status_of(who, number) == "UNSUBSCRIBED" for who in opted_out)
        assert done.error is None
        assert done.summary["read"] == len(wishes) == sum(done.outcomes.values())
        lost = {one["subscriber"] for one in done.letters}
        for who, status in wishes:
            assert who in lost or hubspot.status_of(who, number) == status
        ends.note("some applied" if len(lost) < len(wishes) else "none applied")

    holds()
    assert ends.share("some applied") > 0.5
