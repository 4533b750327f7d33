"""What can be made to go wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import requests

from .conftest import Api

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator


@pytest.mark.parametrize("status", [423, 477, 500, 502, 503, 504, 521, 522, 523, 524])
def test_an_error_status_in_hubspots_shape(hubspot: Simulator, api: Api, status: int) -> None:
    hubspot.fault("status", status=status)
    struck = api.get("definitions")
    assert (struck.status_code, struck.json()["status"]) == (status, "error")
    assert ("Retry-After" in struck.headers) is (status == 477)
    assert api.get("definitions").status_code == 200


def test_limits_that_were_not_reached(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("burst", retry_after=3)
    hubspot.fault("daily")
    answer = api.get("definitions")
    assert (answer.json()["policyName"], answer.headers["Retry-After"]) == ("TEN_SECONDLY_ROLLING", "3")
    assert api.get("definitions").json()["policyName"] == "DAILY"


def test_a_page_of_cloudflare(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("cloudflare", status=524)
    answer = api.get("definitions")
    assert (answer.status_code, answer.headers["Server"]) == (524, "cloudflare")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Cloudflare Ray ID" in answer.text


def test_bodies_that_cannot_be_read(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("empty")
    hubspot.fault("text", text="<oops>")
    hubspot.fault("answer", status=418, json={"a": [1]}, headers={"X-More": "1"})
    assert api.get("definitions").content == b""
    answer = api.get("definitions")
    assert (answer.status_code, answer.text) == (200, "<oops>")
    answer = api.get("definitions")
    assert (answer.status_code, answer.json(), answer.headers["X-More"]) == (418, {"a": [1]}, "1")


@pytest.mark.parametrize("applied", [False, True])
def test_a_dropped_connection_before_or_after_the_write(hubspot: Simulator, api: Api, applied: bool) -> None:
    hubspot.fault("drop", applied=applied)
    with pytest.raises(requests.ConnectionError):
        api.opt_out("ada@example.com")
    assert hubspot.is_opted_out("ada@example.com") is applied
    assert hubspot.requests[-1].status == 0
    assert api.opt_out("ada@example.com").status_code == 200


def test_a_body_that_ends_too_soon(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("truncate")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        api.opt_out("ada@example.com", verbose="true")
    assert hubspot.is_opted_out("ada@example.com")


def test_members_left_out_or_null(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("fields", missing=["source", "completedAt"], null=["timestamp"])
    body = api.opt_out("ada@example.com", verbose="true").json()
    assert "completedAt" not in body
    assert "source" not in body["results"][0]
    assert body["results"][0]["timestamp"] is None


def test_latency_comes_before_other_faults(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("latency", ms=[150, 200])
    hubspot.fault("status", status=503)
    started = time.monotonic()
    assert api.get("definitions").status_code == 503
    assert time.monotonic() - started >= 0.15


def test_a_rule_strikes_only_what_it_matches(hubspot: Simulator, api: Api) -> None:
    match: dict[str, Any] = {
        "endpoint": "unsubscribe_all",
        "method": "POST",
        "path_contains": "bob",
        "token": "all",
        "nth": [2, 3],
    }
    hubspot.fault("status", status=503, match=match)
    assert api.opt_out("ada@example.com").status_code == 200
    assert Api(hubspot, token=hubspot.tokens["starter"]).opt_out("bob@example.com").status_code == 200
    assert [api.opt_out("bob@example.com").status_code for _ in range(4)] == [200, 503, 503, 200]


def test_a_rule_can_look_into_the_body_and_strike_for_ever(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("status", status=500, match={"body_contains": "bob"}, times=None)
    assert api.batch("read", ["ada@example.com"]).status_code == 200
    assert [api.batch("read", ["bob@example.com"]).status_code for _ in range(3)] == [500] * 3
    hubspot.clear_faults()
    assert api.batch("read", ["bob@example.com"]).status_code == 200


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"fault": {"kind": "explode"}}, "explode"),
        ({"fault": {"kind": "status", "code": 500}}, "code"),
        ({"fault": {"kind": "drop"}, "match": {"verb": "GET"}}, "verb"),
        ({"fault": {"kind": "drop"}, "when": 1}, "when"),
        ({"fault": {"kind": "latency", "ms": "long"}}, "ms"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(hubspot: Simulator, rule: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        hubspot.state.faults.add(rule)


def test_a_true_answer_with_some_rows_edited_or_left_out(hubspot: Simulator, api: Api) -> None:
    first, second = hubspot.subscription_ids[:2]
    hubspot.fault("edit", json={"status": "PENDING"}, of={"subscriptionId": first}, row={"status": "ODD"})
    hubspot.fault("edit", of={"subscriptionId": first}, drop=True)
    edited, dropped, true = (api.statuses("ada@example.com").json() for _ in range(3))
    assert (edited["status"], true["status"]) == ("PENDING", "COMPLETE")
    shown = [
        {row["subscriptionId"]: row["status"] for row in one["results"]} for one in (edited, dropped, true)
    ]
    assert (shown[0][first], shown[0][second]) == ("ODD", "NOT_SPECIFIED")
    assert shown[2].keys() - shown[1].keys() == {first}


def test_who_opts_out_just_before_a_request_is_carried_out(hubspot: Simulator, api: Api) -> None:
    hubspot.fault("race", addresses=["ada@example.com"])
    answer = api.set("ada@example.com", "SUBSCRIBED")
    assert answer.json()["results"][0]["setStatusSuccessReason"] == "RESUBSCRIBE_OCCURRED"
