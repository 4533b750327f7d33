"""What is to be done about a row: every case by name, and what holds in all of them."""

from __future__ import annotations

from typing import Any

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.plan.actions import Planned, Rules, decide
from airflow_provider_hubprefs.bulk.report.outcome import HUBSPOT_WINS
from airflow_provider_hubprefs.bulk.source.row import Wanted
from airflow_provider_hubprefs.hubspot.api.models import STATUSES, SubscriptionStatus, WideStatus
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from tests.helpers import LONG

IN, OUT, NEITHER = "SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"
BASIS = "LEGITIMATE_INTEREST_OTHER"
NOW = pendulum.datetime(2026, 1, 5, 10)
BEFORE, AFTER = NOW.subtract(seconds=1), NOW.add(seconds=1)


def has(status: str, at: Any = None, *, number: int = 7) -> SubscriptionStatus:
    return SubscriptionStatus(subscriber="a@x.test", subscription_id=number, status=status, timestamp=at)


def wants(status: str, at: Any = None, basis: str | None = BASIS) -> Wanted:
    return Wanted(status=status, subscription_id=7, effective_at=at, legal_basis=basis)


@pytest.mark.parametrize(
    ("wanted", "actual", "rules", "expected"),
    [
        (wants(OUT), has(IN), {}, "unsubscribe"),
        (wants(OUT), has(NEITHER), {}, "unsubscribe"),
        (wants(OUT), has(OUT), {}, "unchanged"),
        (wants(OUT, basis=None), has(IN), {}, "unsubscribe"),
        (wants(IN), has(NEITHER), {}, "subscribe"),
        (wants(IN, basis=None), has(NEITHER), {}, "LEGAL_BASIS_MISSING"),
        (wants(IN, basis=None), has(IN), {}, "unchanged"),
        (wants(IN), has(OUT), {}, "OPTED_OUT_IN_HUBSPOT"),
        (wants(IN, AFTER), has(OUT, BEFORE), {}, "OPTED_OUT_IN_HUBSPOT"),
        (wants(IN), has(OUT), {"on_newer_in_hubspot": "overwrite"}, "OPTED_OUT_IN_HUBSPOT"),
        (wants(IN), has(OUT), {"allow_resubscribe": True}, "resubscribe"),
        (wants(IN, basis=None), has(OUT), {"allow_resubscribe": True}, "OPTED_OUT_IN_HUBSPOT"),
        (wants(IN, BEFORE), has(OUT, AFTER), {"allow_resubscribe": True}, "NEWER_IN_HUBSPOT"),
        (wants(NEITHER), has(NEITHER), {}, "unchanged"),
        (wants(NEITHER), has(IN), {}, "STATED_IN_HUBSPOT"),
        (wants(NEITHER, AFTER), has(IN, BEFORE), {}, "STATED_IN_HUBSPOT"),
        (wants(NEITHER), has(OUT), {"allow_resubscribe": True}, "OPTED_OUT_IN_HUBSPOT"),
        (wants(OUT, BEFORE), has(IN, AFTER), {}, "NEWER_IN_HUBSPOT"),
        (wants(OUT, BEFORE), has(IN, AFTER), {"on_newer_in_hubspot": "overwrite"}, "unsubscribe"),
        (wants(OUT, NOW), has(IN, NOW), {}, "unsubscribe"),
        (wants(OUT, AFTER), has(IN, BEFORE), {}, "unsubscribe"),
        (wants(OUT, BEFORE), has(IN, None), {}, "unsubscribe"),
        (wants(OUT, None), has(IN, AFTER), {}, "unsubscribe"),
        (wants(IN, BEFORE), has(NEITHER, AFTER), {}, "subscribe"),
        (wants(OUT, BEFORE), has(NEITHER, AFTER), {}, "unsubscribe"),
    ],
    ids=str,
)
def test_what_is_done(wanted: Wanted, actual: Any, rules: dict[str, Any], expected: str) -> None:
    planned = decide(wanted, [has(OUT, AFTER, number=8), actual], Rules(**rules))
    assert planned is not None
    assert (planned.guard or planned.action) == expected
    assert (planned.action == "refused") == (planned.guard is not None)
    assert planned.before == actual.status
    assert planned.before_at == (None if actual.status == NEITHER else actual.timestamp)


def test_of_two_rows_about_one_subscription_the_later_counts() -> None:
    for actual in ([has(IN, BEFORE), has(IN, AFTER)], [has(IN, AFTER), has(IN, BEFORE)]):
        found = decide(wants(OUT, NOW), actual, Rules())
        assert found is not None
        assert (found.guard, found.before_at) == ("NEWER_IN_HUBSPOT", AFTER)


