"""Wait for an operation in the triggerer. The trigger only reads, and never blocks the event loop."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.send.operation_wait import OperationWait
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, OperationCanceledError
from airflow_provider_hubprefs.hubspot.polling.poller import BUDGET_SHARE, shared_poller
from airflow_provider_hubprefs.hubspot.privacy import decrypt_address
from airflow_provider_hubprefs.triggers import RETRY_TOTAL, events
from airflow_provider_hubprefs.triggers._waiting import WaitTriggerBase, seconds_left

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient

_SHORTEST_PAUSE = 0.1
_JITTER = 0.2
"""Share of a pause that is left out at random, so that waits that began together do not stay together."""

_MOST_BACKOFF = 4
"""Intervals; the longest pause after failures in a row."""


@dataclass(kw_only=True, eq=False, repr=False)
class HubPrefsOperationTrigger(WaitTriggerBase):
    """Ask until the operation on one subscriber is over, then yield one event, without an address.

    Triggers of one process that ask the same on one connection share requests, up to 100 subscribers in each; see
    :mod:`~airflow_provider_hubprefs.hubspot.polling.poller`.

    The pauses are on the event loop's clock, so that a wall clock that jumps does not stretch them. HubSpot is asked
    again at most one ``poke_interval`` after the last answer; later after failures, and with ``exponential_backoff``.

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

    encrypted: str = ""
    subscription_id: int | None = None
    business_unit_id: int | None = None
    expect: str | None = None
    fail_on_canceled: bool = True
    hubprefs_conn_id: str = HubPrefsHook.default_conn_name
    api_version: str | None = None
    poke_interval: float = 60.0
    exponential_backoff: bool = False
    max_wait: float | None = None
    max_transient_failures: int = 5
    failures: int = 0
    deadline: float | None = None
    execution_deadline: float | None = None
    max_budget_share: float = BUDGET_SHARE

    def __post_init__(self) -> None:
        """What is waited for; the subscriber is decrypted later."""
        super().__post_init__()
        self.wait = OperationWait(
            subscriber="",
            subscription_id=self.subscription_id,
            business_unit_id=self.business_unit_id,
            expect=self.expect,
            fail_on_canceled=self.fail_on_canceled,
        )
        self._logged = ""

    async def outcome(self) -> dict[str, Any]:
        """Wait, and return the event; see :mod:`~airflow_provider_hubprefs.triggers.events`."""
        try:
            async with asyncio.timeout(seconds_left(self.execution_deadline)) as limit:
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
            pause, polls, failures = 0.0, 0, self.failures
            while True:
                last = seconds_left(self.deadline) == 0
                try:
                    operation = await poller.ask(wait.subscriber, after=pause)
                except HubSpotError as error:
                    failures, text = wait.tolerate(error, failures=failures, most=self.max_transient_failures)
                    self._log_news(text, warn=True)
                else:
                    failures = 0
                    answer = wait.interpret(operation)
                    if answer.error is not None:
                        raise answer.error
                    if answer.done:
                        return events.over(events.SUCCESS, result=answer.result)
                    self._log_news(answer.text, warn=answer.unknown_status)
                if last:
                    return events.over(events.TIMEOUT)
                pause = self._pause(polls, failures)
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

    def _pause(self, polls: int, failures: int) -> float:
        """Seconds until HubSpot is asked again, which is not later than the deadline."""
        factor = 2.0 ** min(polls, 30) if self.exponential_backoff else 1.0
        factor = max(factor, min(failures + 1, _MOST_BACKOFF))
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
