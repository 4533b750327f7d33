"""Wait for an operation in the triggerer. The trigger only reads, and never blocks the event loop."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_hubprefs.bulk.send.operation_wait import OperationWait
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, OperationCanceledError
from airflow_provider_hubprefs.hubspot.polling.poller import BUDGET_SHARE, shared_poller
from airflow_provider_hubprefs.hubspot.privacy import decrypt_address
from airflow_provider_hubprefs.triggers import GRACE, events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient

RETRY_TOTAL = 30.0
"""Seconds. A poll that fails is followed by another, so its own retries may end early."""

_SHORTEST_PAUSE = 0.1
_JITTER = 0.2
"""Share of a pause that is left out at random, so that waits that began together do not stay together."""

_MOST_BACKOFF = 4
"""Intervals; the longest pause after failures in a row."""


class HubPrefsOperationTrigger(BaseTrigger):
    """Ask until the operation on one subscriber is over, then yield one event, without an address.

    Triggers of one process that ask the same on one connection share requests, up to 100 subscribers in each; see
    :mod:`~airflow_provider_hubprefs.hubspot.polling.poller`.

    The deadlines are on the wall clock, because they must survive a restart of the triggerer. The pauses are on the
    event loop's clock, so that a wall clock that jumps does not stretch them. HubSpot is asked again at most one
    ``poke_interval`` after the last answer; later after failures, and with ``exponential_backoff``.

    A later release makes triggers of what this one stored: every argument has a default, and none is ever removed.

    :param encrypted: the subscriber, encrypted with the connection's credentials, see
        :meth:`~airflow_provider_hubprefs.hooks.hubprefs.HubPrefsHook.encrypt_address`: Airflow 3 keeps a
        trigger's arguments in its database and logs them in clear at DEBUG.
    :param subscription_id: see :class:`~.bulk.send.operation_wait.OperationWait`, also for the next three.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    :param poke_interval: seconds.
    :param exponential_backoff: whether the pauses double.
    :param max_wait: seconds; the longest pause.
    :param max_transient_failures: so many polls in a row may fail for reasons that pass.
    :param failures: polls that failed in a row before this trigger began.
    :param deadline: epoch seconds; then the trigger asks once more and gives up. None: never.
    :param execution_deadline: epoch seconds; then the trigger gives up at once. None: never.
    :param max_budget_share: of the account's budget for all waits of a process together, at most.
    """

    def __init__(
        self,
        *,
        encrypted: str = "",
        subscription_id: int | None = None,
        business_unit_id: int | None = None,
        expect: str | None = None,
        fail_on_canceled: bool = True,
        hubprefs_conn_id: str = HubPrefsHook.default_conn_name,
        api_version: str | None = None,
        poke_interval: float = 60.0,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        max_transient_failures: int = 5,
        failures: int = 0,
        deadline: float | None = None,
        execution_deadline: float | None = None,
        max_budget_share: float = BUDGET_SHARE,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._arguments = {
            "encrypted": encrypted,
            "subscription_id": subscription_id,
            "business_unit_id": business_unit_id,
            "expect": expect,
            "fail_on_canceled": fail_on_canceled,
            "hubprefs_conn_id": hubprefs_conn_id,
            "api_version": api_version,
            "poke_interval": poke_interval,
            "exponential_backoff": exponential_backoff,
            "max_wait": max_wait,
            "max_transient_failures": max_transient_failures,
            "failures": failures,
            "deadline": deadline,
            "execution_deadline": execution_deadline,
            "max_budget_share": max_budget_share,
        }
        self.wait = OperationWait(
            subscriber="",
            subscription_id=subscription_id,
            business_unit_id=business_unit_id,
            expect=expect,
            fail_on_canceled=fail_on_canceled,
        )
        self.encrypted = encrypted
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.max_transient_failures = max_transient_failures
        self.failures = failures
        self.deadline = deadline
        self.execution_deadline = execution_deadline
        self.max_budget_share = max_budget_share
        self._logged = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, always in this order."""
        return (
            "airflow_provider_hubprefs.triggers.operation.HubPrefsOperationTrigger",
            dict(self._arguments),
        )

    @property
    def defer_timeout(self) -> timedelta | None:
        """How long Airflow should wait for the event; None: without end."""
        return defer_timeout_of(self.deadline, self.execution_deadline)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, and end."""
        yield TriggerEvent(await self.outcome())  # type: ignore[no-untyped-call]

    async def outcome(self) -> dict[str, Any]:
        """Wait, and return the event; see :mod:`~airflow_provider_hubprefs.triggers.events`."""
        limit = asyncio.timeout(seconds_left(self.execution_deadline))
        try:
            async with limit:
                event = await self._until_over()
        except OperationCanceledError as error:
            event = events.over(events.CANCELED, error=error)
        except Exception as error:  # noqa: BLE001 - the task raises it, without an address in it
            timed_out = isinstance(error, TimeoutError) and limit.expired()
            event = (
                events.over(events.EXECUTION_TIMEOUT) if timed_out else events.over(events.ERROR, error=error)
            )
        return {**event, "deadline": self.deadline, "execution_deadline": self.execution_deadline}

    async def _until_over(self) -> dict[str, Any]:
        self.wait.check()
        retry_total = min(RETRY_TOTAL, max(self.poke_interval, 0))
        hook = HubPrefsHook(
            self.hubprefs_conn_id,
            self.api_version,
            settings={"retry_total": retry_total},
            max_budget_share=self.max_budget_share,
        )
        async with shared_poller(
            question=self.wait.question,
            connection=(self.hubprefs_conn_id, self.api_version, retry_total, self.max_budget_share),
            connect=hook.aget_client,
        ) as poller:
            client = await poller.connection.client()
            self.wait = wait = replace(self.wait, subscriber=self._decrypt(client))
            pause, polls = 0.0, 0
            while True:
                last = seconds_left(self.deadline) == 0
                try:
                    operation = await poller.ask(wait.subscriber, after=pause)
                except HubSpotError as error:
                    self.failures, text = wait.tolerate(
                        error, failures=self.failures, most=self.max_transient_failures
                    )
                    self._log_news(text, warn=True)
                else:
                    self.failures = 0
                    answer = wait.interpret(operation)
                    if answer.error is not None:
                        raise answer.error
                    if answer.done:
                        return events.over(events.SUCCESS, result=answer.result)
                    self._log_news(answer.text, warn=answer.unknown_status)
                if last:
                    return events.over(events.TIMEOUT)
                pause = self._pause(polls)
                polls += 1

    def _decrypt(self, client: AsyncClient) -> str:
        """Decrypt the subscriber with the credentials that the connection has in this process."""
        try:
            return decrypt_address(self.encrypted, key=client.auth.identity())
        except ValueError:
            raise HubSpotError(
                f"connection {self.hubprefs_conn_id!r} has new credentials, and the subscriber was encrypted with the "
                "old ones when the task began to wait: run the task again"
            ) from None

    def _pause(self, polls: int) -> float:
        """Seconds until HubSpot is asked again, which is not later than the deadline."""
        factor = 2.0 ** min(polls, 30) if self.exponential_backoff else 1.0
        factor = max(factor, min(self.failures + 1, _MOST_BACKOFF))
        pause = max(self.poke_interval, _SHORTEST_PAUSE) * factor
        if self.max_wait is not None:
            pause = min(pause, max(self.max_wait, _SHORTEST_PAUSE))
        pause *= random.uniform(1 - _JITTER, 1)  # noqa: S311 - jitter, no secret
        left = seconds_left(self.deadline)
        return pause if left is None else min(pause, left)

    def _log_news(self, text: str, *, warn: bool) -> None:
        """Log what is new: a thousand waits would fill the log with equal lines."""
        if text != self._logged:
            self._logged = text
            (self.log.warning if warn else self.log.info)("%s", text)


def defer_timeout_of(*deadlines: float | None) -> timedelta | None:
    """How long Airflow should wait for an event that comes at the first of some deadlines; None: without end."""
    ends = [end for end in deadlines if end is not None]
    return timedelta(seconds=seconds_left(min(ends)) or 0.0) + GRACE if ends else None


def seconds_left(deadline: float | None) -> float | None:
    """Seconds until a deadline, at least 0; None where there is none."""
    return None if deadline is None else max(0.0, deadline - time.time())
