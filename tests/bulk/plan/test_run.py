"""Plans made and applied against the local HubSpot: what is written, and what is not."""

from __future__ import annotations

import datetime
import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.plan.actions import Rules
from airflow_provider_hubprefs.bulk.plan.guards import GuardError
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import ContradictionError
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, MissingScopesError, ValidationError
from tests.helpers import OUTCOMES, outcomes, people, writes

from .conftest import Planner

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

IN, OUT, NEITHER = "SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"
BASIS = "LEGITIMATE_INTEREST_OTHER"
JANE, BOB, ANN, EVE = "jane@example.com", "bob@example.com", "ann@example.com", "eve@example.com"
ALLOWED = Rules(allow_resubscribe=True, max_resubscribes=10)


def item(address: str, status: str, number: Any, *, basis: str | None = BASIS, **more: Any) -> dict[str, Any]:
    return {
        "email": address,
        "status": status,
        "id": number,
        "basis": basis,
        "why": None,
        "since": None,
        **more,
    }


def load(hubspot: Simulator, subscribers: dict[str, Any], **portal: Any) -> None:
    hubspot.load({"subscribers": subscribers, **portal})


def has(number: int, status: str) -> dict[str, Any]:
    return {"statuses": {str(number): status}}


# Making ---------------------------------------------------------------------------------------------


