"""What an answer from HubSpot says of each subscriber. Pure functions.

HubSpot's documents do not say what a batch read answers about an operation that is not over, and all recorded live
answers are COMPLETE. :func:`operations_by_subscriber` leaves out every subscriber an answer is ambiguous about: the
caller asks for those one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.api.models import (
    Operation,
    SubscriberStatuses,
    SubscriberWideStatuses,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

CANCELED = "CANCELED"
NOT_FOUND = "OBJECT_NOT_FOUND"

StatusesBySubscriber = dict[str, list[Any]]
"""Lower-cased subscriber -> the statuses that HubSpot answered for it."""


def statuses_by_subscriber(operation: Operation[Any], *, asked: str | None = None) -> StatusesBySubscriber:
    """Group the statuses of an answer by subscriber, whatever kind of rows it has. HubSpot promises no order.

    :param asked: the subscriber of a single call: the whole answer is about it.
    """
    found: StatusesBySubscriber = {} if asked is None else {asked.lower(): []}
    for row in operation.results:
        statuses: Sequence[Any] | None
        match row:
            case SubscriberStatuses():
                statuses = row.statuses
            case SubscriberWideStatuses():
                statuses = row.wide_statuses
            case _:
                statuses = [row]
        found.setdefault((asked or row.subscriber).lower(), []).extend(statuses or ())
    return found


def operations_by_subscriber(
    operation: Operation[Any], subscribers: Sequence[str]
) -> dict[str, Operation[Any]]:
    """Split the answer to a batch read into what the single call for each subscriber would have answered.

    - A subscriber with a row, and in no entry of ``errors``, is COMPLETE.
    - A subscriber with a row, and in entries of ``errors`` that all say CANCELED, is CANCELED.
    - A subscriber without a row, in an answer that is neither COMPLETE nor CANCELED, has the answer's status.

    :param subscribers: all that the call asked for.
    :return: only the subscribers the answer is clear about. It is not clear about a subscriber without a row in a
        COMPLETE or CANCELED answer, or named with another error. It is clear about no subscriber where an error names
        none of them, or where all have rows and the answer is not COMPLETE.
    """
    asked = {subscriber: subscriber.lower() for subscriber in subscribers}
    rows = statuses_by_subscriber(operation)
    named: dict[str, list[Any]] = {}
    for error in operation.errors:
        names = {name.lower() for name in error.names()} & set(asked.values())
        if not names:
            return {}
        for name in names:
            named.setdefault(name, []).append(error)
    pending = not (operation.complete or operation.canceled)
    # An answer that is not COMPLETE must show which subscribers that is about: those it has no row and no error for.
    credible = operation.complete or (pending and bool(set(asked.values()) - rows.keys() - named.keys()))
    clear: dict[str, Operation[Any]] = {}
    for subscriber, key in asked.items():
        errors = named.get(key, [])
        if errors:
            if key in rows and all(error.category == CANCELED for error in errors):
                clear[subscriber] = _single(operation, CANCELED, rows[key], errors)
        elif key in rows:
            if credible:
                clear[subscriber] = _single(operation, "COMPLETE", rows[key])
        elif pending:
            clear[subscriber] = _single(operation, operation.status, [])
    return clear


def with_unknown(operation: Operation[Any], subscribers: Sequence[str], kind: type[Any]) -> Operation[Any]:
    """Give a row without statuses to subscribers that a batch read calls unknown (OBJECT_NOT_FOUND among its errors).

    Errors that name none of the subscribers count where they are as many as the subscribers without a row.

    :param subscribers: all that the call asked for.
    :param kind: of the rows.
    """
    not_found = [error for error in operation.errors if error.category == NOT_FOUND]
    if not not_found:
        return operation
    rows = statuses_by_subscriber(operation)
    missing = {subscriber.lower() for subscriber in subscribers} - rows.keys()
    named = [{name.lower() for name in error.names()} & missing for error in not_found]
    unknown = set().union(*named)
    if not all(named):
        if len(operation.errors) != len(missing) or len(not_found) != len(missing):
            return operation
        unknown = missing
    others = [error for error in operation.errors if error.category != NOT_FOUND]
    return msgspec.structs.replace(
        operation,
        given_results=[*operation.results, *(kind(subscriber=subscriber) for subscriber in sorted(unknown))],
        given_errors=others or None,
        num_errors=len(others) or None,
    )


def _single(
    operation: Operation[Any], status: str, results: list[Any], errors: Sequence[Any] = ()
) -> Operation[Any]:
    return Operation(
        status=status,
        given_results=results,
        given_errors=list(errors) or None,
        num_errors=len(errors) or None,
        requested_at=operation.requested_at,
        started_at=operation.started_at,
        completed_at=operation.completed_at,
    )
