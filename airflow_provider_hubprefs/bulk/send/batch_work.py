"""What is done with one batch, in a thread of its own: write it, read it back, find out what became of every row.

A batch that HubSpot refuses as a whole is halved until the guilty row stands alone. A row that a reply leaves
undecided is read back. A row that cannot be decided is unconfirmed, never success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.report.outcome import (
    APPLIED,
    OPERATION_PREFIX,
    Outcome,
    outcome_of_error,
    with_actual,
)
from airflow_provider_hubprefs.bulk.send.guarded_write import read_back, write_rows
from airflow_provider_hubprefs.bulk.send.outcomes import (
    all_refused_alike,
    outcome_of_unsent,
    outcomes_of_pending,
    outcomes_of_write,
    outcomes_verified,
    outcomes_while_pending,
)
from airflow_provider_hubprefs.hubspot.api.odd_answers import UNREADABLE
from airflow_provider_hubprefs.hubspot.errors import MissingScopesError

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.send.guarded_write import Written
    from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row


class Batch(NamedTuple):
    """Rows that go together.

    :param start: how many rows came before, where these are sent for the first time.
    :param pending: place and category by the row's number, where these are pending, see :mod:`.pending`.
    :param later: a row from further on in the source, as long as HubSpot has accepted none.
    """

    rows: list[Row]
    start: int = 0
    pending: dict[int, tuple[int, str]] | None = None
    later: Row | None = None


class BatchWork:
    """Does it for one batch after the other; any number of threads may.

    :param caller: sends batches.
    :param write: what is wanted.
    :param state: says whether HubSpot has accepted a row.
    :param verify: read every subscriber back that HubSpot says is as wanted.
    :param waits: whether rows whose operation is not over stay pending.
    :param stop_when_refused_alike: see :class:`~.pipeline.Pipeline`.
    """

    def __init__(
        self,
        caller: RowCaller,
        write: Write,
        state: RunState,
        *,
        verify: bool,
        waits: bool,
        stop_when_refused_alike: bool,
    ) -> None:
        self._caller = caller
        self._write = write
        self._state = state
        self._verify = verify
        self._waits = waits
        self._may_stop = stop_when_refused_alike
        self._tried: dict[int, list[Outcome]] = {}
        self._may_read = False

    def send(self, batch: Batch) -> list[Outcome]:
        """Write one batch and find out what became of every row of it."""
        outcomes = [outcome_of_unsent(row) for row in batch.rows if row.problem is not None]
        rows = [row for row in batch.rows if row.problem is None]
        self._check_scopes(rows)
        for row in rows:
            outcomes += self._tried.get(row.number, [])
        for write, some in self._write.split([row for row in rows if row.number not in self._tried]):
            outcomes += self._written(write, some, batch.later)
        return self._verified(outcomes) if self._verify else outcomes

    def _written(self, write: Write, rows: list[Row], later: Row | None = None) -> list[Outcome]:
        done = write_rows(self._caller, write, rows)
        if not done.replies and not any(one.outcome in APPLIED for one in done.outcomes):
            self._stop_if_refused_alike(done, later)
        return self._outcomes(write, done)

    def _outcomes(self, write: Write, done: Written) -> list[Outcome]:
        outcomes = [*done.outcomes]
        outcomes += [outcome_of_error(row, error, "rejected") for row, error in done.refusals]
        for reply in done.replies:
            decided, status = outcomes_of_write(reply, write), reply.operation.status
            outcomes += decided.outcomes
            if self._waits and not reply.operation.ended and status != UNREADABLE:
                outcomes += outcomes_while_pending(decided.undecided, status)
            else:
                outcomes += read_back(self._caller, write, decided, status)
        return [with_actual(one, done.actual.get(one.row.number)) for one in outcomes]

    def _check_scopes(self, rows: list[Row]) -> None:
        """Find out before the first write whether the token may read, where the run will have to.

        :raises MissingScopesError: it may not.
        """
        check = self._write.row_check
        needed = self._verify or (check is not None and check.subscribes)
        if needed and not self._may_read:
            for write, some in self._write.split(rows):
                if not any(map(write.reads_first, some)):
                    self._caller.actual(write.read, some[:1])
        self._may_read = self._may_read or bool(rows)

    def _stop_if_refused_alike(self, done: Written, later: Row | None) -> None:
        """Stop the run, unless HubSpot accepts a row from further on, which keeps its outcome until its turn comes.

        :raises ValidationError: what HubSpot said.
        """
        error = all_refused_alike(done.refusals)
        if error is None or self._state.accepted or self._tried or not self._may_stop:
            return
        for write, some in self._write.split([] if later is None else [later]):
            tried = self._outcomes(write, write_rows(self._caller, write, some))
            if all(one.outcome != "rejected" for one in tried):
                self._tried[some[0].number] = tried
                return
        raise error

    def _verified(self, outcomes: list[Outcome]) -> list[Outcome]:
        applied = {one.row.number: one for one in outcomes if one.outcome in APPLIED}
        verified = [one for one in outcomes if one.outcome not in APPLIED]
        for write, rows in self._write.split([one.row for one in applied.values()]):
            actual = self._caller.actual(write.read, rows)
            verified += outcomes_verified([applied[row.number] for row in rows], actual, write)
        return verified

    def ask_about(self, batch: Batch) -> list[Outcome]:
        """Find out what became of pending rows; those that an earlier try left unconfirmed are written again."""
        places = batch.pending or {}
        outcomes: list[Outcome] = []
        waiting = [row for row in batch.rows if places[row.number][1].startswith(OPERATION_PREFIX)]
        for write, rows in self._write.split(waiting):
            outcomes += self._asked(write, rows)
        again = [row for row in batch.rows if not places[row.number][1].startswith(OPERATION_PREFIX)]
        for write, rows in self._write.split(again):
            outcomes += self._written_again(write, rows)
        return outcomes

    def _written_again(self, write: Write, rows: list[Row]) -> list[Outcome]:
        if write.write is None:
            return self._written(write, rows)
        try:
            reading = self._caller.actual(write.read, rows)
        except MissingScopesError:
            return self._written(write, rows)
        seen = [row for row in rows if write.matches(reading.of(row) or (), row)]
        numbers = {row.number for row in seen}
        rest = [row for row in rows if row.number not in numbers]
        return [Outcome(row, "changed") for row in seen] + self._written(write, rest)

    def _asked(self, write: Write, waiting: list[Row]) -> list[Outcome]:
        try:
            answers, refusals = self._caller.about(write.read, waiting)
        except MissingScopesError as error:
            return [outcome_of_error(row, error, "unconfirmed") for row in waiting]
        outcomes = [outcome_of_error(row, error, "unconfirmed") for row, error in refusals]
        for answer, rows in answers:
            outcomes += outcomes_of_pending(answer, write, rows)
        return outcomes
