"""Ask HubSpot the same about many rows, on a task's thread; see :mod:`~.hubspot.transport.batches`."""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.hubspot.api.answers import (
    certain_statuses,
    operations_by_subscriber,
    statuses_by_subscriber,
    subscriber_key,
)
from airflow_provider_hubprefs.hubspot.api.models import Operation
from airflow_provider_hubprefs.hubspot.api.odd_answers import UNREADABLE
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, MalformedAnswerError
from airflow_provider_hubprefs.hubspot.transport.batches import REFUSALS, BatchCaller
from airflow_provider_hubprefs.hubspot.transport.client import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.api.answers import StatusesBySubscriber
    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.transport.batches import CallPair
    from airflow_provider_hubprefs.hubspot.transport.client import Client


@dataclass(frozen=True, slots=True)
class RowReply:
    """HubSpot's answer to one call.

    :param rows: that the call asked about.
    :param single: whether it was the single call.
    :param sent_at: when the call left, in monotonic seconds.
    """

    rows: Sequence[Row]
    operation: Operation[Any]
    single: bool
    sent_at: float = math.inf

    def found(self) -> StatusesBySubscriber:
        """Statuses by subscriber; a subscriber that is not in the answer to a batch is absent."""
        return statuses_by_subscriber(self.operation, asked=self.rows[0].subscriber if self.single else None)

    def certain(self) -> StatusesBySubscriber | None:
        """What is certain of this answer to a read; see :func:`~.answers.certain_statuses`."""
        asked = [row.subscriber for row in self.rows]
        return certain_statuses(self.operation, asked, single=self.single)

    def named(self) -> list[Row]:
        """Rows of a batch that an error in the answer names: the single call says what is wrong with them."""
        names = {subscriber_key(name) for error in self.operation.errors for name in error.names()}
        return [row for row in self.rows if not self.single and subscriber_key(row.subscriber) in names]


Refusals = list[tuple["Row", HubSpotError]]
"""Rows that HubSpot refused when they stood alone, and why."""


class Reading(NamedTuple):
    """What HubSpot shows of some rows' subscribers.

    :param statuses: only what is certain; a subscriber that is absent is unknown.
    :param refusals: rows that HubSpot refused to show.
    :param taken_at: when the first of the requests left, in monotonic seconds.
    """

    statuses: StatusesBySubscriber
    refusals: Refusals
    taken_at: float

    def __repr__(self) -> str:
        return f"<Reading of {len(self.statuses)} subscribers>"

    def of(self, row: Row) -> list[Any] | None:
        """All statuses of a row's subscriber; None: unknown."""
        return self.statuses.get(subscriber_key(row.subscriber))


