"""The run that applies a plan: every row is read again just before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow_provider_hubprefs.bulk.plan.actions import MESSAGES, since
from airflow_provider_hubprefs.bulk.report.outcome import CHANGED_IN_HUBSPOT, Outcome, outcome_unknown
from airflow_provider_hubprefs.bulk.send.guards import actual_status
from airflow_provider_hubprefs.bulk.send.writes import Mixed, SetStatus, UnsubscribeAll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.plan.file import PlanHeader
    from airflow_provider_hubprefs.bulk.plan.lines import PlannedChange
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.api.calls import Calls
    from airflow_provider_hubprefs.hubspot.api.models import SubscriptionStatus, WideStatus


class Application(Mixed):
    """Writes the changes of a plan, as far as HubSpot still has what it had.

    :param calls: of the API version in use.
    :param header: of the plan.
    """

    def __init__(self, calls: Calls, header: PlanHeader) -> None:
        super().__init__(_Statuses(calls), _OptOuts(calls, business_unit_id=header.brand))
        self.phrase, self.done = "apply a plan", "applied"
        self._plan = header.checksum

    def arguments(self) -> dict[str, Any]:
        """See :class:`~.writes.Write`."""
        return {"write": "plan", "plan": self._plan}


class _Statuses(SetStatus):
    """Changes of single subscriptions. A row of a plan is a :class:`~.lines.PlannedChange`."""

    def reads_first(self, row: Row) -> bool:
        """See :class:`~.writes.Write`."""
        return True

    def reading_expires(self, row: Row) -> bool:
        """See :class:`~.writes.Write`. An opt-out does no harm, however old the reading is."""
        return cast("PlannedChange", row.wanted).status != "UNSUBSCRIBED"

    def before_writing(self, statuses: Sequence[SubscriptionStatus] | None, row: Row) -> Outcome | None:
        """Write only what is as it was; a resubscription only over the very opt-out that it was planned for."""
        wanted = cast("PlannedChange", row.wanted)
        number = cast("int", wanted.subscription_id)
        actual = actual_status(statuses, number)
        if statuses is None or actual is None:
            return outcome_unknown(row)
        if actual == wanted.status:
            return Outcome(row, "unchanged")
        as_it_was = actual == wanted.before
        if wanted.action == "resubscribe":
            as_it_was = as_it_was and since(statuses, number) == wanted.before_at
        return (
            None if as_it_was else Outcome(row, "rejected", CHANGED_IN_HUBSPOT, MESSAGES[CHANGED_IN_HUBSPOT])
        )

    def was_raced(self, answered: Sequence[SubscriptionStatus], row: Row) -> bool:
        """See :class:`~.writes.SetStatus`. A resubscription that is planned is none by accident."""
        planned = cast("PlannedChange", row.wanted).action == "resubscribe"
        return not planned and super().was_raced(answered, row)


class _OptOuts(UnsubscribeAll):
    """Opt-outs from everything."""

    def reads_first(self, row: Row) -> bool:
        """See :class:`~.writes.Write`."""
        return True

    def reading_expires(self, row: Row) -> bool:
        """See :class:`~.writes.Write`."""
        return False

    def before_writing(self, statuses: Sequence[WideStatus] | None, row: Row) -> Outcome | None:
        """See :class:`~.writes.Write`."""
        if statuses is None:
            return outcome_unknown(row)
        return Outcome(row, "unchanged") if self.matches(statuses, row) else None
