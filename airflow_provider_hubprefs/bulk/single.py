"""One subscriber, with the same guards and the same judgement as many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source import Row
from airflow_provider_hubprefs.bulk.writes import found_in
from airflow_provider_hubprefs.hubspot.errors import OperationCanceledError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report import OutcomeName
    from airflow_provider_hubprefs.bulk.writes import Write
    from airflow_provider_hubprefs.hubspot.client import Client
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError
    from airflow_provider_hubprefs.hubspot.models import Operation


def write_one(
    client: Client, write: Write, subscriber: str, *, read_back: bool = True
) -> tuple[OutcomeName, Operation[Any]]:
    """Write one subscriber's preference, after looking where that is needed.

    :param subscriber: normalised.
    :param read_back: whether to look what is so where HubSpot is still at work on the operation; who waits for its
        end anyway need not.
    :return: changed, unchanged or unconfirmed, and the operation that said so.
    :raises HubSpotError: refused by the guard or by HubSpot, canceled, or not possible now.
    """
    row = Row(1, subscriber)
    if write.reads_first(row):
        operation = client.send(write.read.single(row))
        actual = found_in(operation, asked=subscriber)[subscriber]
        if write.matches(actual, row):
            return "unchanged", operation
        if (error := write.refusal_of(actual, row)) is not None:
            raise error
    operation = client.send(write.write.single(row))
    if (failure := error_of(operation)) is not None:
        raise failure
    answered = found_in(operation, asked=subscriber)[subscriber]
    if operation.complete and (outcome := write.outcome_of(answered, row)):
        return outcome, operation
    if not (operation.complete or read_back):
        return "unconfirmed", operation
    now = client.send(write.read.single(row))
    seen = write.matches(found_in(now, asked=subscriber)[subscriber], row)
    return ("changed" if seen else "unconfirmed"), operation


def error_of(operation: Operation[Any]) -> HubSpotError | None:
    """What speaks against calling an answer a success: it was canceled, or it carries errors.

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
