"""Rows to outcomes: batches are sent in threads, and every row ends in exactly one outcome.

A batch that HubSpot refuses as a whole is halved until the guilty row stands alone. A row that a reply leaves
undecided is read back. A row that cannot be decided is unconfirmed, never success.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.report.outcome import APPLIED, PENDING, Outcome
from airflow_provider_hubprefs.bulk.report.pending import rows_at
from airflow_provider_hubprefs.bulk.send.outcomes import (
    outcome_given_up,
    outcome_of_error,
    outcome_of_unsent,
    outcomes_before_writing,
    outcomes_of_pending,
    outcomes_of_write,
    outcomes_read_back,
    outcomes_verified,
    outcomes_while_pending,
    stop_if_all_refused_alike,
)
from airflow_provider_hubprefs.bulk.send.pool import OrderedPool
from airflow_provider_hubprefs.hubspot.errors import MissingScopesError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.send.daily_budget import DailyBudget
    from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.api.models import BatchError

BATCH_SIZE = 100
"""HubSpot documents no limit for this API; 100 is its rule for CRM batches."""

CONCURRENCY = 8
"""Requests in flight at once. HubSpot's ceiling of 19 requests/s needs 6 of them where an answer takes 300 ms."""

_ROWS_PER_BATCH = 20
"""For each row that can be sent, at most so many go into a batch: a source of duplicates must not fill the memory."""

WATCHED = 10
"""While a run waits, so many pending rows, one of each of the latest batches, stand for all of them."""


class _Batch(NamedTuple):
    """Rows that go together.

    :param start: how many rows came before, where these are sent for the first time.
    :param pending: place and category by the row's number, where these are pending, see :mod:`.pending`.
    """

    rows: list[Row]
    start: int = 0
    pending: dict[int, tuple[int, str]] | None = None


