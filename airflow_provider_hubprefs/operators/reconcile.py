"""Desired state: what is wanted is compared with what HubSpot has, and only what differs is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import (
    optional,
    path,
)
from airflow_provider_hubprefs.get_provider_info import CONN_ID
from airflow_provider_hubprefs.operators._bulk import HubPrefsBatchOperator
from airflow_provider_hubprefs.operators._plans import PlansOperator, approval, together
from airflow_provider_hubprefs.operators._waiting import POKE_INTERVAL, TIMEOUT
from airflow_provider_hubprefs.operators._wanted import MAX_CHANGES, MAX_SHRINK, WantedOperator
from airflow_provider_hubprefs.task import DEFERRABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from typing import Literal

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.plan.file import PlanFile
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.source.duplicates import OnConflict
    from airflow_provider_hubprefs.compat import Context, ObjectStoragePath
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
    from airflow_provider_hubprefs.operators._last import LastRun
    from airflow_provider_hubprefs.operators._wanted import Mode


_PLANNING = "hubprefs_plan"
_APPLYING = "hubprefs_run"
"""Keys of the checkpoints of a task's two runs."""


class HubPrefsReconcileOperator(WantedOperator):
    """Make HubSpot's statuses those of a table: plan what differs, check guards, and write that alone.

    Rows say what is wanted: a subscriber, a subscription or everything, a status, and since when. A plan reads what
    HubSpot has, in batches, and holds the rows that differ. Applying reads once more just before each write, and
    leaves out what HubSpot has changed since the plan was made. Where HubSpot wins (an opt-out there, or a newer
    status) the row is *rejected* with the category OPTED_OUT_IN_HUBSPOT, NEWER_IN_HUBSPOT, STATED_IN_HUBSPOT or
    CHANGED_IN_HUBSPOT, which fails no task.

    It needs an ``output`` folder. In a plan, *changed* rows are those to change. The result has besides those of
    :class:`~airflow_provider_hubprefs.operators._bulk.HubPrefsBatchOperator`: ``plan``, path of the plan's file (None
    where it is deleted); ``changes``, the number of rows to change; ``actions``, rows by action (``opt_out``,
    ``unsubscribe``, ``subscribe``, ``resubscribe``, ``unchanged``, ``refused``); and ``tripped``, the guards that stop
    the plan, with what each has found. Its other parameters are those of that class.

    :param mode: ``"plan"``: write the plan's file and nothing to HubSpot; a guard that trips does not fail the task.
        Apply it with :class:`HubPrefsApplyPlanOperator`. ``"plan_and_apply"``: plan, and where no guard trips apply
        in the same task; its plan is in the folder ``plan`` below the run's. ``"apply"``: the same, and the plan's
        file, which holds addresses, is deleted at the end. (templated)
    :param subscription_id: that all rows are about. Without this and ``subscription_column`` all rows are opt-outs from
        everything, or of one brand. (templated)
    :param subscription_column: where each row has the id, or ``everything``. (templated)
    :param status: wanted of all rows. Either this or ``status_column``; UNSUBSCRIBED where all rows are about
        everything. (templated)
    :param status_column: where each row has the status. (templated)
    :param effective_at_column: where each row has the time since when it is wanted, in ISO 8601; it may be empty.
        (templated)
    :param legal_basis: of the rows that have none of their own, one of HubSpot's. Every row that subscribes needs one.
        (templated)
    :param legal_basis_column: where each row has its own, or nothing. (templated)
    :param legal_basis_explanation: of the rows that have none of their own, in words. (templated)
    :param legal_basis_explanation_column: where each row has its own, or nothing. (templated)
    :param on_conflict: what to do about rows that contradict each other; see
        :class:`~airflow_provider_hubprefs.operators.bulk.HubPrefsBatchSetStatusOperator`.
    :param allow_resubscribe: whether rows with a legal basis may subscribe who has unsubscribed, ``max_resubscribes``
        at most. Without it an opt-out in HubSpot always wins. (templated)
    :param on_newer_in_hubspot: where HubSpot's status is newer than the row says: ``"keep"`` it, or ``"overwrite"`` it.
        (templated)
    :param max_changes: guard: so many rows, at most, may be to change. (templated)
    :param max_resubscribes: guard: so many of them, at most, may subscribe who has unsubscribed. (templated)
    :param max_shrink: guard: share by which the source may have fewer rows than in the last run of this task that was
        applied; 1 lets it be empty. (templated)
    :param report_only: names of guards that say what they find and stop nothing: ``max_changes``, ``max_resubscribes``,
        ``max_shrink``, ``legal_basis`` (rows that would subscribe without one), ``subscriptions`` (unknown or inactive
        ones). A list, or text with commas. (templated)
    :param business_unit_id: brand whose opt-outs from everything are meant; by default the connection's. (templated)
    :raises HubPrefsFailException: besides other reasons: a guard stops the plan, before the first write.
    """

    _last: LastRun | None = None

    def __init__(
        self,
        *,
        subscribers: Any = None,
        source: str | ObjectStoragePath | Sequence[str | ObjectStoragePath] | None = None,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        sql_parameters: Sequence[Any] | Mapping[str, Any] | str | None = None,
        email_column: str | int = "email",
        read_options: Mapping[str, Any] | str | None = None,
        mode: Mode = "plan_and_apply",
        subscription_id: int | str | None = None,
        subscription_column: str | int | None = None,
        status: str | None = None,
        status_column: str | int | None = None,
        effective_at_column: str | int | None = None,
        legal_basis: str | None = None,
        legal_basis_column: str | int | None = None,
        legal_basis_explanation: str | None = None,
        legal_basis_explanation_column: str | int | None = None,
        on_conflict: OnConflict = "error",
        allow_resubscribe: bool | str = False,
        on_newer_in_hubspot: Literal["keep", "overwrite"] = "keep",
        max_changes: int | str | None = MAX_CHANGES,
        max_resubscribes: int | str = 0,
        max_shrink: float | str = MAX_SHRINK,
        report_only: Sequence[str] | str = (),
        business_unit_id: int | str | None = None,
        batch_size: int = 100,
        verify: bool = False,
        max_budget_share: float = 1.0,
        daily_reserve: float = 0.05,
        on_insufficient_budget: Literal["fail", "partial"] = "fail",
        stop_when_refused_alike: bool = True,
        on_rejected: Literal["fail", "report"] = "fail",
        output: str | ObjectStoragePath | None = None,
        audit_addresses: bool | str | None = None,
        resume: bool = True,
        on_changed_source: Literal["fail", "restart"] = "fail",
        wait_for_completion: bool = True,
        deferrable: bool = DEFERRABLE,
        poke_interval: timedelta | float | str = POKE_INTERVAL,
        timeout: timedelta | float | str = TIMEOUT,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments({**locals(), "output_folder": output})
        self.subscribers, self.sql_parameters = subscribers, sql_parameters

    def may_stay_behind(self, reason: str) -> bool:
        """See :class:`HubPrefsBatchOperator`. A plan says which rows it leaves out, and fails for none."""
        return self.mode == "plan" or super().may_stay_behind(reason)

    def _execute(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result = super()._execute(context, event)
        if self.mode != "plan":
            self._keep_as_last(self._last, result)
        return result

    def _source(self) -> None:
        """Nothing yet: a try that goes on applying a plan needs no source, and runs no query."""

    def _run(
        self, hook: HubPrefsHook, given: None, context: Context, event: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.plan.file import NAME, PlanFile
        from airflow_provider_hubprefs.bulk.plan.guards import GuardError, stop_if_tripped
        from airflow_provider_hubprefs.bulk.report.folder import RunFolder
        from airflow_provider_hubprefs.hubspot.errors import ValidationError
        from airflow_provider_hubprefs.operators._files import folder_at, place_of_checkpoint, task_of
        from airflow_provider_hubprefs.operators._last import LastRun, read_report
        from airflow_provider_hubprefs.operators._rejected import push_result

        folder = folder_at(self.output_folder, self, context)
        if folder is None:
            raise ValidationError(
                "output: expected a folder for the plan, got none. Set output, or [hubprefs] output of Airflow's "
                "configuration"
            )
        self._last = LastRun(folder.path, task_of(self, context))
        if self.mode == "plan":
            return self._plan(hook, context, folder)
        of_plan = RunFolder(folder.path / "plan")
        place: Any = place_of_checkpoint(context, folder, _APPLYING)
        kept = of_plan.path / NAME
        if not ((event or self.resume) and place.load() is not None and kept.exists()):
            place.clear()
            event = None
            planned = self._plan(hook, context, of_plan)
            if self._header is None:
                return planned
            try:
                stop_if_tripped(self._header.guards)
            except GuardError:
                push_result(self, self._result_of(planned), context)
                self._delete(kept)
                raise
        applied = self._apply(hook, PlanFile(kept), context, event, folder=folder, kept=self.mode != "apply")
        if place.load() is None:
            self._delete(kept)
        return together(read_report(of_plan.path), applied)

    def _plan(self, hook: HubPrefsHook, context: Context, folder: RunFolder) -> dict[str, Any]:
        from dataclasses import asdict

        from airflow_provider_hubprefs.bulk.plan.file import NAME
        from airflow_provider_hubprefs.bulk.plan.report import PlanReport
        from airflow_provider_hubprefs.bulk.plan.run import make_plan
        from airflow_provider_hubprefs.bulk.report.checkpoint import Identity, fingerprint_of_source

        comparison = self._comparison(hook)
        given = super()._source()
        if self.source is not None:
            folder.check_apart_from(given.given)
        read, arguments = self._arguments_of_run(
            hook, given, comparison, context, None, folder=folder, key=_PLANNING
        )
        arguments["max_changes"] = None  # a guard of the plan, which counts rows to change
        before = self._before()
        shown = PlanReport(folder.path / NAME, kept=self.mode != "apply", before=before)
        arguments["recorders"] = [*arguments["recorders"], shown]
        rows = before["rows"] if before else None
        summary = make_plan(
            hook.client,
            comparison,
            read,
            previous_rows=rows,
            source_digest=fingerprint_of_source(given, key="plan") if Identity.applies_to(given) else None,
            arguments=asdict(self._columns()),
            **arguments,
        )
        self._header = shown.header
        self._plan_path = str(folder.path / NAME) if shown.header else None
        return summary

    def _before(self, plan: PlanFile | None = None) -> Mapping[str, Any] | None:
        return self._last.load() if self._last else None

    def _delete(self, plan: Any) -> None:
        """Delete the plan's file, where it is not to be kept."""
        if self.mode == "apply":
            plan.unlink(missing_ok=True)
            self._plan_path = None


_OF_SOURCES = {
    "source",
    "sql",
    "sql_conn_id",
    "email_column",
    "read_options",
    "max_changes",
    "on_changed_source",
}
"""Arguments of runs that read a source of their own."""


class HubPrefsApplyPlanOperator(PlansOperator):
    """Apply a plan that :class:`HubPrefsReconcileOperator` has made, as far as HubSpot still has what it had then.

    The file has to be as it was made, by this release's format, for the connection's portal. A plan that is applied
    already is green: there is nothing to do. Its result is that of :class:`HubPrefsReconcileOperator`; its other
    parameters are those of :class:`~airflow_provider_hubprefs.operators._bulk.HubPrefsBatchOperator`.

    :param plan: path or URL of the plan's file, the ``plan`` of the other task's result. (templated)
    :param approved: whether a person permits the plan although a guard has tripped: True or False, also as text, or the
        result of Airflow's ``ApprovalOperator`` (``approved=approve.output``), with which the report and the audit say
        who has approved. (templated)
    :raises HubPrefsFailException: besides other reasons: a guard stops the plan, it was edited, or is of another
        portal.
    """

    template_fields: Sequence[str] = (
        "plan",
        "approved",
        "output_folder",
        "audit_addresses",
        "hubprefs_conn_id",
        "api_version",
    )
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **{name: read for name, read in HubPrefsBatchOperator.ARGUMENTS.items() if name not in _OF_SOURCES},
        "plan": path,
        "approved": optional(approval, default=False),
    }
    plan: Any
    approved: Any
    email_column = "subscriber"
    subscription_column: str | None = None
    source = sql = sql_conn_id = read_options = max_changes = None
    on_changed_source = "fail"

    def __init__(
        self,
        *,
        plan: str | ObjectStoragePath,
        approved: Any = False,
        batch_size: int = 100,
        verify: bool = False,
        max_budget_share: float = 1.0,
        daily_reserve: float = 0.05,
        on_insufficient_budget: Literal["fail", "partial"] = "fail",
        stop_when_refused_alike: bool = True,
        on_rejected: Literal["fail", "report"] = "fail",
        output: str | ObjectStoragePath | None = None,
        audit_addresses: bool | str | None = None,
        resume: bool = True,
        wait_for_completion: bool = True,
        deferrable: bool = DEFERRABLE,
        poke_interval: timedelta | float | str = POKE_INTERVAL,
        timeout: timedelta | float | str = TIMEOUT,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments({**locals(), "output_folder": output})

    def _execute(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        from airflow_provider_hubprefs.operators._files import path_at
        from airflow_provider_hubprefs.operators._last import LastRun

        result = super()._execute(context, event)
        self._keep_as_last(LastRun.of_plan(path_at(self.plan)), result)
        return result

    def _before(self, plan: PlanFile) -> Mapping[str, Any] | None:
        from airflow_provider_hubprefs.operators._last import LastRun

        last = LastRun.of_plan(plan.path)
        return last.load() if last else None

    def _check_arguments(self) -> None:
        """Nothing: the plan's file says what is wrong with it."""

    def _source(self) -> Any:
        from airflow_provider_hubprefs.bulk.source.files import Files
        from airflow_provider_hubprefs.operators._files import path_at

        self.source = self.plan
        return Files([path_at(self.plan)])

    def _run(
        self, hook: HubPrefsHook, given: Any, context: Context, event: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.plan.file import PlanFile

        plan = PlanFile(given.given[0])
        if any(one["subscription_id"] is not None for one in plan.header.moves):
            self.subscription_column = "subscription_id"  # for the lineage: statuses, and not only opt-outs
        folder = self._folder(given, context)
        return self._apply(hook, plan, context, event, folder=folder, approved=self.approved)
