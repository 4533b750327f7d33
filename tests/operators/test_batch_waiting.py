"""Batches that HubSpot takes its time for: waited for in the worker or in the triggerer, and sent once."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, TaskDeferred

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.hubspot.privacy import decrypt_address
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from tests.helpers import ANSWER_PENDING, Store, outcomes, writes

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

Context = Any
PEOPLE = [f"p{number}@example.com" for number in range(5)]
# What HubSpot answers to the questions after the write: a fault, how often (None: for ever); then the truth, which is
# that every operation is COMPLETE a moment later, and CANCELED for the last one of "canceled". And how the task
# ends: its state, what its tries raised (one or more of it), how many writes there were, and the rows' outcomes.
TABLE: dict[str, tuple[dict[str, Any] | None, int | None, str, str | None, int, dict[str, int] | None]] = {
    "complete": (None, 1, "success", None, 1, {"changed": 3}),
    "status": (None, 1, "success", None, 1, {"changed": 3}),
    "many": (None, 1, "success", None, 3, {"changed": 3}),
    "canceled": (None, 1, "failed", "HubPrefsFailException", 1, {"changed": 2, "rejected": 1}),
    "canceled_reported": (None, 1, "success", None, 1, {"changed": 2, "rejected": 1}),
    "timeout": (ANSWER_PENDING, None, "failed", "HubPrefsException", 1, {"unconfirmed": 3}),
    "timeout_retried": (ANSWER_PENDING, 4, "success", "HubPrefsException", 1, {"changed": 3}),
    "timeout_reported": (ANSWER_PENDING, None, "failed", "HubPrefsException", 1, {"unconfirmed": 3}),
    "broken_retried": ({"kind": "daily"}, 1, "success", "HubPrefsException", 1, {"changed": 3}),
    "revoked": ({"kind": "status", "status": 401}, None, "failed", "HubPrefsFailException", 1, None),
    "killed": (ANSWER_PENDING, None, "failed", "AirflowTaskTimeout", 1, None),
}
MODES = ("worker", "deferred")


@pytest.mark.timeout(600)
def test_every_wait_ends_alike_in_both_modes_and_writes_once(
    hubspot: Simulator, run_dag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubspot.load({"operations": {"seconds": 0.3, "outcomes": {"canceled*.2@*": "CANCELED"}}})
    for name, (fault, times, *_) in TABLE.items():
        if fault is None:
            continue
        for mode in MODES:
            alone = {"path_contains": f"/{name}.{mode}.", "method": "GET"}
            together = {"body_contains": f"{name}.{mode}.", "endpoint": "batch_read_unsubscribe_all"}
            hubspot.fault(**fault, match=together, times=times)
            if name != "broken_retried":  # what a poll meets is no harm by itself: the task asks again
                hubspot.fault(**fault, match=alone, times=times)
    noted = tmp_path / "exceptions"
    noted.touch()
    monkeypatch.setenv("HUBPREFS_TEST_EXCEPTIONS", str(noted))
    run = run_dag("hubprefs_batch_modes", subscription_id=hubspot.subscription_ids[0])

    raised: dict[str, set[str]] = {}
    for line in noted.read_text().splitlines():
        task, exception = line.split()
        raised.setdefault(task, set()).add(exception)
    for name, (_, _, state, error, writes_wanted, wanted) in TABLE.items():
        for mode in MODES:
            task = f"{name}.{mode}"
            pushed = run.xcom(task)
            sent = [
                request
                for request in hubspot.requests
                if request.endpoint in {"batch_unsubscribe_all", "batch_write"}
                and f"{task}." in str(request.json())
            ]
            ended = (run.tasks[task], raised.get(task), len(sent), pushed and outcomes(pushed))
            assert ended == (state, {error} if error else None, writes_wanted, wanted), task
    for name in TABLE:
        worker, deferred = (run.xcom(f"{name}.{mode}") or {} for mode in MODES)
        for what in ("reasons", "complete", "incomplete_because"):
            assert worker.get(what) == deferred.get(what), (name, what)


def operator(**arguments: Any) -> HubPrefsBatchUnsubscribeOperator:
    given = {"task_id": "opt_out", "subscribers": PEOPLE, "poke_interval": 0.1}
    return HubPrefsBatchUnsubscribeOperator(**{**given, **arguments})


@pytest.fixture
def store(context: Context) -> Store:
    found: Store = context.setdefault("task_state_store", Store())
    return found


@pytest.mark.usefixtures("hubprefs_default")
class TestOneTry:
    def test_what_is_done_at_once_is_not_waited_for(self, hubspot: Simulator, context: Context) -> None:
        assert outcomes(operator(deferrable=True).execute(context)) == {"changed": 5}
        assert len(hubspot.requests) == 1

    def test_what_takes_its_time_is_deferred_without_another_question(
        self, hubspot: Simulator, context: Context, store: Store
    ) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        with pytest.raises(TaskDeferred) as deferred:
            operator(deferrable=True, timeout=90, batch_size=2).execute(context)
        assert len(hubspot.requests) == 4  # which portal it is, and the batches
        trigger, timeout = deferred.value.trigger, deferred.value.timeout
        stored = trigger.serialize()[1]
        assert "@" not in str(stored) + str(store)
        subscribers = [decrypt_address(one, key=hubspot.token) for one in stored["encrypted"].split()]
        assert subscribers == [PEOPLE[1], PEOPLE[3], PEOPLE[4]]
        assert stored["subscription_id"] is None
        assert stored["deadline"] == pytest.approx(time.time() + 90, abs=30)
        assert 90 < timeout.total_seconds() <= 90 + 120
        assert store["hubprefs_run"]["report"]["pending"] == [[0, 5, "OPERATION_PENDING"]]

    def test_a_status_is_asked_for_by_its_subscription(
        self, hubspot: Simulator, context: Context, store: Store
    ) -> None:
        hubspot.load({"operations": {"seconds": 60}})
        number = hubspot.subscription_ids[0]
        setting = HubPrefsBatchSetStatusOperator(
            task_id="set",
            subscribers=PEOPLE,
            subscription_id=str(number),
            status="UNSUBSCRIBED",
            deferrable=True,
        )
        with pytest.raises(TaskDeferred) as deferred:
            setting.execute(context)
        assert deferred.value.trigger.serialize()[1]["subscription_id"] == number
        assert store

    def test_a_file_of_which_some_are_over_waits_for_the_others_by_the_first_deadline(
        self, hubspot: Simulator, context: Context, store: Store, tmp_path: Path
    ) -> None:
        hubspot.load({"operations": {"seconds": [100, 900]}})
        path = tmp_path / "people.csv"
        path.write_text(
            "\n".join(["email", *(f"p{number}@example.com" for number in range(40)), "no-address"])
        )
        places = {"source": str(path), "subscribers": None, "output": str(tmp_path / "runs")}
        task = operator(deferrable=True, timeout=3600, batch_size=5, **places)
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context)
        sent, deadline = writes(hubspot), deferred.value.trigger.deadline
        waits = 0
        event = {"status": "success", "deadline": deadline, "execution_deadline": None}
        while deferred is not None:
            waits += 1
            hubspot.advance(300)
            try:
                summary = task.execute_complete(context, event)
            except TaskDeferred as again:
                assert again.trigger.serialize()[1]["deadline"] == deadline
            except HubPrefsFailException:
                break
        else:
            raise AssertionError(summary)
        assert waits == 3
        assert writes(hubspot) == sent
        (path,) = tmp_path.rglob("dead_letters.jsonl")
        letters = [json.loads(line) for line in path.read_text().splitlines()]
        assert [letter["row"] for letter in letters] == [42]
        assert store == {}

    @pytest.mark.parametrize("status", ["timeout", "success"])
    def test_too_late_is_too_late_by_the_event_or_by_the_clock(
        self, hubspot: Simulator, context: Context, store: Store, status: str
    ) -> None:
        hubspot.load({"operations": {"seconds": 3600}})
        task = operator(deferrable=True)
        with pytest.raises(TaskDeferred):
            task.execute(context)
        event = {"status": status, "deadline": time.time() - 1, "execution_deadline": None}
        with pytest.raises(HubPrefsException, match="of 5 rows, 5 unconfirmed"):
            task.execute_complete(context, event)
        assert store["hubprefs_run"]["report"]["pending"]  # a retry waits on
        hubspot.advance(3600)
        assert outcomes(task.execute(context)) == {"changed": 5}
        assert (writes(hubspot), store) == (1, {})

    def test_nothing_is_sent_again_where_there_is_nothing_to_go_on_from(
        self, hubspot: Simulator, context: Context, store: Store
    ) -> None:
        hubspot.load({"operations": {"seconds": 3600}})
        task = operator(deferrable=True)
        with pytest.raises(TaskDeferred):
            task.execute(context)
        store.clear()
        with pytest.raises(HubPrefsFailException, match="The checkpoint of this task is missing"):
            task.execute_complete(context, {"status": "success"})
        assert writes(hubspot) == 1

    def test_without_going_on_a_retry_sends_again(
        self, hubspot: Simulator, context: Context, store: Store
    ) -> None:
        hubspot.load({"operations": {"seconds": 3600}})
        task = operator(deferrable=True, resume=False)
        for _ in range(2):
            with pytest.raises(TaskDeferred):
                task.execute(context)
        assert writes(hubspot) == 2
        hubspot.advance(3600)
        assert outcomes(task.execute_complete(context, {"status": "success"})) == {"changed": 5}
        assert (writes(hubspot), store) == (2, {})

    @pytest.mark.parametrize("lacks", ["store", "source"])
    def test_without_a_checkpoint_the_task_waits_in_the_worker(
        self, hubspot: Simulator, context: Context, caplog: pytest.LogCaptureFixture, capsys: Any, lacks: str
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.2}})
        hubspot.fault(**ANSWER_PENDING, match={"method": "GET"}, times=1)
        context.pop("task_state_store", None)
        if lacks == "source":
            context["task_state_store"] = Store()
        given = (one for one in PEOPLE) if lacks == "source" else PEOPLE
        task = operator(deferrable=True)
        task.subscribers = given
        assert outcomes(task.execute(context)) == {"changed": 5}
        assert "waits in the worker" in caplog.text
        logged = caplog.text + capsys.readouterr().out
        assert "***@e***.com: operation PENDING" in logged

    def test_a_folder_for_its_output_will_do(
        self, hubspot: Simulator, context: Context, tmp_path: Path
    ) -> None:
        hubspot.load({"operations": {"seconds": 3600}})
        context.pop("task_state_store", None)
        task = operator(deferrable=True, output=str(tmp_path))
        with pytest.raises(TaskDeferred):
            task.execute(context)
        (path,) = tmp_path.rglob("report.json")
        waiting = json.loads(path.read_text())
        assert (waiting["state"], waiting["share"], waiting["unconfirmed"]) == ("waiting", 1, 5)
        assert waiting["incomplete_because"] == "HubSpot has not finished with all rows"
        hubspot.advance(3600)
        assert outcomes(task.execute_complete(context, {"status": "success"})) == {"changed": 5}
        (audit,) = path.parent.glob("*.audit.jsonl")
        assert sorted(path.parent.iterdir()) == [audit, path.with_name("report.html"), path]
        done = json.loads(path.read_text())
        assert (done["state"], done["incomplete_because"], done["tries"]) == ("complete", None, 1)
        was, now = waiting["history"], done["history"]
        assert now[: len(was)] == was
        assert now == sorted(now)
        assert now[-1][1:3] == [5, done["requests"]]

    def test_a_kill_ends_the_wait_in_the_worker_at_once_and_a_retry_resumes_it(
        self, hubspot: Simulator, context: Context, store: Store, tmp_path: Path
    ) -> None:
        hubspot.load({"operations": {"seconds": 3600}})
        task = operator(poke_interval=600, output=str(tmp_path))
        noted: list[float] = []

        def kill() -> None:
            while not store.get("hubprefs_run", {}).get("report", {}).get("pending"):
                time.sleep(0.01)
            time.sleep(0.1)
            noted.append(time.monotonic())
            task.on_kill()

        killing = threading.Thread(target=kill)
        killing.start()
        with pytest.raises(HubPrefsException, match="stopped"):
            task.execute(context)
        killing.join()
        assert time.monotonic() - noted[0] < 5
        (report,) = tmp_path.rglob("report.json")
        assert json.loads(report.read_text())["incomplete_because"] == "StoppedError"
        hubspot.advance(3600)
        assert outcomes(operator().execute(context)) == {"changed": 5}
        assert writes(hubspot) == 1

    def test_the_task_is_over_with_its_execution_timeout(self, context: Context) -> None:
        with pytest.raises(AirflowTaskTimeout):
            operator().execute_complete(context, {"status": "execution_timeout"})

    @pytest.mark.parametrize("argument", ["poke_interval", "timeout"])
    @pytest.mark.parametrize("value", [0, -5, "soon"])
    def test_what_is_no_time_is_refused(
        self, hubspot: Simulator, context: Context, argument: str, value: object
    ) -> None:
        with pytest.raises(HubPrefsFailException, match=f"{argument}: expected seconds, more than 0"):
            operator(**{argument: value}).execute(context)
        assert hubspot.requests == []
