"""Rows whose operation HubSpot took and is not done with: asked about until it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.report import UNDER_WAY, Outcome
from airflow_provider_hubprefs.hubspot.errors import MissingScopesError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.exchange import Answer, Exchange
    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.bulk.writes import Write

CANCELED = "CANCELED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a run waits for operations that are under way.

    A batch is waited for in its own thread, before its rows have their outcome: no more rows are held than are under
    way anyway, and a kill repeats no more than those.

    :param interval: seconds between two questions.
    :param timeout: seconds, of each batch.
    :raises ValidationError: no numbers of more than 0.
    """

    interval: float
    timeout: float

    def __post_init__(self) -> None:
        for name, value in (("poke_interval", self.interval), ("timeout", self.timeout)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValidationError(f"{name}: expected seconds, more than 0, got {value!r}")

    def wait(self, exchange: Exchange, write: Write, rows: Sequence[Row], status: str) -> list[Outcome]:
        """Ask until all rows' operations are over, or for as long as it may take.

        :param status: of the operation, when it was last heard of.
        :return: an outcome of each row.
        :raises StoppedError: the client was told to stop.
        """
        outcomes: list[Outcome] = []
        end = time.monotonic() + self.timeout
        while True:
            last = time.monotonic() >= end
            try:
                answers = exchange.answers(write.read, rows)
            except MissingScopesError as error:
                return outcomes + [Outcome(row, "unconfirmed", error.category, str(error)) for row in rows]
            for answer in answers:
                outcomes += _over(answer, write, rows)
            over = {outcome.row.number for outcome in outcomes}
            rows = [row for row in rows if row.number not in over]
            if last or not rows:
                break
            exchange.client.rest(self.interval)
        text = f"HubSpot took it, and was not done with it within the timeout of {self.timeout} s"
        return outcomes + [Outcome(row, "unconfirmed", f"{UNDER_WAY}{status}", text) for row in rows]


def _over(answer: Answer, write: Write, rows: Sequence[Row]) -> list[Outcome]:
    """Outcomes of the rows whose operation an answer shows to be over."""
    operation, found = answer.operation, answer.found()
    asked = {row.subscriber for row in answer.rows}
    canceled = asked if operation.canceled else set()
    for error in operation.errors:
        if error.category == CANCELED:
            canceled = canceled | (asked & {name.lower() for name in error.names()})
    outcomes = []
    for row in rows:
        if row.subscriber not in asked:
            continue
        if row.subscriber in canceled:
            outcomes.append(Outcome(row, "rejected", CANCELED, "HubSpot canceled the operation"))
        elif write.is_so(found.get(row.subscriber, ()), row):
            outcomes.append(Outcome(row, "changed"))
        elif operation.complete:
            text = "HubSpot was done with it, and reading it back did not show it"
            outcomes.append(Outcome(row, "unconfirmed", "NOT_SEEN", text))
    return outcomes
