"""Many subscribers in one call: who is refused, who is left out, and where that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .conftest import ARCHIVED, MARKETING, Api

if TYPE_CHECKING:
    from .conftest import Simulate

GOOD = ["ada@example.com", "bob@example.com"]
BAD = ["no-address", "rejected.1@hubspot-rejects.example"]


def row(address: str, status: str = "UNSUBSCRIBED", subscription: int = MARKETING) -> dict[str, Any]:
    return {
        "channel": "EMAIL",
        "statusState": status,
        "subscriberIdString": address,
        "subscriptionId": subscription,
    }


@pytest.mark.parametrize(
    ("version", "path", "status"),
    [
        ("2026-09", "read", 207),
        ("v4", "unsubscribe-all/read", 207),
        ("2026-09", "unsubscribe-all", 200),
    ],
)
def test_the_good_are_served_and_the_bad_are_named(
    simulate: Simulate, version: str, path: str, status: int
) -> None:
    api = Api(simulate(), version)
    answer = api.batch(path, [GOOD[0], BAD[0], GOOD[1], BAD[1]], verbose="true")
    assert answer.status_code == status
    body = answer.json()
    assert sorted(each["subscriberIdString"] for each in body["results"]) == GOOD
    assert body["numErrors"] == 2
    assert [each["context"] for each in body["errors"]] == [{"subscriberIdString": [bad]} for bad in BAD]
    assert set(body["errors"][0]) == {"status", "category", "message", "context"}


def test_a_read_without_errors_is_a_200_without_errors(simulate: Simulate) -> None:
    answer = Api(simulate()).batch("read", GOOD)
    assert answer.status_code == 200
    assert set(answer.json()) == {"completedAt", "results", "startedAt", "status"}


def test_a_written_batch_hides_its_failures_in_a_200(simulate: Simulate) -> None:
    hubspot = simulate()
    inputs = [row(GOOD[0]), row(BAD[0]), row(GOOD[1], subscription=ARCHIVED)]
    answer = Api(hubspot).post("statuses/batch/write", {"inputs": inputs})
    assert answer.status_code == 200
    body = answer.json()
    assert [each["subscriberIdString"] for each in body["results"]] == [GOOD[0]]
    assert body["numErrors"] == len(body["errors"]) == 2
    assert hubspot.status_of(GOOD[0], MARKETING) == "UNSUBSCRIBED"


def test_errors_may_not_name_the_subscriber(simulate: Simulate) -> None:
    body = Api(simulate(portal={"batch_errors": "no_context"})).batch("read", [*GOOD, BAD[0]]).json()
    assert set(body["errors"][0]) == {"status", "category", "message"}


def test_one_bad_row_may_refuse_the_whole_batch_untouched(simulate: Simulate) -> None:
    hubspot = simulate(portal={"batch_errors": "whole"})
    api = Api(hubspot)
    assert api.batch("unsubscribe-all", [*GOOD, BAD[0]]).status_code == 400
    assert api.post("statuses/batch/write", {"inputs": [row(GOOD[0]), row(BAD[1])]}).status_code == 400
    assert not hubspot.portal.preferences
    assert api.batch("unsubscribe-all", GOOD).status_code == 200


def test_the_portal_lists_the_addresses_that_hubspot_rejects(simulate: Simulate) -> None:
    refusal = {"category": "BLOCKED", "message": "{address} is blocked"}
    api = Api(simulate(portal={"rejected": {"Bob@example.com": refusal}}))
    body = api.batch("unsubscribe-all", GOOD).json()
    assert [(each["category"], each["message"]) for each in body["errors"]] == [
        ("BLOCKED", "bob@example.com is blocked")
    ]
    single = api.opt_out("bob@example.com")
    assert (single.status_code, single.json()["category"]) == (400, "BLOCKED")


def test_a_batch_has_a_maximum(simulate: Simulate) -> None:
    api = Api(simulate(portal={"batch_maximum": 3}))
    addresses = [f"a{number}@example.com" for number in range(4)]
    assert api.batch("unsubscribe-all", addresses[:3]).status_code == 200
    answer = api.batch("unsubscribe-all", addresses)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_results_do_not_come_in_the_order_of_the_inputs(simulate: Simulate) -> None:
    addresses = [f"a{number:03d}@example.com" for number in range(50)]
    rows = Api(simulate()).batch("read", addresses).json()["results"]
    found = [each["subscriberIdString"] for each in rows]
    assert found != addresses
    assert sorted(found) == addresses


@pytest.mark.parametrize("applied", [False, True])
def test_a_200_may_leave_subscribers_out_without_a_word(simulate: Simulate, applied: bool) -> None:
    hubspot = simulate(portal={"missing": {"addresses": [GOOD[1]], "applied": applied}})
    body = Api(hubspot).batch("unsubscribe-all", GOOD, verbose="true").json()
    assert [each["subscriberIdString"] for each in body["results"]] == [GOOD[0]]
    assert "errors" not in body
    assert hubspot.is_opted_out(GOOD[1]) is applied
    written = Api(hubspot).post("statuses/batch/write", {"inputs": [row(each) for each in GOOD]}).json()
    assert [each["subscriberIdString"] for each in written["results"]] == [GOOD[0]]


def test_canceled_subscribers_of_a_batch_are_errors(simulate: Simulate) -> None:
    hubspot = simulate(portal={"operations": {"outcomes": {GOOD[1]: "CANCELED"}}})
    api = Api(hubspot)
    body = api.batch("unsubscribe-all", GOOD, verbose="true").json()
    assert (body["status"], body["numErrors"], len(body["results"])) == ("COMPLETE", 1, 1)
    body = api.post("statuses/batch/write", {"inputs": [row(GOOD[1])]}).json()
    assert (body["status"], body["numErrors"], body["results"]) == ("CANCELED", 1, [])


@pytest.mark.parametrize("inputs", [None, "ada@example.com", [1], [None], {"a": 1}])
def test_wrong_inputs_refuse_the_batch(simulate: Simulate, inputs: object) -> None:
    answer = Api(simulate()).post("statuses/batch/read", {"inputs": inputs}, channel="EMAIL")
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_a_row_without_its_attributes_refuses_the_batch(simulate: Simulate) -> None:
    answer = Api(simulate()).post("statuses/batch/write", {"inputs": [row(GOOD[0]), {"channel": "EMAIL"}]})
    assert answer.status_code == 400
    assert "missing required field" in answer.json()["message"]
