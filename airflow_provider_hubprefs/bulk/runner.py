"""Batches of subscribers, sent and accounted for.

Every row ends in exactly one outcome. A batch that HubSpot refuses as a whole is split until the guilty row
stands alone; what an answer does not say of a row is read back; what cannot be decided is unconfirmed, never
success.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from airflow_provider_hubprefs.bulk.report import APPLIED, OPEN, UNDER_WAY, Outcome, Report
from airflow_provider_hubprefs.bulk.spans import rows_at
from airflow_provider_hubprefs.bulk.under_way import outcomes_of
from airflow_provider_hubprefs.bulk.writes import SOMEBODY
from airflow_provider_hubprefs.hubspot.errors import (
    DailyLimitError,
    HubSpotError,
    MissingScopesError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_provider_hubprefs.bulk.exchange import Answer, Exchange
    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.bulk.writes import Write
    from airflow_provider_hubprefs.hubspot.models import BatchError

BATCH_SIZE = 100
"""HubSpot documents no limit for this API; 100 is its rule for CRM batches."""

CONCURRENCY = 8
"""Requests under way at once. HubSpot's ceiling of 19 requests/s needs 6 of them where an answer takes 300 ms."""

_QUICK = 0.02
"""Seconds. While a batch takes less, one after the other is faster than HubSpot's ceiling of 25 requests/s, and costs
about a fifth less CPU than many at once: threads that compute take turns at the interpreter."""

_ROWS_PER_BATCH = 20
"""A source of nearly nothing but duplicates must not pile up in memory until a batch is full."""

_TELLING = 10
"""So many rows refused alike, with none accepted before, are no coincidence: something they share is wrong."""

_WATCHED = 10
"""So many rows under way, one of each of the batches sent last, stand for all of them while they are waited for."""


class _Batch(NamedTuple):
    """Rows that go together.

    :param start: how many rows came before, where these are sent for the first time.
    :param waiting: place and category by the row's number, where these are under way, see :mod:`.spans`.
    """

    rows: list[Row]
    start: int = 0
    waiting: dict[int, tuple[int, str]] | None = None


class _Begun(NamedTuple):
    """A batch, and what will become of its rows."""

    batch: _Batch
    outcomes: Future[list[Outcome]]


class Allowance(Protocol):
    """What a run may spend."""

    def has(self, under_way: int) -> bool:
        """Whether there is enough for one more batch.

        :param under_way: batches that were begun and not taken: what they spend may not be known yet.
        """

    def more(self, error: DailyLimitError | None = None) -> bool:
        """There is not enough: wait for more, or return False to end the run here.

        :param error: what HubSpot said, where it was HubSpot who refused.
        :raises DailyLimitError: the run has to stop as one that failed.
        """


class Unlimited:
    """For a run that looks at no daily budget; HubSpot's refusal stops it."""

    def has(self, under_way: int) -> bool:
        """See :class:`Allowance`."""
        return True

    def more(self, error: DailyLimitError | None = None) -> bool:
        """See :class:`Allowance`."""
        return False


