"""One subscriber, with the same guards and the same reading of answers as many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow_provider_hubprefs.bulk.report.outcome import STATUS_UNKNOWN
from airflow_provider_hubprefs.bulk.send.guarded_write import read_back as read_rows_back
from airflow_provider_hubprefs.bulk.send.guarded_write import write_rows
from airflow_provider_hubprefs.bulk.send.outcomes import RACE, outcomes_of_write
from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.hubspot.api.models import Operation
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, OperationCanceledError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome, OutcomeName
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.hubspot.transport.client import Client


def write_one(
    client: Client, write: Write, subscriber: str, *, read_back: bool = True
) -> tuple[OutcomeName, Operation[Any]]:
    """Write one subscriber's preference, after reading it where a guard needs that.

    :param subscriber: normalised.
    :param read_back: whether to read it back where HubSpot has not finished with the operation; a task that waits
        does not need that.
    :return: changed, unchanged or unconfirmed, and the operation that shows it.
    :raises HubSpotError: refused by the guard or by HubSpot, canceled, or not possible now.
    """
    row = Row(1, subscriber)
    caller = RowCaller(client, singly=True)
    done = write_rows(caller, write, [row])
    for outcome in done.outcomes:
        if outcome.outcome == "unchanged":
            return "unchanged", Operation(status="COMPLETE")
        raise _error_of_outcome(outcome)
    for _, refused in done.refusals:
        raise refused
    (reply,) = done.replies
    operation = reply.operation
    if (failure := error_of(operation)) is not None:
        raise failure
    decided = outcomes_of_write(reply, write)
    if decided.undecided and not (operation.ended or read_back):
        return "unconfirmed", operation
    (found,) = decided.outcomes or read_rows_back(caller, write, decided, operation.status)
    return cast("OutcomeName", found.outcome), operation


def _error_of_outcome(outcome: Outcome) -> HubSpotError:
    """What is raised where a guard did not let the row through, or its write was undone."""
    kind = HubSpotError if outcome.category == STATUS_UNKNOWN else ValidationError
    passing = outcome.category == STATUS_UNKNOWN
    text = outcome.message or ""
    return kind(
        text[:1].upper() + text[1:] if passing else text,
        category=outcome.category,
        retryable=passing,
        not_applied=outcome.category != RACE,
    )


def error_of(operation: Operation[Any]) -> HubSpotError | None:
    """Why an answer is not a success: HubSpot canceled the operation, or the answer has errors.

    :return: OperationCanceledError, ValidationError or None.
    """
    said = "; ".join(
        scrub(f"{error.category or 'no category'}: {error.message or 'no message'}")
        for error in operation.errors
    )
    category = operation.errors[0].category if operation.errors else None
    if operation.canceled:
        text = f"HubSpot canceled the operation: {said or 'it gave no reason'}"
        return OperationCanceledError(text, category=category)
    if said:
        return ValidationError(f"HubSpot answered with errors inside a success: {said}", category=category)
    return None
