"""What a trigger says when its wait is over, and what a task makes of it.

An event holds JSON without an address: Airflow logs it. It holds all a task needs to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException, airflow_errors
from airflow_provider_hubprefs.hubspot import errors
from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping

SUCCESS, CANCELED, ERROR = "success", "canceled", "error"
TIMEOUT, EXECUTION_TIMEOUT = "timeout", "execution_timeout"
_DETAILS = ("status", "category", "sub_category", "correlation_id", "retry_after", "retryable", "not_applied")


def over(
    status: str, *, result: Mapping[str, Any] | None = None, error: Exception | None = None
) -> dict[str, Any]:
    """What an event says.

    :param status: one of those above.
    :param result: what the task returns.
    :param error: what it raises.
    """
    told = None if error is None else error_to_json(error)
    return {"status": status, "result": None if result is None else dict(result), "error": told}


def result_of(event: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the wait came to, in a task that goes on. Time-outs are the task's own matter.

    :raises HubPrefsFailException: HubSpot canceled, or something no waiting helps against.
    :raises HubPrefsException: everything else that ended the wait, also an event that cannot be read.
    :raises AirflowNotFoundException: the connection was removed meanwhile.
    """
    if event is None or event.get("status") not in {SUCCESS, CANCELED, ERROR}:
        said = "none" if event is None else repr(event.get("status"))
        raise HubPrefsException(f"the wait ended with an event that nobody knows (status {said})")
    if event["status"] == SUCCESS:
        return dict(event["result"])
    told = event["error"]
    if told["type"] == AirflowNotFoundException.__name__:
        raise AirflowNotFoundException(told["message"])
    error = error_from_json(told)
    if event["status"] == CANCELED:
        # Final for whoever waits: soft_fail skips, and a retry would only wait for the same.
        raise HubPrefsFailException(told["message"], error=error)
    if error is None:
        raise HubPrefsException(f"{told['type']}: {told['message']}")
    with airflow_errors():
        raise error
    raise AirflowException("not reached")  # pragma: no cover - for type checkers


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
