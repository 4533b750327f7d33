"""When Airflow tries a failed task again (Airflow 3.3 and later): when HubSpot is ready for it, and never in vain."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

    from airflow_provider_hubprefs.compat import Context
else:
    try:
        from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
    except ImportError:  # before 3.3; see __getattr__
        RetryDecision = RetryPolicy = None

_SOON = timedelta(minutes=1)
_SPREAD = timedelta(minutes=5)
"""Tasks of one account do not return together at midnight."""
_LONGEST = timedelta(days=1)
"""HubSpot asks for no longer wait; a proxy might, and no such number may keep a task from its retry."""


def __getattr__(name: str) -> Any:
    """Say why a class is missing on an older Airflow.

    :raises ImportError: it needs Airflow 3.3.
    """
    if name == "HubPrefsRetryPolicy":
        raise ImportError(f"{name} needs Airflow 3.3, which brought retry policies: leave retry_policy= out")
    raise AttributeError(name)


if RetryPolicy is not None:

    class HubPrefsRetryPolicy(RetryPolicy):
        """Decides about tasks that use HubSpot; the default of this package's operators and sensors.

        At once red where no retry helps (Airflow itself sees to that for the operators' exceptions; this is for the
        hook's). At HubSpot's time where it named one: ``Retry-After`` of 429, 423, 477, 5xx. Within 5 minutes after
        midnight of the account where the day's requests are used up. In a minute, or ``retry_delay`` if shorter,
        where rows are unconfirmed: the retry asks about these alone. Everything else as the task says. Where it
        replaces ``retry_delay``, the log and the task instance say why. It gives no retries: ``retries`` counts.
        ``retry_policy=`` of a task names another one.

        :param time_zone: of the HubSpot account, such as ``US/Eastern``; HubSpot shows it in Settings > Account
            Defaults. By default ``[hubprefs] time_zone`` of Airflow's configuration; without either, ``retry_delay``.
        """

        def __init__(self, *, time_zone: str | None = None) -> None:
            self.time_zone = time_zone

        def evaluate(
            self,
            exception: BaseException,
            try_number: int,
            max_tries: int,
            context: Context | None = None,
        ) -> RetryDecision:
            """Decide; sends nothing."""
            from airflow_provider_hubprefs.exceptions import HubPrefsException
            from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, HubSpotError

            error: BaseException | None = exception
            if isinstance(exception, HubPrefsException):
                error = exception.error
            if error is None:
                delay = getattr((context or {}).get("task"), "retry_delay", None) or _SOON
                return RetryDecision.retry(min(delay, _SOON), "HubSpot has not confirmed all rows: ask again")
            if not isinstance(error, HubSpotError):
                return RetryDecision.default()
            if error.permanent:
                return RetryDecision.fail(f"no retry helps: {error}")
            if isinstance(error, DailyLimitError):
                return self._after_midnight()
            if error.retry_after:
                asked = min(error.retry_after, _LONGEST.total_seconds())
                delay = timedelta(seconds=asked * random.uniform(1.0, 1.1))  # noqa: S311 - jitter
                return RetryDecision.retry(delay, f"HubSpot asked to wait {error.retry_after:g} s")
            return RetryDecision.default()

        def _after_midnight(self) -> RetryDecision:
            from airflow_provider_hubprefs.compat import conf

            name = self.time_zone or conf.get("hubprefs", "time_zone", fallback="")
            if not name:
                return RetryDecision(
                    reason="the day's requests return at midnight of the account: [hubprefs] time_zone would say when"
                )
            try:
                left = until_midnight(name, datetime.now(UTC))
            except (
                ZoneInfoNotFoundError,
                ValueError,
                OSError,
            ):  # a typo costs no retry: Airflow logs the reason
                return RetryDecision(
                    reason=f"time_zone: {name!r} is no time zone; expected a name such as US/Eastern. The task waits "
                    "as retry_delay says"
                )
            delay = left + random.random() * _SPREAD  # noqa: S311 - jitter
            return RetryDecision.retry(delay, f"HubSpot's requests of the day return at midnight, {name}")


def until_midnight(time_zone: str, now: datetime) -> timedelta:
    """How long it is until the next day begins somewhere, also where clocks change in between.

    :param time_zone: IANA's name.
    :param now: aware.
    :raises ZoneInfoNotFoundError: there is no such zone.
    """
    here = now.astimezone(ZoneInfo(time_zone))
    midnight = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), here.tzinfo)
    return midnight.astimezone(UTC) - now


def default_policy() -> Any:
    """Return the policy of tasks whose author named none; None where Airflow has no policies."""
    return None if RetryPolicy is None else HubPrefsRetryPolicy()