class Pipeline:
    """Carries one write out over many rows.

    :param caller: sends batches.
    :param write: what is wanted.
    :param state: takes the outcomes.
    :param budget: whether the account can afford another batch; asked before each.
    :param batch_size: subscribers per request.
    :param concurrency: requests in flight at once.
    :param verify: read every subscriber back that HubSpot says is as wanted.
    :param waits: whether rows whose operation is not over stay pending, to be asked about again, see
        :mod:`.pending_wait`. Otherwise they are read back at once, and unconfirmed where that does not show them.
    :param on_progress: called after each batch, in the order of the source.
    :raises ValidationError: a number is less than 1.
    """

    def __init__(
        self,
        caller: RowCaller,
        write: Write,
        state: RunState,
        budget: DailyBudget,
        *,
        batch_size: int = BATCH_SIZE,
        concurrency: int = CONCURRENCY,
        verify: bool = False,
        waits: bool = False,
        on_progress: Callable[[], None],
    ) -> None:
        for name, value in (("batch_size", batch_size), ("concurrency", concurrency)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValidationError(f"{name}: expected a whole number of at least 1, got {shown(value)}")
        self._caller = caller
        self._write = write
        self._state = state
        self._budget = budget
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._verify = verify
        self._waits = waits
        self._on_progress = on_progress

    def send(self, rows: Iterable[Row]) -> list[Row]:
        """Send all rows; afterwards every one has its outcome in the state, or is pending.

        :param rows: see :func:`~.reader.read_rows`; read as it goes, never held. Rows that the state has already,
            from an earlier try, are passed over.
        :return: pending rows to watch, one of each of the latest batches.
        :raises DailyLimitError: the account cannot afford all rows.
        :raises HubSpotError: an error that no row is to blame for. What was done until then is in the state;
            running again does no harm.
        :raises ConservationError: a defect of this package.
        """
        return self._carry(self._new(rows), self._send_batch)

    def ask_again(self, rows: Iterable[Row]) -> list[Row]:
        """Ask about all pending rows what became of them.

        :param rows: all of the source.
        :return: see :meth:`send`; none where no row is pending any more.
        :raises HubSpotError: see :meth:`send`.
        """
        return self._carry(self._pending(rows), self._ask_about)

    def give_up(self, rows: Iterable[Row]) -> None:
        """Count pending rows as unconfirmed.

        :param rows: all of the source.
        """
        for batch in self._pending(rows):
            places = batch.pending or {}
            self._take(batch, [outcome_given_up(row, places[row.number][1]) for row in batch.rows])
        self._state.check()

    # Batches ----------------------------------------------------------------------------------------

    def _carry(self, batches: Iterable[_Batch], work: Callable[[_Batch], list[Outcome]]) -> list[Row]:
        """Do the same with all batches, and take their outcomes in order; return pending rows to watch."""
        watched: deque[Row] = deque(maxlen=WATCHED)
        pool = OrderedPool(work, threads=self._concurrency)
        try:
            for batch, outcomes in pool.map(batches, may_begin=self._may_begin):
                self._take(batch, outcomes)
                watched += [outcome.row for outcome in outcomes if outcome.outcome == PENDING][-1:]
                self._on_progress()
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C and the like: no retry is waited for now
                self._caller.client.stop()
            pool.close()
            self._take_finished(pool.finished())
            raise
        pool.close()
        self._state.check()
        return list(watched)

    def _may_begin(self, in_flight: int) -> bool:
        """Whether another batch may begin.

        One at a time until HubSpot has accepted a row: the first batch finds what is wrong with all of them.

        :raises StoppedError: the run is to stop; rows that are not sent would not find out.
        :raises DailyLimitError: the account cannot afford it.
        """
        self._caller.client.rest(0)
        if not in_flight:
            self._budget.check_batch()
            return True
        most = self._concurrency if self._state.accepted else 1
        return in_flight < most and self._budget.affords(in_flight + 1)

    def _take(self, batch: _Batch, outcomes: list[Outcome]) -> None:
        if batch.pending is None:
            self._state.take(len(batch.rows), outcomes)
        else:
            self._state.settle({number: place for number, (place, _) in batch.pending.items()}, outcomes)

    def _take_finished(self, finished: Iterator[tuple[_Batch, list[Outcome]]]) -> None:
        """Take what was sent when the run was stopped, as far as it is without a gap."""
        for batch, outcomes in finished:
            if batch.pending is not None:
                return  # asking again does no harm
            if batch.start == self._state.rows_read:  # less where the batch was just taken
                self._take(batch, outcomes)

    def _new(self, rows: Iterable[Row]) -> Iterator[_Batch]:
        """Batches of the rows that the state does not have."""
        start = self._state.rows_read
        for some in self._batches(islice(rows, start, None)):
            yield _Batch(some, start)
            start += len(some)

    def _pending(self, rows: Iterable[Row]) -> Iterator[_Batch]:
        """Batches of the rows that are pending when this begins."""
        pending: dict[int, tuple[int, str]] = {}

        def noted() -> Iterator[Row]:
            for place, category, row in rows_at(self._state.tally.pending, rows):
                pending[row.number] = place, category
                yield row

        for some in self._batches(noted()):
            yield _Batch(some, pending={row.number: pending.pop(row.number) for row in some})

    def _batches(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """Rows in order, as many as make a request; those that are not sent go along."""
        batch: list[Row] = []
        sendable = 0
        for row in rows:
            batch.append(row)
            sendable += row.problem is None
            if sendable == self._batch_size or len(batch) == self._batch_size * _ROWS_PER_BATCH:
                yield batch
                batch, sendable = [], 0
        if batch:
            yield batch

    # One batch, in a thread -------------------------------------------------------------------------

    def _send_batch(self, batch: _Batch) -> list[Outcome]:
        """Write one batch and find out what became of every row of it."""
        outcomes = [outcome_of_unsent(row) for row in batch.rows if row.problem is not None]
        rows = [row for row in batch.rows if row.problem is None]
        if to_read := [row for row in rows if self._write.reads_first(row)]:
            actual, refusals = self._caller.actual(self._write.read, to_read)
            to_write, found = outcomes_before_writing(to_read, actual, refusals, self._write)
            numbers = {row.number for row in to_read}
            rows = [row for row in rows if row.number not in numbers] + to_write
            outcomes += found
        answers, refusals = self._caller.ask(self._write.write, rows)
        if not self._state.accepted:
            stop_if_all_refused_alike(rows, refusals)
        outcomes += [outcome_of_error(row, error, "rejected") for row, error in refusals]
        for answer in answers:
            decided = outcomes_of_write(answer, self._write)
            outcomes += decided.outcomes
            if self._waits and not answer.operation.complete:
                outcomes += outcomes_while_pending(decided.undecided, answer.operation.status)
            else:
                outcomes += self._read_back(decided.undecided, decided.unassigned, answer.operation.status)
        return self._verified(outcomes) if self._verify else outcomes

    def _read_back(self, rows: list[Row], unassigned: list[BatchError], status: str) -> list[Outcome]:
        if not rows:
            return []
        try:
            actual, _ = self._caller.actual(self._write.read, rows)
        except MissingScopesError as error:
            return [outcome_of_error(row, error, "unconfirmed") for row in rows]
        return outcomes_read_back(rows, actual, self._write, unassigned=unassigned, status=status)

    def _verified(self, outcomes: list[Outcome]) -> list[Outcome]:
        rows = [outcome.row for outcome in outcomes if outcome.outcome in APPLIED]
        actual, _ = self._caller.actual(self._write.read, rows)
        return outcomes_verified(outcomes, actual, self._write)

    def _ask_about(self, batch: _Batch) -> list[Outcome]:
        """Find out what became of pending rows."""
        try:
            answers, refusals = self._caller.about(self._write.read, batch.rows)
        except MissingScopesError as error:
            return [outcome_of_error(row, error, "unconfirmed") for row in batch.rows]
        outcomes = [outcome_of_error(row, error, "unconfirmed") for row, error in refusals]
        for answer, rows in answers:
            outcomes += outcomes_of_pending(answer, self._write, rows)
        return outcomes
