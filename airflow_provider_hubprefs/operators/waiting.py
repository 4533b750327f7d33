"""How a run of many waits for what HubSpot takes its time for: in the triggerer, or in the worker."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_hubprefs.bulk.row import Row
    from airflow_provider_hubprefs.bulk.writes import Write
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
    from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchOperator
    from airflow_provider_hubprefs.triggers.batch import HubPrefsBatchTrigger

_LOOK_EVERY = 0.5
"""Seconds; so soon a wait in the worker notices that it is to stop."""

_log = logging.getLogger(__name__)


class BatchWait:
    """The wait of one try of a task, see :class:`~airflow_provider_hubprefs.bulk.under_way.Waiting`.

    :param operator: that waits.
    :param hook: its connection.
    :param write: what was sent.
    :param event: what ended the wait before, where the task goes on after one.
    :param marked: whether the run has a mark, from which a task that was deferred can go on.
    """

    def __init__(
        self,
        operator: HubPrefsBatchOperator,
        hook: HubPrefsHook,
        write: Write,
        *,
        event: Mapping[str, Any] | None = None,
        marked: bool,
    ) -> None:
        from airflow_provider_hubprefs.triggers import events

        self.same_try = event is not None
        self.retried = operator.on_rejected == "fail"
        self._operator = operator
        self._hook = hook
        self._write = write
        self._marked = marked
        event = event or {}
        self._late = event.get("status") == events.TIMEOUT
        self._deadline: float | None = event.get("deadline")
        self._execution_deadline: float | None = event.get("execution_deadline")

    def is_over(self) -> bool:
        """See :class:`~airflow_provider_hubprefs.bulk.under_way.Waiting`."""
        return self._late or (self._deadline is not None and time.time() >= self._deadline)

    def wait(self, rows: Sequence[Row]) -> None:
        """See :class:`~airflow_provider_hubprefs.bulk.under_way.Waiting`.

        :raises TaskDeferred: in the triggerer, then.
        :raises AirflowTaskTimeout: the task's ``execution_timeout`` is over.
        :raises StoppedError: the task is being killed.
        """
        from airflow_provider_hubprefs.triggers import events

        trigger = self._trigger(rows)
        _log.info("HubSpot is at work on what was sent; waiting for it, by asking about %d rows", len(rows))
        if self._operator.deferrable:
            if self._marked:
                self._operator.defer(
                    trigger=trigger, method_name="execute_complete", timeout=trigger.defer_timeout
                )
            _log.warning(
                "It is waited for in the worker: to go on after a wait in the triggerer, a run needs a source that can "
                "be read again, and a place for its mark, which is Airflow's task state store (3.3) or beside a report"
            )
        event = self._outcome(trigger)
        if event["status"] == events.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout
        self._late = event["status"] == events.TIMEOUT

    def _outcome(self, trigger: HubPrefsBatchTrigger) -> dict[str, Any]:
        """What the wait came to, in a thread of its own: what is raised in this one, by a signal, is not the loop's."""
        leave = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="hubprefs-wait") as threads:
            ended = threads.submit(asyncio.run, _ended(trigger, leave))
            try:
                while not ended.done():
                    wait([ended], timeout=_LOOK_EVERY)
                    self._hook.client.rest(0)
                return ended.result()
            finally:
                leave.set()

    def _trigger(self, rows: Sequence[Row]) -> HubPrefsBatchTrigger:
        from airflow_provider_hubprefs.triggers.batch import HubPrefsBatchTrigger

        operator, now = self._operator, time.time()
        if self._deadline is None:
            self._deadline = now + operator.timeout
            if (limit := operator.execution_timeout) is not None:
                self._execution_deadline = now + limit.total_seconds()
        return HubPrefsBatchTrigger(
            encrypted=" ".join(self._hook.encrypt_address(row.subscriber) for row in rows),
            subscription_id=self._write.subscription_of(rows[0]),
            business_unit_id=self._hook.business_unit_id,
            hubprefs_conn_id=operator.hubprefs_conn_id,
            api_version=operator.api_version,
            poke_interval=operator.poke_interval,
            deadline=self._deadline,
            execution_deadline=self._execution_deadline,
        )


async def _ended(trigger: HubPrefsBatchTrigger, leave: threading.Event) -> dict[str, Any]:
    waiting = asyncio.ensure_future(trigger.outcome())
    while not (waiting.done() or leave.is_set()):
        await asyncio.wait({waiting}, timeout=_LOOK_EVERY)
    if not waiting.done():
        waiting.cancel()
        await asyncio.wait({waiting})
        return {}
    return waiting.result()
