"""Wait until HubSpot is done with an operation."""

from __future__ import annotations

import time
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_hubprefs.arguments import (
    PrivateArgument,
    count,
    is_absent,
    normalised_subscriber,
    number,
    optional,
    positive,
    seconds,
    text,
    value_of,
    yes_or_no,
)
from airflow_provider_hubprefs.compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_hubprefs.get_provider_info import CONN_ID
from airflow_provider_hubprefs.task import DEFERRABLE, TaskBase, announced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.send.operation_wait import OperationWait
    from airflow_provider_hubprefs.compat import Context
    from airflow_provider_hubprefs.task_state import TaskState


class HubPrefsOperationSensor(TaskBase, BaseSensorOperator):
    """Wait until the operation on one subscriber is COMPLETE or CANCELED.

    HubSpot has no endpoint for the operation itself (its OpenAPI documents show none). The sensor asks for the
    subscriber's opt-out, or for its statuses where a ``subscription_id`` is given: the answer carries the operation's
    status. The sensor logs a status that HubSpot adds later, and waits on.

    Returns ``{"subscriber": <masked>, "operation": "COMPLETE" | "CANCELED", "opted_out": ..., "subscription_id":
    ..., "status": ..., "started_at": ..., "completed_at": ..., "errors": [...]}``, deferred or not.

    :param subscriber: the address; may be a template or an earlier task's result. A task that is deferred stores it
        encrypted with the connection's credentials; it is stored nowhere else.
    :param subscription_id: ask for the status for this subscription rather than for the opt-out. (templated)
    :param business_unit_id: brand; by default the connection's. (templated)
    :param expect: also wait until the preference itself is seen: ``"opted_out"``, or with a
        ``subscription_id`` ``"SUBSCRIBED"`` or ``"UNSUBSCRIBED"``. (templated)
    :param fail_on_canceled: whether CANCELED fails the task, or is a result to branch on.
    :param max_transient_failures: so many polls in a row may fail for reasons that pass (time-outs, 5xx, 429)
        before the task does. Each poll retries for ``poke_interval``, 30 s at most.
    :param deferrable: ask once, then wait in the triggerer, without a worker; ``mode`` does not matter then. By
        default ``[operators] default_deferrable``.
    :param max_budget_share: of the account's budget, at most, for all waits of a triggerer together that have the
        same share; they ask about up to 100 subscribers by one request. A task that pokes has the share for itself.
    :param poke_interval: between two polls: a ``timedelta``, or seconds.
    :param timeout: how long to wait: a ``timedelta``, or seconds; by default ``[sensors] default_timeout``.
    :param max_wait: the longest pause with ``exponential_backoff``: a ``timedelta``, or seconds.
    :param hubprefs_conn_id: connection. (templated)
    :param api_version: overrides the connection's. (templated)
    :raises HubPrefsFailException: CANCELED, or an error that waiting does not help against.
    :raises HubPrefsException: too many failures in a row, or the account's daily requests are used up.
    """

    template_fields: Sequence[str] = (
        "subscriber",
        "subscription_id",
        "business_unit_id",
        "expect",
        "hubprefs_conn_id",
        "api_version",
    )
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        "subscription_id": optional(positive),
        "business_unit_id": optional(count),
        "expect": optional(text),
        "fail_on_canceled": yes_or_no,
        "max_transient_failures": count,
        "deferrable": yes_or_no,
        "max_budget_share": number,
        "hubprefs_conn_id": text,
        "api_version": optional(text),
    }
    subscriber = PrivateArgument()
    ui_color = "#ffe8a3"
    only_reads = True
    subscription_id: int | None
    expect: str | None
    fail_on_canceled: bool
    max_transient_failures: int
    deferrable: bool
    _failures_here = 0
    _event: Mapping[str, Any] | None = None
    _deadlines: Mapping[str, float | None] = MappingProxyType({})

    def __init__(
        self,
        *,
        subscriber: Any,
        subscription_id: int | str | None = None,
        business_unit_id: int | str | None = None,
        expect: Literal["opted_out", "SUBSCRIBED", "UNSUBSCRIBED"] | str | None = None,
        fail_on_canceled: bool = True,
        max_transient_failures: int = 5,
        deferrable: bool = DEFERRABLE,
        max_budget_share: float = 0.5,
        poke_interval: timedelta | float | str = 60.0,
        timeout: timedelta | float | str | None = None,
        max_wait: timedelta | float | str | None = None,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        try:  # the base class reads them here as well, so a mapped task fails here: no retry helps
            durations: dict[str, Any] = {
                "poke_interval": seconds("poke_interval", poke_interval),
                "timeout": _default_timeout() if is_absent(timeout) else seconds("timeout", timeout),
            }
            if not is_absent(max_wait):
                durations["max_wait"] = seconds("max_wait", max_wait)
        except Exception as error:  # noqa: BLE001 - ValidationError, which no DAG file needs to load
            from airflow_provider_hubprefs.exceptions import HubPrefsFailException

            raise HubPrefsFailException(str(error), error=error) from None
        super().__init__(**durations, **kwargs)
        self.keep_arguments(locals())
        self.subscriber = subscriber

    @announced
    def execute(self, context: Context) -> Any:
        """Ask until the operation is over; a deferrable task asks once and waits in the triggerer."""
        limit = self.execution_timeout
        self._deadlines = {
            "deadline": time.time() + self.timeout,
            "execution_deadline": None if limit is None else time.time() + limit.total_seconds(),
        }
        return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once; a deferrable task whose operation is not over waits on in the triggerer."""
        from airflow_provider_hubprefs.exceptions import HubPrefsFailException, airflow_errors
        from airflow_provider_hubprefs.hubspot.errors import HubSpotError

        event, self._event = self._event, None
        if event is not None:
            from airflow_provider_hubprefs.triggers.events import result_of

            return PokeReturnValue(is_done=True, xcom_value=result_of(event))
        with airflow_errors():
            self.read_arguments()
            wait = self._wait()
            client = self._hook.client
            try:
                operation = client.send(wait.call(client.calls))
            except HubSpotError as error:
                failures = self._failures(context)
                self._count_failures(0, context)  # a retry of the task begins anew
                failures, text = wait.tolerate(error, failures=failures, most=self.max_transient_failures)
                self._count_failures(failures, context)
                self.log.warning(text)
                return self._go_on(wait, failures)
            self._count_failures(0, context)
            answer = wait.interpret(operation)
            if answer.error is not None:
                # Final: soft_fail skips, and a retry would only wait for the same.
                raise HubPrefsFailException(str(answer.error), error=answer.error)
            if answer.done:
                self.log.info(answer.text)
                return PokeReturnValue(is_done=True, xcom_value=answer.result)
            (self.log.warning if answer.unknown_status else self.log.info)(answer.text)
            return self._go_on(wait, 0)

    @announced
    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Go on after the triggerer.

        The event counts as a poke's answer, so that ``soft_fail``, ``never_fail`` and ``silent_fail`` do what they do
        without deferring.
        """
        from airflow_provider_hubprefs.triggers import events

        status = event and event.get("status")
        if status == events.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout
        if status == events.TIMEOUT:
            message = f"Sensor has timed out; it waited longer than the specified timeout of {self.timeout}."
            raise AirflowSkipException(message) if self.soft_fail else AirflowSensorTimeout(message)
        self._event = event or {}
        self._deadlines = {name: self._event.get(name) for name in ("deadline", "execution_deadline")}
        return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the triggerer. In the base class ``soft_fail`` would skip errors that fail a task that pokes."""
        if next_method == "execute_complete":
            return self.execute_complete(context, **(next_kwargs or {}))
        return super().resume_execution(next_method, next_kwargs, context)

    def _settings(self) -> Mapping[str, float]:
        from airflow_provider_hubprefs.triggers import RETRY_TOTAL

        return {"retry_total": min(RETRY_TOTAL, self.poke_interval)}

    def _wait(self) -> OperationWait:
        """What the task waits for: its rendered arguments.

        :raises ValidationError: an argument cannot work.
        """
        from airflow_provider_hubprefs.bulk.send.operation_wait import OperationWait

        wait = OperationWait(
            subscriber=normalised_subscriber(value_of(self.subscriber)),
            subscription_id=self.subscription_id,
            business_unit_id=self._hook.business_unit_id,
            expect=self.expect,
            fail_on_canceled=self.fail_on_canceled,
        )
        wait.check()
        return wait

    def _go_on(self, wait: OperationWait, failures: int) -> PokeReturnValue:
        from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger

        if self.deferrable:
            trigger = HubPrefsOperationTrigger(
                encrypted=self._hook.encrypt_address(wait.subscriber),
                subscription_id=wait.subscription_id,
                business_unit_id=wait.business_unit_id,
                expect=wait.expect,
                fail_on_canceled=wait.fail_on_canceled,
                poke_interval=self.poke_interval,
                exponential_backoff=self.exponential_backoff,
                max_wait=self.max_wait.total_seconds() if self.max_wait else None,
                max_transient_failures=self.max_transient_failures,
                max_budget_share=self.max_budget_share,
                hubprefs_conn_id=self.hubprefs_conn_id,
                api_version=self.api_version,
                failures=failures,
                deadline=self._deadlines.get("deadline"),
                execution_deadline=self._deadlines.get("execution_deadline"),
            )
            self.defer(trigger=trigger, method_name="execute_complete", timeout=trigger.defer_timeout)
        return PokeReturnValue(is_done=False)

    def _failures(self, context: Context) -> int:
        """Failures in a row. In reschedule mode every poke is a new process: Airflow 3.3 keeps what it has counted."""
        kept = _kept(context).load() if self.reschedule else None
        return int(kept["count"]) if kept else self._failures_here

    def _count_failures(self, failures: int, context: Context) -> None:
        if failures != self._failures(context):
            self._failures_here = failures
            if self.reschedule:
                _kept(context).save({"count": failures})


def _kept(context: Context) -> TaskState:
    """Where Airflow 3.3 keeps the number of failures in a row."""
    from airflow_provider_hubprefs.task_state import TaskState

    return TaskState(context, "hubprefs_transient_failures")


@cache
def _default_timeout() -> float:
    """Airflow's. Each sensor of Airflow looks it up anew, which takes longer than all that is special to this one."""
    return float(conf.getfloat("sensors", "default_timeout"))
