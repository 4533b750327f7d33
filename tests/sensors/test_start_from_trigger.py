"""A sensor that begins in the triggerer: what the scheduler is given, and what the triggerer makes of it."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
)
from airflow.triggers.base import BaseTrigger

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor
from airflow_provider_hubprefs.triggers.events import result_of
from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.simulator import Simulator

JANE = "jane@example.com"
TEMPLATE = "{{ params.who }}"

pytestmark = pytest.mark.skipif(
    not hasattr(BaseTrigger, "render_template_fields"),
    reason="the triggerer renders templates from Airflow 3.3 on",
)


def sensor(subscriber: Any = TEMPLATE, **arguments: Any) -> HubPrefsOperationSensor:
    given = {
        "task_id": "wait",
        "deferrable": True,
        "start_from_trigger": True,
        "poke_interval": 0.1,
        **arguments,
    }
    return HubPrefsOperationSensor(subscriber=subscriber, **given)


def begun(begins: HubPrefsOperationSensor, *, after: float = 0.0, **params: Any) -> HubPrefsOperationTrigger:
    """The trigger as the triggerer has it, so many seconds after the scheduler has handed over the task."""
    args: Any = begins.start_trigger_args
    trigger = HubPrefsOperationTrigger(**json.loads(json.dumps(args.trigger_kwargs)))
    ends = [limit for limit in (args.timeout, begins.execution_timeout) if limit is not None]
    trigger.timeout_after = datetime.now(UTC) - timedelta(seconds=after) + min(ends)  # type: ignore[attr-defined]
    trigger.render_template_fields({"params": {"who": JANE, **params}})
    return trigger


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged, however this Airflow does it."""
    return lambda: caplog.text + "".join(capsys.readouterr())


def outcome(trigger: HubPrefsOperationTrigger) -> dict[str, Any]:
    event = asyncio.run(trigger.outcome())
    assert "jane" not in json.dumps(event)
    return event


class TestWhatTheSchedulerIsGiven:
    def test_templates_and_no_address(self) -> None:
        begins = sensor(subscription_id="{{ params.subscription }}", timeout=60)
        args: Any = begins.start_trigger_args
        assert begins.start_from_trigger is True
        assert args.next_method == "execute_complete"
        assert args.timeout > timedelta(seconds=60)
        assert args.trigger_kwargs["subscriber"] == TEMPLATE
        assert args.trigger_kwargs["subscription_id"] == "{{ params.subscription }}"
        assert args.trigger_kwargs["timeout"] == 60
        assert json.loads(json.dumps(args.trigger_kwargs)) == args.trigger_kwargs

    def test_an_earlier_tasks_result_becomes_a_template(self) -> None:
        with DAG(dag_id="d", schedule=None, start_date=pendulum.datetime(2026, 1, 1)):
            before = BaseOperator(task_id="before")
            begins = sensor(before.output)
        args: Any = begins.start_trigger_args
        pull = "{{ ti.xcom_pull(task_ids='before', key='return_value', map_indexes=-1) }}"
        assert args.trigger_kwargs["subscriber"] == pull
        assert begins.upstream_task_ids == {"before"}

    @pytest.mark.parametrize(
        "subscriber", [JANE, "{{ 'jane@example.com' }}", "{{ params.who }} or jane@example.com", 7]
    )
    def test_an_address_is_not_kept_by_airflow(self, subscriber: Any, told: Callable[[], str]) -> None:
        begins = sensor(subscriber)
        text = told()
        assert begins.start_from_trigger is False
        assert begins.start_trigger_args is None
        assert "wait begins on a worker: the subscriber is no template" in text
        assert "jane" not in text

    def test_results_that_no_template_can_say(self, told: Callable[[], str]) -> None:
        with DAG(dag_id="d", schedule=None, start_date=pendulum.datetime(2026, 1, 1)):
            numbers = BaseOperator(task_id="before").output.map(int)
            assert sensor(subscription_id=numbers).start_from_trigger is False
        assert "made of earlier results" in told()

    def test_a_template_that_the_triggerer_never_finishes(self, told: Callable[[], str]) -> None:
        assert sensor("{{ ti.xcom_pull('before') }}").start_from_trigger is False
        assert "only with map_indexes=-1" in told()
        assert sensor("{{ ti.xcom_pull('before', map_indexes=-1) }}").start_from_trigger is True

    def test_an_airflow_that_renders_nothing_there(
        self, monkeypatch: pytest.MonkeyPatch, told: Callable[[], str]
    ) -> None:
        monkeypatch.delattr(BaseTrigger, "render_template_fields")
        assert sensor().start_from_trigger is False
        assert "3.3" in told()

    def test_what_is_not_deferrable_cannot_begin_there(self) -> None:
        with pytest.raises(ValueError, match="expected deferrable=True"):
            sensor(deferrable=False)

    def test_it_is_opt_in(self) -> None:
        assert (
            HubPrefsOperationSensor(task_id="t", subscriber=TEMPLATE, deferrable=True).start_trigger_args
            is None
        )


