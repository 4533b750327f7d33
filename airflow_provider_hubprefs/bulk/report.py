"""What became of every subscriber of a run: counts, dead letters, the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO, get_args

import msgspec

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source import Row

OutcomeName = Literal["changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed"]
OUTCOMES: tuple[OutcomeName, ...] = get_args(OutcomeName)

NOT_APPLIED: tuple[OutcomeName, ...] = ("rejected", "invalid", "unconfirmed")
"""Outcomes after which a subscriber's preference may not be what was wanted; their rows are dead letters."""


class ConservationError(Exception):
    """Rows read and outcomes do not add up: a defect of this package, never of the source."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row.

    :param category: why, in one word: HubSpot's category, or ours.
    :param message: why, in a sentence; may name the address, so it goes to the dead letters only.
    :param correlation_id: what HubSpot's support asks for.
    """

    row: Row
    outcome: OutcomeName
    category: str | None = None
    message: str | None = None
    correlation_id: str | None = None


class Report:
    """Counts outcomes as they come, and writes dead letters; holds no address itself.

    :param dead_letters: where rows that were not applied are written to, one JSON object a line.
    """

    def __init__(self, dead_letters: TextIO | None = None) -> None:
        self.rows_read = 0
        self.counts: Counter[OutcomeName] = Counter()
        self.reasons: Counter[str] = Counter()
        self.last_confirmed_row: int | None = None
        self._dead_letters = dead_letters

    def add(self, outcome: Outcome) -> None:
        """Take one row's outcome."""
        self.counts[outcome.outcome] += 1
        if outcome.outcome in {"changed", "unchanged"}:
            self.last_confirmed_row = max(self.last_confirmed_row or 0, outcome.row.number)
        if outcome.outcome in NOT_APPLIED:
            self.reasons[f"{outcome.outcome}: {outcome.category or 'no reason given'}"] += 1
            self._write(outcome)

    @property
    def applied(self) -> int:
        """How many rows' preferences are as wanted."""
        return self.counts["changed"] + self.counts["unchanged"]

    def check(self) -> None:
        """Check that every row read has exactly one outcome.

        :raises ConservationError: it has not.
        """
        told = self.counts.total()
        if told != self.rows_read:
            raise ConservationError(
                f"{self.rows_read} rows were read and {told} outcomes counted ({self.summary()}): "
                "please report this as a defect of airflow-provider-hubprefs"
            )

    def summary(self) -> dict[str, Any]:
        """Counts, reasons and the last row that is known to be applied; JSON, and no address."""
        return {
            "read": self.rows_read,
            **{name: self.counts[name] for name in OUTCOMES},
            "reasons": dict(self.reasons.most_common()),
            "last_confirmed_row": self.last_confirmed_row,
        }

    def _write(self, outcome: Outcome) -> None:
        if self._dead_letters is None:
            return
        letter = {
            "row": outcome.row.number,
            "subscriber": outcome.row.subscriber,
            "outcome": outcome.outcome,
            "category": outcome.category,
            "message": outcome.message,
            "correlation_id": outcome.correlation_id,
        }
        self._dead_letters.write(msgspec.json.encode(letter).decode() + "\n")
