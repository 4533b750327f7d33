"""Asking HubSpot the same of many subscribers: by one call where it can be, however it refuses."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.writes import found_in
from airflow_provider_hubprefs.hubspot.errors import (
    ConflictError,
    HubSpotError,
    MissingScopesError,
    NotFoundError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.polling import told_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.bulk.writes import Found, Pair
    from airflow_provider_hubprefs.hubspot.client import Client
    from airflow_provider_hubprefs.hubspot.models import Operation

_REFUSALS = (ValidationError, NotFoundError, ConflictError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of HubSpot's.

    :param rows: asked for in this call.
    :param single: whether it was the call for one subscriber: whatever came back is about it.
    """

    rows: Sequence[Row]
    operation: Operation[Any]
    single: bool

    def found(self) -> Found:
        """Statuses by subscriber; a subscriber of a batch whom the answer does not have is absent."""
        return found_in(self.operation, asked=self.rows[0].subscriber if self.single else None)


class FellBackError(Exception):
    """The token lacks a batch scope, and single calls have not begun: raised once for each pair of calls."""


Refusals = list[tuple["Row", HubSpotError]]
"""Rows HubSpot refused when they stood alone, and why."""


class Exchange:
    """Batches, halves of batches, or single calls, whatever it takes to get an answer for every row.

    :param client: of the portal; may be used by many threads, and so may this.
    :param operations: counts the answers by their operation status.
    """

    def __init__(self, client: Client, operations: Counter[str] | None = None) -> None:
        self.client = client
        self.operations: Counter[str] = Counter() if operations is None else operations
        self._one_by_one: set[str] = set()
        self._lock = threading.Lock()

    def goes_singly(self, pair: Pair) -> bool:
        """Whether it takes a call for each subscriber."""
        return pair.name in self._one_by_one

    def ask(self, pair: Pair, rows: Sequence[Row]) -> tuple[list[Answer], Refusals]:
        """Ask for all rows.

        A batch that HubSpot refuses as a whole is halved until the guilty row stands alone: n of them in a batch
        of 100 cost about 2 n log2(100) more requests.

        :param pair: the call for a batch and the call for one.
        :raises FellBackError: from here on it takes one call per subscriber; ask again to go on.
        :raises HubSpotError: what no row is to blame for.
        """
        if not rows:
            return [], []
        if self.goes_singly(pair):
            return self._ask_singly(pair, rows)
        try:
            operation = self.client.send(pair.batch(rows))
        except MissingScopesError as error:
            self._fall_back(pair, error)
            return self._ask_singly(pair, rows)
        except _REFUSALS as error:
            if len(rows) == 1:
                return [], [(rows[0], error)]
            half = len(rows) // 2
            answers, refusals = self.ask(pair, rows[:half])
            more_answers, more_refusals = self.ask(pair, rows[half:])
            return answers + more_answers, refusals + more_refusals
        return [self._answer(rows, operation, single=False)], []

    def actual(self, pair: Pair, rows: Sequence[Row]) -> tuple[Found, Refusals]:
        """Read what HubSpot shows of these subscribers now; those it does not tell of are absent.

        An answer that is not COMPLETE, because of some of them, still tells of those it has statuses of; that
        somebody has none is taken from a COMPLETE one only. Nobody is asked for twice, however many of the rows
        are about them.
        """
        by_subscriber = _by_subscriber(rows)
        answers, refused = self.ask(pair, [about[0] for about in by_subscriber.values()])
        actual: Found = {}
        for answer in answers:
            found, certain = answer.found(), answer.operation.complete or answer.single
            actual.update({key: statuses for key, statuses in found.items() if statuses or certain})
        return actual, [(row, error) for first, error in refused for row in by_subscriber[first.subscriber]]

    def about(self, pair: Pair, rows: Sequence[Row]) -> tuple[list[tuple[Answer, list[Row]]], Refusals]:
        """What HubSpot answers about these subscribers, and the rows that an answer is about.

        Nobody is asked for twice. An answer for many that is not COMPLETE is read as
        :func:`~airflow_provider_hubprefs.hubspot.polling.told_of` does; about whom it is not clear is asked alone.
        """
        by_subscriber = _by_subscriber(rows)
        asked, refused = self.ask(pair, [about[0] for about in by_subscriber.values()])
        answers: list[Answer] = []
        for answer in asked:
            if answer.operation.complete or len(answer.rows) == 1:
                answers.append(answer)
                continue
            told = told_of(answer.operation, [row.subscriber for row in answer.rows])
            answers += [
                Answer([row], told[row.subscriber], single=True)
                for row in answer.rows
                if row.subscriber in told
            ]
            alone, more = self._ask_singly(pair, [row for row in answer.rows if row.subscriber not in told])
            answers += alone
            refused += more
        return (
            [
                (one, [row for first in one.rows for row in by_subscriber[first.subscriber]])
                for one in answers
            ],
            [(row, error) for first, error in refused for row in by_subscriber[first.subscriber]],
        )

    def _ask_singly(self, pair: Pair, rows: Sequence[Row]) -> tuple[list[Answer], Refusals]:
        answers: list[Answer] = []
        refusals: Refusals = []
        for row in rows:
            try:
                operation = self.client.send(pair.single(row))
            except _REFUSALS as error:
                refusals.append((row, error))
            else:
                answers.append(self._answer([row], operation, single=True))
        return answers, refusals

    def _answer(self, rows: Sequence[Row], operation: Operation[Any], *, single: bool) -> Answer:
        with self._lock:
            self.operations[operation.status] += 1
        return Answer(rows, operation, single)

    def _fall_back(self, pair: Pair, error: MissingScopesError) -> None:
        with self._lock:
            told = pair.name in self._one_by_one
            self._one_by_one.add(pair.name)
        if not told:
            _log.warning("%s. From here on: one call per subscriber instead of one per batch.", error)
            raise FellBackError(pair.name)


def _by_subscriber(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.subscriber, []).append(row)
    return found
