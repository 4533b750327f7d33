"""The trigger of one wait: what it stores, how it waits, and the event it ends with."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.polling import poller as polling
from airflow_provider_hubprefs.hubspot.polling.question import Question
from airflow_provider_hubprefs.triggers import _waiting
from airflow_provider_hubprefs.triggers.events import result_of
from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger
from tests.helpers import PENDING, people
from tests.triggers.loop_guard import LoopBlockedError, run_guarded

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

JANE = "jane@example.com"


def import_string(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def about(subscriber: str, **arguments: Any) -> HubPrefsOperationTrigger:
    """A trigger as a task makes it."""
    return HubPrefsOperationTrigger(encrypted=HubPrefsHook().encrypt_address(subscriber), **arguments)


def wait(*, encrypted: str | None = None, **arguments: Any) -> dict[str, Any]:
    """The event of a trigger that runs in a guarded loop."""
    encrypted = HubPrefsHook().encrypt_address(JANE) if encrypted is None else encrypted
    given = {"encrypted": encrypted, "poke_interval": 0.1, "deadline": time.time() + 60, **arguments}

    async def first() -> Any:
        events = [event.payload async for event in HubPrefsOperationTrigger(**given).run()]
        assert len(events) == 1
        return events[0]

    event: dict[str, Any] = run_guarded(first())
    assert event == json.loads(json.dumps(event))
    assert "jane" not in json.dumps(event)
    return event


def polls(hubspot: Simulator) -> int:
    return len(hubspot.requests)


class TestWhatItStores:
    def test_every_argument_has_a_default(self) -> None:
        assert HubPrefsOperationTrigger().serialize()[1]["encrypted"] == ""

    def test_it_goes_through_airflows_serialisation_unchanged(self) -> None:
        classpath, kwargs = HubPrefsOperationTrigger(encrypted="x", deadline=time.time() + 1.5).serialize()
        again = BaseSerialization.deserialize(BaseSerialization.serialize(kwargs))
        assert import_string(classpath)(**again).serialize() == (classpath, kwargs)
        assert all(value is None or isinstance(value, str | int | float | bool) for value in kwargs.values())


@pytest.mark.usefixtures("hubprefs_default")
class TestItsSubscriber:
    def test_only_the_connection_decrypts_it(self, hubspot: Simulator) -> None:
        trigger = about(JANE)
        assert "jane" not in f"{trigger!r} {trigger} {json.dumps(trigger.serialize())}"
        event = wait(encrypted=trigger.encrypted)
        assert event["status"] == "success"
        assert event["result"]["subscriber"] == "j***@e***.com"
        assert [request.path for request in hubspot.requests if "jane%40example.com" in request.path]

    def test_what_is_stored_stays_encrypted_while_it_waits(self) -> None:
        trigger = about(JANE)
        before = trigger.serialize()
        run_guarded(trigger.outcome())
        assert trigger.wait.subscriber == JANE
        assert trigger.serialize() == before
        assert "jane" not in f"{trigger!r} {trigger} {trigger.wait!r}"

    def test_other_credentials_end_the_wait_and_a_retry_may_help(
        self, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encrypted = HubPrefsHook().encrypt_address(JANE)
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.tokens["read_only"]}
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        event = wait(encrypted=encrypted)
        with pytest.raises(
            HubPrefsException, match="connection 'hubprefs_default' has new credentials"
        ) as raised:
            result_of(event)
        assert not isinstance(raised.value, HubPrefsFailException)
        assert polls(hubspot) == 0


@pytest.mark.usefixtures("hubprefs_default")
class TestHowItWaits:
    def test_it_asks_until_the_operation_is_over_and_yields_one_event(self, hubspot: Simulator) -> None:
        hubspot.fault("answer", json=PENDING, times=2)
        event = wait()
        assert event["status"] == "success"
        assert event["result"]["operation"] == "COMPLETE"
        assert event["result"]["subscriber"] == "j***@e***.com"
        assert polls(hubspot) == 3
        assert {request.method for request in hubspot.requests} == {"GET"}

    def test_a_budget_in_a_file_blocks_no_loop(
        self, hubspot: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        extra = json.dumps({"budget_store": f"file://{tmp_path}"})
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        hubspot.fault("answer", json=PENDING, times=2)
        assert wait()["status"] == "success"
        assert any(tmp_path.iterdir())

    def test_a_deadline_in_the_past_asks_once(self, hubspot: Simulator) -> None:
        assert wait(deadline=1.0)["status"] == "success"
        hubspot.fault("answer", json=PENDING, times=None)
        assert wait(deadline=1.0)["status"] == "timeout"
        assert polls(hubspot) == 2

    def test_an_execution_deadline_ends_a_question_under_way(self, hubspot: Simulator) -> None:
        hubspot.fault("latency", ms=5000)
        assert wait(execution_deadline=time.time() + 0.3)["status"] == "execution_timeout"
        assert wait(execution_deadline=1.0)["status"] == "execution_timeout"
        assert polls(hubspot) <= 1

    @pytest.mark.parametrize("interval", [0, -5])
    def test_no_interval_makes_it_ask_without_a_pause(self, hubspot: Simulator, interval: float) -> None:
        hubspot.fault("answer", json=PENDING, times=None)
        assert wait(poke_interval=interval, deadline=time.time() + 0.6)["status"] == "timeout"
        assert polls(hubspot) <= 9

    def test_pauses_are_never_longer_than_the_interval_nor_all_alike(self) -> None:
        trigger = HubPrefsOperationTrigger(poke_interval=60)
        pauses = [trigger._pause(polls, 0) for polls in range(200)]
        assert 48 <= min(pauses) <= max(pauses) <= 60
        assert len(set(pauses)) > 150

    def test_pauses_grow_after_failures_and_with_exponential_backoff_up_to_a_bound(self) -> None:
        trigger = HubPrefsOperationTrigger(poke_interval=60)
        assert 192 <= trigger._pause(0, 50) <= 240
        doubling = HubPrefsOperationTrigger(poke_interval=1, exponential_backoff=True, max_wait=300)
        assert 4 * 0.8 <= doubling._pause(2, 0) <= 4
        assert 240 <= doubling._pause(10_000, 0) <= 300

    def test_it_does_not_sleep_beyond_its_deadline(self) -> None:
        assert HubPrefsOperationTrigger(poke_interval=60, deadline=time.time() + 5)._pause(0, 0) <= 5

    @pytest.mark.parametrize("jump", [86_400, -86_400])
    def test_a_clock_that_jumps_ends_the_wait_early_or_late_but_stretches_no_pause(
        self, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch, jump: int
    ) -> None:
        hubspot.fault("answer", json=PENDING, times=3)
        real = time.time

        class Jumping:
            @staticmethod
            def time() -> float:
                return real() + (jump if polls(hubspot) >= 2 else 0)

        monkeypatch.setattr(_waiting, "time", Jumping)
        assert wait(deadline=real() + 3600)["status"] == ("timeout" if jump > 0 else "success")
        assert polls(hubspot) == (3 if jump > 0 else 4)

    def test_it_waits_on_while_the_network_is_gone(self, hubspot: Simulator) -> None:
        hubspot.fault("drop", times=4)
        assert wait(max_transient_failures=4)["status"] == "success"
        hubspot.fault("drop", times=None)
        event = wait(max_transient_failures=2)
        assert event["error"]["type"] == "ConnectionFailedError"
        with pytest.raises(HubPrefsException, match="broke before") as raised:
            result_of(event)
        assert raised.value.error.retryable  # type: ignore[union-attr]

    def test_failures_before_it_began_count(self, hubspot: Simulator) -> None:
        hubspot.fault("status", status=503)
        assert wait(max_transient_failures=5, failures=5)["status"] == "error"

    def test_a_restart_goes_on_with_what_is_stored(self, hubspot: Simulator) -> None:
        hubspot.fault("answer", json=PENDING, times=4)
        trigger = about(JANE, poke_interval=0.1, deadline=time.time() + 60)

        async def killed() -> None:
            waiting = asyncio.create_task(trigger.outcome())
            while polls(hubspot) < 2:
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        run_guarded(killed())
        assert not any(polling._pollers.values())
        assert wait(**trigger.serialize()[1])["status"] == "success"


@pytest.mark.usefixtures("hubprefs_default")
class TestItsEvent:
    def test_a_token_revoked_while_waiting_fails_for_good(self, hubspot: Simulator) -> None:
        hubspot.fault("answer", json=PENDING)
        hubspot.fault("status", status=401, match={"nth": 2})
        hubspot.fault("status", status=401)
        event = wait()
        with pytest.raises(HubPrefsFailException, match="401") as raised:
            result_of(event)
        assert raised.value.error.status == 401  # type: ignore[union-attr]
        assert raised.value.error.correlation_id == event["error"]["correlation_id"]  # type: ignore[union-attr]

    def test_a_connection_removed_while_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trigger = about(JANE)
        monkeypatch.delenv("AIRFLOW_CONN_HUBPREFS_DEFAULT")
        event = wait(encrypted=trigger.encrypted)
        assert event["status"] == "error"
        with pytest.raises(AirflowNotFoundException, match="hubprefs_default"):
            result_of(event)

    def test_a_connection_that_cannot_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trigger = about(JANE)
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", '{"conn_type": "hubprefs"}')
        with pytest.raises(HubPrefsFailException, match="token in the field Token"):
            result_of(wait(encrypted=trigger.encrypted))

    @pytest.mark.parametrize("arguments", [{"expect": "gone"}, {"expect": "SUBSCRIBED"}])
    def test_arguments_that_cannot_work_end_it_without_a_request(
        self, hubspot: Simulator, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(HubPrefsFailException, match="expected"):
            result_of(wait(**arguments))
        assert polls(hubspot) == 0

    def test_what_hubspot_cancels_names_no_address(self, hubspot: Simulator) -> None:
        errors = [{"category": "VALIDATION_ERROR", "message": f"{JANE} is gone"}]
        hubspot.fault("answer", json={**PENDING, "status": "CANCELED", "errors": errors}, times=2)
        event = wait()
        assert event["status"] == "canceled"
        assert "j***@e***.com is gone" in event["error"]["message"]
        with pytest.raises(HubPrefsFailException, match="HubSpot canceled"):
            result_of(event)
        assert wait(fail_on_canceled=False)["result"]["operation"] == "CANCELED"

    def test_a_mistake_in_the_code_ends_the_wait_with_an_event_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def mistaken(*_: object, **__: object) -> None:
            raise KeyError(JANE)

        monkeypatch.setattr(Question, "pair", mistaken)
        with pytest.raises(HubPrefsException, match="KeyError"):
            result_of(wait())

    @pytest.mark.parametrize("event", [None, {}, {"status": "done"}, {"status": None}])
    def test_an_unknown_event_is_no_success(self, event: Any) -> None:
        with pytest.raises(HubPrefsException, match="unknown status"):
            result_of(event)

    def test_logs_hold_no_address_at_any_level(
        self, hubspot: Simulator, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hubspot.fault("answer", json=PENDING, times=2)
        hubspot.fault("status", status=503)
        with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "httpx"):
            wait()
        logged = caplog.text + "".join(capsys.readouterr())
        assert "j***@e***.com" in logged
        assert "jane" not in logged


class TestTheGuard:
    """The guard notices what blocks an event loop."""

    def test_sleeping_in_the_loop(self) -> None:
        async def sleeps() -> None:
            time.sleep(0.001)

        with pytest.raises(LoopBlockedError, match=r"time\.sleep"):
            run_guarded(sleeps())

    def test_a_blocking_request(self, hubspot: Simulator) -> None:
        import requests

        async def asks() -> None:
            requests.get(hubspot.url, timeout=5)

        with pytest.raises(LoopBlockedError, match="socket"):
            run_guarded(asks())

    def test_computing(self) -> None:
        async def computes() -> None:
            until = time.thread_time() + 0.1
            while time.thread_time() < until:
                pass

        with pytest.raises(LoopBlockedError, match="computing"):
            run_guarded(computes())


@pytest.mark.usefixtures("hubprefs_default")
class TestManyTriggers:
    """Triggers of one process share requests, and each ends in its own way."""

    @staticmethod
    def wait_all(triggers: list[HubPrefsOperationTrigger]) -> list[dict[str, Any]]:
        async def all_of_them() -> list[dict[str, Any]]:
            return list(await asyncio.gather(*(trigger.outcome() for trigger in triggers)))

        return run_guarded(all_of_them())

    def test_a_hundred_waits_ask_by_one_request_a_poll(self, hubspot: Simulator) -> None:
        hubspot.load({"operations": {"seconds": 1.0}})
        subscribers = people(100)
        for one in subscribers:
            hubspot.portal.unsubscribe_all(one, None)
        events = self.wait_all([about(one, poke_interval=0.4) for one in subscribers])
        assert [event["status"] for event in events] == ["success"] * 100
        assert all(event["result"]["opted_out"] for event in events)
        assert polls(hubspot) <= 10

    def test_each_ends_as_it_would_alone(self, hubspot: Simulator) -> None:
        names = ["canceled", "late", "over", "expected"]
        arguments: dict[str, dict[str, Any]] = {
            "canceled": {},
            "late": {"expect": "opted_out", "deadline": time.time() + 0.6},
            "over": {},
            "expected": {"expect": "opted_out"},
            "rejected": {},
            "misplaced": {"expect": "SUBSCRIBED"},
        }
        subscribers = {name: f"{name}@example.com" for name in names} | {
            "rejected": "rejected@hubspot-rejects.example",
            "misplaced": "misplaced@example.com",
        }
        outcomes = {subscribers["canceled"]: "CANCELED"}
        hubspot.load({"operations": {"seconds": 0.5, "outcomes": outcomes}, "batch_errors": "whole"})
        for name in ("canceled", "over", "expected"):
            hubspot.portal.unsubscribe_all(subscribers[name], None)

        def trigger(name: str) -> HubPrefsOperationTrigger:
            return about(subscribers[name], poke_interval=0.2, **arguments[name])

        events = dict(zip(arguments, self.wait_all([trigger(name) for name in arguments]), strict=True))
        assert {name: event["status"] for name, event in events.items()} == {
            "canceled": "canceled",
            "late": "timeout",
            "over": "success",
            "expected": "success",
            "rejected": "error",
            "misplaced": "error",
        }
        assert events["expected"]["result"]["opted_out"] is True
        for name in ("canceled", "over", "expected", "rejected", "misplaced"):
            (alone,) = self.wait_all([trigger(name)])
            for event in (alone, events[name]):
                (event["result"] or {}).update(started_at=None, completed_at=None)
                (event["error"] or {}).update(message=None, correlation_id=None)
            assert events[name] == alone

    def test_a_share_that_cannot_be_ends_the_wait(self) -> None:
        event = wait(max_budget_share=2)
        with pytest.raises(HubPrefsException, match="max_budget_share"):
            result_of(event)


FIRST_REQUEST = """
import asyncio, sys, threading
from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken

client = AsyncClient(StaticToken(sys.argv[2]), host=sys.argv[1])
loaded = set()

class Watcher:
    @staticmethod
    def find_spec(name, *_):
        if threading.current_thread() is threading.main_thread():
            loaded.add(name.partition(".")[0])

async def ask():
    sys.meta_path.insert(0, Watcher)
    async with client:
        await client.send(client.calls.get_unsubscribe_all("jane@example.com"))

asyncio.run(ask())
print(sorted(loaded & {"anyio", "httpcore", "httpx", "h11", "sniffio", "msgspec"}))
"""


def test_the_first_request_of_a_process_loads_no_library_in_the_loop(hubspot: Simulator) -> None:
    script = [sys.executable, "-c", FIRST_REQUEST, hubspot.url, hubspot.token]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
