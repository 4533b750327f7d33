"""Wait in the triggerer for a bulk run: a few of its subscribers stand for all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.polling.poller import BUDGET_SHARE
from airflow_provider_hubprefs.triggers import events
from airflow_provider_hubprefs.triggers._waiting import WaitTriggerBase, seconds_left
from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger


@dataclass(kw_only=True, eq=False, repr=False)
class HubPrefsBatchTrigger(WaitTriggerBase):
    """Ask until the operations on some subscribers are over, then yield one event, without an address. It only reads.

    The task then asks what became of all pending rows. An error therefore ends the wait for a subscriber like any
    other end: the task meets the error, too. HubSpot is asked first one ``poke_interval`` after the beginning.

    The arguments are those of :class:`~airflow_provider_hubprefs.triggers.operation.HubPrefsOperationTrigger`, but for:

    :param encrypted: the subscribers, each encrypted with the connection's credentials, separated by spaces.
    :param subscription_id: one that the run wrote; None where it wrote opt-outs.
    """

    encrypted: str = ""
    subscription_id: int | None = None
    business_unit_id: int | None = None
    hubprefs_conn_id: str = HubPrefsHook.default_conn_name
    api_version: str | None = None
    poke_interval: float = 60.0
    deadline: float | None = None
    execution_deadline: float | None = None
    max_budget_share: float = BUDGET_SHARE

    async def outcome(self) -> dict[str, Any]:
        """Wait, and return the event; see :mod:`~airflow_provider_hubprefs.triggers.events`."""
        ends = [seconds_left(end) for end in (self.deadline, self.execution_deadline)]
        await asyncio.sleep(min([self.poke_interval, *(left for left in ends if left is not None)]))
        arguments = self.serialize()[1]
        subscribers = arguments.pop("encrypted").split()
        waits = [
            HubPrefsOperationTrigger(encrypted=one, fail_on_canceled=False, **arguments)
            for one in subscribers
        ]
        ended = {event["status"] for event in await asyncio.gather(*(wait.outcome() for wait in waits))}
        status = next(
            (end for end in (events.EXECUTION_TIMEOUT, events.TIMEOUT) if end in ended), events.SUCCESS
        )
        over = events.over(status, result={"asked_about": len(waits)})
        return {**over, "deadline": self.deadline, "execution_deadline": self.execution_deadline}
