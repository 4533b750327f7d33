"""The errors: HubSpot refused, the connection failed, or the request was wrong.

No text of them carries an address. They are plain exceptions, so that this layer needs no Airflow: operators and
sensors raise Airflow's instead (``airflow_provider_hubprefs.exceptions``), the hook raises these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class HubSpotError(Exception):
    """Base of everything this package raises about HubSpot.

    :param message: what happened, what was expected and what to do, without an address.
    :param status: HTTP status, or None when there was no answer.
    :param category: HubSpot's ``category`` (or ``errorType``), such as VALIDATION_ERROR. The set is open.
    :param correlation_id: what HubSpot's support asks for.
    :param retry_after: seconds HubSpot asked to wait, or None when it did not say.
    :param retryable: whether the same call may succeed a little later.
    :param not_applied: whether it is certain that HubSpot did not act on the call.
    """

    permanent = False
    """True if a person has to change something first: repeating the task cannot help."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        category: str | None = None,
        correlation_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool = False,
        not_applied: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.correlation_id = correlation_id
        self.retry_after = retry_after
        self.retryable = retryable
        self.not_applied = not_applied


class SettingsError(HubSpotError):
    """A token, host or setting that cannot work; raised before any request."""

    permanent = True


class AuthenticationError(HubSpotError):
    """The credentials are not accepted (401, or HubSpot's 403 that is not about scopes).

    ``permanent`` is False for a 401 that is not HubSpot's own.
    """

    permanent = True


class MissingScopesError(HubSpotError):
    """The token lacks scopes (403 MISSING_SCOPES).

    :param scopes: what HubSpot asks for; any one of them is enough, unless the text says otherwise.
    """

    permanent = True

    def __init__(self, message: str, *, scopes: Iterable[str] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.scopes = tuple(scopes)


class ValidationError(HubSpotError):
    """HubSpot calls the request wrong (400 and similar), or this package did before sending it."""

    permanent = True


class NotFoundError(HubSpotError):
    """HubSpot does not know the thing asked for (404)."""

    permanent = True


class ConflictError(HubSpotError):
    """The request contradicts what is there (409)."""


class LockedError(HubSpotError):
    """Too many changes of the same data at once (423); HubSpot asks to wait 2 s or more."""


class BurstLimitError(HubSpotError):
    """More requests in a few seconds than the account allows (429)."""


class DailyLimitError(HubSpotError):
    """The account's requests of this day are used up (429, policy DAILY)."""


class MigratingError(HubSpotError):
    """The account is being moved between data centres (477); ``retry_after`` may be as long as 24 h."""


class ServerError(HubSpotError):
    """HubSpot, or Cloudflare before it, failed (5xx)."""


class ConnectionFailedError(HubSpotError):
    """No answer: name look-up, connection, TLS or time-out."""


class ForeignAnswerError(HubSpotError):
    """A proxy, a firewall or an edge answered: 3xx, or 4xx without HubSpot's error body. It decides no row."""


class BudgetWaitError(BurstLimitError):
    """The account's budget has no request left for this call in the time that it has; nothing was sent."""


class MalformedAnswerError(HubSpotError):
    """The answer is not what HubSpot's contract says: no JSON, cut off, too long, fields missing."""


class OperationCanceledError(HubSpotError):
    """HubSpot canceled the operation; its results do not count."""


class StaleReadingError(HubSpotError):
    """The time until which a call may leave is over: what it rests on was read too long ago. It was not sent."""


class StoppedError(HubSpotError):
    """The client was stopped: the task is being killed."""
