"""Waiting until HubSpot has finished: in the triggerer, or in the worker by the same trigger."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, conf

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row

_log = logging.getLogger(__name__)


class _Trigger(Protocol):
    """A trigger of this package that waits."""

    @property
    def defer_timeout(self) -> timedelta | None:
        """How long Airflow should wait for the event."""

    async def outcome(self) -> dict[str, Any]:
        """Wait, and return the event that ends it."""


class WorkerWait:
    """Waits in the worker, until :meth:`stop`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._stopped = False
        self._left = False

    def event_of(self, trigger: _Trigger) -> dict[str, Any]:
        """Run a trigger until its event.

        It runs in a thread of its own: what a signal handler raises in the task's thread must not end in the event
        loop's code.

        :raises StoppedError: the task is being killed.
        """
        from airflow_provider_hubprefs.hubspot.errors import StoppedError

        self._loop, self._task, self._left = None, None, False
        with ThreadPoolExecutor(1, thread_name_prefix="hubprefs-wait") as threads:
            ended = threads.submit(lambda: asyncio.run(self._outcome(trigger)))
            try:
                return ended.result()
            except asyncio.CancelledError:
                raise StoppedError("stopped while the task waited for HubSpot") from None
            finally:
                self._left = True
                self._cancel()

    def stop(self) -> None:
        """End the wait; may be called from another thread or a signal handler."""
        self._stopped = True
        self._cancel()

    def _cancel(self) -> None:
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop is closed: the wait is over
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _outcome(self, trigger: _Trigger) -> dict[str, Any]:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._stopped or self._left:  # before there was a task to cancel
            raise asyncio.CancelledError
        return await trigger.outcome()


def wait_for(
    trigger: _Trigger, *, worker: WorkerWait, defer: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """Wait until a trigger's event, and return it.

    :param worker: waits, where ``defer`` is None.
    :param defer: the operator's, to wait in the triggerer; ``execute_complete`` gets the event then.
    :raises TaskDeferred: in the triggerer, then.
    :raises StoppedError: the task is being killed.
    """
    if defer is not None:
        defer(trigger=trigger, method_name="execute_complete", timeout=trigger.defer_timeout)
    return worker.event_of(trigger)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSettings:
    """How a task waits.

    :param deferrable: in the triggerer, where it can.
    :param poke_interval: seconds between two questions.
    :param timeout: seconds.
    :param execution_timeout: of the task.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    """

    deferrable: bool
    poke_interval: float
    timeout: float
    execution_timeout: timedelta | None
    hubprefs_conn_id: str
    api_version: str | None

    def deadlines(self) -> dict[str, Any]:
        """The deadlines of a wait that begins now; epoch seconds."""
        now, limit = time.time(), self.execution_timeout
        end = None if limit is None else now + limit.total_seconds()
        return {"deadline": now + self.timeout, "execution_deadline": end}

    def arguments(self) -> dict[str, Any]:
        """What triggers take of it."""
        return {
            "hubprefs_conn_id": self.hubprefs_conn_id,
            "api_version": self.api_version,
            "poke_interval": self.poke_interval,
        }


class WaitingBase(BaseOperator):
    """What all operators of this package have in common: the connection, how they wait, and that a kill ends a wait."""

    def __init__(
        self,
        *,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: float = 60.0,
        timeout: float = 7 * 86_400.0,
        hubprefs_conn_id: str = HubPrefsHook.default_conn_name,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poke_interval = poke_interval
        self.timeout = timeout
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version
        self._worker_wait = WorkerWait()

    def on_kill(self) -> None:
        """End the wait, where the task waits in the worker."""
        self._worker_wait.stop()

    @property
    def _wait_settings(self) -> WaitSettings:
        return WaitSettings(
            deferrable=self.deferrable,
            poke_interval=self.poke_interval,
            timeout=self.timeout,
            execution_timeout=self.execution_timeout,
            hubprefs_conn_id=self.hubprefs_conn_id,
            api_version=self.api_version,
        )


class BatchWait:
    """One try's wait for pending rows, see :class:`~airflow_provider_hubprefs.bulk.send.pending_wait.PendingWait`.

    :param settings: how the task waits.
    :param hook: its connection.
    :param write: what was sent.
    :param event: what ended the wait before, where the task resumes after one.
    :param on_timeout: see :class:`~airflow_provider_hubprefs.bulk.send.pending_wait.PendingWait`.
    :param worker: waits, where ``defer`` is None.
    :param defer: see :func:`wait_for`.
    """

    def __init__(
        self,
        settings: WaitSettings,
        hook: HubPrefsHook,
        write: Write,
        *,
        event: Mapping[str, Any],
        on_timeout: WaitEnd,
        worker: WorkerWait,
        defer: Callable[..., Any] | None,
    ) -> None:
        self.on_timeout = on_timeout
        self._settings = settings
        self._hook = hook
        self._write = write
        self._worker = worker
        self._defer = defer
        self._event = event

    def is_over(self) -> bool:
        """See :class:`~airflow_provider_hubprefs.bulk.send.pending_wait.PendingWait`."""
        from airflow_provider_hubprefs.triggers import events

        deadline = self._event.get("deadline")
        late = deadline is not None and time.time() >= deadline
        return late or self._event.get("status") == events.TIMEOUT

    def wait(self, rows: Sequence[Row]) -> None:
        """See :class:`~airflow_provider_hubprefs.bulk.send.pending_wait.PendingWait`.

        :raises TaskDeferred: in the triggerer, then.
        :raises AirflowTaskTimeout: the task's ``execution_timeout`` has passed.
        :raises StoppedError: the task is being killed.
        """
        from airflow_provider_hubprefs.triggers import events
        from airflow_provider_hubprefs.triggers.batch import HubPrefsBatchTrigger

        _log.info(
            "HubSpot has not finished with all rows; the task waits, by asking about %d of them", len(rows)
        )
        if self._settings.deferrable and self._defer is None:
            _log.warning(
                "The task waits in the worker: to resume after a wait in the triggerer it needs a source that can be "
                "read again, and checkpoint storage: Airflow's task state store (3.3) or a report"
            )
        names = ("deadline", "execution_deadline")
        known = {name: self._event[name] for name in names if name in self._event}
        trigger = HubPrefsBatchTrigger(
            encrypted=" ".join(self._hook.encrypt_address(row.subscriber) for row in rows),
            subscription_id=self._write.subscription_of(rows[0]),
            business_unit_id=self._hook.business_unit_id,
            **self._settings.arguments(),
            **(known if known.get("deadline") is not None else self._settings.deadlines()),
        )
        self._event = wait_for(trigger, worker=self._worker, defer=self._defer)
        if self._event["status"] == events.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout
