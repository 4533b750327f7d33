"""What became of every subscriber of a run: counts, dead letters, the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from airflow_provider_hubprefs.bulk.spending import Spending
from airflow_provider_hubprefs.hubspot.latency import milliseconds_of, percentile
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.dead_letters import DeadLetters
    from airflow_provider_hubprefs.bulk.shards import Part
    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.hubspot.pacing import Budget

OutcomeName = Literal["changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed"]
OUTCOMES: tuple[OutcomeName, ...] = get_args(OutcomeName)

APPLIED: tuple[OutcomeName, ...] = ("changed", "unchanged")
"""Outcomes after which a subscriber's preference is as wanted."""

NOT_APPLIED: tuple[OutcomeName, ...] = ("rejected", "invalid", "unconfirmed")
"""Outcomes after which a subscriber's preference may not be what was wanted; their rows are dead letters."""

SCHEMA = 1
"""Version of :class:`Summary` and :class:`Details`; a field that changes its meaning or goes makes it another."""

_PART = 1 << 20
"""Characters of dead letters held back at most, but for those of one batch."""

UNDER_WAY = "OPERATION_"
"""Beginning of the category of rows whose operation was not over: OPERATION_PENDING and its like."""


class ConservationError(Exception):
    """Rows read and outcomes do not add up: a defect of this package, never of the source."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
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


class Summary(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a run's task returns, in JSON; sums of all its tries, and never an address.

    :param read: rows; the six outcomes after it add up to it.
    :param reasons: how many rows were not applied for which reason.
    :param last_confirmed_row: the last one that is known to be applied.
    :param last_pending_row: the last one whose operation HubSpot was still at work on: one to wait for.
    :param complete: whether all rows of the source were read.
    :param incomplete_because: why not, where it was not.
    :param operations: how many answers of HubSpot's had which operation status.
    :param started_at: of the first try; ISO 8601, UTC.
    :param duration_seconds: of all tries, without the time between them.
    :param requests: sent, retries included.
    :param throttled: 429s met.
    :param waited_for_budget_seconds: all threads together, for a slot.
    :param waited_for_daily_budget_seconds: until the account had requests again.
    :param latency_p50_ms: from sending a request to its whole answer.
    :param dead_letters: where they are.
    :param report: where :class:`Details` are.
    :param shard: of which these are the rows, where it is one of a file's; ``length`` is how many lines it has, or rows
        of a Parquet file. Rows of a text file's shard are numbered from its beginning.
    :param shards: how many summaries were merged into this one.
    """

    schema: int = SCHEMA
    read: int
    changed: int
    unchanged: int
    rejected: int
    invalid: int
    duplicate: int
    unconfirmed: int
    reasons: dict[str, int]
    last_confirmed_row: int | None
    last_pending_row: int | None
    complete: bool
    incomplete_because: str | None
    tries: int
    operations: dict[str, int]
    started_at: str
    ended_at: str
    duration_seconds: float
    requests: int
    retries: int
    throttled: int
    waited_for_budget_seconds: float
    waited_for_daily_budget_seconds: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    dead_letters: str | None = None
    report: str | None = None
    shard: dict[str, Any] | None = None
    shards: int | None = None


