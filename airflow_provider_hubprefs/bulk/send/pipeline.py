"""Rows to outcomes: batches are sent in threads, and every row ends in exactly one outcome.

A batch that HubSpot refuses as a whole is halved until the guilty row stands alone. A row that a reply leaves
undecided is read back. A row that cannot be decided is unconfirmed, never success.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.report.outcome import APPLIED, OPERATION_PREFIX, PENDING, Outcome
from airflow_provider_hubprefs.bulk.report.pending import rows_at
from airflow_provider_hubprefs.bulk.send.guarded_write import read_back, write_rows
from airflow_provider_hubprefs.bulk.send.outcomes import (
    all_refused_alike,
    outcome_given_up,
    outcome_of_error,
    outcome_of_unsent,
    outcomes_of_pending,
    outcomes_of_write,
    outcomes_verified,
    outcomes_while_pending,
)
from airflow_provider_hubprefs.bulk.send.pool import OrderedPool
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.hubspot.api.odd_answers import UNREADABLE
from airflow_provider_hubprefs.hubspot.errors import MissingScopesError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.send.daily_budget import DailyBudget
    from airflow_provider_hubprefs.bulk.send.guarded_write import Written
    from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row

BATCH_SIZE = 100
"""HubSpot documents no limit for this API; 100 is its rule for CRM batches."""

CONCURRENCY = 8
"""Requests in flight at once. HubSpot's ceiling of 19 requests/s needs 6 of them where an answer takes 300 ms."""

AHEAD = 2
"""So many batches a thread may begin before the checkpoint is saved again: after a kill, no more are sent twice."""

_ROWS_PER_BATCH = 20
"""For each row that can be sent, at most so many go into a batch: a source of duplicates must not fill the memory."""

_AHEAD = 10
"""Batches; from so much further on comes the row that is tried before a run stops."""

WATCHED = 10
"""While a run waits, so many pending rows, one of each of the latest batches, stand for all of them."""


