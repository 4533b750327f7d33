"""Wait in the triggerer for a bulk run: a few of its subscribers stand for all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.polling.poller import BUDGET_SHARE
from airflow_provider_hubprefs.triggers import events
from airflow_provider_hubprefs.triggers.operation import (
    HubPrefsOperationTrigger,
    defer_timeout_of,
    seconds_left,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta


class HubPrefsBatchTrigger(BaseTrigger):
    """Ask until the operations on some subscribers are over, then yield one event, without an address. It only reads.

    The task then asks what became of all pending rows. An error therefore ends the wait for a subscriber like any
    other end: the task meets the error, too. HubSpot is asked first one ``poke_interval`` after the beginning.

    A later release makes triggers of what this one stored: every argument has a default, and none is ever removed.

    :param encrypted: the subscribers, each encrypted with the connection's credentials, separated by spaces; see
        :meth:`~airflow_provider_hubprefs.hooks.hubprefs.HubPrefsHook.encrypt_address`.
    :param subscription_id: one that the run wrote; None where it wrote opt-outs.
    :param business_unit_id: brand.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    :param poke_interval: seconds.
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
        hubprefs_conn_id: str = HubPrefsHook.default_conn_name,
        api_version: str | None = None,
        poke_interval: float = 60.0,
        deadline: float | None = None,
        execution_deadline: float | None = None,
        max_budget_share: float = BUDGET_SHARE,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.encrypted = encrypted
        self.deadline = deadline
        self.execution_deadline = execution_deadline
        self._shared_arguments: dict[str, Any] = {
            "subscription_id": subscription_id,
            "business_unit_id": business_unit_id,
            "hubprefs_conn_id": hubprefs_conn_id,
            "api_version": api_version,
            "poke_interval": poke_interval,
            "deadline": deadline,
            "execution_deadline": execution_deadline,
            "max_budget_share": max_budget_share,
        }
        self._first_pause = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, always in this order."""
        return (
            "airflow_provider_hubprefs.triggers.batch.HubPrefsBatchTrigger",
            {"encrypted": self.encrypted, **self._shared_arguments},
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
        ends = [seconds_left(end) for end in (self.deadline, self.execution_deadline)]
        await asyncio.sleep(min([self._first_pause, *(left for left in ends if left is not None)]))
        waits = [
            HubPrefsOperationTrigger(encrypted=one, fail_on_canceled=False, **self._shared_arguments)
            for one in self.encrypted.split()
        ]
        ended = {event["status"] for event in await asyncio.gather(*(wait.outcome() for wait in waits))}
        status = events.SUCCESS
        if ended & {events.EXECUTION_TIMEOUT, events.TIMEOUT}:
            status = events.EXECUTION_TIMEOUT if events.EXECUTION_TIMEOUT in ended else events.TIMEOUT
        over = events.over(status, result={"asked_about": len(waits)})
        return {**over, "deadline": self.deadline, "execution_deadline": self.execution_deadline}
