"""Waiting until HubSpot has finished: in the triggerer, or in the worker by the same trigger."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import optional, seconds, text, yes_or_no
from airflow_provider_hubprefs.compat import AirflowTaskTimeout
from airflow_provider_hubprefs.task import TaskBase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
    from airflow_provider_hubprefs.triggers.batch import HubPrefsBatchTrigger
    from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger

POKE_INTERVAL = 60.0
TIMEOUT = 7 * 86_400.0

_log = logging.getLogger(__name__)


class WaitingBase(TaskBase):
    """What all operators of this package have in common: the connection, and the wait.

    A template that gives nothing, or the text ``None``, leaves an optional argument out. On Airflow 3.3 retries come
    when HubSpot is ready for them, unless you give a ``retry_policy``: see
    :class:`~airflow_provider_hubprefs.retry_policy.HubPrefsRetryPolicy`.

    :param wait_for_completion: if HubSpot has not finished with the write, wait until it has. A retry resumes the
        wait and does not write again (Airflow 3.3; earlier versions write again, which does no harm). False: the task
        fails where HubSpot has not finished at once.
    :param deferrable: wait in the triggerer, which frees the worker. By default ``[operators] default_deferrable``.
    :param poke_interval: between two polls, at most: a ``timedelta``, or seconds.
    :param timeout: how long to wait, in each try: a ``timedelta``, or seconds.
    :param hubprefs_conn_id: connection. (templated)
    :param api_version: overrides the connection's. (templated)
    """

    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        "wait_for_completion": yes_or_no,
        "deferrable": yes_or_no,
        "poke_interval": seconds,
        "timeout": seconds,
        "hubprefs_conn_id": text,
        "api_version": optional(text),
    }
    wait_for_completion: bool
    deferrable: bool
    poke_interval: float
    timeout: float
    _killed: Future[None] | None = None

    def on_kill(self) -> None:
        """End the wait, where the task waits in the worker."""
        if self._killed is not None and not self._killed.done():
            self._killed.set_result(None)

    def _begin(self) -> None:
        """Prepare for a wait, when the task begins.

        :raises ValidationError: an argument cannot work.
        """
        self._killed = Future()
        self.read_arguments()

    def trigger_arguments(self, hook: HubPrefsHook) -> dict[str, Any]:
        """Arguments of all triggers that wait for this task, from now on."""
        now, limit = time.time(), self.execution_timeout
        return {
            "business_unit_id": hook.business_unit_id,
            "hubprefs_conn_id": self.hubprefs_conn_id,
            "api_version": self.api_version,
            "poke_interval": self.poke_interval,
            "deadline": now + self.timeout,
            "execution_deadline": None if limit is None else now + limit.total_seconds(),
        }

    def wait_for(
        self,
        trigger: HubPrefsBatchTrigger | HubPrefsOperationTrigger,
        *,
        deferrable: bool,
        tick: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Wait until a trigger's event, and return it.

        :param deferrable: whether the triggerer waits; ``execute_complete`` gets the event then.
        :param tick: is called every second of a wait in the worker.
        :raises TaskDeferred: in the triggerer, then.
        :raises StoppedError: the task is being killed.
        """
        from airflow_provider_hubprefs.hubspot.errors import StoppedError

        if deferrable:
            self.defer(trigger=trigger, method_name="execute_complete", timeout=trigger.defer_timeout)
        killed: Future[None] = self._killed or Future()
        # In a thread of its own: what a signal handler raises in the task's thread must not end in the loop's code.
        with ThreadPoolExecutor(1, thread_name_prefix="hubprefs-wait") as threads:
            ended = threads.submit(lambda: asyncio.run(_outcome(trigger, killed)))
            try:
                while not wait([ended], timeout=1.0).done:
                    tick()
                return ended.result()
            except asyncio.CancelledError:
                raise StoppedError("stopped while the task waited for HubSpot") from None
            except BaseException:
                self.on_kill()
                raise


async def _outcome(
    trigger: HubPrefsBatchTrigger | HubPrefsOperationTrigger, killed: Future[None]
) -> dict[str, Any]:
    """Run a trigger until its event, or until the task is killed."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel(_: Future[None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the wait is over
            loop.call_soon_threadsafe(task.cancel)  # type: ignore[union-attr]

    killed.add_done_callback(cancel)
    return await trigger.outcome()


class BatchWait:
    """One try's wait for pending rows; a :data:`~airflow_provider_hubprefs.bulk.send.pending_wait.PendingWait`.

    :param task: whose wait it is.
    :param write: what was sent.
    :param event: what ended the wait before, where the task resumes after one.
    :param deferrable: whether the triggerer waits.
    """

    elsewhere = False
    """Whether the triggerer has taken over: the run is not over."""

    def __init__(
        self, task: WaitingBase, hook: HubPrefsHook, write: Write, event: Any, *, deferrable: bool
    ) -> None:
        self.task, self.hook, self.write, self.event, self.deferrable = task, hook, write, event, deferrable

    def __call__(self, rows: Sequence[Row], tick: Callable[[], None]) -> WaitEnd | None:
        """Wait for some rows.

        :param tick: is called every second of a wait in the worker.
        :raises TaskDeferred: in the triggerer, then.
        :raises AirflowTaskTimeout: the task's ``execution_timeout`` has passed.
        :raises StoppedError: the task is being killed.
        """
        from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd
        from airflow_provider_hubprefs.triggers import events
        from airflow_provider_hubprefs.triggers.batch import HubPrefsBatchTrigger

        deadline = self.event.get("deadline")
        if self.event.get("status") == events.TIMEOUT or (deadline is not None and time.time() >= deadline):
            return WaitEnd.LEFT_TO_RETRY
        _log.info(
            "HubSpot has not finished with all rows; the task waits, by asking about %d of them", len(rows)
        )
        if self.task.deferrable and not self.deferrable:
            _log.warning(
                "The task waits in the worker: to resume after a wait in the triggerer it needs a source that can be "
                "read again, and checkpoint storage: Airflow's task state store (3.3) or an output folder"
            )
        arguments = self.task.trigger_arguments(self.hook)
        if deadline is not None:  # of this try, whose earlier wait has ended
            arguments.update({name: self.event.get(name) for name in ("deadline", "execution_deadline")})
        subscriptions = [self.write.subscription_of(row) for row in rows]
        alike = [
            row for row, one in zip(rows, subscriptions, strict=True) if bool(one) is bool(subscriptions[0])
        ]
        trigger = HubPrefsBatchTrigger(
            encrypted=" ".join(self.hook.encrypt_address(row.subscriber) for row in alike),
            subscription_id=subscriptions[0],
            **arguments,
        )
        self.elsewhere = self.deferrable
        self.event = self.task.wait_for(trigger, deferrable=self.deferrable, tick=tick)
        if self.event["status"] == events.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout
        return None
