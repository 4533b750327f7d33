"""The run that makes a plan: it reads what HubSpot has, decides every row, and writes nothing to HubSpot."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.plan.actions import MESSAGES, Rules, decide
from airflow_provider_hubprefs.bulk.report.outcome import Outcome, outcome_unknown
from airflow_provider_hubprefs.bulk.send.guards import RowCheck
from airflow_provider_hubprefs.bulk.send.writes import Mixed, SetStatus, UnsubscribeAll, Write
from airflow_provider_hubprefs.bulk.source.row import (
    INVALID_STATUS,
    INVALID_SUBSCRIPTION,
    CellError,
    Counts,
    Row,
    Wanted,
)
from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.hubspot.api.calls import Calls

_NOTHING = Wanted()


class Comparison(Mixed):
    """Compares what rows want with what HubSpot has.

    :param calls: of the API version in use.
    :param rules: decide between the two.
    :param columns: that are read.
    :param status: wanted of all rows; None: a column says it.
    :param subscription_id: of all rows; None: a column says it.
    :param everything: whether all rows are about everything.
    :param brand: whose opt-out is one from everything; None: the portal's.
    :raises ValidationError: the rows cannot say what is wanted; the text names the argument.
    """

    def __init__(
        self,
        calls: Calls,
        rules: Rules,
        columns: Columns,
        *,
        status: str | None = None,
        subscription_id: int | None = None,
        everything: bool = False,
        brand: int | None = None,
    ) -> None:
        by_row = columns.subscription is not None
        if by_row + (subscription_id is not None) + everything != 1:
            raise ValidationError(
                "subscription_id: expected one for all rows, or everything, or a subscription_column; and only one of "
                "them"
            )
        if (status is None) == (columns.status is None):
            raise ValidationError(
                "status: expected one for all rows, or a status_column; and only one of them"
            )
        self.rules, self.brand = rules, brand
        self.same = Wanted(
            status=status,
            subscription_id=subscription_id,
            everything=everything,
            legal_basis=rules.legal_basis,
            legal_basis_explanation=rules.legal_basis_explanation,
        )
        statuses = SetStatus(calls, subscription_id=subscription_id, status=status)
        opt_outs = UnsubscribeAll(calls, business_unit_id=brand)
        self.check = check = _PlanCheck(self.same)
        super().__init__(_Compared(statuses, rules, check), _Compared(opt_outs, rules, check, brand=brand))

    def arguments(self) -> dict[str, Any]:
        """See :class:`~.writes.Write`."""
        rules = {**asdict(self.rules), "report_only": sorted(self.rules.report_only)}
        return {"write": None, **self.same.cells(), "brand": self.brand, **rules}

    def filled(self, read: Callable[[], Iterable[Row]]) -> Callable[[], Iterator[Row]]:
        """Return what reads the same rows, each with all that it wants, also what is the same for all."""
        return _Filled(read, self.same)


class _Compared(Write):
    """The rows of one kind.

    :param write: that would write them: its readings are compared.
    """

    def __init__(self, write: Write, rules: Rules, check: RowCheck, *, brand: int | None = None) -> None:
        super().__init__(
            "plan what differs from HubSpot", "compared", write=None, read=write.read, row_check=check
        )
        self._rules = rules
        self._brand = brand

    kind = "plan"

    def before_writing(self, statuses: Sequence[Any] | None, row: Row) -> Outcome:
        """Say what is to be done: *changed* is to change."""
        planned = decide(row.wanted or _NOTHING, statuses, self._rules, brand=self._brand)
        if planned is None:
            return outcome_unknown(row)
        if planned.guard is not None:
            return Outcome(row, "rejected", planned.guard, MESSAGES[planned.guard])
        return Outcome(row, "unchanged" if planned.action == "unchanged" else "changed")


class _PlanCheck(RowCheck):
    """Refuses rows that do not say what they want."""

    def __init__(self, same: Wanted) -> None:
        super().__init__(same, allow_resubscribe=False)

    def __call__(self, wanted: Wanted) -> None:
        """See :class:`~.guards.RowCheck`."""
        super().__call__(wanted)
        both = _with_same(wanted, self._same)
        if both.everything and both.status != "UNSUBSCRIBED":
            raise CellError(
                INVALID_STATUS, f"of everything only UNSUBSCRIBED can be wanted, and not {both.status}"
            )
        if both.status is None:
            raise CellError(INVALID_STATUS, "the status is empty")
        if both.subscription_id is None and not both.everything:
            raise CellError(INVALID_SUBSCRIPTION, "the subscription is empty")


class _Filled:
    """Reads rows, each with all that it wants."""

    def __init__(self, read: Callable[[], Iterable[Row]], same: Wanted) -> None:
        self._read = read
        self._same = same
        self.counts: Counts = getattr(read, "counts", Counts())

    def __call__(self) -> Iterator[Row]:
        for row in self._read():
            if row.problem is None:
                yield msgspec.structs.replace(row, wanted=_with_same(row.wanted or _NOTHING, self._same))
            else:
                yield row


def _with_same(wanted: Wanted, same: Wanted) -> Wanted:
    everything = wanted.everything or same.everything
    return Wanted(
        status=same.status or wanted.status,
        subscription_id=None if everything else same.subscription_id or wanted.subscription_id,
        everything=everything,
        effective_at=wanted.effective_at,
        legal_basis=wanted.legal_basis or same.legal_basis,
        legal_basis_explanation=wanted.legal_basis_explanation or same.legal_basis_explanation,
    )
