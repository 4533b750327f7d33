"""Contacts in the CRM: what a search finds and when, its limits, and the history of the opt-out."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Simulate

START = 1_800_000_000.0
OPTED_OUT = {"propertyName": "hs_email_optout", "operator": "EQ", "value": "true"}
HISTORY = {"propertiesWithHistory": ["hs_email_optout"]}
PROPERTIES = ["email", "hs_email_optout", "lastmodifieddate"]


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def crm(hubspot: Simulator, what: str, body: Any, *, version: str = "2026-09", token: str = "all") -> Any:
    headers = {"Authorization": f"Bearer {hubspot.tokens[token]}"}
    url = f"{hubspot.url}/crm/objects/{version}/contacts/{what}"
    return requests.post(url, json=body, headers=headers, timeout=30)


def search(hubspot: Simulator, *filters: dict[str, Any], **body: Any) -> dict[str, Any]:
    reply = crm(
        hubspot, "search", {"filterGroups": [{"filters": list(filters)}], "properties": PROPERTIES, **body}
    )
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def emails(answer: dict[str, Any]) -> list[str]:
    return [row["properties"]["email"] for row in answer["results"]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hubspot(simulate: Simulate, clock: Clock) -> Simulator:
    return simulate(
        portal={"subscribers": {f"{name}@x.example": {} for name in "abcd"}, "limits": {"search": 1000}},
        clock=clock,
    )


@pytest.mark.parametrize("version", ["2026-03", "2026-09"])
def test_who_opts_out_is_found_with_the_time(hubspot: Simulator, clock: Clock, version: str) -> None:
    hubspot.opt_out("a@x.example")
    body = {"filterGroups": [{"filters": [OPTED_OUT]}], "properties": PROPERTIES}
    answer = crm(hubspot, "search", body, version=version).json()
    assert answer["total"] == 1
    (row,) = answer["results"]
    assert row["properties"] == {
        "email": "a@x.example",
        "hs_email_optout": "true",
        "lastmodifieddate": "2027-01-15T08:00:00.000Z",
        "hs_object_id": row["id"],
    }
    assert "paging" not in answer


def test_an_opt_out_through_the_api_is_one_too(hubspot: Simulator) -> None:
    url = f"{hubspot.url}/communication-preferences/2026-09/statuses/b%40x.example/unsubscribe-all"
    requests.post(
        url, params={"channel": "EMAIL"}, headers={"Authorization": f"Bearer {hubspot.token}"}, timeout=10
    )
    assert emails(search(hubspot, OPTED_OUT)) == ["b@x.example"]


def test_the_index_is_behind(simulate: Simulate, clock: Clock) -> None:
    hubspot = simulate(portal={"indexing_seconds": 30}, clock=clock)
    hubspot.opt_out("a@x.example")
    clock.now += 29
    assert search(hubspot, OPTED_OUT)["total"] == 0
    clock.now += 1
    found = search(hubspot, OPTED_OUT)
    assert found["results"][0]["updatedAt"] == "2027-01-15T08:00:00.000Z"


def test_not_every_change_takes_the_index_as_long(simulate: Simulate, clock: Clock) -> None:
    hubspot = simulate(portal={"indexing_seconds": [10, 50]}, clock=clock)
    hubspot.opt_out(*(f"s{number}@x.example" for number in range(100)))
    found = []
    for _ in range(6):
        found.append(search(hubspot, OPTED_OUT)["total"])
        clock.now += 10
    assert found[:2] == [0, 0]
    assert 10 < found[2] < found[3] < found[4] < found[5] == 100


def test_only_contacts_above_an_id_are_found(hubspot: Simulator) -> None:
    hubspot.opt_out(*(f"{name}@x.example" for name in "abcd"))
    above = {"propertyName": "hs_object_id", "operator": "GT", "value": "1002"}
    assert emails(search(hubspot, above)) == ["c@x.example", "d@x.example"]


def test_times_are_compared_in_milliseconds(hubspot: Simulator, clock: Clock) -> None:
    hubspot.opt_out("a@x.example")
    clock.now += 60
    hubspot.opt_out("b@x.example")
    modified = {"propertyName": "lastmodifieddate", "operator": "GTE", "value": str(int((START + 60) * 1000))}
    assert emails(search(hubspot, OPTED_OUT, modified)) == ["b@x.example"]


def test_sorted_and_paged(hubspot: Simulator, clock: Clock) -> None:
    for name in "cabd":
        hubspot.opt_out(f"{name}@x.example")
        clock.now += 1
    by_time = [{"propertyName": "lastmodifieddate", "direction": "DESCENDING"}]
    first = search(hubspot, OPTED_OUT, sorts=by_time, limit=3)
    assert (emails(first), first["total"]) == (["d@x.example", "b@x.example", "a@x.example"], 4)
    rest = search(hubspot, OPTED_OUT, sorts=by_time, limit=3, after=first["paging"]["next"]["after"])
    assert emails(rest) == ["c@x.example"]
    assert "paging" not in rest


def test_another_change_moves_the_time_of_the_contact_but_not_of_the_opt_out(
    hubspot: Simulator, clock: Clock
) -> None:
    hubspot.opt_out("a@x.example")
    clock.now += 60
    hubspot.portal.contacts.touch("a@x.example")
    (row,) = search(hubspot, OPTED_OUT)["results"]
    assert row["properties"]["lastmodifieddate"] == "2027-01-15T08:01:00.000Z"
    body = {"inputs": [{"id": row["id"]}], "properties": [], **HISTORY}
    (read,) = crm(hubspot, "batch/read", body).json()["results"]
    assert [
        (each["value"], each["timestamp"]) for each in read["propertiesWithHistory"]["hs_email_optout"]
    ] == [("true", "2027-01-15T08:00:00.000Z")]


def test_reading_by_id_is_not_behind(simulate: Simulate, clock: Clock) -> None:
    hubspot = simulate(portal={"indexing_seconds": 30, "subscribers": {"a@x.example": {}}}, clock=clock)
    hubspot.opt_out("a@x.example")
    body = {"inputs": [{"id": "1001"}, {"id": "77"}], "properties": ["hs_email_optout"], **HISTORY}
    reply = crm(hubspot, "batch/read", body)
    assert reply.status_code == 207
    answer = reply.json()
    assert answer["results"][0]["properties"]["hs_email_optout"] == "true"
    assert (answer["numErrors"], answer["errors"][0]["context"]) == (1, {"ids": ["77"]})


@pytest.mark.parametrize(("inputs", "status"), [(50, 200), (51, 400)])
def test_inputs_of_a_batch(hubspot: Simulator, inputs: int, status: int) -> None:
    hubspot.opt_out("a@x.example")
    body = {"inputs": [{"id": "1001"}] * inputs, "properties": [], **HISTORY}
    assert crm(hubspot, "batch/read", body).status_code == status


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"limit": 200, "after": "9801"},
        {"limit": "many"},
        {"filterGroups": "all"},
        {"filterGroups": [{}]},
        {"filterGroups": [{"filters": []}] * 2},
        {"filterGroups": [{"filters": [OPTED_OUT] * 11}]},
        {"filterGroups": [{"filters": [{**OPTED_OUT, "operator": "HAS_PROPERTY"}]}]},
        {"filterGroups": [{"filters": [{**OPTED_OUT, "propertyName": "nonsense"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "EQ"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "hs_object_id", "operator": "GT", "value": "x"}]}]},
        {"sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}] * 2},
        {"sorts": [{"propertyName": "nonsense", "direction": "ASCENDING"}]},
        {"sorts": [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}]},
    ],
)
def test_wrong_searches_are_refused(hubspot: Simulator, body: dict[str, Any]) -> None:
    reply = crm(hubspot, "search", body)
    assert (reply.status_code, reply.json()["category"]) == (400, "VALIDATION_ERROR")


def test_a_portal_may_have_smaller_pages_and_fewer_results(simulate: Simulate) -> None:
    limits = {"search_results": 5, "search_page": 2}
    hubspot = simulate(
        portal={"subscribers": {f"{name}@x.example": {} for name in "abcdefg"}, "limits": limits}
    )
    hubspot.opt_out(*(f"{name}@x.example" for name in "abcdefg"))
    first = search(hubspot, OPTED_OUT, limit=200)
    assert (emails(first), first["total"]) == (["a@x.example", "b@x.example"], 7)
    assert first["paging"] == {"next": {"after": "2"}}
    statuses = [crm(hubspot, "search", {"limit": 200, "after": after}).status_code for after in ("2", "4")]
    assert statuses == [200, 400]


def test_a_touch_needs_a_contact(hubspot: Simulator) -> None:
    with pytest.raises(KeyError, match="unknown"):
        hubspot.portal.contacts.touch("unknown@x.example")


def test_the_account_searches_five_times_a_second(simulate: Simulate, clock: Clock) -> None:
    hubspot = simulate(clock=clock)
    replies = [crm(hubspot, "search", {}, token=token) for token in ("all", "starter") * 3]
    assert [reply.status_code for reply in replies] == [200] * 5 + [429]
    assert replies[-1].json()["policyName"] == "SECONDLY"
    assert not any("ratelimit" in name.lower() for reply in replies for name in reply.headers)
    assert hubspot.stats["limits"]["search"] == {"violations": 1, "highest_in_second": 6}
    assert hubspot.stats["limits"]["apps"] == {}
    clock.now += 1.001
    assert crm(hubspot, "search", {}).status_code == 200


def test_it_takes_the_scope_of_contacts(hubspot: Simulator) -> None:
    reply = crm(hubspot, "search", {}, token="read_only")
    assert (reply.status_code, "crm.objects.contacts.read" in reply.text) == (403, True)


def test_faults_strike_it_as_others(hubspot: Simulator) -> None:
    hubspot.fault("status", status=503, match={"endpoint": "search_contacts"})
    assert [crm(hubspot, "search", {}).status_code for _ in range(2)] == [503, 200]
