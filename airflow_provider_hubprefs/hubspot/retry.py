"""When a failed call is sent again, and how long that waits: one policy for the sync and the async client.

HubSpot's guide "Error handling" names what to retry; ``Retry-After`` is documented for 477 only and may be
absent on 429. A call that must not be repeated (v3's writes) is only sent again when it is certain that
HubSpot did not act on it.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.errors import (
    HubSpotError,
    LockedError,
    MalformedAnswerError,
    MigratingError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

    from airflow_provider_hubprefs.hubspot.endpoints import Endpoint
    from airflow_provider_hubprefs.hubspot.settings import Settings

_LOCKED_WAIT = 2.0
"""Seconds; what HubSpot asks for after a 423."""

_MALFORMED_ATTEMPTS = 3
"""A cut-off answer passes; one that stays unreadable does not get better in five minutes."""


def retry_policy(
    settings: Settings,
    endpoint: Endpoint,
    *,
    before_sleep: Callable[[RetryCallState], None],
    since: float | None = None,
) -> dict[str, Any]:
    """Arguments for ``tenacity.Retrying`` or ``tenacity.AsyncRetrying``.

    :param settings: how long, at most.
    :param endpoint: tells whether the call may be repeated.
    :param before_sleep: told of every failure that is waited for.
    :param since: monotonic seconds of the first attempt's beginning, where it was made before.
    """
    earlier = 0.0 if since is None else time.monotonic() - since
    return {
        "retry": lambda state: _again(_error(state), endpoint, state.attempt_number, settings),
        "wait": lambda state: wait_before(_error(state), state.attempt_number, settings),
        "stop": lambda state: _too_late(state, settings, earlier),
        "before_sleep": before_sleep,
        "reraise": True,
    }


def wait_before(error: BaseException | None, attempt: int, settings: Settings) -> float:
    """Seconds to wait after a failed attempt.

    Exponential with full jitter on its upper half; what HubSpot asks for is the least, with up to a tenth on
    top, so that those who wait for the same moment do not come back together. (It may ask for 0 seconds, time
    and again.)

    :param error: why the attempt failed.
    :param attempt: its number, from 1.
    """
    exponential: float = min(settings.retry_max_wait, settings.retry_first_wait * 2.0 ** min(attempt - 1, 30))
    wait = exponential * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
    asked = error.retry_after if isinstance(error, HubSpotError) else None
    if asked is not None:
        return max(wait, asked * random.uniform(1.0, 1.1))  # noqa: S311 - jitter, no secret
    return max(wait, _LOCKED_WAIT) if isinstance(error, LockedError) else wait


def _again(error: BaseException | None, endpoint: Endpoint, attempt: int, settings: Settings) -> bool:
    if not isinstance(error, HubSpotError) or not error.retryable:
        return False
    if isinstance(error, MigratingError) and (error.retry_after or 0) > settings.migrating_max_wait:
        return False
    if isinstance(error, MalformedAnswerError) and attempt >= _MALFORMED_ATTEMPTS:
        return False
    return endpoint.repeatable or error.not_applied


def _too_late(state: RetryCallState, settings: Settings, earlier: float) -> bool:
    """Whether the next attempt would start after the time is over; a migration has its own limit.

    The waits count as they were asked for, too: a ``sleep`` that returns early must not make the time endless.
    """
    total = settings.retry_total
    if isinstance(_error(state), MigratingError):
        total = max(total, settings.migrating_max_wait * 1.1)
    return earlier + max(state.seconds_since_start or 0.0, state.idle_for) + state.upcoming_sleep > total


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