class RowCaller:
    """Asks about rows, by as few calls as HubSpot permits. Any number of threads may use it.

    :param client: of the portal.
    :param operations: counts the answers by their operation status.
    :param singly: whether every subscriber takes a call of its own.
    """

    def __init__(
        self, client: Client, operations: Counter[str] | None = None, *, singly: bool = False
    ) -> None:
        self.client = client
        self.operations: Counter[str] = Counter() if operations is None else operations
        self.turn = threading.Lock()
        """For what can succeed by one thread at a time only."""
        self._batches = BatchCaller(self._send, singly=singly)
        self._lock = threading.Lock()

    def goes_singly(self, pair: CallPair[Row]) -> bool:
        """Whether each subscriber takes a call of its own."""
        return self._batches.goes_singly(pair)

    def ask(self, pair: CallPair[Row], rows: Sequence[Row]) -> tuple[list[RowReply], Refusals]:
        """Ask about all rows.

        :param pair: the call for a batch and the single call.
        :raises HubSpotError: an error that no row causes.
        """
        replies: list[RowReply] = []
        refusals: Refusals = []
        self.ask_into(replies, refusals, pair, rows)
        return replies, refusals

    def ask_into(
        self, replies: list[RowReply], refusals: Refusals, pair: CallPair[Row], rows: Sequence[Row]
    ) -> None:
        """Ask about all rows, as :meth:`ask` does; what was answered before an error is in the lists."""
        run(self._ask(pair, rows, replies, refusals))

    def repeat(self, work: Callable[[], None]) -> None:
        """Do something that asks; after failures that pass wait, and do all of it again."""

        async def attempt() -> None:
            work()

        run(self.client.repeat(attempt))

    def actual(self, pair: CallPair[Row], rows: Sequence[Row]) -> Reading:
        """Read what is certain of the rows' subscribers now; see :func:`~.answers.certain_statuses`.

        Each subscriber is asked about once. Where the answer to a batch is not COMPLETE, or has an error that does not
        say whom it is about, its subscribers are asked about by single calls, and so is whom an error names: one must
        not block the others.
        """
        by_subscriber = _by_subscriber(rows)
        replies, refused = self.ask(pair, [mine[0] for mine in by_subscriber.values()])
        statuses: StatusesBySubscriber = {}
        taken_at = math.inf
        while replies:
            reply = replies.pop()
            certain = reply.certain()
            if certain is None and len(reply.rows) > 1:
                run(self._ask_singly(pair, reply.rows, replies, refused))
                continue
            if certain:
                statuses.update(certain)
                taken_at = min(taken_at, reply.sent_at)
            run(self._ask_singly(pair, reply.named(), replies, refused))
        refusals = [(row, error) for first, error in refused for row in by_subscriber[first.subscriber]]
        return Reading(statuses, refusals, taken_at)

    def about(
        self, pair: CallPair[Row], rows: Sequence[Row]
    ) -> tuple[list[tuple[RowReply, list[Row]]], Refusals]:
        """Read HubSpot's answers about these rows, each with all rows that it is about.

        Each subscriber is asked about once, and once more by the single call where the answer to a batch is not clear
        about it; see :func:`~airflow_provider_hubprefs.hubspot.api.answers.operations_by_subscriber`.
        """
        by_subscriber = _by_subscriber(rows)
        asked, refused = self.ask(pair, [mine[0] for mine in by_subscriber.values()])
        answers: list[RowReply] = []
        for answer in asked:
            if answer.operation.ended or len(answer.rows) == 1:
                answers.append(answer)
                continue
            clear = operations_by_subscriber(answer.operation, [row.subscriber for row in answer.rows])
            answers += [
                RowReply([row], clear[row.subscriber], single=True)
                for row in answer.rows
                if row.subscriber in clear
            ]
            unclear = [row for row in answer.rows if row.subscriber not in clear]
            run(self._ask_singly(pair, unclear, answers, refused))
        return (
            [
                (one, [row for first in one.rows for row in by_subscriber[first.subscriber]])
                for one in answers
            ],
            [(row, error) for first, error in refused for row in by_subscriber[first.subscriber]],
        )

    async def _send(self, call: Call[Operation[Any]]) -> Operation[Any]:
        operation = self.client.send(call)
        with self._lock:
            self.operations[operation.status] += 1
        return operation

    async def _ask(
        self, pair: CallPair[Row], rows: Sequence[Row], answers: list[RowReply], refusals: Refusals
    ) -> None:
        singly: list[Row] = []
        async for part, answer in self._batches.ask(pair, rows):
            if answer is None:
                singly += part
            elif not isinstance(answer, HubSpotError):
                answers.append(RowReply(part, answer, single=False, sent_at=self.client.sent_at))
            elif isinstance(answer, REFUSALS):
                refusals.append((part[0], answer))
            else:
                answers.append(_unreadable(part, answer))
        await self._ask_singly(pair, singly, answers, refusals)

    async def _ask_singly(
        self, pair: CallPair[Row], rows: Sequence[Row], answers: list[RowReply], refusals: Refusals
    ) -> None:
        for row in rows:
            try:
                operation = await self._send(pair.single(row))
            except REFUSALS as error:
                refusals.append((row, error))
            except MalformedAnswerError as error:
                answers.append(_unreadable([row], error))
            else:
                answers.append(RowReply([row], operation, single=True, sent_at=self.client.sent_at))


def _unreadable(rows: Sequence[Row], error: HubSpotError) -> RowReply:
    """A success that is not of the documented shape, which another attempt does not mend: the rows are undecided.

    :raises HubSpotError: it is another error.
    """
    if not isinstance(error, MalformedAnswerError) or error.retryable:
        raise error
    return RowReply(rows, Operation(status=UNREADABLE), single=len(rows) == 1)


def _by_subscriber(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.subscriber, []).append(row)
    return found