class Runner:
    """Carries one write out over many rows.

    :param exchange: with the portal.
    :param write: what is wanted.
    :param report: where outcomes go.
    :param batch_size: subscribers per request.
    :param concurrency: requests under way at once.
    :param verify: read every subscriber back that HubSpot says is as wanted.
    :param waits: whether rows whose operation is under way stay open, to be asked about again, see
        :mod:`.under_way`; otherwise they are looked at at once, and what does not show then is unconfirmed.
    :param allowance: whether the account can afford another batch; asked before each.
    """

    def __init__(
        self,
        exchange: Exchange,
        write: Write,
        report: Report,
        *,
        batch_size: int = BATCH_SIZE,
        concurrency: int = CONCURRENCY,
        verify: bool = False,
        waits: bool = False,
        allowance: Allowance | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("concurrency", concurrency)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValidationError(f"{name}: expected a whole number of at least 1, got {value!r}")
        self._write = write
        self._report = report
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._quick = False
        self._exchange = exchange
        self._verify = verify
        self._waits = waits
        self._allowance = allowance or Unlimited()
        self.latest: deque[Row] = deque(maxlen=_WATCHED)
        """Rows under way, one of each of the batches whose outcomes came last."""

    def run(self, rows: Iterable[Row], *, taken: Callable[[], None] = lambda: None) -> bool:
        """Send all rows; afterwards every one has its outcome in the report, or is under way.

        :param rows: see :func:`~.source.read_rows`; read as it goes, never held. Rows that the report has already,
            from an earlier try, are passed over.
        :param taken: told whenever the report has the outcomes of all rows up to some row, and no others.
        :return: whether that was all of them, and not what the account could afford.
        :raises HubSpotError: something that no row is to blame for. What was done until then is in the
            report; running again does no harm.
        :raises ConservationError: a defect of this package.
        """
        self._write.check()
        self._write.write.batch([SOMEBODY])  # a version without batches says so before any request
        complete = self._carry(self._new(rows), self._settle, taken)
        self._report.check()
        return complete

    def ask_again(self, rows: Iterable[Row], *, taken: Callable[[], None] = lambda: None) -> bool:
        """Ask about all rows under way what became of them; who is so still is in :attr:`latest`.

        :param rows: all of the source.
        :param taken: see :meth:`run`.
        :return: whether that was all of them, and not what the account could afford.
        :raises HubSpotError: see :meth:`run`.
        """
        self.latest.clear()
        complete = self._carry(self._open(rows), self._look_again, taken)
        self._report.check()
        return complete

    def give_up(self, rows: Iterable[Row]) -> None:
        """Take what is under way for unconfirmed.

        :param rows: all of the source.
        """
        text = "HubSpot took it, and was not done with it when the run waited no longer"
        for batch in self._open(rows):
            category = {number: category for number, (_, category) in (batch.waiting or {}).items()}
            self._take(batch, [Outcome(row, "unconfirmed", category[row.number], text) for row in batch.rows])
        self._report.check()

    def _carry(
        self,
        batches: Iterable[_Batch],
        work: Callable[[_Batch], list[Outcome]],
        taken: Callable[[], None],
    ) -> bool:
        """Do the same with all batches, many at once, and take their outcomes in order."""
        under_way: deque[_Begun] = deque()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="hubprefs") as threads:

            def begin(batch: _Batch) -> _Begun:
                return _Begun(batch, threads.submit(work, batch))

            try:
                for batch in batches:
                    if not self._allowance.has(len(under_way)):
                        while under_way:
                            self._take_first(under_way, begin)
                            taken()
                        if not (self._allowance.has(0) or self._allowance.more()):
                            return False
                    self._exchange.client.rest(0)  # stopped? Rows that are not sent would not find out
                    under_way.append(begin(batch))
                    while len(under_way) >= self._at_once():
                        self._take_first(under_way, begin)
                        taken()
                while under_way:
                    self._take_first(under_way, begin)
                    taken()
            except BaseException as error:
                if not isinstance(error, Exception):  # Ctrl-C and its like: nobody waits for a retry now
                    self._exchange.client.stop()
                threads.shutdown(wait=True, cancel_futures=True)
                self._take_finished(under_way)
                raise
        return True

    def _at_once(self) -> int:
        """How many batches may be under way.

        One at a time until HubSpot has accepted something: what is wrong with all of them is found out by the first.
        And never more than a kill may cost.
        """
        return 1 if self._quick or not self._report.accepted else self._concurrency

    def _take_first(self, under_way: deque[_Begun], begin: Callable[[_Batch], _Begun]) -> None:
        """Wait for the first batch; where the day's requests are used up, for those of the next if that is wanted."""
        batch, future = under_way[0]
        try:
            outcomes = future.result()
        except DailyLimitError as error:
            if not self._allowance.more(error):
                raise
            under_way[0] = begin(batch)
            return
        self._take(batch, outcomes)
        under_way.popleft()

    def _take(self, batch: _Batch, outcomes: list[Outcome]) -> None:
        if batch.waiting is None:
            self._report.take(len(batch.rows), outcomes)
        else:
            self._report.settle({number: place for number, (place, _) in batch.waiting.items()}, outcomes)
        if self._waits:
            self.latest += [outcome.row for outcome in outcomes if outcome.outcome == OPEN][-1:]

    def _take_finished(self, under_way: deque[_Begun]) -> None:
        """Take what was sent when the run was stopped, as far as it is without a gap."""
        for batch, future in under_way:
            if batch.waiting is not None:
                return  # asking again does no harm
            if batch.start < self._report.rows_read:
                continue
            if future.cancelled() or not future.done() or future.exception() is not None:
                return
            self._take(batch, future.result())

    def _new(self, rows: Iterable[Row]) -> Iterator[_Batch]:
        """Batches of the rows that the report does not have."""
        start = self._report.rows_read
        for some in self._batches(islice(rows, start, None)):
            yield _Batch(some, start)
            start += len(some)

    def _open(self, rows: Iterable[Row]) -> Iterator[_Batch]:
        """Batches of the rows that are under way when this begins."""
        waiting: dict[int, tuple[int, str]] = {}

        def noted() -> Iterator[Row]:
            for place, category, row in rows_at(self._report.tally.open, rows):
                waiting[row.number] = place, category
                yield row

        for some in self._batches(noted()):
            yield _Batch(some, waiting={row.number: waiting.pop(row.number) for row in some})

    def _batches(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """Rows in order, as many of them as make a request; those that are not sent go along."""
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

    def _settle(self, batch: _Batch) -> list[Outcome]:
        """Write one batch and find out what became of every row of it."""
        begin = time.monotonic()
        outcomes = self._settled(batch.rows)
        self._quick = time.monotonic() - begin < _QUICK
        return outcomes

    def _settled(self, batch: list[Row]) -> list[Outcome]:
        outcomes = [_not_sent(row) for row in batch if row.problem is not None]
        rows = [row for row in batch if row.problem is None]
        if to_look_at := [row for row in rows if self._write.look_first(row)]:
            seen, found = self._look(to_look_at)
            looked_at = {row.number for row in to_look_at}
            rows = [row for row in rows if row.number not in looked_at] + seen
            outcomes += found
        answers, refused = self._exchange.ask(self._write.write, rows)
        self._stop_if_telling(rows, refused)
        outcomes += [_refused(row, error) for row, error in refused]
        for answer in answers:
            outcomes += self._judge(answer)
        return self._verified(outcomes) if self._verify else outcomes

    def _verified(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Believe what HubSpot shows rather than what it said."""
        applied = [outcome.row for outcome in outcomes if outcome.outcome in APPLIED]
        actual, _ = self._exchange.actual(self._write.read, applied)
        seen = {row.number for row in applied if self._write.is_so(actual.get(row.subscriber, ()), row)}
        text = "HubSpot said it was done, and reading it back did not show it"
        return [
            Outcome(outcome.row, "unconfirmed", "NOT_SEEN", text)
            if outcome.outcome in APPLIED and outcome.row.number not in seen
            else outcome
            for outcome in outcomes
        ]

    def _look(self, rows: list[Row]) -> tuple[list[Row], list[Outcome]]:
        """Read before writing: who is as wanted needs nothing, who unsubscribed is left alone."""
        actual, refused = self._exchange.actual(self._write.read, rows)
        outcomes = [_refused(row, error) for row, error in refused]
        known_refused = {row.number for row, _ in refused}
        to_write: list[Row] = []
        for row in rows:
            if row.number in known_refused:
                continue
            statuses = actual.get(row.subscriber)
            if statuses is None:
                text = "HubSpot did not tell the actual status, so nothing was written"
                outcomes.append(Outcome(row, "unconfirmed", "STATUS_UNKNOWN", text))
            elif self._write.is_so(statuses, row):
                outcomes.append(Outcome(row, "unchanged"))
            elif (error := self._write.objection(statuses, row)) is not None:
                outcomes.append(_refused(row, error))
            else:
                to_write.append(row)
        return to_write, outcomes

    def _judge(self, answer: Answer) -> list[Outcome]:
        """Read an answer: errors inside a success count, and so do subscribers that are missing in it."""
        operation, found = answer.operation, answer.found()
        told, vague, unnamed = _errors_of(answer)
        outcomes: list[Outcome] = []
        open_rows: list[Row] = []
        for row in answer.rows:
            if (error := told.get(row.number)) is not None:
                outcomes.append(_failed(row, error))
            elif operation.canceled:
                outcomes.append(Outcome(row, "rejected", "CANCELED", "HubSpot canceled the operation"))
            elif operation.complete and (verdict := self._write.verdict(found.get(row.subscriber, ()), row)):
                outcomes.append(Outcome(row, verdict))
            else:
                open_rows.append(row)
        for subscriber, errors in vague.items():
            mine = [row for row in open_rows if row.subscriber == subscriber]
            if len(mine) == len(errors):  # as many failed as are not confirmed: those
                outcomes += [_failed(row, error) for row, error in zip(mine, errors, strict=True)]
                open_rows = [row for row in open_rows if row.subscriber != subscriber]
        if not open_rows:
            return outcomes
        if self._waits and not operation.complete:
            return outcomes + [Outcome(row, OPEN, f"{UNDER_WAY}{operation.status}") for row in open_rows]
        return outcomes + self._read_back(open_rows, unnamed, operation.status)

    def _look_again(self, batch: _Batch) -> list[Outcome]:
        """Find out what became of rows that were under way."""
        try:
            answers, refused = self._exchange.about(self._write.read, batch.rows)
        except MissingScopesError as error:
            return [Outcome(row, "unconfirmed", error.category, str(error)) for row in batch.rows]
        outcomes = [
            Outcome(row, "unconfirmed", error.category or str(error.status), str(error), error.correlation_id)
            for row, error in refused
        ]
        for answer, about in answers:
            outcomes += outcomes_of(answer, self._write, about)
        return outcomes

    def _read_back(self, rows: list[Row], unnamed: list[BatchError], status: str) -> list[Outcome]:
        """Decide the rows an answer left open by what HubSpot shows of them now."""
        try:
            actual, _ = self._exchange.actual(self._write.read, rows)
        except MissingScopesError as error:
            return [Outcome(row, "unconfirmed", error.category, str(error)) for row in rows]
        outcomes = [
            Outcome(row, "changed") for row in rows if self._write.is_so(actual.get(row.subscriber, ()), row)
        ]
        confirmed = {outcome.row.number for outcome in outcomes}
        rest = [row for row in rows if row.number not in confirmed]
        if rest and len(rest) == len(unnamed) and len({error.category for error in unnamed}) == 1:
            return outcomes + [_failed(row, error) for row, error in zip(rest, unnamed, strict=True)]
        category = "NOT_IN_ANSWER" if status == "COMPLETE" else f"{UNDER_WAY}{status}"
        text = "HubSpot neither confirmed nor refused it, and reading it back did not show it"
        return outcomes + [Outcome(row, "unconfirmed", category, text) for row in rest]

    def _stop_if_telling(self, rows: Sequence[Row], refused: Sequence[tuple[Row, HubSpotError]]) -> None:
        """Stop where HubSpot refuses everybody alike: an unknown brand, not a hundred bad addresses.

        :raises HubSpotError: what HubSpot said.
        """
        if self._report.accepted or len(refused) < _TELLING or len(refused) < len(rows):
            return
        first = refused[0][1]
        if len({(error.status, error.category) for _, error in refused}) == 1:
            raise ValidationError(
                f"HubSpot refused all {len(refused)} subscribers of a batch alike, and accepted none before; "
                f"the run was stopped, nothing of that batch was applied. It said: {first}",
                status=first.status,
                category=first.category,
                correlation_id=first.correlation_id,
                not_applied=True,
            )


def _errors_of(
    answer: Answer,
) -> tuple[dict[int, BatchError], dict[str, list[BatchError]], list[BatchError]]:
    """Errors inside a success, by what they name.

    :return: by the number of the row they are about; by subscriber, where several rows are about that one and the
        error does not say which; and those that name none of these rows.
    """
    by_subscriber: dict[str, list[Row]] = {}
    for row in answer.rows if answer.operation.errors else ():
        by_subscriber.setdefault(row.subscriber, []).append(row)
    told: dict[int, BatchError] = {}
    vague: dict[str, list[BatchError]] = {}
    unnamed: list[BatchError] = []
    for error in answer.operation.errors:
        names = error.names()
        subscribers = {name.lower() for name in names} & by_subscriber.keys()
        if answer.single and not subscribers:
            subscribers = set(by_subscriber)
        for subscriber in subscribers:
            rows = by_subscriber[subscriber]
            if len(rows) > 1:  # several subscriptions of one subscriber
                rows = [row for row in rows if row.wanted and str(row.wanted.subscription_id) in names]
            if not rows:
                vague.setdefault(subscriber, []).append(error)
            told.update((row.number, error) for row in rows)
        if not subscribers:
            unnamed.append(error)
    return told, vague, unnamed


def _not_sent(row: Row) -> Outcome:
    if row.problem == "duplicate":
        return Outcome(row, "duplicate", message=row.detail)
    return Outcome(row, "invalid", row.category, row.detail)


def _refused(row: Row, error: HubSpotError) -> Outcome:
    return Outcome(row, "rejected", error.category or str(error.status), str(error), error.correlation_id)


def _failed(row: Row, error: BatchError) -> Outcome:
    return Outcome(row, "rejected", error.category, error.message)
