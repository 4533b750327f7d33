"""When a failed call is sent again, and how long that waits: one policy for both clients.

HubSpot's guide "Error handling" names what to retry; ``Retry-After`` is documented for 477 only and may be
absent on 429. Every call may be repeated: HubSpot answers a repeated write with NO_STATUS_CHANGE.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying

from airflow_provider_hubprefs.hubspot.errors import (
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

_MALFORMED_ATTEMPTS = 3
"""The next answer may be whole after one that was cut off; a third unreadable one means that none will be."""


def retrying(
    settings: Settings,
    *,
    sleep: Callable[[float], Awaitable[None]],
    before_sleep: Callable[[RetryCallState], None],
) -> AsyncRetrying:
    """Make the policy for one call.

    :param settings: how long to retry.
    :param sleep: waits that many seconds.
    :param before_sleep: called for every failure that will be retried.
    """
    return AsyncRetrying(
        sleep=sleep,
        retry=lambda state: _may_pass(_error(state), state.attempt_number, settings),
        wait=lambda state: wait_before(_error(state), state.attempt_number, settings),
        stop=lambda state: _too_late(state, settings),
        before_sleep=before_sleep,
        reraise=True,
    )


def wait_before(error: BaseException | None, attempt: int, settings: Settings) -> float:
    """Seconds to wait after a failed attempt.

    Exponential, with jitter on the upper half. HubSpot's ``Retry-After`` is the minimum, with up to a tenth more, so
    that clients with the same time do not return together. (It may be 0 seconds, again and again.)

    :param error: why the attempt failed.
    :param attempt: its number, from 1.
    """
    exponential: float = min(settings.retry_max_wait, settings.retry_first_wait * 2.0 ** min(attempt - 1, 30))
    wait = exponential * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
    asked = error.retry_after if isinstance(error, HubSpotError) else None
    if asked is not None:
        return max(wait, asked * random.uniform(1.0, 1.1))  # noqa: S311 - jitter, no secret
    return max(wait, _LOCKED_WAIT) if isinstance(error, LockedError) else wait


def _may_pass(error: BaseException | None, attempt: int, settings: Settings) -> bool:
    if not isinstance(error, HubSpotError) or not error.retryable:
        return False
    if isinstance(error, MigratingError):
        return (error.retry_after or 0) <= settings.migrating_max_wait
    return attempt < _MALFORMED_ATTEMPTS or not isinstance(error, MalformedAnswerError)


def _too_late(state: RetryCallState, settings: Settings) -> bool:
    """Whether the next attempt would start after the time is over; a migration has its own limit.

    The waits that were asked for count as well: a ``sleep`` that returns early must not make the time endless.
    """
    total = settings.retry_total
    if isinstance(_error(state), MigratingError):
        total = max(total, settings.migrating_max_wait * 1.1)
    return max(state.seconds_since_start or 0.0, state.idle_for) + state.upcoming_sleep > total


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
