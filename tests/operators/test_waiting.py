"""A write that HubSpot takes its time for: waited for in the worker or in the triggerer, and sent once."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, TaskDeferred

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.hubspot.privacy import decrypt_address
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from tests.helpers import ANSWER_PENDING, Store

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

JANE = "jane@example.com"
Context = Any

# What HubSpot answers to the questions after the write: a fault, how often (None: for ever); then the truth, which is
# CANCELED for "canceled", and COMPLETE a moment later for the others. And how the task ends: its state, what its tries
# raised (one or more of it), and how many writes there were.
TABLE: dict[str, tuple[dict[str, Any] | None, int | None, str, str | None, int]] = {
    "complete": (None, 1, "success", None, 1),
    "status": (None, 1, "success", None, 1),
    "canceled": (None, 1, "failed", "HubPrefsException", 2),
    "timeout": (ANSWER_PENDING, None, "failed", "HubPrefsException", 1),
    "timeout_retried": (ANSWER_PENDING, 4, "success", "HubPrefsException", 1),
    "broken_retried": ({"kind": "daily"}, 1, "success", "HubPrefsException", 1),
    "revoked": ({"kind": "status", "status": 401}, None, "failed", "HubPrefsFailException", 1),
    "killed": (ANSWER_PENDING, None, "failed", "AirflowTaskTimeout", 1),
}
MODES = ("worker", "deferred")


@pytest.mark.timeout(600)
def test_every_wait_ends_alike_in_both_modes_and_writes_once(
    hubspot: Simulator, run_dag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubspot.load({"operations": {"seconds": 0.3, "outcomes": {"canceled.*": "CANCELED"}}})
    for name, (fault, times, _, _, _) in TABLE.items():
        for mode in MODES:
            match = {"path_contains": f"/{name}.{mode}", "method": "GET"}
            if fault is not None:
                hubspot.fault(**fault, match=match, times=times)
    noted = tmp_path / "exceptions"
    noted.touch()
    monkeypatch.setenv("HUBPREFS_TEST_EXCEPTIONS", str(noted))
    run = run_dag("hubprefs_writing_modes", subscription_id=hubspot.subscription_ids[0])

    raised: dict[str, set[str]] = {}
    for line in noted.read_text().splitlines():
        task, exception = line.split()
        raised.setdefault(task, set()).add(exception)
    ended = {
        (name, mode): (
            run.tasks[f"{name}.{mode}"],
            raised.get(f"{name}.{mode}"),
            sum(
                f"/{name}.{mode}" in request.path and request.method == "POST" for request in hubspot.requests
            ),
        )
        for name in TABLE
        for mode in MODES
    }
    assert ended == {
        (name, mode): (state, {error} if error else None, writes)
        for name, (_, _, state, error, writes) in TABLE.items()
        for mode in MODES
    }
    done = {"outcome": "changed", "operation": "COMPLETE"}
    status = {"subscription_id": hubspot.subscription_ids[0], "status": "UNSUBSCRIBED"}
    for name, (_, _, state, _, _) in TABLE.items():
        expected = {**done, **(status if name == "status" else {})} if state == "success" else None
        for mode in MODES:
            pushed = run.xcom(f"{name}.{mode}")
            masked = {"subscriber": f"{name[0]}***@e***.com"} if expected else {}
            assert pushed == (expected and {**masked, **expected}), (name, mode)


def opt_out(context: Context, **arguments: Any) -> Any:
    given = {"task_id": "opt_out", "subscriber": JANE, "poke_interval": 0.1}
    return HubPrefsUnsubscribeAllOperator(**{**given, **arguments}).execute(context)


def methods(hubspot: Simulator) -> list[str]:
    return [request.method for request in hubspot.requests]


@pytest.mark.usefixtures("hubprefs_default")
class TestOneTry:
    def test_what_is_done_at_once_is_not_waited_for(self, hubspot: Simulator, context: Context) -> None:
        assert opt_out(context, deferrable=True)["outcome"] == "changed"
        assert methods(hubspot) == ["POST"]

    def test_what_takes_its_time_is_deferred_without_another_question(
        self, hubspot: Simulator, context: Context
    ) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        with pytest.raises(TaskDeferred) as deferred:
            opt_out(context, deferrable=True, timeout=90)
        trigger, timeout = deferred.value.trigger, deferred.value.timeout
        assert methods(hubspot) == ["POST"]
        stored = trigger.serialize()[1]
        assert "jane" not in str(stored)
        assert decrypt_address(stored["encrypted"], key=hubspot.token) == JANE
        assert stored["deadline"] == pytest.approx(time.time() + 90, abs=30)
        assert 90 < timeout.total_seconds() <= 90 + 120

    def test_what_is_remembered_has_no_address_and_goes_with_the_end(
        self, hubspot: Simulator, context: Context
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.2}})
        store = context["task_state_store"] = Store()
        with pytest.raises(TaskDeferred):
            opt_out(context, deferrable=True)
        assert store["hubprefs_write"]["operation"] == "PENDING"
        assert "jane" not in str(store)
        assert opt_out(context)["outcome"] == "changed"
        assert methods(hubspot).count("POST") == 1
        assert store == {}

    @pytest.mark.parametrize("other", [{"subscriber": "joe@example.com"}, {"business_unit_id": 77}])
    def test_another_write_is_not_taken_for_it(
        self, hubspot: Simulator, context: Context, other: dict[str, Any]
    ) -> None:
        hubspot.load({"brands": [0, 77], "operations": {"seconds": 60}})
        context["task_state_store"] = Store()
        for arguments in ({"business_unit_id": 0}, {"business_unit_id": 0, **other}):
            with pytest.raises(TaskDeferred):
                opt_out(context, deferrable=True, **arguments)
        assert methods(hubspot) == ["POST", "POST"]

    def test_a_kill_ends_the_wait_in_the_worker_and_a_retry_resumes_it(
        self, hubspot: Simulator, context: Context
    ) -> None:
        hubspot.load({"operations": {"seconds": 3600}})
        store = context["task_state_store"] = Store()
        task = HubPrefsUnsubscribeAllOperator(task_id="opt_out", subscriber=JANE, poke_interval=600)

        def kill() -> None:
            while "GET" not in methods(hubspot):
                time.sleep(0.01)
            task.on_kill()

        killing = threading.Thread(target=kill)
        killing.start()
        with pytest.raises(HubPrefsException, match="stopped while the task waited"):
            task.execute(context)
        killing.join()
        assert store["hubprefs_write"]["operation"] == "PENDING"
        hubspot.advance(3600)
        assert opt_out(context)["outcome"] == "changed"
        assert methods(hubspot).count("POST") == 1

    def test_without_a_store_a_retry_writes_again(self, hubspot: Simulator, context: Context) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        for _ in range(2):
            with pytest.raises(HubPrefsException, match=r"within the timeout of 0\.2 s"):
                opt_out(context, timeout=0.2)
        assert methods(hubspot).count("POST") == 2

    @pytest.mark.parametrize("stored", [False, True])
    def test_an_operation_that_ended_without_the_preference_fails_and_a_retry_writes_again(
        self, hubspot: Simulator, context: Context, *, stored: bool
    ) -> None:
        if stored:
            context["task_state_store"] = Store()
        hubspot.fault(**ANSWER_PENDING, match={"method": "POST"})  # and nothing is written
        with pytest.raises(HubPrefsException, match=r"unconfirmed: .* j\*\*\*@e\*\*\*\.com") as raised:
            opt_out(context)
        assert not isinstance(raised.value, HubPrefsFailException)
        assert opt_out(context)["outcome"] == "changed"
        assert hubspot.is_opted_out(JANE)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_a_remembered_write_that_ended_without_effect_is_written_again(
        self, hubspot: Simulator, context: Context, *, deferrable: bool
    ) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        store = context["task_state_store"] = Store()
        with pytest.raises(HubPrefsException, match="unconfirmed"):
            opt_out(context, timeout=0.2)
        hubspot.portal.operations.clear()  # HubSpot does not go on with it
        hubspot.portal.settings.operations.seconds = 0
        if deferrable:
            with pytest.raises(TaskDeferred) as deferred:
                opt_out(context, deferrable=True)
            assert methods(hubspot).count("POST") == 1
            event = asyncio.run(deferred.value.trigger.outcome())
            task = HubPrefsUnsubscribeAllOperator(task_id="opt_out", subscriber=JANE)
            assert task.execute_complete(context, event)["outcome"] == "changed"
        else:
            assert opt_out(context)["outcome"] == "changed"
        assert methods(hubspot).count("POST") == 2
        assert hubspot.is_opted_out(JANE)
        assert store == {}

    def test_the_event_alone_says_what_is_needed(self, context: Context) -> None:
        operator = HubPrefsSetStatusOperator(
            task_id="later", subscriber="{{ 1 }}", subscription_id="7", status="SUBSCRIBED"
        )
        found = {"subscriber": "j***@e***.com", "operation": "COMPLETE", "status": "SUBSCRIBED"}
        result = operator.execute_complete(context, {"status": "success", "result": found, "error": None})
        assert result == {**found, "outcome": "changed", "subscription_id": 7}
        with pytest.raises(AirflowTaskTimeout):
            operator.execute_complete(context, {"status": "execution_timeout"})
        with pytest.raises(HubPrefsException, match="unknown status"):
            operator.execute_complete(context)