class Details(Summary, kw_only=True, forbid_unknown_fields=True):
    """What the report file has: the summary, and what is too long for an XCom.

    :param rows_per_second: one figure for every so many seconds of the run (all tries, one after the other).
    :param answered_within_ms: how many answers took about how many milliseconds.
    :param budget_before: what HubSpot's headers had said last when this try began; figures that are not known
        are null.
    :param budget_after: when it ended.
    :param source: fingerprint; null where the run cannot be gone on with.
    """

    rows_per_second: list[float]
    rows_per_second_every_seconds: float
    answered_within_ms: dict[str, int]
    budget_before: dict[str, float | None] | None = None
    budget_after: dict[str, float | None] | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the first so many rows. One is replaced by the next, whole: a signal interrupts nothing."""

    read: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    last_confirmed_row: int | None = None
    last_pending_row: int | None = None
    parts: int = 0
    """Of the dead letters; what is not in them yet is held."""
    held: tuple[str, ...] = ()
    held_size: int = 0


class Report:
    """Counts outcomes, and keeps dead letters until they are written; holds no other address.

    :param dead_letters: where rows that were not applied are written to.
    :param spending: what this try and earlier ones have spent.
    """

    def __init__(self, dead_letters: DeadLetters | None = None, *, spending: Spending | None = None) -> None:
        self.tally = Tally()
        self.tries = 1
        self.operations: Counter[str] = Counter()
        """How many answers of HubSpot's had which operation status."""
        self.spending = spending or Spending()
        self.complete = False
        self.incomplete_because: str | None = None
        self.budget_before: Budget | None = None
        self.budget_after: Budget | None = None
        self.source: str | None = None
        self.part: Part | None = None
        """Of a file, which this is the report of."""
        self._started_at = _now()
        self._dead_letters = dead_letters

    def take(self, rows: int, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of one batch: all of them, or none where a signal comes between.

        :param rows: how many were read; counted apart, so that :meth:`check` means something.
        """
        was = self.tally
        counts, reasons = was.counts.copy(), was.reasons.copy()
        confirmed, pending = was.last_confirmed_row, was.last_pending_row
        letters: list[str] = []
        counts.update([outcome.outcome for outcome in outcomes])
        applied = [outcome.row.number for outcome in outcomes if outcome.outcome in APPLIED]
        if applied:
            confirmed = max(confirmed or 0, *applied)
        for outcome in outcomes:
            if outcome.outcome not in NOT_APPLIED:
                continue
            category = outcome.category or ""
            if category.startswith(UNDER_WAY):
                pending = max(pending or 0, outcome.row.number)
            # A category is a word of HubSpot's, and the reasons end in an XCom: not trusted to hold no address.
            reasons[f"{outcome.outcome}: {scrub(category or 'no reason given')}"] += 1
            if self._dead_letters is not None:
                letters.append(_letter(outcome))
        size = was.held_size + sum(map(len, letters))
        held = (*was.held, *letters)
        self.tally = Tally(was.read + rows, counts, reasons, confirmed, pending, was.parts, held, size)
        self.spending.passed(rows)
        if size >= _PART:
            self.flush()

    @property
    def rows_read(self) -> int:
        """Rows that have their outcome."""
        return self.tally.read

    @property
    def applied(self) -> int:
        """How many rows' preferences are as wanted."""
        return sum(self.tally.counts[name] for name in APPLIED)

    def check(self) -> None:
        """Check that every row read has exactly one outcome.

        :raises ConservationError: it has not.
        """
        told = self.tally.counts.total()
        if told != self.rows_read:
            raise ConservationError(
                f"{self.rows_read} rows were read and {told} outcomes counted ({dict(self.tally.counts)}): "
                "please report this as a defect of airflow-provider-hubprefs"
            )

    def flush(self) -> None:
        """Write the dead letters that are held back."""
        was = self.tally
        if self._dead_letters is not None and was.held:
            self._dead_letters.write(was.parts + 1, was.held)
            self.tally = replace(was, parts=was.parts + 1, held=(), held_size=0)

    def assemble(self) -> None:
        """Put the dead letters' file together."""
        self.flush()
        if self._dead_letters is not None:
            self._dead_letters.assemble(self.tally.parts)

    def forget_parts(self) -> None:
        """Nobody will go on with this run: only the dead letters' file itself is needed."""
        if self._dead_letters is not None:
            self._dead_letters.forget_after(0)

    def summary(self) -> dict[str, Any]:
        """:class:`Summary` in JSON, but for where the files are."""
        return _builtins(Summary(**self._summary()))

    def details(self) -> dict[str, Any]:
        """:class:`Details` in JSON, but for where the files are."""
        spending = self.spending
        return _builtins(
            Details(
                **self._summary(),
                rows_per_second=[round(rows / spending.every, 1) for rows in spending.rows],
                rows_per_second_every_seconds=spending.every,
                answered_within_ms={
                    f"{milliseconds_of(bucket):.1f}": count
                    for bucket, count in sorted(spending.answered.items())
                },
                budget_before=asdict(self.budget_before) if self.budget_before else None,
                budget_after=asdict(self.budget_after) if self.budget_after else None,
                source=self.source,
            )
        )

    def _summary(self) -> dict[str, Any]:
        tally, answered = self.tally, self.spending.answered
        return {
            "read": tally.read,
            **{name: tally.counts[name] for name in OUTCOMES},
            "reasons": dict(tally.reasons.most_common()),
            "last_confirmed_row": tally.last_confirmed_row,
            "last_pending_row": tally.last_pending_row,
            "complete": self.complete,
            "incomplete_because": self.incomplete_because,
            "tries": self.tries,
            "operations": dict(self.operations),
            "started_at": self._started_at,
            "ended_at": _now(),
            **self.spending.figures(),
            "latency_p50_ms": percentile(answered, 0.5),
            "latency_p95_ms": percentile(answered, 0.95),
            "shard": self.part.told() if self.part else None,
        }

    def state(self) -> dict[str, Any]:
        """What a later try needs to go on, but for the letters that are held; JSON, and no address."""
        tally = self.tally
        return {
            "read": tally.read,
            "counts": tally.counts,
            "reasons": tally.reasons,
            "last_confirmed_row": tally.last_confirmed_row,
            "last_pending_row": tally.last_pending_row,
            "parts": tally.parts,
            "tries": self.tries,
            "operations": dict(self.operations),
            "started_at": self._started_at,
            "spending": self.spending.state(),
        }

    def restore(self, state: dict[str, Any], held: Sequence[str] = ()) -> None:
        """Go on where :meth:`state` was taken; one more try.

        :param held: dead letters that were not in a part then.
        """
        self.tally = Tally(
            state["read"],
            Counter(state["counts"]),
            Counter(state["reasons"]),
            state["last_confirmed_row"],
            state["last_pending_row"],
            state["parts"],
            tuple(held),
            sum(map(len, held)),
        )
        self.tries = state["tries"] + 1
        self.operations.update(state["operations"])
        self._started_at = state["started_at"]
        self.spending.restore(state["spending"])
        if self._dead_letters is not None:
            self._dead_letters.forget_after(self.tally.parts)


def _letter(outcome: Outcome) -> str:
    letter = {
        "row": outcome.row.number,
        "subscriber": outcome.row.subscriber,
        "outcome": outcome.outcome,
        "category": outcome.category,
        "message": outcome.message,
        "correlation_id": outcome.correlation_id,
    }
    return msgspec.json.encode(letter).decode()


def _builtins(summary: Summary) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(summary)
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