class _Batch(NamedTuple):
    """Rows that go together.

    :param start: how many rows came before, where these are sent for the first time.
    :param pending: place and category by the row's number, where these are pending, see :mod:`.pending`.
    :param later: a row from further on in the source, as long as HubSpot has accepted none.
    """

    rows: list[Row]
    start: int = 0
    pending: dict[int, tuple[int, str]] | None = None
    later: Row | None = None


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
    :param stop_when_refused_alike: stop where HubSpot refuses all rows of the first batch with one error, and a
        row from further on: an unknown brand, not a hundred bad addresses.
    :param on_progress: called after each batch, in the order of the source.
    :param tick: called every second while a batch is waited for.
    :param save: saves the checkpoint; called before more is sent than the one before allows for.
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
        stop_when_refused_alike: bool = True,
        on_progress: Callable[[], None],
        tick: Callable[[], None] = lambda: None,
        save: Callable[[], None] = lambda: None,
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
        self._tick = tick
        self._save = save
        self._may_stop = stop_when_refused_alike
        self._tried: dict[int, list[Outcome]] = {}
        self._may_read = False

    def send(self, rows: Iterable[Row]) -> list[Row]:
        """Send all rows; afterwards every one has its outcome in the state, or is pending.

        :param rows: see :func:`~.reader.read_rows`; read as it goes, never held. Those that the state has already,
            from an earlier try, are not among them.
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
        with self._same(rows) as same:
            return self._carry(self._pending(same), self._ask_about)

    def give_up(self, rows: Iterable[Row]) -> None:
        """Count pending rows as unconfirmed.

        :param rows: all of the source.
        """
        with self._same(rows) as same:
            for batch in self._pending(same):
                places = batch.pending or {}
                self._take(batch, [outcome_given_up(row, places[row.number][1]) for row in batch.rows])
        self._state.check()

    # Batches ----------------------------------------------------------------------------------------

    def _carry(self, batches: Iterable[_Batch], work: Callable[[_Batch], list[Outcome]]) -> list[Row]:
        """Do the same with all batches, and take their outcomes in order; return pending rows to watch."""
        watched: deque[Row] = deque(maxlen=WATCHED)

        def observed(batch: _Batch) -> list[Outcome]:
            with self._caller.client.observer.span("batch", rows=len(batch.rows)) as result:
                outcomes = work(batch)
                result.update(_counted(outcomes))
                return outcomes

        pool = OrderedPool(observed, threads=self._concurrency, tick=self._tick)
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
            self._state.begun = max((batch.start + len(batch.rows) for batch in pool.unfinished()), default=0)
            raise
        pool.close()
        self._state.check()
        return list(watched)

    @contextmanager
    def _same(self, rows: Iterable[Row]) -> Iterator[Iterator[Row]]:
        """Take nothing where the source turns out to be another one than when its rows were sent."""
        before = self._state.tally
        same = self._state.checked(rows)
        try:
            yield same
            deque(same, maxlen=0)
        except SourceError:
            self._state.tally = before
            raise

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
        for name, rows in _counted(outcomes).items():
            if name != PENDING:
                self._caller.client.observer.count(f"rows.{name}", rows)
        if batch.pending is None:
            self._state.take(batch.rows, outcomes)
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
        """Batches of the rows that the state does not have; the checkpoint says which may be under way."""
        start = self._state.rows_read
        for some, later in self._with_later(self._batches(rows)):
            end = start + len(some)
            if end > self._state.may_begin:
                self._state.begins(start, most=AHEAD * self._concurrency * self._batch_size, at_least=end)
                self._save()
            yield _Batch(some, start, later=later)
            start = end

    def _with_later(self, batches: Iterator[list[Row]]) -> Iterator[tuple[list[Row], Row | None]]:
        """Each batch with a row from further on, which is read ahead only until HubSpot has accepted a row."""
        held: deque[list[Row]] = deque()
        failed: Exception | None = None
        while True:
            ahead = 0 if self._state.accepted or not self._may_stop else _AHEAD
            try:
                while failed is None and len(held) <= ahead:
                    held.append(next(batches))
            except StopIteration as end:
                failed = end
            except Exception as error:  # noqa: BLE001 - raised below, after the rows before it
                failed = error
            if not held:
                break
            some = held.popleft()
            yield some, next((row for rows in reversed(held) for row in rows if row.problem is None), None)
        if failed is not None and not isinstance(failed, StopIteration):
            raise failed

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
        self._check_scopes(rows)
        for row in rows:
            outcomes += self._tried.get(row.number, [])
        outcomes += self._written([row for row in rows if row.number not in self._tried], batch.later)
        return self._verified(outcomes) if self._verify else outcomes

    def _written(self, rows: list[Row], later: Row | None = None) -> list[Outcome]:
        done = write_rows(self._caller, self._write, rows)
        if not done.replies and not any(one.outcome in APPLIED for one in done.outcomes):
            self._stop_if_refused_alike(done, later)
        return self._outcomes(done)

    def _outcomes(self, done: Written) -> list[Outcome]:
        outcomes = [*done.outcomes]
        outcomes += [outcome_of_error(row, error, "rejected") for row, error in done.refusals]
        for reply in done.replies:
            decided, status = outcomes_of_write(reply, self._write), reply.operation.status
            outcomes += decided.outcomes
            if self._waits and not reply.operation.ended and status != UNREADABLE:
                outcomes += outcomes_while_pending(decided.undecided, status)
            else:
                outcomes += read_back(self._caller, self._write, decided, status)
        return outcomes

    def _check_scopes(self, rows: list[Row]) -> None:
        """Find out before the first write whether the token may read, where the run will have to.

        :raises MissingScopesError: it may not.
        """
        check = self._write.row_check
        needed = self._verify or (check is not None and check.subscribes)
        if needed and rows and not self._may_read and not any(map(self._write.reads_first, rows)):
            self._caller.actual(self._write.read, rows[:1])
        self._may_read = self._may_read or bool(rows)

    def _stop_if_refused_alike(self, done: Written, later: Row | None) -> None:
        """Stop the run, unless HubSpot accepts a row from further on, which keeps its outcome until its turn comes.

        :raises ValidationError: what HubSpot said.
        """
        error = all_refused_alike(done.refusals)
        if error is None or self._state.accepted or self._tried or not self._may_stop:
            return
        if later is not None:
            tried = self._outcomes(write_rows(self._caller, self._write, [later]))
            if all(one.outcome != "rejected" for one in tried):
                self._tried[later.number] = tried
                return
        raise error

    def _verified(self, outcomes: list[Outcome]) -> list[Outcome]:
        rows = [outcome.row for outcome in outcomes if outcome.outcome in APPLIED]
        return outcomes_verified(outcomes, self._caller.actual(self._write.read, rows), self._write)

    def _ask_about(self, batch: _Batch) -> list[Outcome]:
        """Find out what became of pending rows; those that an earlier try left unconfirmed are written again."""
        places = batch.pending or {}
        waiting = [row for row in batch.rows if places[row.number][1].startswith(OPERATION_PREFIX)]
        again = [row for row in batch.rows if not places[row.number][1].startswith(OPERATION_PREFIX)]
        return self._asked(waiting) + self._written_again(again)

    def _written_again(self, rows: list[Row]) -> list[Outcome]:
        if not rows:
            return []
        try:
            reading = self._caller.actual(self._write.read, rows)
        except MissingScopesError:
            return self._written(rows)
        seen = [row for row in rows if self._write.matches(reading.of(row) or (), row)]
        numbers = {row.number for row in seen}
        rest = [row for row in rows if row.number not in numbers]
        return [Outcome(row, "changed") for row in seen] + self._written(rest)

    def _asked(self, waiting: list[Row]) -> list[Outcome]:
        if not waiting:
            return []
        try:
            answers, refusals = self._caller.about(self._write.read, waiting)
        except MissingScopesError as error:
            return [outcome_of_error(row, error, "unconfirmed") for row in waiting]
        outcomes = [outcome_of_error(row, error, "unconfirmed") for row, error in refusals]
        for answer, rows in answers:
            outcomes += outcomes_of_pending(answer, self._write, rows)
        return outcomes


def _counted(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.outcome for outcome in outcomes)
