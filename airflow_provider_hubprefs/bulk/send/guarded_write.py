"""Write rows: read first where a guard asks for that, at most 5 s before, and again after every wait or failed attempt.

HubSpot has no write that depends on the actual status. Between the reading and the write a subscriber may unsubscribe;
where HubSpot says that the write resubscribed one, this is undone at once.
"""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_hubprefs.bulk.report.outcome import (
    APPLIED,
    Outcome,
    outcome_of_error,
    outcome_unknown,
)
from airflow_provider_hubprefs.bulk.send.guards import MAX_AGE
from airflow_provider_hubprefs.bulk.send.outcomes import (
    outcome_of_race,
    outcomes_before_writing,
    outcomes_of_write,
    outcomes_read_back,
)
from airflow_provider_hubprefs.hubspot.api.answers import subscriber_key
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, MissingScopesError, StaleReadingError
from airflow_provider_hubprefs.hubspot.transport.batches import CallPair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.send.outcomes import Decided
    from airflow_provider_hubprefs.bulk.send.row_caller import Refusals, RowCaller, RowReply
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row

_READINGS = 10
"""After so many readings in a row that were too old before any write could leave, the rows are not written."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of rows; each is in exactly one place.

    :param outcomes: of rows that were not written, or whose write was undone.
    :param replies: HubSpot's answers to the writes; their rows are those that have no outcome yet.
    :param refusals: rows that HubSpot refused to write, or to show before.
    :param actual: by row number, what HubSpot showed before of those that were read.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    replies: list[RowReply] = field(default_factory=list)
    refusals: Refusals = field(default_factory=list)
    actual: dict[int, list[Any]] = field(default_factory=dict)


def write_rows(caller: RowCaller, write: Write, rows: Sequence[Row]) -> Written:
    """Write rows, as far as their guards permit.

    :raises HubSpotError: an error that no row causes.
    """
    done = Written()
    if write.write is not None and not any(map(write.reads_first, rows)):
        caller.ask_into(done.replies, done.refusals, write.write, rows)
        return done
    # Single calls for a whole batch would take longer than a reading may be old.
    size = 1 if caller.goes_singly(write.read) else len(rows)
    for start in range(0, len(rows), size):
        attempt = _Attempt(caller, write, list(rows[start : start + size]), done)
        caller.repeat(attempt)
    return done


def read_back(caller: RowCaller, write: Write, decided: Decided, status: str) -> list[Outcome]:
    """Decide rows that a reply left undecided by what HubSpot shows of them now.

    :param status: of the reply's operation.
    """
    if not decided.undecided:
        return []
    try:
        actual = caller.actual(write.read, decided.undecided)
    except MissingScopesError as error:
        return [outcome_of_error(row, error, "unconfirmed") for row in decided.undecided]
    return outcomes_read_back(decided.undecided, actual, write, unassigned=decided.unassigned, status=status)


class _Attempt:
    """Reads and writes the rows that are left; called again after failures that pass."""

    def __init__(self, caller: RowCaller, write: Write, left: list[Row], done: Written) -> None:
        self._caller = caller
        self._write = write
        self._left = left
        self._done = done
        self._size = len(left)
        self._refused: BaseException | None = None

    def __call__(self) -> None:
        in_vain = 0
        while self._left and in_vain < _READINGS:
            before = len(self._left)
            # Threads that share a small budget could take each other's slots, and write nothing at all.
            with self._caller.turn if in_vain else nullcontext():
                try:
                    self._read_and_write(self._left[: self._size])
                    in_vain = 0
                except StaleReadingError as error:
                    self._check_credential(error)
                    in_vain = 0 if len(self._left) < before else in_vain + 1
                    if in_vain:  # reading fewer takes less time, where single calls are needed
                        self._size = max(1, self._size // 2)
        why = f"the actual status was known too late, {MAX_AGE:g} s before the write could leave, {_READINGS} times"
        self._done.outcomes.extend(outcome_unknown(row, why) for row in self._left)

    def _check_credential(self, error: StaleReadingError) -> None:
        """Have the refusal of a second access token in a row end the try: its remedy is not another reading."""
        if error.__cause__ is not None and self._refused is not None:
            raise error.__cause__
        self._refused = error.__cause__

    def _read_and_write(self, rows: list[Row]) -> None:
        write, done = self._write, self._done
        # Sent once: a read that fails is repeated with all of this, so that the time of both together is limited.
        read = _leaving_until(math.inf, write.read)
        reading = self._caller.actual(read, [row for row in rows if write.reads_first(row)])
        done.refusals.extend(reading.refusals)
        done.actual.update({row.number: shown for row in rows if (shown := reading.of(row)) is not None})
        to_write, outcomes = outcomes_before_writing(rows, reading, write)
        self._left = to_write + self._left[len(rows) :]
        done.outcomes.extend(outcomes)
        if not to_write or write.write is None:
            return
        pair = write.write
        if any(map(write.reading_expires, to_write)):
            pair = _leaving_until(reading.taken_at + MAX_AGE, pair)
        replies: list[RowReply] = []
        refused: Refusals = []
        try:
            self._caller.ask_into(replies, refused, pair, to_write)
        finally:
            done.refusals.extend(refused)
            answered = {row.number for reply in replies for row in reply.rows} | {
                row.number for row, _ in refused
            }
            self._left = [row for row in self._left if row.number not in answered]
            done.replies.extend(self._without_raced(replies))

    def _without_raced(self, replies: Sequence[RowReply]) -> list[RowReply]:
        """Undo resubscriptions before anything else is done; return the replies about the other rows."""
        raced: list[Row] = []
        rest = []
        for reply in replies:
            found = reply.found()
            asked = {subscriber_key(row.subscriber) for row in reply.rows}
            # Rows about others are perhaps of those who have no row of their own.
            others = [one for one in reply.operation.results if subscriber_key(one.subscriber) not in asked]
            mine = [
                row
                for row in reply.rows
                if self._write.was_raced(found.get(subscriber_key(row.subscriber)) or others, row)
            ]
            numbers = {row.number for row in mine}
            raced += mine
            rest.append(replace(reply, rows=[row for row in reply.rows if row.number not in numbers]))
        if raced:
            self._done.outcomes.extend(_undo(self._caller, self._write.undo(), raced))
        return [reply for reply in rest if reply.rows]


def _undo(caller: RowCaller, write: Write, rows: Sequence[Row]) -> list[Outcome]:
    """Unsubscribe subscribers again whom a write has resubscribed; an error must not hide that."""
    _log.error(
        "HubSpot resubscribed %d subscribers who unsubscribed a moment before; this is undone now", len(rows)
    )
    confirmed: set[int] = set()
    try:
        replies, _ = caller.ask(cast("CallPair[Row]", write.write), rows)
        for reply in replies:
            decided = outcomes_of_write(reply, write)
            outcomes = decided.outcomes + read_back(caller, write, decided, reply.operation.status)
            confirmed |= {one.row.number for one in outcomes if one.outcome in APPLIED}
    except HubSpotError as error:
        _log.error("%s", error)
    return [outcome_of_race(row, undone=row.number in confirmed) for row in rows]


def _leaving_until(not_after: float, pair: CallPair[Row]) -> CallPair[Row]:
    return CallPair(
        pair.name,
        lambda rows: replace(pair.batch(rows), not_after=not_after),
        lambda row: replace(pair.single(row), not_after=not_after),
    )