@pytest.mark.usefixtures("hubprefs_default")
class TestWhatTheTriggererMakesOfIt:
    def test_it_asks_about_the_subscriber_rendered_and_normalised(self, hubspot: Simulator) -> None:
        hubspot.opt_out(JANE)
        event = outcome(begun(sensor(expect="opted_out"), who=" Jane@Example.COM "))
        assert result_of(event)["opted_out"] is True
        assert {request.method for request in hubspot.requests} == {"GET"}

    def test_numbers_may_come_through_templates(self, hubspot: Simulator) -> None:
        number = hubspot.subscription_ids[0]
        begins = sensor(subscription_id="{{ params.number }}", business_unit_id="{{ params.brand }}")
        event = outcome(begun(begins, number=str(number), brand="0"))
        assert result_of(event)["subscription_id"] == number

    def test_the_connections_brand_holds(self, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        hubspot.load({"brands": [{"id": 7, "name": "Other"}]})
        connection = {
            "conn_type": "hubprefs",
            "host": hubspot.url,
            "password": hubspot.token,
            "extra": {"business_unit_id": 7},
        }
        monkeypatch.setenv("AIRFLOW_CONN_BRANDED", json.dumps(connection))
        outcome(begun(sensor(hubprefs_conn_id="{{ params.conn }}"), conn="branded"))
        assert ["businessUnitId=7" in request.query for request in hubspot.requests] == [True]

    def test_what_it_stores_stays_a_template(self) -> None:
        trigger = begun(sensor())
        before = trigger.serialize()[1]
        outcome(trigger)
        assert trigger.wait.subscriber == JANE
        assert trigger.serialize()[1] == before
        assert before["subscriber"] == TEMPLATE
        assert "jane" not in repr(trigger)

    @pytest.mark.parametrize(
        ("arguments", "params", "says"),
        [
            ({}, {"who": "jane@"}, "subscriber: expected an e-mail address"),
            (
                {"subscription_id": "{{ params.number }}"},
                {"number": "many"},
                "subscription_id: expected a whole",
            ),
            ({"expect": "{{ params.what }}"}, {"what": "JOY"}, "expect: expected one of"),
        ],
    )
    def test_what_cannot_work_ends_it_without_a_request(
        self, arguments: dict[str, Any], params: dict[str, Any], says: str, hubspot: Simulator
    ) -> None:
        with pytest.raises(HubPrefsFailException, match=says):
            result_of(outcome(begun(sensor(**arguments), **params)))
        assert hubspot.requests == []

    def test_a_template_that_fails_ends_it_with_an_event_that_names_nobody(self) -> None:
        event = outcome(begun(sensor("{{ params.who.nothing.at_all }}")))
        with pytest.raises(HubPrefsException, match="UndefinedError"):
            result_of(event)

    @pytest.mark.parametrize(
        ("execution_timeout", "execution_deadline"), [(None, None), (30, 30), (90, 90), (900, 900)]
    )
    def test_deadlines_count_from_the_tasks_beginning_whenever_the_triggerer_starts(
        self, execution_timeout: float | None, execution_deadline: float | None
    ) -> None:
        limit = None if execution_timeout is None else timedelta(seconds=execution_timeout)
        trigger = begun(sensor(timeout=60, execution_timeout=limit), after=20)
        began = time.time() - 20
        outcome(trigger)
        assert trigger.deadline == pytest.approx(began + 60, abs=2)
        if execution_deadline is None:
            assert trigger.execution_deadline is None
        else:
            assert trigger.execution_deadline == pytest.approx(began + execution_deadline, abs=2)

    def test_its_time_may_be_over_when_a_triggerer_comes(self, hubspot: Simulator) -> None:
        hubspot.fault("answer", json={"status": "PENDING", "results": []}, times=None)
        assert outcome(begun(sensor(timeout=60), after=61))["status"] == "timeout"
        killed = sensor(timeout=60, execution_timeout=timedelta(seconds=30))
        assert outcome(begun(killed, after=31))["status"] == "execution_timeout"


@pytest.mark.parametrize(
    ("arguments", "raised"),
    [
        ({}, AirflowSensorTimeout),
        ({"soft_fail": True}, AirflowSkipException),
        ({"execution_timeout": timedelta(seconds=30)}, AirflowTaskTimeout),
        ({"execution_timeout": timedelta(seconds=30), "soft_fail": True}, AirflowTaskTimeout),
        ({"execution_timeout": timedelta(seconds=90)}, AirflowSensorTimeout),
    ],
)
def test_airflows_own_time_out_means_what_it_means_on_a_worker(
    arguments: dict[str, Any], raised: type[BaseException], context: Any
) -> None:
    from airflow.models.trigger import TriggerFailureReason

    begins = sensor(timeout=60, **arguments)
    with pytest.raises(raised):
        begins.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, context)
    with pytest.raises(AirflowException):  # any other failure is none
        begins.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_FAILURE}, context)
