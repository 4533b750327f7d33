"""``verbose=False``: HubSpot's answer to a batch names nobody, and what then counts as what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll

from .conftest import Done

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.calls import Calls
    from airflow_provider_hubprefs.simulator import Simulator

Run = Callable[..., Done]
PEOPLE = [f"person-{number}@example.com" for number in range(5)]
REFUSED = "rejected@hubspot-rejects.example"
WRITE = {"endpoint": "batch_unsubscribe_all"}


def brief(calls: Calls) -> UnsubscribeAll:
    return UnsubscribeAll(calls, verbose=False)


def test_complete_and_no_error_is_changed_by_one_request(hubspot: Simulator, run: Run) -> None:
    done = run(PEOPLE, brief)
    assert done.outcomes == {"changed": 5}
    assert all(hubspot.is_opted_out(one) for one in PEOPLE)
    assert len(hubspot.requests) == 1


def test_who_was_opted_out_before_counts_as_changed(run: Run) -> None:
    run(PEOPLE, brief)
    assert run(PEOPLE, brief).outcomes == {"changed": 5}


@pytest.mark.parametrize(("mode", "requests"), [("context", 1), ("no_context", 2)])
def test_an_error_that_names_nobody_has_all_of_them_read_back(
    hubspot: Simulator, run: Run, mode: str, requests: int
) -> None:
    hubspot.load({"batch_errors": mode})
    done = run([*PEOPLE, REFUSED], brief)
    assert done.outcomes == {"changed": 5, "rejected": 1}
    assert done.of("rejected") == {REFUSED: "VALIDATION_ERROR"}
    assert len(hubspot.requests) == requests


def test_errors_that_are_only_counted_have_all_of_them_read_back(hubspot: Simulator, run: Run) -> None:
    hubspot.fault("answer", json={"status": "COMPLETE", "results": [], "numErrors": 1}, match=WRITE)
    assert run(PEOPLE, brief).outcomes == {"unconfirmed": 5}


@pytest.mark.parametrize(("status", "outcome"), [("PENDING", "unconfirmed"), ("CANCELED", "rejected")])
def test_what_is_not_complete_is_not_believed(
    hubspot: Simulator, run: Run, status: str, outcome: str
) -> None:
    hubspot.fault("answer", json={"status": status, "results": []}, match=WRITE)
    assert run(PEOPLE, brief).outcomes == {outcome: 5}


def test_a_row_that_does_come_is_read(hubspot: Simulator, run: Run) -> None:
    one: dict[str, Any] = {"subscriberIdString": PEOPLE[0], "subscriptionId": 1, "status": "SUBSCRIBED"}
    answer = {"status": "COMPLETE", "results": [{"subscriberIdString": PEOPLE[0], "statuses": [one]}]}
    hubspot.fault("answer", json=answer, match=WRITE)
    done = run(PEOPLE, brief)
    assert done.of("unconfirmed") == {PEOPLE[0]: "NOT_IN_ANSWER"}
    assert done.outcomes == {"changed": 4, "unconfirmed": 1}


@pytest.mark.parametrize(
    ("verify", "outcomes"), [(False, {"changed": 5}), (True, {"changed": 4, "unconfirmed": 1})]
)
def test_who_is_passed_over_in_silence_is_found_by_reading_back(
    hubspot: Simulator, run: Run, verify: bool, outcomes: dict[str, int]
) -> None:
    hubspot.load({"missing": {"addresses": [PEOPLE[3]], "applied": False}})
    assert run(PEOPLE, brief, verify=verify).outcomes == outcomes


def test_without_the_batch_scopes_each_one_is_asked_for_its_row(hubspot: Simulator, run: Run) -> None:
    run(PEOPLE[:2], brief, token="starter")
    assert run(PEOPLE, brief, token="starter").outcomes == {"changed": 3, "unchanged": 2}
