"""One subscriber, with the same guards and the same reading of answers as many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.hubspot.api.answers import statuses_by_subscriber
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, OperationCanceledError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.outcome import OutcomeName
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.hubspot.api.models import Operation
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
    if write.reads_first(row):
        operation = client.send(write.read.single(row))
        actual = statuses_by_subscriber(operation, asked=subscriber)[subscriber]
        if not (actual or operation.complete):
            raise HubSpotError(
                f"HubSpot did not show the actual status (operation {operation.status}): nothing was written",
                retryable=True,
                not_applied=True,
            )
        if write.matches(actual, row):
            return "unchanged", operation
        if (error := write.refusal_of(actual, row)) is not None:
            raise error
    operation = client.send(write.write.single(row))
    if (failure := error_of(operation)) is not None:
        raise failure
    answered = statuses_by_subscriber(operation, asked=subscriber)[subscriber]
    if operation.complete and (outcome := write.outcome_of(answered, row)):
        return outcome, operation
    if not (operation.complete or read_back):
        return "unconfirmed", operation
    now = client.send(write.read.single(row))
    seen = write.matches(statuses_by_subscriber(now, asked=subscriber)[subscriber], row)
    return ("changed" if seen else "unconfirmed"), operation


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
