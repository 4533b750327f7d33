"""The state of a run, over all its tries: what became of its rows, and what a later try needs to resume it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.report.dead_letters import Letters, lines_of
from airflow_provider_hubprefs.bulk.report.outcome import (
    APPLIED,
    NOT_APPLIED,
    PENDING,
    ConservationError,
    Outcome,
)
from airflow_provider_hubprefs.bulk.report.pending import PendingRows, with_replaced
from airflow_provider_hubprefs.bulk.source.row import Counts
from airflow_provider_hubprefs.hubspot.privacy import scrub
from airflow_provider_hubprefs.hubspot.transport.sender import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.report.dead_letters import DeadLetters


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the rows read so far.

    A tally is replaced as a whole, so that an exception that a signal raises never leaves half of a batch counted.

    :param read: number of rows.
    :param counts: rows by outcome, without those that are pending.
    :param reasons: rows that were not applied, by outcome and category.
    :param letters: dead letters of these rows.
    :param pending: rows that are pending.
    """

    read: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    letters: Letters = field(default_factory=Letters)
    pending: tuple[PendingRows, ...] = ()

    @property
    def sendable(self) -> int:
        """How many of the rows could be sent."""
        return self.read - self.counts["duplicate"] - self.counts["invalid"]

    @property
    def reasons_of_pending(self) -> Counter[str]:
        """Number of pending rows by category."""
        found: Counter[str] = Counter()
        for one in self.pending:
            found[one.category] += one.end - one.first
        return found


class RunState:
    """Counts outcomes and holds dead letters until they are written; it holds no other address.

    :param dead_letters: writes the rows that were not applied; None: they are only counted.
    :param usage: what this try uses; its client counts it.
    :param source: fingerprint of the source; None: it cannot be read twice.
    """

    def __init__(
        self,
        dead_letters: DeadLetters | None = None,
        *,
        usage: Usage | None = None,
        source: str | None = None,
    ) -> None:
        self.tally = Tally()
        self.tries = 1
        self.operations: Counter[str] = Counter()
        """HubSpot's answers by operation status; the exchange with HubSpot counts them."""
        self.source = source
        self.active_subscriptions: Any = None
        """The subscriptions that were active when rows were sent, where they decide which can be; the run sets it."""
        self.all_sent = False
        """Whether all rows of the source were read and sent; some may be pending. The run sets it."""
        self.complete = False
        """Whether all rows were sent and none is pending. The run sets it."""
        self.incomplete_because: str | None = None
        """Why the run ended early; set by what ended it: an exception, or the daily budget."""
        self.source_counts = Counts()
        """What reading the source has counted besides rows; its reader counts. The run sets it."""
        self.started_at = now()
        self._dead_letters = dead_letters
        self._usage, self._usage_before = usage or Usage(), Usage()
        self._begin, self._duration_before = time.monotonic(), 0.0

    def take(self, rows: int, outcomes: Sequence[Outcome]) -> None:
        """Count the outcomes of one new batch: all of them, or none where a signal comes between.

        :param rows: how many were read; counted apart from the outcomes, so that :meth:`check` can compare.
        """
        was, counted = self.tally, self._counted(outcomes)
        if any(one.outcome == PENDING for one in outcomes):
            sent = sorted(
                (one for one in outcomes if one.row.problem is None), key=lambda one: one.row.number
            )
            first, end = was.sendable, was.sendable + len(sent)
            still = _pending(zip(range(first, end), sent, strict=True))
            counted = replace(counted, pending=with_replaced(was.pending, first, end, still))
        self._keep(replace(counted, read=was.read + rows))

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
            )
        )

    def _counted(self, outcomes: Sequence[Outcome]) -> Tally:
        """The tally with these outcomes added; pending rows are left to the caller."""
        was = self.tally
        counts, reasons, letters = was.counts.copy(), was.reasons.copy(), was.letters
        counts.update(one.outcome for one in outcomes if one.outcome != PENDING)
        not_applied = [one for one in outcomes if one.outcome in NOT_APPLIED]
        # A category is HubSpot's word and reaches an XCom: it is not trusted to hold no address.
        reasons.update(f"{one.outcome}: {scrub(one.category or 'no reason given')}" for one in not_applied)
        if self._dead_letters is not None:
            letters = letters._replace(held=(*letters.held, *lines_of(not_applied)))
        return replace(was, counts=counts, reasons=reasons, letters=letters)

    def _keep(self, tally: Tally) -> None:
        self.tally = tally
        if tally.letters.full:
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
        before, now = self._usage_before, self._usage
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
        """Write the dead letters that are held."""
        if self._dead_letters is not None:
            self.tally = replace(self.tally, letters=self._dead_letters.write(self.tally.letters))

    def save(self) -> dict[str, Any]:
        """Return what a later try needs to resume, in JSON and without an address; :meth:`flush` first."""
        tally, usage = self.tally, self.usage
        return {
            "read": tally.read,
            "counts": tally.counts,
            "reasons": tally.reasons,
            "parts": tally.letters.parts,
            "pending": [list(one) for one in tally.pending],
            "all_sent": self.all_sent,
            "active_subscriptions": self.active_subscriptions,
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
        """Resume where :meth:`save` was called, and delete the dead letters written since.

        :param same_try: whether the try that saved it continues after a wait; otherwise a new try begins.
        """
        self.tally = Tally(
            saved["read"],
            Counter(saved["counts"]),
            Counter(saved["reasons"]),
            Letters(saved["parts"]),
            tuple(PendingRows(*one) for one in saved["pending"]),
        )
        self.all_sent = saved["all_sent"]
        self.active_subscriptions = saved["active_subscriptions"]
        self.tries = saved["tries"] + (not same_try)
        self.operations.update(saved["operations"])
        self.source_counts.keep_most(Counts(saved.get("skipped", 0), saved.get("multiline_records", 0)))
        self.started_at = saved["started_at"]
        self._duration_before = saved["duration"]
        answered = Counter({int(bucket): answers for bucket, answers in saved["usage"]["answered"].items()})
        self._usage_before = Usage(**{**saved["usage"], "answered": answered})
        if self._dead_letters is not None:
            self._dead_letters.forget_after(self.tally.letters.parts)


def _pending(placed: Iterable[tuple[int, Outcome]]) -> list[tuple[int, str]]:
    return [(place, scrub(one.category or "")) for place, one in placed if one.outcome == PENDING]


def now() -> str:
    """The time, UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
