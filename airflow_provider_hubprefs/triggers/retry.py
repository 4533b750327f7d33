"""How a watcher repeats what fails."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, wait_exponential

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_LONGEST_REST = 600.0
"""Seconds until the next try, however often it has failed."""

_DEFECTS = (
    TypeError,
    AttributeError,
    NameError,
    LookupError,
    AssertionError,
    ImportError,
    NotImplementedError,
)
"""Waiting does not help against these. The errors that pass have no common base: file systems have their own."""

_log = logging.getLogger(__name__)


async def retried(what: str, do: Callable[[], Awaitable[T]], *, rest: float, failures: int) -> T:
    """Repeat something until it succeeds, or has failed too often in a row.

    An error that waiting does not help against is raised after one rest: Airflow restarts a watcher that raises at
    once.

    :param what: has failed, for the log.
    :param rest: seconds until the second try; they double with each failure, up to ten minutes.
    :param failures: so many are tolerated; the next one is raised.
    """

    async def attempt() -> T:  # tenacity awaits coroutine functions only, not partials
        return await do()

    def wait(state: RetryCallState) -> float:
        longest = max(_LONGEST_REST, rest)
        return wait_exponential(multiplier=rest, max=longest)(state) * random.uniform(0.5, 1.0)  # noqa: S311

    def log(state: RetryCallState) -> None:
        _log.warning(
            "%s: %s (failure %d in a row, %d are tolerated; next try in %.0f s)",
            what,
            state.outcome and state.outcome.exception(),
            state.attempt_number,
            failures,
            state.upcoming_sleep,
        )

    policy = AsyncRetrying(
        sleep=asyncio.sleep,
        retry=lambda state: bool(state.outcome and _passes(state.outcome.exception())),
        wait=wait,
        stop=stop_after_attempt(failures + 1),
        before_sleep=log,
        reraise=True,
    )
    try:
        return await policy(attempt)
    except Exception as error:
        if not _passes(error):
            _log.error("%s: %s: %s", what, type(error).__name__, error)
            await asyncio.sleep(rest)
        raise


def _passes(error: BaseException | None) -> bool:
    from airflow_provider_hubprefs.watch.numbered_lists import ListError

    return isinstance(error, Exception) and not isinstance(error, (ListError, *_DEFECTS))
