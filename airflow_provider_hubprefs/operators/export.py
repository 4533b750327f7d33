"""What HubSpot has, back in a file or in a table: statuses, opt-outs, definitions; and links, in a file only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import choice, count, optional, positive, text, yes_or_no
from airflow_provider_hubprefs.get_provider_info import CONN_ID
from airflow_provider_hubprefs.operators._bulk import HubPrefsBatchOperator
from airflow_provider_hubprefs.operators._target import FILE, TARGET, WritesTarget, places_of
from airflow_provider_hubprefs.operators._waiting import WaitingBase
from airflow_provider_hubprefs.task import announced

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.report.recorder import RowRecorder
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.compat import Context, ObjectStoragePath
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
    from airflow_provider_hubprefs.storage import Place

_CONNECTION = {"hubprefs_conn_id", "api_version"}
_OF_WRITES = {"verify", "max_changes", "stop_when_refused_alike", "audit_addresses"}


def _subscriptions(name: str, value: object) -> dict[int, str]:
    """Read ids, or ids and names of columns."""
    if isinstance(value, Mapping):
        return {positive(name, one): text(name, column) for one, column in value.items()}
    several = value if isinstance(value, list | tuple | set) else [value]
    return {positive(name, one): f"subscription_{positive(name, one)}" for one in several}


class _ExportRun(HubPrefsBatchOperator, WritesTarget):
    """A run that reads HubSpot, row by row, and then fills a target."""

    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        name: read
        for name, read in HubPrefsBatchOperator.ARGUMENTS.items()
        if name not in {*WaitingBase.ARGUMENTS, *_OF_WRITES} - _CONNECTION
    }
    RESULT: ClassVar[Sequence[str]] = (*HubPrefsBatchOperator.RESULT, "target", "rows")
    template_fields: Sequence[str] = tuple(
        name for name in HubPrefsBatchOperator.template_fields if name not in _OF_WRITES
    )
    only_reads = True
    subscription_column = ""
    """For lineage: statuses of several subscriptions are read."""
    verify = wait_for_completion = deferrable = False
    stop_when_refused_alike = True
    max_changes = audit_addresses = None

    def _check_arguments(self) -> None:
        super()._check_arguments()
        self._check_target()

    def _recorder(self, given: Any, write: Any, folder: RunFolder | None, shape: Any) -> list[RowRecorder]:
        """Fill the target with what the write reads."""
        from airflow_provider_hubprefs.bulk.export.reads import ExportRecorder

        own = [] if folder is None else [folder.path]
        target = self._target(shape.fields, apart_from=[*places_of(given), *own])
        return [ExportRecorder(write.record_of, shape.rows_of, target, name=self._name())]


class HubPrefsExportStatusesOperator(_ExportRun):
    """Write the statuses that subscribers have in HubSpot to a file or a table.

    A run as those of :class:`~airflow_provider_hubprefs.operators._bulk.HubPrefsBatchOperator`, which takes the same
    sources and has the same report; it reads, so that rows are *unchanged*, or *unconfirmed* where HubSpot does not
    show them. The target is written when all rows have been read: a task that is killed and tried again leaves the
    same there. Rows that HubSpot does not show are missing in it, and then the task fails. Its result has ``target``
    and ``rows``, too: how many were written, or None where the run is not complete.

    Fields in the long shape are subscriber, subscription_id (these two are the key), subscription_name, status,
    legal_basis, legal_basis_explanation, source and updated_at; a subscriber whom HubSpot does not know has no row.

    Its other parameters are those of :class:`~airflow_provider_hubprefs.operators._target.WritesTarget`.

    :param shape: ``"long"``: one row for each subscriber and subscription. ``"wide"``: one for each subscriber, with a
        column ``subscription_<id>`` for each subscription.
    :param subscriptions: ids of those that are written, or a mapping of them to names of columns of the wide shape; by
        default all, in the wide shape all active ones. (templated)
    :param opt_outs: whether opt-outs from everything (or of the connection's brand) are read, too, for a field
        opted_out. It takes one more request for each batch.
    """

    template_fields: Sequence[str] = (
        *_ExportRun.template_fields,
        *WritesTarget.TARGET_FIELDS,
        "subscriptions",
    )
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **_ExportRun.ARGUMENTS,
        **TARGET,
        "shape": choice("long", "wide"),
        "subscriptions": optional(_subscriptions),
        "opt_outs": yes_or_no,
    }
    shape: Literal["long", "wide"]
    subscriptions: Mapping[int, str] | None
    opt_outs: bool

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
        target: str | ObjectStoragePath | None = None,
        format: Literal["csv", "jsonl", "parquet"] | None = None,  # noqa: A002 - as in read_options
        columns: Mapping[str, str] | Sequence[str] | None = None,
        table: str | None = None,
        target_conn_id: str | None = None,
        on_missing: Literal["keep", "delete"] = "keep",
        create_table: bool = False,
        shape: Literal["long", "wide"] = "long",
        subscriptions: Mapping[int, str] | Sequence[int] | None = None,
        opt_outs: bool = False,
        batch_size: int = 100,
        max_budget_share: float = 1.0,
        daily_reserve: float = 0.05,
        on_insufficient_budget: Literal["fail", "partial"] = "fail",
        on_rejected: Literal["fail", "report"] = "fail",
        output: str | ObjectStoragePath | None = None,
        resume: bool = True,
        on_changed_source: Literal["fail", "restart"] = "fail",
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments({**locals(), "output_folder": output})
        self.subscribers, self.sql_parameters = subscribers, sql_parameters

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        from airflow_provider_hubprefs.bulk.export.reads import ReadStatuses

        return ReadStatuses(hook.client.calls, opt_outs=self.opt_outs, business_unit_id=hook.business_unit_id)

    def _recorders(
        self, hook: HubPrefsHook, given: Any, write: Write, *, folder: RunFolder | None, **_: Any
    ) -> list[RowRecorder]:
        from airflow_provider_hubprefs.bulk.export.reads import Shape

        wide, chosen = self.shape == "wide", self.subscriptions
        if wide and chosen is None:
            active = [one.id for one in hook.get_definitions().results if one.is_active is not False]
            chosen = _subscriptions("subscriptions", sorted(active))
        return self._recorder(given, write, folder, Shape(chosen, wide=wide, opt_outs=self.opt_outs))


class HubPrefsGenerateLinksOperator(_ExportRun):
    """Write subscribers' links to their own preference pages to a file: never to a table, a result or a log.

    Who has such a link can change the preferences: keep the file as you keep passwords, and delete it soon. On a
    local disk its owner alone can read it; until the run ends, the links are in its ``output`` folder as well. HubSpot
    makes the links of one subscriber at a time, so the run takes one request for each.

    Fields are subscriber, manage_preferences_url, unsubscribe_all_url and unsubscribe_single_url. Its result and its
    other parameters are those of :class:`HubPrefsExportStatusesOperator`.

    :param subscription_id: for a link that unsubscribes from this one only. (templated)
    :param language: of the pages, such as ``en``. (templated)
    :param business_unit_id: brand; by default the connection's. (templated)
    """

    template_fields: Sequence[str] = (
        *_ExportRun.template_fields,
        *WritesTarget.FILE_FIELDS,
        *("subscription_id", "language", "business_unit_id"),
    )
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **{name: read for name, read in _ExportRun.ARGUMENTS.items() if name != "batch_size"},
        **FILE,
        "subscription_id": optional(positive),
        "language": optional(text),
        "business_unit_id": optional(count),
    }
    batch_size = 1
    subscription_id: int | None
    language: str | None

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
        target: str | ObjectStoragePath | None = None,
        format: Literal["csv", "jsonl", "parquet"] | None = None,  # noqa: A002 - as in read_options
        columns: Mapping[str, str] | Sequence[str] | None = None,
        subscription_id: int | str | None = None,
        language: str | None = None,
        business_unit_id: int | str | None = None,
        max_budget_share: float = 1.0,
        daily_reserve: float = 0.05,
        on_insufficient_budget: Literal["fail", "partial"] = "fail",
        on_rejected: Literal["fail", "report"] = "fail",
        output: str | ObjectStoragePath | None = None,
        resume: bool = True,
        on_changed_source: Literal["fail", "restart"] = "fail",
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments({**locals(), "output_folder": output})
        self.subscribers, self.sql_parameters = subscribers, sql_parameters

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        from airflow_provider_hubprefs.bulk.export.reads import GenerateLinks

        names = {"subscription_id": self.subscription_id, "language": self.language}
        return GenerateLinks(hook.client.calls, business_unit_id=hook.business_unit_id, **names)

    def _recorders(
        self, hook: HubPrefsHook, given: Any, write: Write, *, folder: RunFolder | None, **_: Any
    ) -> list[RowRecorder]:
        from airflow_provider_hubprefs.bulk.export.reads import GenerateLinks

        return self._recorder(given, write, folder, GenerateLinks)


class _PortalExport(WaitingBase, WritesTarget):
    """Something that the portal has, by a task that waits for nothing."""

    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **{name: WaitingBase.ARGUMENTS[name] for name in _CONNECTION},
        **TARGET,
    }
    template_fields: Sequence[str] = ("hubprefs_conn_id", "api_version", *WritesTarget.TARGET_FIELDS)
    only_reads = True

    @announced
    def execute(self, context: Context) -> dict[str, Any]:
        """Read it, and write it to the target."""
        self._begin()
        self._check_target()
        return {"target": self._name(), "rows": self._export(context)}

    def _export(self, context: Context) -> int:
        raise NotImplementedError


class HubPrefsExportOptOutsOperator(_PortalExport):
    """Write the portal's contacts that have opted out of everything to a file or a table, by searching the CRM.

    It needs the scope ``crm.objects.contacts.read``, and sees contacts only, once HubSpot's index has them. Fields are
    contact_id (the key), subscriber (a contact may have no address), opted_out_at and app: the id of the app that wrote
    it, where it was one. Returns ``target`` and ``rows``. Its other parameters are those of
    :class:`~airflow_provider_hubprefs.operators._target.WritesTarget`.

    :param mode: ``"all"``; with ``on_missing="delete"`` a table is what the portal has. ``"new"``: those since this
        task's last run that succeeded, in the first one all. A task that is killed finds the same again.
    :param output: where the cursor of ``"new"`` is kept: in this folder (by default ``[hubprefs] output``), in one of
        this DAG's and task's own; where the task has exactly one asset among its inlets and outlets, in that asset's
        state instead (Airflow 3.3). (templated)
    """

    template_fields: Sequence[str] = (*_PortalExport.template_fields, "output_folder")
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **_PortalExport.ARGUMENTS,
        "mode": choice("all", "new"),
        "output_folder": HubPrefsBatchOperator.ARGUMENTS["output_folder"],
    }
    mode: Literal["all", "new"]
    output_folder: str | ObjectStoragePath | None

    def __init__(
        self,
        *,
        mode: Literal["all", "new"] = "all",
        target: str | ObjectStoragePath | None = None,
        format: Literal["csv", "jsonl", "parquet"] | None = None,  # noqa: A002 - as in read_options
        columns: Mapping[str, str] | Sequence[str] | None = None,
        table: str | None = None,
        target_conn_id: str | None = None,
        on_missing: Literal["keep", "delete"] = "keep",
        create_table: bool = False,
        output: str | ObjectStoragePath | None = None,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments({**locals(), "output_folder": output})

    def _export(self, context: Context) -> int:
        from airflow_provider_hubprefs.bulk.export.fields import OPT_OUTS
        from airflow_provider_hubprefs.hubspot.errors import ValidationError
        from airflow_provider_hubprefs.watch.since_last_run import export_opt_outs

        if self.mode == "new" and self.on_missing == "delete":
            raise ValidationError("expected on_missing='delete' only with mode='all', got it with mode='new'")
        place = self._cursor(context) if self.mode == "new" else None
        target = self._target(OPT_OUTS)
        identity = {"connection": self.hubprefs_conn_id, "table": self.table, "database": self.target_conn_id}
        return export_opt_outs(self._hook.client, target.write, place, identity)

    def _cursor(self, context: Context) -> Place:
        """Where the next run finds how far this one came: it outlives the DAG run, and no other task writes it."""
        from airflow_provider_hubprefs.bulk.report.folder import name_of
        from airflow_provider_hubprefs.hubspot.errors import ValidationError
        from airflow_provider_hubprefs.operators._files import folder_at, task_of
        from airflow_provider_hubprefs.storage import ObjectPlace
        from airflow_provider_hubprefs.task_state import TaskState

        task = task_of(self, context)
        names = [str(task[name]) for name in ("dag_id", "task_id", "map_index")]
        store: Any = context.get("asset_state_store")
        if store is not None and len([*self.inlets, *self.outlets]) == 1:
            return TaskState(context, f"hubprefs.{'.'.join(map(name_of, names))}", store=store)
        folder = folder_at(self.output_folder, self, context)
        if folder is None:
            raise ValidationError("output: expected a folder for the cursor of mode='new', got none")
        of_dag = folder.path.parent.parent if task["map_index"] is None else folder.path.parent.parent.parent
        # No run's folder has this name: ids are percent-encoded.
        return ObjectPlace(of_dag / "%cursors" / name_of(names[1]) / names[2])


class HubPrefsExportDefinitionsOperator(_PortalExport):
    """Write the portal's subscription types to a file or a table, with their names in other languages.

    There is one row for each subscription and language; that of the subscription itself has an empty language. Fields
    are subscription_id, language (these two are the key), name, description, is_active, is_default, is_internal,
    purpose, communication_method, business_unit_id, created_at and updated_at. Returns ``target`` and ``rows``. Its
    parameters are those of :class:`~airflow_provider_hubprefs.operators._target.WritesTarget`.
    """

    def __init__(
        self,
        *,
        target: str | ObjectStoragePath | None = None,
        format: Literal["csv", "jsonl", "parquet"] | None = None,  # noqa: A002 - as in read_options
        columns: Mapping[str, str] | Sequence[str] | None = None,
        table: str | None = None,
        target_conn_id: str | None = None,
        on_missing: Literal["keep", "delete"] = "keep",
        create_table: bool = False,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments(locals())

    subscription_column = ""

    def _export(self, context: Context) -> int:
        from airflow_provider_hubprefs.bulk.export.fields import DEFINITIONS, rows_of_definition

        target = self._target(DEFINITIONS)
        definitions = self._hook.get_definitions(include_translations=True).results
        return target.write(row for one in definitions for row in rows_of_definition(one))
