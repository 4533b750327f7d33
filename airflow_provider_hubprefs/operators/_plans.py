"""What the operators about plans have in common: applying one, what they return, and which rows may stay behind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.arguments import yes_or_no
from airflow_provider_hubprefs.operators._bulk import HubPrefsBatchOperator

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.plan.file import PlanFile, PlanHeader
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.compat import Context
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
    from airflow_provider_hubprefs.operators._last import LastRun

_log = logging.getLogger(__name__)


def approval(name: str, value: object) -> tuple[bool, str | None]:
    """Read whether a person has approved, and who: yes or no, or what Airflow's ``ApprovalOperator`` returned.

    :raises ValidationError: none of these.
    """
    if not isinstance(value, Mapping) or "chosen_options" not in value:
        return (bool(value[0]), value[1]) if isinstance(value, tuple) else (yes_or_no(name, value), None)
    from airflow_provider_hubprefs.hubspot.privacy import scrub

    person = value.get("responded_by_user") or {}
    by = person.get("name") or person.get("id")
    approved = list(value["chosen_options"]) == ["Approve"]
    return approved, scrub(str(by)) if approved and by else None


class PlansOperator(HubPrefsBatchOperator):
    """What the operators about plans have in common."""

    _header: PlanHeader | None = None
    """Of the plan that was made, or applied."""
    _plan_path: str | None = None

    def may_stay_behind(self, reason: str) -> bool:
        """See :class:`HubPrefsBatchOperator`. Where HubSpot wins, the author's rules have decided."""
        from airflow_provider_hubprefs.bulk.report.outcome import HUBSPOT_WINS

        return reason in {f"rejected: {one}" for one in HUBSPOT_WINS} or super().may_stay_behind(reason)

    def _result_of(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        header = self._header
        tripped = (
            [] if header is None else [one for one in header.guards if one.tripped and not one.report_only]
        )
        return {
            **super()._result_of(summary),
            "plan": self._plan_path,
            "changes": None if header is None else header.changes,
            "actions": {} if header is None else header.actions,
            "tripped": {one.name: one.says for one in tripped},
        }

    def _apply(
        self,
        hook: HubPrefsHook,
        plan: PlanFile,
        context: Context,
        event: Mapping[str, Any] | None,
        *,
        folder: RunFolder | None,
        kept: bool = True,
        approved: tuple[bool, str | None] | bool = False,
    ) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.plan.apply import Application
        from airflow_provider_hubprefs.bulk.plan.report import PlanReport
        from airflow_provider_hubprefs.bulk.plan.run import apply_plan
        from airflow_provider_hubprefs.bulk.source.files import Files

        self._header, self._plan_path = plan.header, str(plan.path)
        self._plan_digest = plan.header.checksum
        write = Application(hook.client.calls, plan.header)
        _, arguments = self._arguments_of_run(hook, Files([plan.path]), write, context, event, folder=folder)
        for of_the_plan in ("source_size", "max_changes"):
            del arguments[of_the_plan]
        permitted, by = approved if isinstance(approved, tuple) else (approved, None)
        if folder is not None:
            before = self._before(plan)
            shown = PlanReport(plan.path, plan.header, kept=kept, before=before, approved_by=by)
            arguments["recorders"] = [*arguments["recorders"], shown]
        return apply_plan(hook.client, plan, approved=permitted, **arguments)

    def _before(self, plan: PlanFile) -> Mapping[str, Any] | None:
        """What the run that was applied before this one had planned, as far as it is known."""
        raise NotImplementedError

    def _keep_as_last(self, last: LastRun | None, result: Mapping[str, Any]) -> None:
        """Keep what was applied: the next plan is compared with it."""
        header = self._header
        if last is None or header is None or not result["complete"]:
            return
        try:
            last.save({"rows": header.rows, "actions": header.actions, "at": header.created_at})
        except Exception as error:  # noqa: BLE001 - all is applied; stores raise what their libraries raise
            _log.warning("max_shrink compares with an older run next time: %s", type(error).__name__)


def together(planned: Mapping[str, Any], applied: Mapping[str, Any]) -> dict[str, Any]:
    """Return what became of all rows of a source: those that were to change were applied, the others were planned.

    :param planned: summary of the run that made the plan; empty where it is gone.
    :param applied: summary of the run that applied it.
    """
    if not planned:
        return {**applied}
    found = {**applied, "read": planned["read"] - planned["changed"] + applied["read"]}
    for name in ("unchanged", "rejected", "invalid", "duplicate", "unconfirmed"):
        found[name] += planned[name]
    found["reasons"] = dict((Counter(planned["reasons"]) + Counter(applied["reasons"])).most_common())
    found["dead_letters"] = applied["dead_letters"] or planned["dead_letters"]
    return found
