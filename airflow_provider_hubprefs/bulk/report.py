"""What became of every subscriber of a run: counts, dead letters, the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from airflow_provider_hubprefs.bulk.spans import Span, replaced
from airflow_provider_hubprefs.bulk.spending import Spending
from airflow_provider_hubprefs.hubspot.latency import milliseconds_of, percentile
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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

OPEN: Literal["open"] = "open"
"""No outcome yet: the operation is under way, and waited for. Until its end summaries say *unconfirmed*."""


class ConservationError(Exception):
    """Rows read and outcomes do not add up: a defect of this package, never of the source."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one row.

    :param category: why, in one word: HubSpot's category, or ours.
    :param message: why, in a sentence; may name the address, so it goes to the dead letters only.
    :param correlation_id: what HubSpot's support asks for.
    """

    row: Row
    outcome: OutcomeName | Literal["open"]
    category: str | None = None
    message: str | None = None
    correlation_id: str | None = None


class Summary(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a run's task returns, in JSON; sums of all its tries, and never an address.

    :param read: rows; the six outcomes after it add up to it.
    :param reasons: how many rows were not applied for which reason.
    :param last_confirmed_row: the last one that is known to be applied.
    :param last_pending_row: the last one whose operation HubSpot was still at work on: one to wait for.
    :param complete: whether all rows of the source were read, and what was under way was waited for.
    :param incomplete_because: why not, where it was not.
    :param operations: how many answers of HubSpot's had which operation status.
    :param started_at: of the first try; ISO 8601, UTC.
    :param duration_seconds: of all tries, without the time between them.
    :param requests: sent, retries included; but for the polls of a wait, which are others' as well.
    :param throttled: 429s met.
    :param waited_for_budget_seconds: all threads together, for a slot.
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
    open: tuple[Span, ...] = ()
    """Rows that were read and have no outcome yet."""

    @property
    def sent(self) -> int:
        """How many of the rows could be sent."""
        return self.read - self.counts["duplicate"] - self.counts["invalid"]

    @property
    def reasons_of_open(self) -> Counter[str]:
        """How many rows are under way, by category."""
        found: Counter[str] = Counter()
        for one in self.open:
            found[one.category] += one.end - one.first
        return found


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
        self.all_sent = False
        """Whether all rows of the source were read; some may be under way."""
        self.complete = False
        self.incomplete_because: str | None = None
        self.budget_before: Budget | None = None
        self.budget_after: Budget | None = None
        self.source: str | None = None
        self.known: list[int] | None = None
        """Ids of the portal's active subscriptions, where they decide which rows can be sent; None: unknown."""
        self.part: Part | None = None
        """Of a file, which this is the report of."""
        self._started_at = _now()
        self._dead_letters = dead_letters

    def take(self, rows: int, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of one batch: all of them, or none where a signal comes between.

        :param rows: how many were read; counted apart, so that :meth:`check` means something.
        """
        was = self.tally
        now = self._counted(outcomes)
        if now.counts.pop(OPEN, 0):
            sent = sorted(
                (outcome for outcome in outcomes if outcome.row.problem is None),
                key=lambda outcome: outcome.row.number,
            )
            still = _still_open(zip(range(was.sent, was.sent + len(sent)), sent, strict=True))
            now = replace(now, open=replaced(was.open, was.sent, was.sent + len(sent), still))
        self._keep(replace(now, read=was.read + rows))
        self.spending.passed(rows)

    def settle(self, places: Mapping[int, int], outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of rows that were under way.

        :param places: by the row's number; of all that are under way from the first of them to the last.
        """
        now = self._counted(outcomes)
        now.counts.pop(OPEN, 0)
        still = _still_open(
            sorted(((places[each.row.number], each) for each in outcomes), key=lambda pair: pair[0])
        )
        spans = replaced(self.tally.open, min(places.values()), max(places.values()) + 1, still)
        self._keep(replace(now, open=spans))

    def _counted(self, outcomes: Sequence[Outcome]) -> Tally:
        """The tally with so many outcomes more."""
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
        return Tally(was.read, counts, reasons, confirmed, pending, was.parts, held, size, was.open)

    def _keep(self, tally: Tally) -> None:
        self.tally = tally
        if tally.held_size >= _PART:
            self.flush()

    @property
    def rows_read(self) -> int:
        """Rows that have their outcome, or are under way."""
        return self.tally.read

    @property
    def accepted(self) -> bool:
        """Whether some rows' preferences are as wanted, or HubSpot is at work on them."""
        return bool(self.tally.open) or any(self.tally.counts[name] for name in APPLIED)

    def check(self) -> None:
        """Check that every row read has exactly one outcome, or is under way.

        :raises ConservationError: it has not.
        """
        told = self.tally.counts.total() + self.tally.reasons_of_open.total()
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
        tally, answered, waiting = self.tally, self.spending.answered, self.tally.reasons_of_open
        counts = tally.counts + Counter(unconfirmed=waiting.total())
        reasons = tally.reasons + Counter(
            {f"unconfirmed: {category}": rows for category, rows in waiting.items()}
        )
        return {
            "read": tally.read,
            **{name: counts[name] for name in OUTCOMES},
            "reasons": dict(reasons.most_common()),
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
            "open": [list(one) for one in tally.open],
            "all_sent": self.all_sent,
            "known": self.known,
            "length": self.part.length if self.part else None,
            "tries": self.tries,
            "operations": dict(self.operations),
            "started_at": self._started_at,
            "spending": self.spending.state(),
        }

    def restore(self, state: dict[str, Any], held: Sequence[str] = (), *, same_try: bool = False) -> None:
        """Go on where :meth:`state` was taken, in one more try.

        :param held: dead letters that were not in a part then.
        :param same_try: in the same one.
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
            tuple(Span(*one) for one in state.get("open", ())),
        )
        self.all_sent = state.get("all_sent", False)
        self.known = state.get("known")
        if self.part is not None:
            self.part.length = state.get("length")
        self.tries = state["tries"] + (not same_try)
        self.operations.update(state["operations"])
        self._started_at = state["started_at"]
        self.spending.restore(state["spending"])
        if self._dead_letters is not None:
            self._dead_letters.forget_after(self.tally.parts)


def _still_open(placed: Iterable[tuple[int, Outcome]]) -> list[tuple[int, str]]:
    return [(place, scrub(each.category or "")) for place, each in placed if each.outcome == OPEN]


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
