"""Rows to outcomes: batches are sent in threads, and every row ends in exactly one outcome."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.report.outcome import PENDING, Outcome
from airflow_provider_hubprefs.bulk.report.pending import rows_at
from airflow_provider_hubprefs.bulk.send.batch_work import Batch, BatchWork
from airflow_provider_hubprefs.bulk.send.outcomes import outcome_given_up
from airflow_provider_hubprefs.bulk.send.pool import OrderedPool
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.send.daily_budget import DailyBudget
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
        self._state = state
        self._budget = budget
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._only_reads = write.write is None
        self._work = BatchWork(
            caller,
            write,
            state,
            verify=verify,
            waits=waits,
            stop_when_refused_alike=stop_when_refused_alike,
        )
        self._on_progress = on_progress
        self._tick = tick
        self._save = save
        self._may_stop = stop_when_refused_alike

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
        return self._carry(self._new(rows), self._work.send)

    def ask_again(self, rows: Iterable[Row]) -> list[Row]:
        """Ask about all pending rows what became of them.

        :param rows: all of the source.
        :return: see :meth:`send`; none where no row is pending any more.
        :raises HubSpotError: see :meth:`send`.
        """
        with self._same(rows) as same:
            return self._carry(self._pending(same), self._work.ask_about)

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

    def _carry(self, batches: Iterable[Batch], work: Callable[[Batch], list[Outcome]]) -> list[Row]:
        """Do the same with all batches, and take their outcomes in order; return pending rows to watch."""
        watched: deque[Row] = deque(maxlen=WATCHED)

        def observed(batch: Batch) -> list[Outcome]:
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

    def _take(self, batch: Batch, outcomes: list[Outcome]) -> None:
        for name, rows in _counted(outcomes).items():
            if name != PENDING:
                self._caller.client.observer.count(f"rows.{name}", rows)
        if batch.pending is None:
            self._state.take(batch.rows, outcomes)
        else:
            self._state.settle({number: place for number, (place, _) in batch.pending.items()}, outcomes)

    def _take_finished(self, finished: Iterator[tuple[Batch, list[Outcome]]]) -> None:
        """Take what was sent when the run was stopped, as far as it is without a gap."""
        for batch, outcomes in finished:
            if batch.pending is not None:
                return  # asking again does no harm
            if batch.start == self._state.rows_read:  # less where the batch was just taken
                self._take(batch, outcomes)

    def _new(self, rows: Iterable[Row]) -> Iterator[Batch]:
        """Batches of the rows that the state does not have; the checkpoint says which may be under way."""
        start = self._state.rows_read
        for some, later in self._with_later(self._batches(rows)):
            end = start + len(some)
            if end > self._state.may_begin:
                self._state.begins(start, most=AHEAD * self._concurrency * self._batch_size, at_least=end)
                self._save()
            yield Batch(some, start, later=later)
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

    def _pending(self, rows: Iterable[Row]) -> Iterator[Batch]:
        """Batches of the rows that are pending when this begins."""
        pending: dict[int, tuple[int, str]] = {}

        def noted() -> Iterator[Row]:
            for place, category, row in rows_at(self._state.tally.pending, rows):
                pending[row.number] = place, category
                yield row

        for some in self._batches(noted()):
            yield Batch(some, pending={row.number: pending.pop(row.number) for row in some})

    def _batches(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """Rows in order, as many as make a request; those that are not sent go along.

        A request that reads asks about a subscriber once, however many rows are about it.
        """
        batch: list[Row] = []
        asked: set[int | str] = set()
        for row in rows:
            about = row.subscriber if self._only_reads else row.number
            full = len(asked) == self._batch_size and row.problem is None and about not in asked
            if full or len(batch) == self._batch_size * _ROWS_PER_BATCH:
                yield batch
                batch, asked = [], set()
            batch.append(row)
            if row.problem is None:
                asked.add(about)
        if batch:
            yield batch


def _counted(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.outcome for outcome in outcomes)
