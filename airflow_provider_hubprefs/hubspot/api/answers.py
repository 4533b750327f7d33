"""What an answer from HubSpot says of each subscriber. Pure functions.

Rows about a subscriber who was not asked about say nothing.

HubSpot's documents do not say what a batch read answers about an operation that is not over, and all recorded live
answers are COMPLETE. :func:`operations_by_subscriber` leaves out every subscriber an answer is ambiguous about: the
caller asks for those one at a time.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.api.models import (
    Operation,
    SubscriberStatuses,
    SubscriberWideStatuses,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CANCELED = "CANCELED"
NOT_FOUND = "OBJECT_NOT_FOUND"

StatusesBySubscriber = dict[str, list[Any]]
""":func:`subscriber_key` -> the statuses that HubSpot answered for it."""


def subscriber_key(address: str) -> str:
    """The form in which two spellings of one subscriber are equal.

    Lower case; the domain's labels in Unicode, so that ``xn--`` and what it stands for are the same.
    """
    key = address.strip().lower()
    if key.isascii() and "xn--" not in key:
        return key
    local, at, domain = unicodedata.normalize("NFC", key).rpartition("@")
    return f"{local}{at}{'.'.join(map(_in_unicode, domain.split('.')))}"


def _in_unicode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return unicodedata.normalize("NFC", label[4:].encode("ascii").decode("punycode"))
    except UnicodeError:
        return label


def statuses_by_subscriber(operation: Operation[Any], *, asked: str | None = None) -> StatusesBySubscriber:
    """Group the statuses of an answer by subscriber, whatever kind of rows it has. HubSpot promises no order.

    :param asked: the subscriber of a single call: rows about others are left out.
    """
    found: StatusesBySubscriber = {} if asked is None else {subscriber_key(asked): []}
    for row in operation.results:
        key = subscriber_key(row.subscriber)
        given = _statuses_in(row)
        mine = _about(row.subscriber, key, given)
        if (asked is None or key in found) and (mine or not given):
            found.setdefault(key, []).extend(mine)
    return found


def certain_statuses(
    operation: Operation[Any], subscribers: Iterable[str], *, single: bool
) -> StatusesBySubscriber | None:
    """All statuses that a read shows for certain, by subscriber; who is left out is unknown.

    Nothing is certain of a subscriber whom an error names, for whom a batch has no row, whose row has no list of
    statuses, or where all that is shown is about others.

    :param subscribers: all that the call asked for.
    :param single: whether it was a single call. It says that a subscriber has no status by having no results at all.
    :return: by subscriber; an empty list is the certainty that there is no status. None: the answer is not COMPLETE, or
        has an error that names no subscriber who was asked about and may be about any of them.
    """
    asked = set(map(subscriber_key, subscribers))
    named = [{subscriber_key(name) for name in error.names()} & asked for error in operation.errors]
    vague = not all(named) or (operation.num_errors or 0) > len(named)
    if not operation.complete or vague:
        return None
    found: StatusesBySubscriber = {}
    if single and operation.given_results == []:
        found = {key: [] for key in asked}
    unknown = set().union(*named)
    for row in operation.results:
        key, given = subscriber_key(row.subscriber), _statuses_in(row)
        mine = _about(row.subscriber, key, given)
        if key in asked:
            found.setdefault(key, []).extend(mine)
        if given is None or (given and not mine):
            unknown.add(key)
    return {key: statuses for key, statuses in found.items() if key not in unknown}


def _about(subscriber: str, key: str, given: Sequence[Any] | None) -> list[Any]:
    """The statuses of a row that are about its own subscriber; mostly all of them are spelt as it is."""
    return [
        one for one in given or () if one.subscriber == subscriber or subscriber_key(one.subscriber) == key
    ]


def _statuses_in(row: Any) -> Sequence[Any] | None:
    """The statuses in a row of whatever kind; None where HubSpot left them out."""
    match row:
        case SubscriberStatuses():
            return row.statuses
        case SubscriberWideStatuses():
            return row.wide_statuses
        case _:
            return [row]


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
    asked = {subscriber: subscriber_key(subscriber) for subscriber in subscribers}
    rows = statuses_by_subscriber(operation)
    named: dict[str, list[Any]] = {}
    for error in operation.errors:
        names = {subscriber_key(name) for name in error.names()} & set(asked.values())
        if not names:
            return {}
        for name in names:
            named.setdefault(name, []).append(error)
    pending = not (operation.ended or operation.canceled)
    # An answer that is not COMPLETE must show which subscribers that is about: those it has no row and no error for.
    credible = operation.ended or (pending and bool(set(asked.values()) - rows.keys() - named.keys()))
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
    """Give a row without statuses to subscribers whom a batch read calls unknown (OBJECT_NOT_FOUND among its errors).

    An error that names another subscriber as well, or none of several, stays one: absence is no knowledge.

    :param subscribers: all that the call asked for.
    :param kind: of the rows.
    """
    if not operation.errors:
        return operation
    asked = set(map(subscriber_key, subscribers))
    missing = asked - statuses_by_subscriber(operation).keys()
    unknown: set[str] = set()
    others = []
    for error in operation.errors:
        named = {subscriber_key(name) for name in error.names()} & asked or (
            asked if len(asked) == 1 else set()
        )
        if error.category == NOT_FOUND and named and named <= missing:
            unknown |= named
        else:
            others.append(error)
    if not unknown:
        return operation
    rows = (without_statuses(kind, subscriber) for subscriber in sorted(unknown))
    uncounted = (operation.num_errors or 0) - len(operation.errors)
    return msgspec.structs.replace(
        operation,
        given_results=[*operation.results, *rows],
        given_errors=others or None,
        num_errors=len(others) + max(0, uncounted) or None,
    )


def without_statuses(kind: Any, subscriber: str) -> Any:
    """The row of a batch read for a subscriber who has no status."""
    return kind(subscriber=subscriber, **{kind.__struct_fields__[1]: []})


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
