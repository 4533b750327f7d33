"""The event that ends a wait: what the trigger puts in, and how the task reads it.

An event is JSON without an address, because Airflow logs it. It holds all that the task needs to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.compat import AirflowNotFoundException
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException, airflow_errors
from airflow_provider_hubprefs.hubspot import errors
from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping

SUCCESS, CANCELED, ERROR = "success", "canceled", "error"
TIMEOUT, EXECUTION_TIMEOUT = "timeout", "execution_timeout"
_DETAILS = ("status", "category", "correlation_id", "retry_after", "retryable", "not_applied")


def over(
    status: str, *, result: Mapping[str, Any] | None = None, error: Exception | None = None
) -> dict[str, Any]:
    """Make an event.

    :param status: one of those above.
    :param result: that the task returns.
    :param error: that the task raises.
    """
    return {
        "status": status,
        "result": None if result is None else dict(result),
        "error": None if error is None else error_to_json(error),
    }


@airflow_errors()
def result_of(event: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the result of a wait, in the task that goes on, or raise its error. The task handles time-outs before.

    :raises HubPrefsFailException: HubSpot canceled the operation, or waiting does not help against the error.
    :raises HubPrefsException: any other error, also an event of an unknown status.
    :raises AirflowNotFoundException: the connection was removed meanwhile.
    """
    if event is None or event.get("status") not in {SUCCESS, CANCELED, ERROR}:
        status = None if event is None else event.get("status")
        raise HubPrefsException(f"the wait ended with an event of an unknown status: {status!r}")
    if event["status"] == SUCCESS:
        return dict(event["result"])
    kind, message = event["error"]["type"], event["error"]["message"]
    if kind == AirflowNotFoundException.__name__:
        raise AirflowNotFoundException(message)
    error = error_from_json(event["error"])
    if event["status"] == CANCELED:
        # Final: soft_fail skips, and a retry would only wait for the same.
        raise HubPrefsFailException(message, error=error)
    if error is None:
        raise HubPrefsException(f"{kind}: {message}")
    raise error


def error_to_json(error: Exception) -> dict[str, Any]:
    """Write an error as JSON, without an address.

    :param error: of any kind; of a HubSpotError all details are kept.
    """
    details = {name: getattr(error, name) for name in _DETAILS} if isinstance(error, HubSpotError) else {}
    return {"type": type(error).__name__, "message": scrub(str(error)), **details}


def error_from_json(found: Mapping[str, Any]) -> HubSpotError | None:
    """Make the error that :func:`error_to_json` wrote; None: it was not a HubSpotError."""
    kind = getattr(errors, str(found.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, HubSpotError)):
        return None
    return kind(str(found.get("message")), **{name: found[name] for name in _DETAILS if name in found})
