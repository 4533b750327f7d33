"""Answers that are not HubSpot's, or not all as documented, decide no row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.send.single import write_one
from airflow_provider_hubprefs.bulk.send.writes import SetStatus
from airflow_provider_hubprefs.hubspot.errors import ForeignAnswerError
from tests.helpers import people

from .conftest import Done

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.simulator import Simulator

Run = Callable[..., Done]
AT = "2026-11-22T03:04:05.678Z"


@pytest.mark.parametrize("token", ["all", "starter"])
def test_a_page_of_an_edge_refuses_no_row_and_passes(hubspot: Simulator, run: Run, token: str) -> None:
    """With batches, and by single calls."""
    for status in (403, 404, 408, 421, 425, 451):
        hubspot.reset()
        endpoint = "batch_unsubscribe_all" if token == "all" else "unsubscribe_all"
        hubspot.fault("cloudflare", status=status, match={"endpoint": endpoint, "nth": [2, 3]})

        done = run(people(6), token=token, batch_size=2)

        assert (done.error, done.outcomes) == (None, {"changed": 6})


@pytest.mark.parametrize(
    ("status", "token"), [(403, "all"), (404, "starter"), (410, "all"), (413, "starter")]
)
def test_a_page_of_an_edge_that_stays_fails_the_try_and_not_the_rows(
    hubspot: Simulator, run: Run, status: int, token: str
) -> None:
    endpoint = "batch_unsubscribe_all" if token == "all" else "unsubscribe_all"
    hubspot.fault("cloudflare", status=status, match={"endpoint": endpoint, "nth": list(range(3, 500))})

    done = run(people(6), token=token, batch_size=1, concurrency=1)

    assert isinstance(done.error, ForeignAnswerError)
    assert not done.error.permanent
    assert done.outcomes == {"changed": 2}
    assert done.letters == []


ODD: dict[str, Callable[[dict[str, Any]], object]] = {
    "status null": lambda row: row["statuses"][0].update(status=None),
    "statuses [null]": lambda row: row.update(statuses=[None]),
    "statuses no list": lambda row: row.update(statuses={}),
    "reason an object": lambda row: row["statuses"][0].update(setStatusSuccessReason={"a": 1}),
    "no subscriber": lambda row: row.pop("subscriberIdString"),
    "subscriber null": lambda row: row.update(subscriberIdString=None),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_one_odd_row_is_read_back_and_blocks_no_other(
    hubspot: Simulator, run: Run, odd: Callable[[dict[str, Any]], object]
) -> None:
    rows = [
        {
            "subscriberIdString": one,
            "statuses": [
                {"subscriberIdString": one, "subscriptionId": 1, "status": "UNSUBSCRIBED", "timestamp": ""}
            ],
        }
        for one in people(5)
    ]
    odd(rows[2])
    answer = {"status": "COMPLETE", "startedAt": "", "completedAt": AT, "links": [], "results": rows}
    hubspot.fault("answer", json=answer, match={"endpoint": "batch_unsubscribe_all", "nth": 1})

    done = run(people(8), batch_size=5)

    assert done.error is None
    assert done.outcomes == {"changed": 7, "unconfirmed": 1}  # this HubSpot applied none of the first five
    assert done.of("unconfirmed") == {"person-2@example.com": "NOT_IN_ANSWER"}


@pytest.mark.parametrize("version", ["v4", "2026-03", "2026-09"])
@pytest.mark.parametrize("errors", ["context", "no_context", "whole"])
def test_a_subscriber_hubspot_never_saw_can_be_subscribed(
    hubspot: Simulator, run: Run, client_for: Callable[..., Client], version: str, errors: str
) -> None:
    hubspot.load({"unknown_subscriber": "not_found", "batch_errors": errors})
    number = hubspot.subscription_ids[0]

    def wanted(calls: Any) -> SetStatus:
        return SetStatus(calls, subscription_id=number, status="SUBSCRIBED")

    for token in ("all", "starter"):
        some = people(3, start=10 if token == "all" else 20)
        assert run(some, wanted, token=token, version=version).outcomes == {"changed": 3}
    client = client_for(version=version)
    assert write_one(client, wanted(client.calls), "new@example.com")[0] == "changed"
    assert client.send(client.calls.get_statuses("other@example.com")).results == []
    assert client.send(client.calls.get_unsubscribe_all("other@example.com")).results == []
