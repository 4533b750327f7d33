"""The trigger of a bulk run: it ends when the task should ask about its pending rows again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.triggers.batch import HubPrefsBatchTrigger
from tests.helpers import people
from tests.triggers.loop_guard import run_guarded

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

PEOPLE = people(3)


def wait(*subscribers: str, **arguments: Any) -> dict[str, Any]:
    """The event of a trigger that runs in a guarded loop."""
    hook = HubPrefsHook()
    given = {
        "encrypted": " ".join(map(hook.encrypt_address, subscribers)),
        "poke_interval": 0.3,
        "deadline": time.time() + 60,
    }
    trigger = HubPrefsBatchTrigger(**{**given, **arguments})
    assert "example.com" not in f"{trigger!r} {trigger.serialize()}"

    async def first() -> Any:
        events = [event.payload async for event in trigger.run()]
        assert len(events) == 1
        return events[0]

    event: dict[str, Any] = run_guarded(first())
    assert event == json.loads(json.dumps(event))
    assert "example" not in json.dumps(event)
    assert (event["deadline"], event["execution_deadline"]) == (
        trigger.deadline,
        trigger.execution_deadline,
    )
    return event


@pytest.mark.usefixtures("hubprefs_default")
class TestHowItEnds:
    def test_when_all_are_over_however_and_they_are_asked_together(self, hubspot: Simulator) -> None:
        hubspot.load({"operations": {"seconds": [0.1, 0.8], "outcomes": {"person-1@*": "CANCELED"}}})
        with HubPrefsHook().client as client:
            client.send(client.calls.batch_unsubscribe_all(PEOPLE))
        assert wait(*PEOPLE)["status"] == "success"
        assert list(map(hubspot.is_opted_out, PEOPLE)) == [True, False, True]
        endpoints = [request.endpoint for request in hubspot.requests][1:]
        assert "batch_read_unsubscribe_all" in endpoints
        assert "batch_unsubscribe_all" not in endpoints

    def test_the_first_question_comes_after_an_interval(self, hubspot: Simulator) -> None:
        begin = time.monotonic()
        assert wait(PEOPLE[0], poke_interval=0.5)["result"] == {"asked_about": 1}
        assert time.monotonic() - begin >= 0.5
        assert len(hubspot.requests) == 1

    def test_with_the_deadline_after_another_question(self, hubspot: Simulator) -> None:
        hubspot.load({"operations": {"seconds": 3600}})
        with HubPrefsHook().client as client:
            client.send(client.calls.unsubscribe_all(PEOPLE[0]))
        assert wait(*PEOPLE, deadline=time.time() + 0.5)["status"] == "timeout"
        assert len(hubspot.requests) > 1

    @pytest.mark.parametrize("ends", [{"deadline": None}, {"deadline": 0.0}])
    def test_with_the_execution_timeout_whatever_else_there_is(
        self, hubspot: Simulator, ends: dict[str, Any]
    ) -> None:
        event = wait(*PEOPLE, execution_deadline=time.time() - 1, poke_interval=60, **ends)
        assert event["status"] == "execution_timeout"
        assert hubspot.requests == []

    @pytest.mark.parametrize("why", ["revoked", "other credentials"])
    def test_with_an_error_that_the_task_will_meet_too(self, hubspot: Simulator, why: str) -> None:
        if why == "revoked":
            hubspot.fault("status", status=401, times=None)
        encrypted = {"encrypted": "nothing"} if why != "revoked" else {}
        assert wait(*PEOPLE, **encrypted)["status"] == "success"
