"""What HubSpot's replies mean for the rows of a batch. Pure: nothing here sends or counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.report.outcome import APPLIED, OPERATION_PREFIX, PENDING, Outcome
from airflow_provider_hubprefs.hubspot.api.answers import subscriber_key
from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_hubprefs.bulk.send.row_caller import Reading, Refusals, RowReply
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.api.models import BatchError

REFUSED_ALIKE = 10
"""If at least so many rows of a batch fail with one error and HubSpot accepted none before, they share the cause."""

CANCELED = "CANCELED"
RACE = "RESUBSCRIBED_BY_RACE"


class Decided(NamedTuple):
    """What a reply to a write decides.

    :param outcomes: of the rows that it decides.
    :param undecided: rows that it neither confirms nor refuses.
    :param unassigned: errors in it that do not say which row they are about.
    """

    outcomes: list[Outcome]
    undecided: list[Row]
    unassigned: list[BatchError]


def outcome_of_unsent(row: Row) -> Outcome:
    """The outcome of a row that is a duplicate or invalid."""
    if row.problem == "duplicate":
        return Outcome(row, "duplicate", message=row.detail)
    meant = f"; is {row.suggestion} meant?" if row.suggestion else ""
    return Outcome(row, "invalid", row.category, row.detail + meant)


def all_refused_alike(refusals: Refusals) -> ValidationError | None:
    """The error that stops a run where HubSpot refuses all rows of its first batch alike, and one from further on.

    :param refusals: of all rows of the batch.
    :return: None: they are few, or refused for several reasons.
    """
    if len(refusals) < REFUSED_ALIKE or len({(error.status, error.category) for _, error in refusals}) > 1:
        return None
    first = refusals[0][1]
    return ValidationError(
        f"HubSpot refused all {len(refusals)} subscribers of a batch alike, and accepted none before or after; "
        "the run was stopped, nothing of that batch was applied. If these rows alone are to blame, "
        f"stop_when_refused_alike=False goes on. HubSpot said: {first}",
        status=first.status,
        category=first.category,
        correlation_id=first.correlation_id,
        not_applied=True,
    )


def outcomes_before_writing(
    rows: Iterable[Row], reading: Reading, write: Write
) -> tuple[list[Row], list[Outcome]]:
    """Compare what HubSpot shows with what is wanted, before rows are written.

    :param rows: those that are written only if their actual status permits it, and others.
    :return: rows to write, and the outcomes of the others, but for those that HubSpot refused to show.
    """
    outcomes: list[Outcome] = []
    refused = {row.number for row, _ in reading.refusals}
    to_write: list[Row] = []
    for row in rows:
        if not write.reads_first(row):
            to_write.append(row)
        elif row.number not in refused:
            outcome = write.before_writing(reading.of(row), row)
            if outcome is None:
                to_write.append(row)
            else:
                outcomes.append(outcome)
    return to_write, outcomes


def outcome_of_race(row: Row, *, undone: bool) -> Outcome:
    """The outcome of a row whose subscriber unsubscribed after the status was read, and was resubscribed by the write.

    :param undone: whether HubSpot has confirmed that the subscriber is unsubscribed again.
    """
    text = "the subscriber unsubscribed after the actual status was read, and HubSpot resubscribed the subscriber"
    if undone:
        return Outcome(
            row, "rejected", RACE, f"{text}; this was undone at once: the subscriber is unsubscribed"
        )
    return Outcome(
        row, "unconfirmed", RACE, f"{text}; that this was undone is NOT confirmed: unsubscribe by hand"
    )


def outcomes_of_write(reply: RowReply, write: Write) -> Decided:
    """Read a reply to a write: errors inside a success count, and so do subscribers that it does not have."""
    operation, found = reply.operation, reply.found()
    errors, unassigned = _errors_of(reply)
    outcomes: list[Outcome] = []
    undecided: list[Row] = []
    for row in reply.rows:
        answered = found.get(subscriber_key(row.subscriber), ())
        if (error := errors.get(row.number)) is not None:
            outcomes.append(_failed(row, error))
        elif operation.canceled:
            outcomes.append(_canceled(row))
        elif operation.complete and (outcome := write.outcome_of(answered, row)):
            outcomes.append(Outcome(row, outcome))
        else:
            undecided.append(row)
    return Decided(outcomes, undecided, unassigned)


def outcomes_while_pending(rows: Iterable[Row], status: str) -> list[Outcome]:
    """No outcome yet: HubSpot accepted the rows and has not finished with them."""
    return [Outcome(row, PENDING, f"{OPERATION_PREFIX}{status}") for row in rows]


def outcomes_of_pending(reply: RowReply, write: Write, rows: Sequence[Row]) -> list[Outcome]:
    """Read a reply about rows that were pending; they may still be.

    :param rows: all rows about the subscribers that were asked about.
    """
    operation, found = reply.operation, reply.found()
    canceled = {
        subscriber_key(name)
        for error in operation.errors
        if error.category == CANCELED
        for name in error.names()
    }
    outcomes = []
    for row in rows:
        key = subscriber_key(row.subscriber)
        if operation.canceled or key in canceled:
            outcomes.append(_canceled(row))
        elif operation.ended and write.matches(found.get(key, ()), row):
            outcomes.append(Outcome(row, "changed"))
        elif operation.ended:
            text = "HubSpot finished with it, and reading it back did not show it"
            outcomes.append(Outcome(row, "unconfirmed", "NOT_SEEN", text))
        else:
            outcomes += outcomes_while_pending([row], operation.status)
    return outcomes


def outcome_given_up(row: Row, category: str) -> Outcome:
    """The outcome of a row that was pending when the run stopped waiting."""
    text = "HubSpot accepted it, and had not finished with it when the run stopped waiting"
    return Outcome(row, "unconfirmed", category, text)


def outcomes_read_back(
    rows: Sequence[Row],
    actual: Reading,
    write: Write,
    *,
    unassigned: Sequence[BatchError],
    status: str,
) -> list[Outcome]:
    """Decide rows that a reply left undecided by what HubSpot shows of them now.

    :param unassigned: errors of that reply that do not say which row they are about.
    :param status: of that reply's operation.
    """
    seen = [row for row in rows if write.matches(actual.of(row) or (), row)]
    outcomes = [Outcome(row, "changed") for row in seen]
    numbers = {row.number for row in seen}
    rest = [row for row in rows if row.number not in numbers]
    if len(rest) == len(unassigned) and len({error.category for error in unassigned}) == 1:
        return outcomes + [_failed(row, error) for row, error in zip(rest, unassigned, strict=True)]
    category = "NOT_IN_ANSWER" if status == "COMPLETE" else f"{OPERATION_PREFIX}{status}"
    text = "HubSpot neither confirmed nor refused it, and reading it back did not show it"
    return outcomes + [Outcome(row, "unconfirmed", category, text) for row in rest]


def outcomes_verified(outcomes: Iterable[Outcome], actual: Reading, write: Write) -> list[Outcome]:
    """Believe what HubSpot shows rather than what it said.

    :param actual: of all rows that were applied.
    """
    text = "HubSpot said it was done, and reading it back did not show it"
    return [
        Outcome(outcome.row, "unconfirmed", "NOT_SEEN", text)
        if outcome.outcome in APPLIED and not write.matches(actual.of(outcome.row) or (), outcome.row)
        else outcome
        for outcome in outcomes
    ]


def _errors_of(reply: RowReply) -> tuple[dict[int, BatchError], list[BatchError]]:
    """Errors inside a success: by the number of the row that they name, and those that name none for certain."""
    by_row: dict[int, BatchError] = {}
    unassigned = []
    keys = [subscriber_key(row.subscriber) for row in reply.rows]
    rows_about = Counter(keys)
    for error in reply.operation.errors:
        names = error.names()
        subscribers = set(map(subscriber_key, names)) & rows_about.keys()
        if reply.single and not subscribers:
            subscribers = set(rows_about)
        rows = [
            row
            for row, key in zip(reply.rows, keys, strict=True)
            if key in subscribers
            and (
                rows_about[key] == 1 or (row.wanted is not None and str(row.wanted.subscription_id) in names)
            )
        ]
        by_row.update((row.number, error) for row in rows)
        if not rows:
            unassigned.append(error)
    return by_row, unassigned


def _canceled(row: Row) -> Outcome:
    return Outcome(row, "rejected", CANCELED, "HubSpot canceled the operation")


def _failed(row: Row, error: BatchError) -> Outcome:
    return Outcome(row, "rejected", error.category, error.message)