def test_a_plan_says_what_is_to_be_done_and_writes_nothing(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    one = ids[0]
    load(hubspot, {JANE: has(one, IN), BOB: has(one, OUT), ANN: {"opted_out": True}})
    rows = [
        item(JANE, OUT, one),
        item(BOB, OUT, one),
        item("all@example.com", OUT, "everything"),
        item(EVE, IN, one, why="asked by phone", since="2026-01-05T10:00:00Z"),
        item(BOB, IN, ids[1]),
        item(ANN, IN, one),
        item(JANE, OUT, one),
        item("nothing", OUT, one),
        item("x@example.com", IN, ids[1], basis=None),
        item("y@example.com", OUT, 99),
    ]
    made = planner.plan(rows)
    assert writes(hubspot) == 0
    assert outcomes(made.summary) == {
        "changed": 4,
        "unchanged": 1,
        "rejected": 2,
        "invalid": 2,
        "duplicate": 1,
    }
    assert made.summary["read"] == sum(made.summary[name] for name in OUTCOMES) == len(rows)
    assert [(line["row"], line["action"], line["guard"]) for line in made.lines] == [
        (3, "opt_out", None),
        (1, "unsubscribe", None),
        (4, "subscribe", None),
        (5, "subscribe", None),
        (6, "refused", "OPTED_OUT_IN_HUBSPOT"),
        (8, "refused", "INVALID_ADDRESS"),
        (9, "refused", "LEGAL_BASIS_MISSING"),
        (10, "refused", "INVALID_SUBSCRIPTION"),
    ]
    assert made.lines[2] == {
        "action": "subscribe",
        "row": 4,
        "subscriber": EVE,
        "subscription_id": one,
        "status": IN,
        "before": NEITHER,
        "before_at": None,
        "legal_basis": BASIS,
        "explanation": "asked by phone",
        "effective_at": "2026-01-05T10:00:00Z",
        "guard": None,
    }
    assert made.path.stat().st_mode & 0o777 == 0o600
    header = made.file.header
    assert header.actions == {"opt_out": 1, "refused": 4, "subscribe": 2, "unsubscribe": 1, "unchanged": 1}
    assert [tuple(one.values()) for one in header.moves] == [
        (None, NEITHER, OUT, 1),
        *sorted([(ids[0], IN, OUT, 1), (ids[0], NEITHER, IN, 1), (ids[1], NEITHER, IN, 1)]),
    ]
    assert (header.portal, header.api_version, header.rows) == (
        hubspot.portal.settings.portal_id,
        "2026-09",
        10,
    )
    assert {one.name for one in header.guards if one.tripped} == {"legal_basis", "subscriptions"}
    assert made.summary["plan"]["checksum"] == header.checksum
    assert (made.summary["kind"], planner.apply(made, approved=True).summary["kind"]) == ("plan", "write")
    assert "example.com" not in str(made.summary["plan"]["guards"]).replace("e***.com", "")


def test_what_is_the_same_for_all_rows_is_in_the_plan_and_a_row_may_say_more(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    rules = Rules(legal_basis="NON_GDPR", legal_basis_explanation="by contract")
    columns = Columns(legal_basis="basis", every_status=IN)
    rows = [{"email": JANE, "basis": BASIS}, {"email": BOB, "basis": None}]
    made = planner.plan(rows, columns=columns, rules=rules, status=IN, subscription_id=ids[0])
    found = [
        (one["subscription_id"], one["status"], one["legal_basis"], one["explanation"]) for one in made.lines
    ]
    assert found == [(ids[0], IN, BASIS, "by contract"), (ids[0], IN, "NON_GDPR", "by contract")]
    out = Columns(every_status=OUT)
    made = planner.plan(people(3), columns=out, status=OUT, everything=True)
    assert {(one["action"], one["subscription_id"]) for one in made.lines} == {("opt_out", None)}
    assert outcomes(planner.apply(made).summary) == {"changed": 3}
    assert all(map(hubspot.is_opted_out, people(3)))


@pytest.mark.parametrize(
    ("columns", "same", "named"),
    [
        (Columns(status="status"), {}, "subscription_id"),
        (Columns(status="status", subscription="id"), {"subscription_id": 7}, "subscription_id"),
        (Columns(status="status", subscription="id"), {"everything": True}, "subscription_id"),
        (Columns(subscription="id"), {}, "status"),
        (Columns(status="status", subscription="id"), {"status": OUT}, "status"),
    ],
    ids=["no subscription", "two subscriptions", "one and everything", "no status", "two statuses"],
)
def test_rows_that_cannot_say_what_they_want_are_refused_before_any_request(
    hubspot: Simulator, planner: Planner, columns: Columns, same: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError, match=f"^{named}: expected one"):
        planner.plan([], columns=columns, **same)
    assert hubspot.requests == []


def test_bad_cells_are_invalid_rows_and_block_no_other(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    rows = [
        item(JANE, OUT, None),
        item(BOB, "", ids[0]),
        item(ANN, IN, "everything"),
        item("a@x.test", OUT, ids[0], since=later),
        item("b@x.test", OUT, ids[0], since="?"),
        item("", OUT, ids[0]),
        {**item("", OUT, ids[0]), "email": None},
        item("ok@x.test", OUT, ids[0], since=soon),
    ]
    made = planner.plan(rows)
    assert [line["guard"] for line in made.lines] == [
        None,
        "INVALID_SUBSCRIPTION",
        "INVALID_STATUS",
        "INVALID_STATUS",
        "INVALID_TIME",
        "INVALID_TIME",
        "INVALID_ADDRESS",
        "INVALID_ADDRESS",
    ]
    assert [line["row"] for line in made.lines[:1]] == [8]


def test_rows_that_contradict_each_other_stop_it_before_anything_is_compared(
    planner: Planner, ids: list[int]
) -> None:
    rows = [item(JANE, IN, ids[0]), item(JANE, OUT, "everything")]
    with pytest.raises(ContradictionError, match=r"row 2 and row 1\."):
        planner.plan(rows)
    made = planner.plan(rows, on_conflict="opt_out_wins")
    assert made.actions == {JANE: "opt_out"}


def test_equal_rows_and_statuses_give_an_equal_body(planner: Planner, ids: list[int]) -> None:
    rows = [item(name, OUT, ids[at % 2] if at % 3 else "all") for at, name in enumerate(people(250))]
    first, second = planner.plan(rows, run={"concurrency": 1}), planner.plan(rows, run={"batch_size": 17})
    assert first.lines == second.lines
    assert first.file.header.checksum == second.file.header.checksum
    other = planner.plan(rows[:-1])
    assert first.file.header.checksum != other.file.header.checksum


def test_a_plan_needs_as_many_requests_as_there_are_batches(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    load(hubspot, {name: has(ids[0], OUT) for name in people(995)})
    made = planner.plan([item(name, OUT, ids[0]) for name in people(1000)])
    assert (made.summary["requests"], outcomes(made.summary)) == (
        1 + 10,  # which subscriptions there are, and the batches
        {"changed": 5, "unchanged": 995},
    )
    assert planner.apply(made).summary["requests"] == 1 + 2


def test_a_plan_that_was_stopped_goes_on_and_is_the_same(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    rows = [item(name, OUT, ids[0]) for name in people(500)]
    whole = planner.plan(rows)
    hubspot.fault("daily", match={"body_contains": "person-310@"}, times=1)
    folder = None
    made = None
    try:
        planner.plan(rows, folder=(folder := planner.new_folder()))
    except DailyLimitError:
        assert folder is not None
        assert not folder.path.joinpath("plan.jsonl").exists()  # type: ignore[attr-defined]
        made = planner.plan(rows, folder=folder)
    assert made is not None
    assert (made.summary["tries"], made.summary["read"]) == (2, 500)
    assert made.file.header.checksum == whole.file.header.checksum


def test_a_status_that_is_unknown_is_in_no_plan_until_hubspot_shows_it(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    rows = [item(JANE, OUT, ids[0]), item(BOB, IN, ids[0])]
    hubspot.fault(
        "answer", json={"status": "COMPLETE", "results": []}, match={"path_contains": "statuses"}, times=None
    )
    folder = planner.new_folder()
    made = planner.plan(rows, folder=folder)
    assert outcomes(made.summary) == {"unconfirmed": 2}
    assert made.lines == []
    hubspot.clear_faults()
    made = planner.plan(rows, folder=folder)
    assert made.actions == {JANE: "unsubscribe", BOB: "subscribe"}
    assert outcomes(made.summary) == {"changed": 2}


@pytest.mark.parametrize("number", [0, "everything"], ids=["statuses", "opt-outs"])
def test_a_token_that_may_not_read_ends_it_at_once(
    hubspot: Simulator, planner: Planner, ids: list[int], number: Any
) -> None:
    scopes = ["communication_preferences.write", "communication_preferences.statuses.batch.write"]
    load(hubspot, {}, tokens={"writer": {"scopes": scopes}})
    rows = [item(JANE, OUT, ids[0] if number == 0 else number)]
    with pytest.raises(MissingScopesError, match="communication_preferences"):
        planner.plan(rows, token="writer")
    made = planner.plan(rows)
    with pytest.raises(MissingScopesError, match="communication_preferences"):
        planner.apply(made, token="writer")
    assert writes(hubspot) == 0


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_a_reading_asks_about_as_many_subscribers_as_a_request_takes_however_many_rows_they_have(
    hubspot: Simulator, planner: Planner, ids: list[int], size: int
) -> None:
    rows = [item(one, OUT, number) for one in people(10) for number in ids[:3]]
    made = planner.plan([*rows, rows[0], item("no address", OUT, ids[0])], run={"batch_size": size})
    assert outcomes(made.summary) == {"changed": 30, "duplicate": 1, "invalid": 1}
    asked = [one.json()["inputs"] for one in hubspot.requests if one.path.endswith("/read")]
    assert sum(map(len, asked)) == 10
    assert len(asked) == math.ceil(10 / size)


# Applying -------------------------------------------------------------------------------------------


def test_applying_writes_what_the_plan_says_and_a_second_time_nothing(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    one, two = ids[:2]
    load(hubspot, {JANE: has(one, IN), BOB: has(one, OUT)})
    rows = [
        item(JANE, OUT, one),
        item(EVE, IN, two),
        item(ANN, OUT, "all"),
        item(BOB, IN, one),
    ]
    made = planner.plan(rows, rules=ALLOWED)
    assert made.actions == {ANN: "opt_out", JANE: "unsubscribe", EVE: "subscribe", BOB: "resubscribe"}
    done = planner.apply(made, verify=True)
    assert outcomes(done.summary) == {"changed": 4}
    assert [hubspot.status_of(*one) for one in ((JANE, one), (EVE, two), (BOB, one))] == [OUT, IN, IN]
    assert hubspot.is_opted_out(ANN)
    before = writes(hubspot)
    again = planner.apply(made)
    assert (outcomes(again.summary), again.summary["complete"], writes(hubspot)) == (
        {"unchanged": 4},
        True,
        before,
    )
    second = planner.plan(rows, rules=ALLOWED)
    assert (second.lines, outcomes(second.summary)) == ([], {"unchanged": 4})


def test_what_hubspot_has_changed_since_is_dropped_by_name(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    one = ids[0]
    load(hubspot, {JANE: has(one, IN), BOB: has(one, IN), ANN: has(one, OUT)})
    rows = [item(JANE, OUT, one), item(BOB, OUT, one), item(EVE, IN, one), item(ANN, IN, one)]
    made = planner.plan(rows, rules=ALLOWED)
    hubspot.opt_out(EVE, BOB)
    hubspot.advance(60)
    hubspot.opt_out(ANN)  # again: an opt-out that the consent knows nothing of
    done = planner.apply(made)
    assert outcomes(done.summary) == {"changed": 1, "unchanged": 1, "rejected": 2}
    assert done.summary["reasons"] == {"rejected: CHANGED_IN_HUBSPOT": 2}
    assert {one["subscriber"] for one in done.letters} == {EVE, ANN}
    assert {hubspot.status_of(name, one) for name in (JANE, BOB, EVE, ANN)} == {OUT}


def test_who_unsubscribes_between_the_reading_and_the_write_is_unsubscribed_again_unless_it_was_planned(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    one = ids[0]
    load(hubspot, {BOB: has(one, OUT)})
    made = planner.plan([item(JANE, IN, one), item(BOB, IN, one)], rules=ALLOWED)
    hubspot.fault("race", addresses=[JANE], match={"endpoint": "batch_write"})
    done = planner.apply(made)
    assert done.summary["reasons"] == {"rejected: RESUBSCRIBED_BY_RACE": 1}
    assert [hubspot.status_of(name, one) for name in (JANE, BOB)] == [OUT, IN]


def test_an_application_that_was_stopped_goes_on(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    rows = [item(name, OUT, ids[0]) for name in people(500)]
    made = planner.plan(rows)
    hubspot.fault("daily", match={"body_contains": "person-310@", "endpoint": "batch_write"}, times=1)
    folder = planner.new_folder()
    with pytest.raises(DailyLimitError):
        planner.apply(made, folder=folder)
    done = planner.apply(made, folder=folder)
    assert (done.summary["tries"], done.summary["read"], done.summary["complete"]) == (2, 500, True)
    assert {hubspot.status_of(name, ids[0]) for name in people(500)} == {OUT}


def test_an_operation_that_takes_time_leaves_its_row_unconfirmed_and_a_retry_confirms_it(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    load(hubspot, {}, operations={"seconds": 60})
    made = planner.plan([item(JANE, OUT, ids[0]), item(BOB, OUT, "all"), item(EVE, IN, ids[1])])
    folder = planner.new_folder()
    assert outcomes(planner.apply(made, folder=folder).summary) == {"unconfirmed": 3}
    written = writes(hubspot)
    hubspot.advance(61)
    assert outcomes(planner.apply(made, folder=folder).summary) == {"changed": 3}
    assert writes(hubspot) == written


def test_a_subscription_that_is_not_active_any_more_is_not_written(
    hubspot: Simulator, planner: Planner, ids: list[int]
) -> None:
    made = planner.plan([item(JANE, OUT, ids[0]), item(BOB, OUT, "all")])
    hubspot.portal.definitions.pop(ids[0])
    done = planner.apply(made)
    assert done.summary["reasons"] == {"invalid: INVALID_SUBSCRIPTION": 1}
    assert hubspot.is_opted_out(BOB)


# Guards ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "previous", "says"),
    [
        (
            {"max_changes": 3},
            None,
            "guard max_changes: rows to change: 4 (allowed: 3), such as j***@e***.com, e***@e***.com, a***@e***.com. ",
        ),
        (
            {"max_resubscribes": 0},
            None,
            "guard max_resubscribes: subscribers to subscribe again who unsubscribed: 1 (allowed: 0), such as b***@",
        ),
        (
            {"max_shrink": 0.2},
            10,
            "guard max_shrink: share of the last run's rows that is gone: 60.0% (allowed: 20.0%). Find",
        ),
    ],
    ids=["max_changes", "max_resubscribes", "max_shrink"],
)
def test_a_guard_that_trips_stops_the_plan_before_its_first_write_unless_it_is_approved(
    hubspot: Simulator, planner: Planner, rules: dict[str, Any], previous: int | None, says: str
) -> None:
    one = hubspot.subscription_ids[0]
    load(hubspot, {BOB: has(one, OUT)})
    rows = [item(JANE, OUT, one), item(EVE, IN, one), item(ANN, OUT, one), item(BOB, IN, one)]
    given = Rules(**{"allow_resubscribe": True, "max_resubscribes": 1, **rules})
    made = planner.plan(rows, rules=given, previous_rows=previous)
    before = len(hubspot.requests)
    with pytest.raises(GuardError) as raised:
        planner.apply(made)
    assert str(raised.value).startswith(says)
    assert str(raised.value).endswith("Nothing was written")
    assert "approve the plan" in str(raised.value)
    assert "example" not in str(raised.value)
    assert len(hubspot.requests) == before
    assert outcomes(planner.apply(made, approved=True).summary) == {"changed": 4}


@pytest.mark.parametrize(
    ("row", "guard", "example"),
    [
        (
            {"id": "99"},
            "subscriptions",
            "rows without an active subscription of the portal: 1 (allowed: 0), such as j***@",
        ),
        (
            {"basis": None},
            "legal_basis",
            "rows to subscribe without a legal basis: 1 (allowed: 0), such as j***@",
        ),
    ],
    ids=["subscriptions", "legal_basis"],
)
def test_rows_that_are_refused_stop_the_others_unless_the_guard_only_reports(
    hubspot: Simulator, planner: Planner, row: dict[str, Any], guard: str, example: str
) -> None:
    ids = hubspot.subscription_ids
    rows = [{**item(JANE, IN, ids[0]), **row}, item(BOB, OUT, ids[0])]
    made = planner.plan(rows)
    with pytest.raises(GuardError, match=f"guard {guard}: {re.escape(example)}"):
        planner.apply(made)
    assert writes(hubspot) == 0
    made = planner.plan(rows, rules=Rules(report_only=frozenset({guard})))
    assert [one.name for one in made.file.header.guards if one.tripped] == [guard]
    assert outcomes(planner.apply(made).summary) == {"changed": 1}
    assert hubspot.status_of(JANE, ids[0]) == NEITHER


def test_where_hubspot_wins_no_guard_trips(hubspot: Simulator, planner: Planner, ids: list[int]) -> None:
    load(hubspot, {JANE: has(ids[0], OUT), BOB: has(ids[0], IN), ANN: has(ids[0], IN)})
    rows = [item(JANE, IN, ids[0]), item(BOB, OUT, ids[0], since="2020-01-01"), item(ANN, NEITHER, ids[0])]
    made = planner.plan(rows, previous_rows=3, rules=Rules(max_changes=0, max_shrink=0))
    assert made.actions == {JANE: "OPTED_OUT_IN_HUBSPOT", BOB: "NEWER_IN_HUBSPOT", ANN: "STATED_IN_HUBSPOT"}
    assert [one for one in made.file.header.guards if one.tripped] == []
    done = planner.apply(made)
    assert (done.summary["read"], done.summary["complete"]) == (0, True)
