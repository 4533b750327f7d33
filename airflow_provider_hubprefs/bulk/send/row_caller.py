"""Ask HubSpot the same about many rows, on a task's thread; see :mod:`~.hubspot.transport.batches`."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.api.answers import operations_by_subscriber, statuses_by_subscriber
from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.transport.batches import REFUSALS, BatchCaller
from airflow_provider_hubprefs.hubspot.transport.client import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.api.answers import StatusesBySubscriber
    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.api.models import Operation
    from airflow_provider_hubprefs.hubspot.transport.batches import CallPair
    from airflow_provider_hubprefs.hubspot.transport.client import Client


@dataclass(frozen=True, slots=True)
class RowReply:
    """HubSpot's answer to one call.

    :param rows: that the call asked about.
    :param single: whether it was the single call: the whole answer is about that subscriber.
    """

    rows: Sequence[Row]
    operation: Operation[Any]
    single: bool

    def found(self) -> StatusesBySubscriber:
        """Statuses by subscriber; a subscriber that is not in the answer to a batch is absent."""
        return statuses_by_subscriber(self.operation, asked=self.rows[0].subscriber if self.single else None)


Refusals = list[tuple["Row", HubSpotError]]
"""Rows that HubSpot refused when they stood alone, and why."""


class RowCaller:
    """Asks about rows, by as few calls as HubSpot permits. Any number of threads may use it.

    :param client: of the portal.
    :param operations: counts the answers by their operation status.
    """

    def __init__(self, client: Client, operations: Counter[str] | None = None) -> None:
        self.client = client
        self.operations: Counter[str] = Counter() if operations is None else operations
        self._batches = BatchCaller(self._send)
        self._lock = threading.Lock()

    def goes_singly(self, pair: CallPair[Row]) -> bool:
        """Whether each subscriber takes a call of its own."""
        return self._batches.goes_singly(pair)

    def ask(self, pair: CallPair[Row], rows: Sequence[Row]) -> tuple[list[RowReply], Refusals]:
        """Ask about all rows.

        :param pair: the call for a batch and the single call.
        :raises HubSpotError: an error that no row causes.
        """
        return run(self._ask(pair, rows))

    def actual(self, pair: CallPair[Row], rows: Sequence[Row]) -> tuple[StatusesBySubscriber, Refusals]:
        """Read the statuses that HubSpot shows now; a subscriber that it says nothing about is absent.

        An answer that is not COMPLETE still says something about the subscribers it has statuses of; that a subscriber
        has no status is believed of a COMPLETE answer only. Each subscriber is asked about once.
        """
        by_subscriber = _by_subscriber(rows)
        answers, refused = self.ask(pair, [mine[0] for mine in by_subscriber.values()])
        actual: StatusesBySubscriber = {}
        for answer in answers:
            certain = answer.operation.complete
            actual.update({key: statuses for key, statuses in answer.found().items() if statuses or certain})
        return actual, [(row, error) for first, error in refused for row in by_subscriber[first.subscriber]]

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
            if answer.operation.complete or len(answer.rows) == 1:
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

    async def _ask(self, pair: CallPair[Row], rows: Sequence[Row]) -> tuple[list[RowReply], Refusals]:
        answers: list[RowReply] = []
        refusals: Refusals = []
        singly: list[Row] = []
        async for part, answer in self._batches.ask(pair, rows):
            if answer is None:
                singly += part
            elif not isinstance(answer, HubSpotError):
                answers.append(RowReply(part, answer, single=False))
            elif isinstance(answer, REFUSALS):
                refusals.append((part[0], answer))
            else:
                raise answer
        await self._ask_singly(pair, singly, answers, refusals)
        return answers, refusals

    async def _ask_singly(
        self, pair: CallPair[Row], rows: Sequence[Row], answers: list[RowReply], refusals: Refusals
    ) -> None:
        for row in rows:
            try:
                operation = await self._send(pair.single(row))
            except REFUSALS as error:
                refusals.append((row, error))
            else:
                answers.append(RowReply([row], operation, single=True))


def _by_subscriber(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.subscriber, []).append(row)
    return found
