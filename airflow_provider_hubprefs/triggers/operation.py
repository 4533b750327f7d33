"""Wait for an operation in the triggerer: it only reads, and never blocks the loop."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_hubprefs.arguments import normalised_subscriber, whole_number
from airflow_provider_hubprefs.bulk.waiting import Wait
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, OperationCanceledError
from airflow_provider_hubprefs.hubspot.polling import BUDGET_SHARE, waiting
from airflow_provider_hubprefs.hubspot.privacy import decrypt_address, mask
from airflow_provider_hubprefs.triggers import GRACE, events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Environment

    from airflow_provider_hubprefs.hubspot.aio import AsyncClient
    from airflow_provider_hubprefs.hubspot.polling import Wait as Place

RETRY_TOTAL = 30.0
"""Seconds; a poll that fails is followed by another, so its own retries may end early."""

_LEAST_INTERVAL = 0.1
_JITTER = 0.2
"""So much of an interval is given up at most, so that many that began together do not go on together."""

_MOST_BACKOFF = 4
"""Intervals; how long a pause after failures in a row gets at most."""


class HubPrefsOperationTrigger(BaseTrigger):
    """Ask until the operation on one subscriber is over, then say so by one event, without an address.

    Triggers of one process that ask the same on one connection ask together: up to 100 in a request, see
    :mod:`~airflow_provider_hubprefs.hubspot.polling`.

    The deadlines are on the wall clock, as a restart must not forget them; the pauses are the loop's own, so that
    a clock that jumps does not stretch them. The next question comes one ``poke_interval`` after the last at the
    latest; after failures, or with ``exponential_backoff``, later.

    Rows of a release before are made anew from what it stored: every argument has a default, and none is ever
    taken away.

    :param subscriber: normalised; left out where there is ``sealed``, which tasks give instead.
    :param subscription_id: see :class:`~airflow_provider_hubprefs.bulk.waiting.Wait`, also for the next three.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    :param poke_interval: seconds.
    :param exponential_backoff: whether the pauses double.
    :param max_wait: seconds; the longest of them.
    :param max_transient_failures: so many polls in a row may fail for reasons that pass.
    :param failures: so many have, before this trigger began.
    :param deadline: epoch seconds; then it asks once more and gives up. None: never.
    :param execution_deadline: epoch seconds; then it gives up at once. None: never.
    :param max_budget_share: so much of the account's budget for all waits of a process together, at most.
    :param sealed: the subscriber, encrypted with the connection's credentials, see
        :meth:`~airflow_provider_hubprefs.hooks.hubprefs.HubPrefsHook.encrypt_address`: Airflow 3 keeps a trigger's
        arguments in its database and at DEBUG logs them, in clear.
    :param templated: the task begins here: the arguments are templates still, and the connection's brand holds.
    :param timeout: seconds from the task's beginning to its deadline, where it begins here.
    :param execution_timeout: the same for its execution deadline. None: never.
    """

    def __init__(
        self,
        *,
        subscriber: str = "",
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
        sealed: str = "",
        templated: bool = False,
        timeout: float | None = None,
        execution_timeout: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wait = Wait(
            subscriber=subscriber,
            subscription_id=subscription_id,
            business_unit_id=business_unit_id,
            expect=expect,
            fail_on_canceled=fail_on_canceled,
        )
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
        self.sealed = sealed
        self.templated = templated
        self.timeout = timeout
        self.execution_timeout = execution_timeout
        self._stored = {
            **asdict(self.wait),
            "subscriber": "" if sealed else subscriber,
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
            "sealed": sealed,
            "templated": templated,
            "timeout": timeout,
            "execution_timeout": execution_timeout,
        }
        self._unrendered: Exception | None = None
        self._told = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, always in this order."""
        return (
            "airflow_provider_hubprefs.triggers.operation.HubPrefsOperationTrigger",
            dict(self._stored),
        )

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """Render the arguments of a task that begins here; Airflow asks for it before :meth:`run`.

        An error is kept for the event that ends the wait.
        """
        if not self.templated:
            return
        env = jinja_env or self.get_template_env()

        def rendered(value: Any) -> Any:
            return self.render_template(value, context, env)

        try:
            self.wait = Wait(**{name: rendered(value) for name, value in asdict(self.wait).items()})
            self.hubprefs_conn_id, self.api_version = (
                rendered(self.hubprefs_conn_id),
                rendered(self.api_version),
            )
        except Exception as error:  # noqa: BLE001 - whatever a template raises, the task says it, scrubbed
            self._unrendered = error

    def __repr__(self) -> str:
        classpath, kwargs = self.serialize()
        return str(self.repr(classpath, {**kwargs, "subscriber": mask(kwargs["subscriber"])}))

    @property
    def patience(self) -> timedelta | None:
        """How long Airflow should wait for the event; None: for ever."""
        return patience_of(self.deadline, self.execution_deadline)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, and end."""
        yield TriggerEvent(await self.outcome())  # type: ignore[no-untyped-call]

    async def outcome(self) -> dict[str, Any]:
        """Wait, and say what came of it; see :mod:`~airflow_provider_hubprefs.triggers.events`."""
        if self.templated:
            self._set_deadlines()
        try:
            event = await self._bounded()
        except OperationCanceledError as error:
            event = events.over(events.CANCELED, error=error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the task says it, scrubbed
            event = events.over(events.ERROR, error=error)
        return {**event, "deadline": self.deadline, "execution_deadline": self.execution_deadline}

    async def _bounded(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds_left(self.execution_deadline)) as execution:
                return await self._until_over()
        except TimeoutError:
            if not execution.expired():
                raise
            return events.over(events.EXECUTION_TIMEOUT)

    def _set_deadlines(self) -> None:
        """Count from the task's beginning; Airflow's own time-out, which is so much later, survives a restart."""
        begun = time.time()
        if (end := getattr(self, "timeout_after", None)) is not None:
            own = math.inf if self.timeout is None else self.timeout + GRACE.total_seconds()
            limit = math.inf if self.execution_timeout is None else self.execution_timeout
            begun = end.timestamp() - min(own, limit)
        if self.timeout is not None:
            self.deadline = begun + self.timeout
        if self.execution_timeout is not None:
            self.execution_deadline = begun + self.execution_timeout

    async def _begin(self) -> None:
        """Make of the rendered arguments what a task would.

        :raises ValidationError: one of them cannot work.
        """
        if self._unrendered is not None:
            raise self._unrendered
        wait = self.wait
        number = wait.subscription_id
        hook = HubPrefsHook(self.hubprefs_conn_id, business_unit_id=wait.business_unit_id)
        self.wait = replace(
            wait,
            subscriber=await asyncio.to_thread(normalised_subscriber, wait.subscriber),
            subscription_id=None if number is None else whole_number("subscription_id", number),
            business_unit_id=await hook.aget_business_unit_id(),
            expect=wait.expect or None,
        )

    async def _until_over(self) -> dict[str, Any]:
        if self.templated:
            await self._begin()
        self.wait.check()
        retry_total = min(RETRY_TOTAL, max(self.poke_interval, 0))

        async def connect() -> AsyncClient:
            settings = {"retry_total": retry_total}
            hook = HubPrefsHook(self.hubprefs_conn_id, self.api_version, settings=settings)
            return await hook.aget_client()

        async with waiting(
            self._subscriber,
            question=self.wait.question,
            connection=(self.hubprefs_conn_id, self.api_version, retry_total),
            connect=connect,
            max_budget_share=self.max_budget_share,
        ) as place:
            pause, polls = 0.0, 0
            while True:
                last = seconds_left(self.deadline) == 0
                if (event := await self._poll(place, pause)) is not None:
                    return event
                if last:
                    return events.over(events.TIMEOUT)
                pause = self._pause(polls)
                polls += 1

    def _subscriber(self, client: AsyncClient) -> str:
        """Whom to ask about; the seal is the connection's, whose credentials this process has to look up."""
        if self.sealed:
            try:
                subscriber = decrypt_address(self.sealed, key=client.auth.identity())
            except ValueError:
                raise HubSpotError(
                    f"the credentials of connection {self.hubprefs_conn_id!r} are others than when the task began to "
                    "wait, and it was sealed with those whom it waits for: run the task again"
                ) from None
            self.wait = replace(self.wait, subscriber=subscriber)
        return self.wait.subscriber

    async def _poll(self, place: Place, pause: float) -> dict[str, Any] | None:
        """Ask once, after a pause; what it came to, or None while it is not over."""
        try:
            operation = await place.answer(after=pause)
        except HubSpotError as error:
            self.failures, text = self.wait.pardon(
                error, failures=self.failures, most=self.max_transient_failures
            )
            self._tell(text, warn=True)
            return None
        self.failures = 0
        answer = self.wait.judge(operation)
        if answer.error is not None:
            raise answer.error
        if answer.done:
            return events.over(events.SUCCESS, result=answer.result)
        self._tell(answer.text, warn=answer.strange)
        return None

    def _pause(self, polls: int) -> float:
        """Seconds to the next question, which is not later than the deadline."""
        factor = 2.0 ** min(polls, 30) if self.exponential_backoff else 1.0
        factor = max(factor, min(self.failures + 1, _MOST_BACKOFF))
        pause = max(self.poke_interval, _LEAST_INTERVAL) * factor
        if self.max_wait is not None:
            pause = min(pause, max(self.max_wait, _LEAST_INTERVAL))
        pause *= random.uniform(1 - _JITTER, 1)  # noqa: S311 - jitter, no secret
        left = seconds_left(self.deadline)
        return pause if left is None else min(pause, left)

    def _tell(self, text: str, *, warn: bool) -> None:
        """Log what is new; of a thousand waits nobody wants to read every poll."""
        if text != self._told:
            self._told = text
            (self.log.warning if warn else self.log.info)("%s", text)


def patience_of(*deadlines: float | None) -> timedelta | None:
    """How long Airflow should wait for an event that comes at the first of some deadlines; None: for ever."""
    ends = [end for end in deadlines if end is not None]
    return timedelta(seconds=seconds_left(min(ends)) or 0.0) + GRACE if ends else None


def seconds_left(deadline: float | None) -> float | None:
    """Seconds until a deadline, at least 0; None where there is none."""
    return None if deadline is None else max(0.0, deadline - time.time())
