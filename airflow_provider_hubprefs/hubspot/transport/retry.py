"""When a failed call is sent again, and how long that waits: one policy for both clients.

HubSpot's guide "Error handling" names what to retry; ``Retry-After`` is documented for 477 only and may be
absent on 429. Every call may be repeated: HubSpot answers a repeated write with NO_STATUS_CHANGE.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying

from airflow_provider_hubprefs.hubspot.errors import (
    BudgetWaitError,
    HubSpotError,
    LockedError,
    MalformedAnswerError,
    MigratingError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

    from airflow_provider_hubprefs.hubspot.transport.settings import Settings

_LOCKED_WAIT = 2.0
"""Seconds; what HubSpot asks for after a 423."""

_GATEWAY_STATUSES, _GATEWAY_FACTOR = frozenset({502, 504}), 4.0
"""HubSpot's guide "Error handling" asks for "a few seconds" after these: by default 2 to 4 s."""

_FIRST_SLOT = 10.0
"""Seconds that the first attempt may wait for the budget beyond ``retry_total``: a full window is no failure."""

_MALFORMED_ATTEMPTS = 3
"""The next answer may be whole after one that was cut off; a third unreadable one means that none will be."""


class CallTime:
    """What one call has spent of its time.

    Waits that were asked for count in full: a ``sleep`` that returns early must not make the time endless. A migration
    has a limit of its own, so that other failures after it still have ``retry_total``.

    :param settings: how long to retry.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._attempts = 0
        self._begin()

    def _begin(self) -> None:
        self._began, self._waited, self._migrating = time.monotonic(), 0.0, 0.0

    def attempt(self) -> None:
        """An attempt begins: ``retry_total`` counts from the first."""
        if not self._attempts:
            self._begin()
        self._attempts += 1

    def wait_for_budget(self, seconds: float) -> None:
        """Take a wait for the budget.

        :raises BudgetWaitError: it would take too long.
        """
        longest = self._settings.retry_total + (0.0 if self._attempts else _FIRST_SLOT)
        if self._elapsed() - self._migrating + seconds > longest:
            raise BudgetWaitError(
                f"the account's budget has no request left for {seconds:.0f} s: other runs or apps use it, or HubSpot "
                f"asked for a pause; this call may wait {longest:.0f} s (retry_total). Run the task again later",
                retryable=True,
                not_applied=True,
            )
        self._waited += seconds

    def is_over(self, error: BaseException | None, seconds: float) -> bool:
        """Whether the next attempt, after another wait of so many seconds, would start too late."""
        total = self._settings.retry_total
        if isinstance(error, MigratingError):
            return self._elapsed() + seconds > max(total, self._settings.migrating_max_wait * 1.1)
        return self._elapsed() - self._migrating + seconds > total

    def wait_after(self, error: BaseException | None, seconds: float) -> None:
        """Take a wait between two attempts."""
        self._waited += seconds
        if isinstance(error, MigratingError):
            self._migrating += seconds

    def _elapsed(self) -> float:
        return max(time.monotonic() - self._began, self._waited)


def retrying(
    settings: Settings,
    *,
    spent: CallTime | None = None,
    sleep: Callable[[float], Awaitable[None]],
    before_sleep: Callable[[RetryCallState], None],
) -> AsyncRetrying:
    """Make the policy for one call.

    :param settings: how long to retry.
    :param spent: of the call, which knows when attempts begin.
    :param sleep: waits that many seconds.
    :param before_sleep: called for every failure that will be retried.
    """
    spent = spent or CallTime(settings)

    def take_wait(state: RetryCallState) -> None:
        spent.wait_after(_error(state), state.upcoming_sleep)
        before_sleep(state)

    return AsyncRetrying(
        sleep=sleep,
        retry=lambda state: _may_pass(_error(state), state.attempt_number, settings),
        wait=lambda state: wait_before(_error(state), state.attempt_number, settings),
        stop=lambda state: spent.is_over(_error(state), state.upcoming_sleep),
        before_sleep=take_wait,
        reraise=True,
    )


def wait_before(error: BaseException | None, attempt: int, settings: Settings) -> float:
    """Seconds to wait after a failed attempt.

    Exponential, with jitter on the upper half. HubSpot's ``Retry-After`` is the minimum, with up to a tenth more, so
    that clients with the same time do not return together. (It may be 0 seconds, again and again.)

    :param error: why the attempt failed.
    :param attempt: its number, from 1.
    """
    first = settings.retry_first_wait
    if isinstance(error, HubSpotError) and error.status in _GATEWAY_STATUSES:
        first *= _GATEWAY_FACTOR
    exponential: float = min(settings.retry_max_wait, first * 2.0 ** min(attempt - 1, 30))
    wait = exponential * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
    asked = error.retry_after if isinstance(error, HubSpotError) else None
    if asked is not None:
        return max(wait, asked * random.uniform(1.0, 1.1))  # noqa: S311 - jitter, no secret
    return max(wait, _LOCKED_WAIT) if isinstance(error, LockedError) else wait


def _may_pass(error: BaseException | None, attempt: int, settings: Settings) -> bool:
    if not isinstance(error, HubSpotError) or not error.retryable or isinstance(error, BudgetWaitError):
        return False
    if isinstance(error, MigratingError):
        return (error.retry_after or 0) <= settings.migrating_max_wait
    return attempt < _MALFORMED_ATTEMPTS or not isinstance(error, MalformedAnswerError)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
