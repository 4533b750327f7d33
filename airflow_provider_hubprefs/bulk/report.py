"""What became of every subscriber of a run: counts, dead letters, the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.bulk.dead_letters import DeadLetters
    from airflow_provider_hubprefs.bulk.source import Row

OutcomeName = Literal["changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed"]
OUTCOMES: tuple[OutcomeName, ...] = get_args(OutcomeName)

APPLIED: tuple[OutcomeName, ...] = ("changed", "unchanged")
"""Outcomes after which a subscriber's preference is as wanted."""

NOT_APPLIED: tuple[OutcomeName, ...] = ("rejected", "invalid", "unconfirmed")
"""Outcomes after which a subscriber's preference may not be what was wanted; their rows are dead letters."""


UNDER_WAY = "OPERATION_"
"""Beginning of the category of rows whose operation was not over: OPERATION_PENDING and its like."""


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

    :param dead_letters: where rows that were not applied are written to.
    :param spent: what this try has spent so far, by name; earlier tries' figures are added.
    """

    def __init__(
        self, dead_letters: DeadLetters | None = None, *, spent: Callable[[], dict[str, float]] = dict
    ) -> None:
        self.rows_read = 0
        """Rows that are through; counted by who reads them, so that :meth:`check` means something."""
        self.tries = 1
        self.counts: Counter[OutcomeName] = Counter()
        self.reasons: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        """How many answers of HubSpot's had which operation status."""
        self.last_confirmed_row: int | None = None
        self.last_pending_row: int | None = None
        """The last row whose operation HubSpot was still at work on: one to wait for."""
        self._dead_letters = dead_letters
        self._spent = spent
        self._spent_before: dict[str, float] = {}

    def add(self, outcome: Outcome) -> None:
        """Take one row's outcome."""
        self.counts[outcome.outcome] += 1
        if outcome.outcome in APPLIED:
            self.last_confirmed_row = max(self.last_confirmed_row or 0, outcome.row.number)
        if (outcome.category or "").startswith(UNDER_WAY):
            self.last_pending_row = max(self.last_pending_row or 0, outcome.row.number)
        if outcome.outcome in NOT_APPLIED:
            # A category is a word of HubSpot's, and the reasons end in an XCom: not trusted to hold no address.
            self.reasons[f"{outcome.outcome}: {scrub(outcome.category or 'no reason given')}"] += 1
            self._write(outcome)

    @property
    def applied(self) -> int:
        """How many rows' preferences are as wanted."""
        return sum(self.counts[name] for name in APPLIED)

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
            "last_pending_row": self.last_pending_row,
            "tries": self.tries,
            "operations": dict(self.operations),
            **self._spent_in_all(),
        }

    def _spent_in_all(self) -> dict[str, float]:
        now = self._spent()
        names = [*self._spent_before, *(name for name in now if name not in self._spent_before)]
        return {name: round(self._spent_before.get(name, 0) + now.get(name, 0), 3) for name in names}

    def state(self) -> dict[str, Any]:
        """What a later try needs to go on; JSON, and no address."""
        return {**self.summary(), "spent": self._spent_in_all()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state` was taken; one more try."""
        self.rows_read = state["read"]
        self.counts = Counter({name: state[name] for name in OUTCOMES})
        self.reasons = Counter(state["reasons"])
        self.last_confirmed_row = state["last_confirmed_row"]
        self.last_pending_row = state["last_pending_row"]
        self.tries = state["tries"] + 1
        self._spent_before = state["spent"]
        self.operations.update(state["operations"])

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
        self._dead_letters.add(msgspec.json.encode(letter).decode())