@pytest.mark.parametrize(
    "actual",
    [None, [has(IN, number=8)], [has("CONFIRMED")], [has(IN), has(OUT)]],
    ids=["not shown", "another subscription", "another word", "two statuses"],
)
def test_an_unknown_status_permits_nothing(actual: Any) -> None:
    for status in STATUSES:
        assert decide(wants(status), actual, Rules(allow_resubscribe=True)) is None


def wide(kind: str = "PORTAL_WIDE", brand: int | None = None, status: str = OUT) -> WideStatus:
    return WideStatus(
        subscriber="a@x.test", status=status, wide_status_type=kind, business_unit_id=brand, timestamp=AFTER
    )


@pytest.mark.parametrize(
    ("actual", "brand", "action"),
    [
        ([], None, "opt_out"),
        ([wide()], None, "unchanged"),
        ([wide()], 3, "unchanged"),
        ([wide("BUSINESS_UNIT_WIDE", 3)], None, "opt_out"),
        ([wide("BUSINESS_UNIT_WIDE", 3)], 3, "unchanged"),
        ([wide("BUSINESS_UNIT_WIDE", 4)], 3, "opt_out"),
        ([wide(status=IN)], None, "opt_out"),
    ],
    ids=str,
)
def test_an_opt_out_from_everything(actual: Any, brand: int | None, action: Any) -> None:
    before: Any = OUT if action == "unchanged" else NEITHER
    wanted = Wanted(status=OUT, everything=True, effective_at=BEFORE)
    assert decide(wanted, actual, Rules(), brand=brand) == Planned(action, before)
    assert decide(wanted, None, Rules(), brand=brand) is None


def test_a_row_that_does_not_say_what_it_wants_is_a_mistake_of_the_program() -> None:
    for wanted in (Wanted(status=OUT), Wanted(subscription_id=7), Wanted(status="?", subscription_id=7)):
        with pytest.raises(ValueError, match="a subscription and a status"):
            decide(wanted, [has(IN)], Rules())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_newer_in_hubspot", "mine"),
        ("legal_basis", "CONSENT"),
        ("max_changes", -1),
        ("max_changes", True),
        ("max_changes", 1.5),
        ("max_resubscribes", None),
        ("max_shrink", 1.01),
        ("max_shrink", True),
        ("report_only", frozenset({"max_change"})),
    ],
)
def test_rules_that_cannot_be_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"^{name}: expected"):
        Rules(**{name: value})


TIMES = st.sampled_from([None, BEFORE, NOW, AFTER])
ROWS = st.builds(wants, st.sampled_from(STATUSES), TIMES, st.sampled_from([None, BASIS]))
ACTUAL = st.lists(st.builds(has, st.sampled_from([*STATUSES, "?"]), TIMES), max_size=2)
RULES = st.builds(
    lambda allow, newer: Rules(allow_resubscribe=allow, on_newer_in_hubspot=newer),
    st.booleans(),
    st.sampled_from(["keep", "overwrite"]),
)


@settings(max_examples=1000 if LONG else 300, deadline=None)
@given(ROWS, st.none() | ACTUAL, RULES)
def test_in_all_cases(wanted: Wanted, actual: Any, rules: Rules) -> None:
    planned = decide(wanted, actual, rules)
    if planned is None:
        return
    assert (planned.action == "unchanged") == (wanted.status == planned.before)
    if planned.action in {"subscribe", "resubscribe"}:
        assert wanted.legal_basis
        assert wanted.status == IN
    if planned.action == "resubscribe" or (planned.before == OUT and planned.action == "subscribe"):
        assert rules.allow_resubscribe
    if planned.action == "unsubscribe":
        assert wanted.status == OUT
    if planned.guard == "NEWER_IN_HUBSPOT":
        assert rules.on_newer_in_hubspot == "keep"
        assert wanted.effective_at and planned.before_at and wanted.effective_at < planned.before_at
    if planned.guard == "OPTED_OUT_IN_HUBSPOT":
        assert planned.before == OUT
    if planned.action == "refused":
        assert planned.guard in (*HUBSPOT_WINS, "LEGAL_BASIS_MISSING")
        return
    # What is written is as wanted from then on, and whatever time HubSpot gives it.
    after = decide(wanted, [has(wanted.status or "", AFTER)], rules)
    assert after is not None
    assert after.action == "unchanged"
