"""Runs that only read HubSpot: every row once, over all tries, and the target when all of them are there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.export.fields import (
    LINKS,
    OPTED_OUT,
    STATUSES,
    Field,
    time_cell,
)
from airflow_provider_hubprefs.bulk.report.outcome import APPLIED, Outcome, outcome_unknown
from airflow_provider_hubprefs.bulk.send.writes import SetStatus, UnsubscribeAll, Write, opted_out_of
from airflow_provider_hubprefs.hubspot.api.models import Operation, SubscriptionStatus, WideStatus
from airflow_provider_hubprefs.hubspot.transport.batches import CallPair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.export.fields import Cell, Target
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.api.calls import Call, Calls

Record = list[Any]
"""What a run keeps of one subscriber: for statuses the address, the opt-out, and the cells of each status."""


class ExportRecorder:
    """Keeps what HubSpot shows, and fills the target with all of it when the run is complete.

    So it does where rows are unconfirmed: one bad row never blocks the others, and the task fails because of it.

    :param record_of: makes what is kept of a subscriber.
    :param rows_of: makes the target's rows of it.
    :param name: of the target, for the report.
    """

    kind = "export"

    def __init__(
        self,
        record_of: Callable[[Outcome], Record],
        rows_of: Callable[[Record], Iterable[Sequence[Cell]]],
        target: Target,
        *,
        name: str,
    ) -> None:
        self._record_of, self._rows_of, self._target = record_of, rows_of, target
        self._reported: dict[str, Any] = {"target": name, "rows": None}

    def lines(self, outcomes: Sequence[Outcome]) -> list[str]:
        """See :class:`~.recorder.RowRecorder`."""
        shown = [one for one in outcomes if one.outcome in APPLIED and one.actual is not None]
        return [msgspec.json.encode(self._record_of(one)).decode() for one in shown]

    def finish(self, lines: Iterator[bytes], counts: Mapping[str, int], *, complete: bool) -> None:
        """See :class:`~.recorder.RowRecorder`."""
        if complete:
            rows = (row for line in lines for row in self._rows_of(msgspec.json.decode(line)))
            whole = not (counts.get("unconfirmed") or counts.get("rejected"))
            self._reported["rows"] = self._target.write(rows, whole=whole)

    def reported(self) -> Mapping[str, Any]:
        """See :class:`~.recorder.RowRecorder`. Without rows the target was not written."""
        return self._reported


class ReadStatuses(Write):
    """Read the statuses of subscribers.

    :param calls: of the API version in use.
    :param opt_outs: whether their opt-outs are read, too: one request more for each batch.
    :param business_unit_id: brand whose opt-outs count besides those of the whole portal.
    """

    kind = "read"

    def __init__(self, calls: Calls, *, opt_outs: bool = False, business_unit_id: int | None = None) -> None:
        statuses = SetStatus(calls, subscription_id=1, status="UNSUBSCRIBED").read
        wide = UnsubscribeAll(calls, business_unit_id=business_unit_id).read if opt_outs else None
        super().__init__("read the statuses", "read", write=wide, read=statuses)
        self._brand = business_unit_id
        self._shown: dict[int, list[Any]] = {}

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {"write": "read", "opt_outs": self.write is not None, "business_unit_id": self._brand}

    def reads_first(self, row: Row) -> bool:
        """See :class:`Write`."""
        return True

    def before_writing(self, statuses: Any, row: Row) -> Outcome | None:
        """See :class:`Write`. Where opt-outs are read as well, they join the statuses that were read before."""
        if statuses is None:
            return outcome_unknown(row, "HubSpot did not show the statuses")
        if self.write is None:
            return Outcome(row, "unchanged")
        self._shown[row.number] = statuses
        return None

    def matches(self, actual: Sequence[Any], row: Row) -> bool:
        """See :class:`Write`. What is read later is no answer to what was asked."""
        return False

    def outcome_of(self, answered: Sequence[Any], row: Row) -> Any:
        """See :class:`Write`. A list is an answer, also an empty one; a subscriber who is missing has none."""
        if not isinstance(answered, list):
            return None
        self._shown.pop(row.number).extend(answered)
        return "unchanged"

    def record_of(self, outcome: Outcome) -> Record:
        """What is kept of a subscriber. HubSpot shows each subscription once; of two, the last counts."""
        actual = outcome.actual or ()
        wide = [one for one in actual if isinstance(one, WideStatus)]
        opted_out = None if self.write is None else opted_out_of(self._brand, wide)
        found = {one.subscription_id: _cells(one) for one in actual if isinstance(one, SubscriptionStatus)}
        return [outcome.row.subscriber, opted_out, list(found.values())]


def _cells(one: SubscriptionStatus) -> Record:
    texts = (one.subscription_name, one.status, one.legal_basis, one.legal_basis_explanation, one.source)
    # No database takes NUL in a text.
    return [
        one.subscription_id,
        *(text and text.replace("\0", "") for text in texts),
        time_cell(one.timestamp),
    ]


class Shape:
    """What of the statuses is in the target, and in which rows.

    :param subscriptions: those that count, and the names of their columns where they are columns; None: all.
    :param wide: one row for each subscriber, with a column for each subscription; otherwise one for each of both.
    :param opt_outs: whether there is a column for opt-outs.
    """

    def __init__(self, subscriptions: Mapping[int, str] | None, *, wide: bool, opt_outs: bool) -> None:
        self._subscriptions, self._wide, self._opt_outs = subscriptions, wide, opt_outs
        more = (OPTED_OUT,) if opt_outs else ()
        self.fields: tuple[Field, ...] = (*STATUSES, *more)
        if wide:
            self.fields = (STATUSES[0], *map(Field, (subscriptions or {}).values()), *more)

    def rows_of(self, record: Record) -> Iterator[list[Cell]]:
        """The target's rows about one subscriber."""
        subscriber, opted_out, statuses = record
        more, chosen = [opted_out] if self._opt_outs else [], self._subscriptions
        if self._wide:
            by_id = {cells[0]: cells[2] for cells in statuses}
            yield [subscriber, *map(by_id.get, chosen or ()), *more]
            return
        for cells in statuses:
            if chosen is None or cells[0] in chosen:
                yield [subscriber, *cells, *more]


class GenerateLinks(Write):
    """Make links to subscribers' own preference pages. A run of it takes batches of one: HubSpot has no others.

    :param calls: of the API version in use.
    :param arguments: of :meth:`~.calls.Calls.generate_links`.
    """

    kind = "read"
    fields = LINKS

    def __init__(self, calls: Calls, **arguments: Any) -> None:
        def generate(row: Row) -> Call[Operation[Any]]:
            call: Call[Any] = calls.generate_links(row.subscriber, **arguments)
            return replace(
                call, read=lambda reply: Operation(status="COMPLETE", given_results=[call.read(reply)])
            )

        super().__init__(
            "make links",
            "have links",
            write=None,
            read=CallPair("generate_links", lambda rows: generate(rows[0]), generate),
        )
        self._arguments = arguments

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {"write": "generate_links", **self._arguments}

    def before_writing(self, statuses: Any, row: Row) -> Outcome:
        """See :class:`Write`."""
        return Outcome(row, "unchanged") if statuses else outcome_unknown(row, "HubSpot gave no links")

    @staticmethod
    def record_of(outcome: Outcome) -> Record:
        """What is kept of a subscriber."""
        (links,) = (outcome.actual or ())[-1:]
        return [outcome.row.subscriber, *(getattr(links, one.name) for one in LINKS[1:])]

    @staticmethod
    def rows_of(record: Record) -> list[Record]:
        """The target's rows about one subscriber."""
        return [record]
