"""One source that wants another status of every row, sent and accounted for by subscriber and subscription."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.send.writes import SetStatus
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from tests.helpers import ANSWER_PENDING

from .conftest import Done

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.api.calls import Calls
    from airflow_provider_hubprefs.simulator import Simulator

Run = Callable[..., Done]
COLUMNS = Columns(status="status", subscription="id", legal_basis="basis", legal_basis_explanation="why")
JANE, BOB = "jane@example.com", "bob@example.com"


def item(address: str, status: str, number: int, **more: str) -> dict[str, Any]:
    return {"email": address, "status": status, "id": number, **more}


@pytest.fixture
def ids(hubspot: Simulator) -> list[int]:
    return hubspot.subscription_ids


@pytest.fixture
def by_row(run: Run) -> Run:
    """Carry out what the rows say."""

    def carry(source: Any, *, on_conflict: str = "error", token: str = "all", **options: Any) -> Done:
        given: dict[str, Any] = {
            name: options.pop(name)
            for name in ("allow_resubscribe", "legal_basis", "basis_by_row")
            if name in options
        }

        def write(calls: Calls) -> SetStatus:
            return SetStatus(calls, **given)

        return run(source, write, columns=COLUMNS, on_conflict=on_conflict, token=token, **options)

    return carry


def asked(hubspot: Simulator, endpoint: str) -> list[list[Any]]:
    """Inputs of the batches sent to an endpoint."""
    return [
        json.loads(request.body)["inputs"] for request in hubspot.requests if request.path.endswith(endpoint)
    ]


def test_every_row_gets_what_it_says(hubspot: Simulator, by_row: Run, ids: list[int]) -> None:
    done = by_row([item(JANE, "SUBSCRIBED", ids[0]), item(BOB, "unsubscribed", ids[1])])
    assert done.outcomes == {"changed": 2}
    assert hubspot.status_of(JANE, ids[0]) == "SUBSCRIBED"
    assert hubspot.status_of(BOB, ids[1]) == "UNSUBSCRIBED"
    assert hubspot.status_of(BOB, ids[0]) == "NOT_SPECIFIED"


def test_only_rows_that_may_subscribe_are_looked_at_first(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    by_row([item(JANE, "UNSUBSCRIBED", ids[0])])
    assert asked(hubspot, "/batch/read") == []
    done = by_row(
        [
            item(JANE, "SUBSCRIBED", ids[0]),
            item(JANE, "SUBSCRIBED", ids[1]),
            item(JANE, "NOT_SPECIFIED", ids[2]),
            item(BOB, "UNSUBSCRIBED", ids[0]),
        ]
    )
    assert asked(hubspot, "/batch/read") == [[JANE]]
    assert done.outcomes == {"changed": 2, "unchanged": 1, "rejected": 1}
    assert done.of("rejected") == {JANE: "RESUBSCRIBE_NOT_ALLOWED"}
    assert hubspot.status_of(JANE, ids[0]) == "UNSUBSCRIBED"
    assert hubspot.status_of(JANE, ids[1]) == "SUBSCRIBED"


def test_one_subscriber_may_be_in_a_batch_with_several_subscriptions(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    done = by_row([item(JANE, "UNSUBSCRIBED", number) for number in (*ids, ids[0])])
    assert done.outcomes == {"changed": len(ids), "duplicate": 1}
    assert len(asked(hubspot, "/batch/write")) == 1


@pytest.mark.parametrize("mode", ["context", "no_context", "whole"])
def test_an_error_hits_the_row_it_is_about_and_no_other_of_the_subscriber(
    hubspot: Simulator, by_row: Run, ids: list[int], mode: str
) -> None:
    hubspot.load({"data_privacy": "strict", "batch_errors": mode})
    basis = {"basis": "NON_GDPR", "why": "asked for it"}
    done = by_row(
        [
            item(JANE, "UNSUBSCRIBED", ids[0], **basis),
            item(JANE, "UNSUBSCRIBED", ids[1]),
            item(JANE, "UNSUBSCRIBED", ids[2], **basis),
            item(BOB, "UNSUBSCRIBED", ids[0], **basis),
        ]
    )
    assert done.outcomes == {"changed": 3, "rejected": 1}
    assert [letter["row"] for letter in done.letters] == [2]
    assert [hubspot.status_of(JANE, number) for number in ids[:3]] == [
        "UNSUBSCRIBED",
        "NOT_SPECIFIED",
        "UNSUBSCRIBED",
    ]


def test_an_error_that_names_the_subscription_is_assigned_by_it(by_row: Run, hubspot: Simulator) -> None:
    one, two, three = hubspot.subscription_ids[:3]
    row = {"subscriberIdString": JANE, "subscriptionId": one, "status": "UNSUBSCRIBED"}
    context = {"subscriberIdString": [JANE], "subscriptionId": [str(two)]}
    error = {"status": "error", "category": "NO", "message": "no", "context": context}
    hubspot.fault(
        "answer",
        json={"status": "COMPLETE", "results": [row], "errors": [error]},
        match={"endpoint": "batch_write"},
        times=1,
    )
    done = by_row([item(JANE, "UNSUBSCRIBED", number) for number in (one, two, three)])
    assert done.outcomes == {"changed": 1, "rejected": 1, "unconfirmed": 1}
    assert [(letter["row"], letter["outcome"]) for letter in done.letters] == [
        (2, "rejected"),
        (3, "unconfirmed"),
    ]


def test_one_error_for_two_rows_of_a_subscriber_decides_neither(by_row: Run, hubspot: Simulator) -> None:
    error = {"category": "NO", "message": "no", "context": {"subscriberIdString": [JANE]}}
    hubspot.fault(
        "answer",
        json={"status": "COMPLETE", "results": [], "errors": [error]},
        match={"endpoint": "batch_write"},
        times=1,
    )
    done = by_row([item(JANE, "UNSUBSCRIBED", number) for number in hubspot.subscription_ids[:2]])
    assert done.outcomes == {"unconfirmed": 2}


def test_a_legal_basis_is_sent_with_the_row_that_has_it(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    by_row(
        [
            item(JANE, "SUBSCRIBED", ids[0], basis="consent_with_notice", why="Form 7"),
            item(BOB, "SUBSCRIBED", ids[0]),
        ]
    )
    (inputs,) = asked(hubspot, "/batch/write")
    said = {
        one["subscriberIdString"]: (one.get("legalBasis"), one.get("legalBasisExplanation")) for one in inputs
    }
    assert said == {JANE: ("CONSENT_WITH_NOTICE", "Form 7"), BOB: (None, None)}


def test_resubscribing_takes_a_legal_basis_in_the_row(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    by_row([item(one, "UNSUBSCRIBED", ids[0]) for one in (JANE, BOB)])
    done = by_row(
        [
            item(JANE, "SUBSCRIBED", ids[0], basis="CONSENT_WITH_NOTICE"),
            item(BOB, "SUBSCRIBED", ids[0]),
            item(BOB, "UNSUBSCRIBED", ids[1]),
        ],
        allow_resubscribe=True,
        basis_by_row=True,
    )
    assert done.outcomes == {"changed": 2, "invalid": 1}
    assert done.of("invalid") == {BOB: "INVALID_LEGAL_BASIS"}
    assert hubspot.status_of(JANE, ids[0]) == "SUBSCRIBED"
    assert hubspot.status_of(BOB, ids[0]) == "UNSUBSCRIBED"


def test_or_one_for_all_and_none_at_all_is_refused_before_any_request(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    done = by_row([item(JANE, "SUBSCRIBED", ids[0])], allow_resubscribe=True)
    assert isinstance(done.error, ValidationError)
    assert hubspot.requests == []


def test_a_list_of_subscriptions_that_is_not_whole_makes_no_row_invalid(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    hubspot.fault(**ANSWER_PENDING, match={"endpoint": "definitions"}, times=None)
    assert by_row([item(JANE, "UNSUBSCRIBED", ids[0])]).outcomes == {"changed": 1}


def test_ids_of_no_active_subscription_cost_no_request_but_one(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    unknown = [item(f"p{number}@example.com", "UNSUBSCRIBED", 404404) for number in range(250)]
    done = by_row([*unknown, item(JANE, "UNSUBSCRIBED", ids[0])])
    assert done.outcomes == {"changed": 1, "invalid": 250}
    assert set(done.of("invalid").values()) == {"INVALID_SUBSCRIPTION"}
    assert "404404 is not one of the portal's active ones" in done.letters[0]["message"]
    assert len(hubspot.requests) == 2


def test_contradictions_are_found_before_anything_is_sent(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    rows = [item(f"p{number}@example.com", "UNSUBSCRIBED", ids[0]) for number in range(300)]
    done = by_row([*rows, item("P7@example.com", "SUBSCRIBED", ids[0])])
    assert "row 8 and row 301" in str(done.error)
    assert [request.method for request in hubspot.requests] == ["GET"]
    done = by_row([*rows, item("P7@example.com", "SUBSCRIBED", ids[0])], on_conflict="opt_out_wins")
    assert done.outcomes == {"changed": 300, "duplicate": 1}


def test_without_batch_scopes_every_row_gets_what_it_says(
    hubspot: Simulator, by_row: Run, ids: list[int]
) -> None:
    rows = [
        item(JANE, "SUBSCRIBED", ids[0]),
        item(JANE, "UNSUBSCRIBED", ids[1]),
        item(BOB, "UNSUBSCRIBED", ids[0]),
    ]
    assert by_row(rows, token="starter").outcomes == {"changed": 3}
    assert hubspot.status_of(JANE, ids[1]) == "UNSUBSCRIBED"


def test_reading_back_asks_for_no_subscriber_twice(hubspot: Simulator, by_row: Run, ids: list[int]) -> None:
    rows = [item(one, "UNSUBSCRIBED", number) for one in (JANE, BOB) for number in ids[:3]]
    assert by_row(rows, verify=True).outcomes == {"changed": 6}
    # The first finds out whether the token may read.
    assert [sorted(inputs) for inputs in asked(hubspot, "/batch/read")] == [[JANE], [BOB, JANE]]


def test_a_subscriber_hubspot_refuses_to_read_is_refused_for_all_of_its_rows(
    by_row: Run, ids: list[int]
) -> None:
    refused = "rejected@hubspot-rejects.example"
    rows = [item(refused, "SUBSCRIBED", number) for number in ids[:3]]
    done = by_row([*rows, item(JANE, "SUBSCRIBED", ids[0])])
    assert done.outcomes["changed"] == 1
    assert sum(done.outcomes.values()) == 4
    assert {letter["row"] for letter in done.letters} == {1, 2, 3}
