"""The state of a run, over all its tries: what became of its rows, and what a later try needs to resume it."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.report.dead_letters import FINAL, OPEN, lines_of
from airflow_provider_hubprefs.bulk.report.outcome import (
    APPLIED,
    NOT_APPLIED,
    PENDING,
    ConservationError,
    Outcome,
)
from airflow_provider_hubprefs.bulk.report.parts import RunLines
from airflow_provider_hubprefs.bulk.report.pending import PendingRows, with_added, with_replaced
from airflow_provider_hubprefs.bulk.source.passed import PassedRows
from airflow_provider_hubprefs.bulk.source.row import Counts
from airflow_provider_hubprefs.hubspot.privacy import scrub
from airflow_provider_hubprefs.hubspot.transport.sender import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.report.parts import Parts
    from airflow_provider_hubprefs.bulk.report.recorder import RowRecorder
    from airflow_provider_hubprefs.bulk.source.row import Row

MOST_OPEN = 1000
"""Ranges of unconfirmed rows that a checkpoint keeps; where there are more, a retry begins again."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the rows read so far.

    A tally is replaced as a whole, so that an exception that a signal raises never leaves half of a batch counted.

    :param read: number of rows.
    :param counts: rows by outcome, without those that are pending.
    :param reasons: rows that were not applied, by outcome and category.
    :param passed: digest of the rows, see :mod:`.passed`.
    :param letters: dead letters of these rows, without those of unconfirmed ones.
    :param open_letters: dead letters of unconfirmed rows.
    :param recorded: lines of the recorders.
    :param pending: rows that are pending.
    :param unconfirmed: rows that a retry asks about again.
    """

    read: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    passed: str = ""
    letters: RunLines = FINAL
    open_letters: RunLines = OPEN
    recorded: tuple[RunLines, ...] = ()
    pending: tuple[PendingRows, ...] = ()
    unconfirmed: tuple[PendingRows, ...] = ()

    @property
    def sendable(self) -> int:
        """How many of the rows could be sent."""
        return self.read - self.counts["duplicate"] - self.counts["invalid"]

    @property
    def not_applied(self) -> int:
        """How many of the rows have a dead letter."""
        return sum(self.counts[name] for name in NOT_APPLIED)

    @property
    def lines(self) -> tuple[RunLines, ...]:
        """Lines of all kinds."""
        return (self.letters, self.open_letters, *self.recorded)

    @property
    def reasons_of_pending(self) -> Counter[str]:
        """Number of pending rows by category."""
        found: Counter[str] = Counter()
        for one in self.pending:
            found[one.category] += one.end - one.first
        return found


class RunState:
    """Counts outcomes and holds dead letters until they are written; it holds no other address.

    :param parts: keep the run's lines; None: rows that were not applied are only counted.
    :param usage: what this try uses; its client counts it.
    :param source: fingerprint of the source; None: it cannot be read twice.
    :param recorders: make lines of all outcomes; they need parts.
    """

    def __init__(
        self,
        parts: Parts | None = None,
        *,
        usage: Usage | None = None,
        source: str | None = None,
        recorders: Sequence[RowRecorder] = (),
    ) -> None:
        self._recorders = recorders
        self._nothing = Tally(recorded=tuple(RunLines(one.kind) for one in recorders))
        self.tally = self._nothing
        self.tries = 1
        self.secret = secrets.token_hex(32)
        """Keys the run's fingerprints and digests."""
        self.resent = 0
        """Rows that were sent again after a try that was killed."""
        self.begun = 0
        """How many rows of the source are sent or in flight. The pipeline sets it."""
        self.may_begin = 0
        """How many may be, before the checkpoint is saved again. The pipeline sets it."""
        self.needed: Callable[[int], int] = lambda _: 0
        """How many requests so many rows take. The run sets it."""
        self._sent_before = 0
        self.operations: Counter[str] = Counter()
        """HubSpot's answers by operation status; the exchange with HubSpot counts them."""
        self.source = source
        self.active_subscriptions: Any = None
        """The subscriptions that were active when rows were sent, where they decide which can be; the run sets it."""
        self.as_of: str | None = None
        """When the source was read first, in ISO 8601, where that decides which rows can be sent; the run sets it."""
        self.all_sent = False
        """Whether all rows of the source were read and sent; some may be pending. The run sets it."""
        self.complete = False
        """Whether all rows were sent and none is pending. The run sets it."""
        self.incomplete_because: str | None = None
        """Why the run ended early; set by what ended it: an exception, or the daily budget."""
        self.error: str | None = None
        """What the error said that ended it."""
        self.source_counts = Counts()
        """What reading the source has counted besides rows; its reader counts. The run sets it."""
        self.started_at = now()
        self._parts = parts
        self._usage, self._usage_before = usage or Usage(), Usage()
        self._begin, self._duration_before = time.monotonic(), 0.0

    def take(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Count the outcomes of one new batch: all of them, or none where a signal comes between.

        :param rows: that were read; counted apart from the outcomes, so that :meth:`check` can compare.
        """
        was, counted = self.tally, self._counted(outcomes)
        if any(one.outcome in {PENDING, "unconfirmed"} for one in outcomes):
            sent = sorted(
                (one for one in outcomes if one.row.problem is None), key=lambda one: one.row.number
            )
            first, end = was.sendable, was.sendable + len(sent)
            placed = list(zip(range(first, end), sent, strict=True))
            counted = replace(
                counted,
                pending=with_replaced(was.pending, first, end, _pending(placed)),
                unconfirmed=_with_unconfirmed(was, placed),
            )
        self.resent += sum(row.problem is None for row in rows[: max(0, self._sent_before - was.read)])
        passed = PassedRows(self.secret).after(was.passed, rows)
        self._keep(replace(counted, read=was.read + len(rows), passed=passed))

    def begins(self, start: int, *, most: int, at_least: int) -> None:
        """Note that rows from some number on begin, up to so many before the next :meth:`save`."""
        self.may_begin = max(start + most, at_least)

    def checked(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows that are read, and check in the end that they are the same as before.

        :param rows: all of the source.
        :raises SourceChangedError: they are not.
        """
        tally = self.tally
        return PassedRows(self.secret).checked(rows, count=tally.read, digest=tally.passed)

    def settle(self, places: Mapping[int, int], outcomes: Sequence[Outcome]) -> None:
        """Count the outcomes of rows that were pending; some may be so still.

        :param places: by the row's number; of all pending rows from the first of them to the last.
        """
        placed = sorted(((places[one.row.number], one) for one in outcomes), key=lambda pair: pair[0])
        first, end = min(places.values()), max(places.values()) + 1
        self._keep(
            replace(
                self._counted(outcomes),
                pending=with_replaced(self.tally.pending, first, end, _pending(placed)),
                unconfirmed=_with_unconfirmed(self.tally, placed),
            )
        )

    def _counted(self, outcomes: Sequence[Outcome]) -> Tally:
        """The tally with these outcomes added; pending rows are left to the caller."""
        was = self.tally
        counts, reasons = was.counts.copy(), was.reasons.copy()
        letters, open_letters = was.letters, was.open_letters
        counts.update(one.outcome for one in outcomes if one.outcome != PENDING)
        not_applied = [one for one in outcomes if one.outcome in NOT_APPLIED]
        # A category is HubSpot's word and reaches an XCom: it is not trusted to hold no address.
        reasons.update(f"{one.outcome}: {scrub(one.category or 'no reason given')}" for one in not_applied)
        recorded = was.recorded
        if self._parts is not None:
            letters = letters.with_held(lines_of(one for one in not_applied if one.outcome != "unconfirmed"))
            open_letters = open_letters.with_held(
                lines_of(one for one in not_applied if one.outcome == "unconfirmed")
            )
            final = sorted(
                (one for one in outcomes if one.outcome != PENDING), key=lambda one: one.row.number
            )
            recorded = tuple(
                lines.with_held(recorder.lines(final))
                for recorder, lines in zip(self._recorders, recorded, strict=True)
            )
        return replace(
            was,
            counts=counts,
            reasons=reasons,
            letters=letters,
            open_letters=open_letters,
            recorded=recorded,
        )

    def _keep(self, tally: Tally) -> None:
        self.tally = tally
        if any(lines.full for lines in tally.lines):
            self.flush()

    @property
    def rows_read(self) -> int:
        """Number of rows that have an outcome or are pending."""
        return self.tally.read

    @property
    def accepted(self) -> bool:
        """Whether HubSpot accepted any row."""
        return bool(self.tally.pending) or any(self.tally.counts[name] for name in APPLIED)

    @property
    def usage(self) -> Usage:
        """What all tries have used."""
        # Other threads count while this one adds.
        before, now = self._usage_before, replace(self._usage, answered=self._usage.answered.copy())
        return Usage(
            **{each.name: getattr(before, each.name) + getattr(now, each.name) for each in fields(Usage)}
        )

    @property
    def duration(self) -> float:
        """Seconds that all tries have taken, without the time between them."""
        return self._duration_before + time.monotonic() - self._begin

    def check(self) -> None:
        """Check that every row read has exactly one outcome, or is pending.

        :raises ConservationError: it does not.
        """
        counted = self.tally.counts.total() + self.tally.reasons_of_pending.total()
        if counted != self.rows_read:
            raise ConservationError(
                f"{self.rows_read} rows were read and {counted} outcomes counted ({dict(self.tally.counts)}): "
                "please report this as a defect of airflow-provider-hubprefs"
            )

    def flush(self) -> None:
        """Write the lines that are held."""
        if self._parts is None:
            return
        self.tally = replace(self.tally, letters=self._parts.write(self.tally.letters))
        self.tally = replace(self.tally, open_letters=self._parts.write(self.tally.open_letters))
        for at, lines in enumerate(self.tally.recorded):
            recorded = (*self.tally.recorded[:at], self._parts.write(lines), *self.tally.recorded[at + 1 :])
            self.tally = replace(self.tally, recorded=recorded)

    def save(self, *, ended: bool = False) -> dict[str, Any]:
        """Return what a later try needs to resume, in JSON and without an address; :meth:`flush` first.

        :param ended: whether the try is over, and sends nothing more.
        """
        tally, usage = self.tally, self.usage
        return {
            "read": tally.read,
            "counts": tally.counts,
            "reasons": tally.reasons,
            "secret": self.secret,
            "passed": tally.passed,
            "letters": tally.letters.save(),
            "open_letters": tally.open_letters.save(),
            "recorded": [[one.kind, one.save()] for one in tally.recorded],
            "pending": [list(one) for one in tally.pending],
            "unconfirmed": [list(one) for one in tally.unconfirmed],
            "begun": max(self.begun if ended else self.may_begin, self._sent_before, tally.read),
            "may_begin": self.may_begin,
            "ended": ended,
            "resent": self.resent,
            "all_sent": self.all_sent,
            "active_subscriptions": self.active_subscriptions,
            "as_of": self.as_of,
            "tries": self.tries,
            "operations": dict(self.operations),
            "skipped": self.source_counts.skipped,
            "multiline_records": self.source_counts.multiline_records,
            "started_at": self.started_at,
            "duration": self.duration,
            "usage": {
                **{each.name: getattr(usage, each.name) for each in fields(usage)},
                "answered": {str(bucket): answers for bucket, answers in usage.answered.items()},
            },
        }

    def restore(self, saved: dict[str, Any], *, same_try: bool = False) -> None:
        """Resume where :meth:`save` was called.

        :param same_try: whether the try that saved it continues after a wait; otherwise a new try begins, and
            unconfirmed rows are pending again.
        """
        recorded = dict(saved["recorded"])
        self.tally = Tally(
            saved["read"],
            Counter(saved["counts"]),
            Counter(saved["reasons"]),
            saved["passed"],
            FINAL.restored(saved["letters"]),
            OPEN.restored(saved["open_letters"]),
            tuple(one.restored(recorded.get(one.kind, ())) for one in self._nothing.recorded),
            tuple(PendingRows(*one) for one in saved["pending"]),
            tuple(PendingRows(*one) for one in saved["unconfirmed"]),
        )
        self.secret = saved["secret"]
        self.all_sent = saved["all_sent"]
        self.active_subscriptions = saved["active_subscriptions"]
        self.as_of = saved["as_of"]
        self.tries = saved["tries"] + (not same_try)
        self.operations.update(saved["operations"])
        self.source_counts.keep_most(Counts(saved.get("skipped", 0), saved.get("multiline_records", 0)))
        self.started_at = saved["started_at"]
        self._duration_before = saved["duration"]
        answered = Counter({int(bucket): answers for bucket, answers in saved["usage"]["answered"].items()})
        self._usage_before = Usage(**{**saved["usage"], "answered": answered})
        self.begun, self._sent_before = saved["read"], saved["begun"]
        self.resent = saved["resent"]
        if not saved["ended"] and saved["may_begin"]:  # it was killed before it counted its last requests
            self._usage_before.requests += self.needed(saved["may_begin"] - saved["read"])
        if not same_try and len(self.tally.unconfirmed) <= MOST_OPEN:
            self._ask_again_about_unconfirmed()

    def _ask_again_about_unconfirmed(self) -> None:
        tally = self.tally
        counts, reasons = tally.counts.copy(), tally.reasons.copy()
        del counts["unconfirmed"]
        for name in [name for name in reasons if name.startswith("unconfirmed: ")]:
            del reasons[name]
        pending = with_added(
            tally.pending, [(place, one.category) for one in tally.unconfirmed for place in range(*one[:2])]
        )
        self.tally = replace(
            tally, counts=counts, reasons=reasons, open_letters=OPEN, pending=pending, unconfirmed=()
        )

    def begin_again(self, *, same_source: bool) -> None:
        """Forget what became of the rows, and begin with the first one; tries and requests still count.

        :param same_source: whether the rows that were sent are sent again.
        """
        self.tally, self.all_sent = self._nothing, False
        self.active_subscriptions = self.as_of = None
        self.begun, self.may_begin = 0, 0
        if not same_source:
            self._sent_before = 0

    @property
    def resumable(self) -> bool:
        """Whether a retry can ask about the unconfirmed rows alone."""
        unconfirmed = self.tally.unconfirmed
        return bool(unconfirmed) and len(unconfirmed) <= MOST_OPEN


def _with_unconfirmed(tally: Tally, placed: Iterable[tuple[int, Outcome]]) -> tuple[PendingRows, ...]:
    """Where there are too many ranges, no more are noted: a retry begins again."""
    if len(tally.unconfirmed) > MOST_OPEN:
        return tally.unconfirmed
    new = [(place, scrub(one.category or "")) for place, one in placed if one.outcome == "unconfirmed"]
    return with_added(tally.unconfirmed, new)


def _pending(placed: Iterable[tuple[int, Outcome]]) -> list[tuple[int, str]]:
    return [(place, scrub(one.category or "")) for place, one in placed if one.outcome == PENDING]


def now() -> str:
    """The time, UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
