"""Operations that take HubSpot its time are waited for, in the batch's place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.run import carry_out
from airflow_provider_hubprefs.bulk.source import Columns, read_rows
from airflow_provider_hubprefs.bulk.under_way import Patience
from airflow_provider_hubprefs.bulk.writes import SetStatus, UnsubscribeAll
from airflow_provider_hubprefs.hubspot.errors import StoppedError, ValidationError
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Done

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.client import Client

Run = Callable[..., Done]
PATIENT = Patience(interval=0.1, timeout=60)
BRIEF = Patience(interval=0.1, timeout=0.3)


def people(number: int) -> list[str]:
    return [f"person-{each}@example.com" for each in range(number)]


def writes(hubspot: Simulator) -> int:
    return sum(
        request.method == "POST" and not request.path.endswith("/read") for request in hubspot.requests
    )


def test_rows_have_their_outcome_when_the_operation_is_over(hubspot: Simulator, run: Run) -> None:
    hubspot.load({"operations": {"seconds": 0.7}})
    done = run(people(25), batch_size=10, patience=PATIENT)
    assert done.outcomes == {"changed": 25}
    assert done.summary["last_pending_row"] is None
    assert writes(hubspot) == 3
    assert done.summary["operations"]["PENDING"] >= 3


def test_several_rows_of_one_subscriber_are_one_question(hubspot: Simulator, run: Run) -> None:
    hubspot.load({"operations": {"seconds": 0.7}})
    rows = [
        {"email": "jane@example.com", "subscription": str(number)} for number in hubspot.subscription_ids[:2]
    ]
    done = run(
        rows,
        lambda calls: SetStatus(calls, status="UNSUBSCRIBED"),
        columns=Columns(email="email", subscription="subscription"),
        patience=PATIENT,
    )
    assert done.outcomes == {"changed": 2}
    reads = [request for request in hubspot.requests if request.path.endswith("/read")]
    assert reads
    assert all(request.json() == {"inputs": ["jane@example.com"]} for request in reads)


@pytest.mark.parametrize("token", ["all", "starter"])
def test_what_is_canceled_meanwhile_is_rejected(hubspot: Simulator, run: Run, token: str) -> None:
    hubspot.load({"operations": {"seconds": 0.7, "outcomes": {"person-1@*": "CANCELED"}}})
    done = run(people(3), patience=PATIENT, token=token)
    assert done.outcomes == {"changed": 2, "rejected": 1}
    assert done.of("rejected") == {"person-1@example.com": "CANCELED"}


def test_what_is_not_over_in_time_is_unconfirmed_and_the_others_are_not(hubspot: Simulator, run: Run) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    hubspot.opt_out("person-0@example.com")
    done = run(people(3), patience=BRIEF)
    assert done.outcomes == {"changed": 1, "unconfirmed": 2}
    assert set(done.of("unconfirmed").values()) == {"OPERATION_PENDING"}
    assert done.summary["last_pending_row"] == 3
    assert writes(hubspot) == 1


def test_what_is_over_without_the_preference_is_unconfirmed_at_once(hubspot: Simulator, run: Run) -> None:
    pending: dict[str, Any] = {"status": "PENDING", "results": []}
    hubspot.fault("answer", json=pending, match={"endpoint": "batch_unsubscribe_all"})
    done = run(people(3), patience=Patience(interval=3600, timeout=3600))
    assert set(done.of("unconfirmed").values()) == {"NOT_SEEN"}
    assert len(hubspot.requests) == 2


def test_a_status_nobody_knows_is_waited_on(hubspot: Simulator, run: Run) -> None:
    strange: dict[str, Any] = {"status": "HIBERNATING", "results": []}
    hubspot.fault("answer", json=strange, match={"endpoint": "batch_unsubscribe_all"})
    hubspot.fault("answer", json=strange, match={"endpoint": "batch_read_unsubscribe_all"}, times=2)
    assert set(run(people(2), patience=PATIENT).of("unconfirmed").values()) == {"NOT_SEEN"}
    assert len(hubspot.requests) == 4


def test_a_run_that_is_stopped_waits_no_longer(hubspot: Simulator, client_for: Callable[..., Client]) -> None:
    hubspot.load({"operations": {"seconds": 3600}})
    client = client_for()

    def stop() -> None:
        while len(hubspot.requests) < 2:
            time.sleep(0.01)
        client.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    endless = Patience(interval=3600, timeout=3600)
    with pytest.raises(StoppedError):
        carry_out(client, UnsubscribeAll(client.calls), read_rows(people(2)), patience=endless)
    stopping.join()


@pytest.mark.parametrize("given", [{"interval": 0}, {"timeout": -1}, {"interval": "soon"}, {"timeout": True}])
def test_what_is_no_time_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"expected seconds, more than 0"):
        Patience(**{"interval": 1, "timeout": 1, **given})
