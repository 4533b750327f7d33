"""One bulk run as a task: what the operators for many subscribers have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import (
    choice,
    count,
    number,
    optional,
    path,
    positive,
    yes_or_no,
)
from airflow_provider_hubprefs.compat import AirflowTaskTimeout
from airflow_provider_hubprefs.operators._source import ReadsSource
from airflow_provider_hubprefs.operators._waiting import BatchWait
from airflow_provider_hubprefs.task import Links, announced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from airflow_provider_hubprefs.arguments import Reader as ArgumentReader
    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.report.recorder import RowRecorder
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.reader import Reader
    from airflow_provider_hubprefs.compat import Context, ObjectStoragePath
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook


RESULT = (
    *("changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed", "read"),
    *("reasons", "complete", "incomplete_because", "dead_letters", "report"),
)
"""Fields of a run's summary that its task returns; all others are in the report."""


class HubPrefsBatchOperator(ReadsSource):
    """One bulk run: rows of a source, one write, a report. Subclasses define the write.

    Its other parameters are those of :class:`~airflow_provider_hubprefs.operators._waiting.WaitingBase`.

    Subclasses return, and also push when they fail because of ``on_rejected``, a count for each outcome (``changed``,
    ``unchanged``, ``rejected``, ``invalid``, ``duplicate``, ``unconfirmed``) and their sum ``read``; ``reasons``, rows
    that were not applied by outcome and category; ``complete`` and ``incomplete_because``; and ``dead_letters`` and
    ``report``, paths of the run's files (see ``output``). The report has all other fields of
    :class:`~airflow_provider_hubprefs.bulk.report.summary.Summary`. Never an address.

    The task waits when all rows are sent (``wait_for_completion``). Polls ask about a few of those that HubSpot has not
    finished with; when it has finished with these, the task asks about all. Rows that are pending after the ``timeout``
    are *unconfirmed*, and fail the task. A retry resumes the wait if the run can be resumed (see ``resume``); where it
    cannot, a ``deferrable`` task waits in the worker and logs a warning.

    :param subscribers: addresses, or mappings with one under ``email_column``: a list, an earlier task's
        result, or what ``expand`` gives. Never stored. Exactly one of this, ``source`` and ``sql``.
    :param source: path or URL, read through ``ObjectStoragePath``, of a file, a folder (read with its subfolders), or
        with wildcards (``s3://bucket/unload/part-*.csv``); or a list of them. All files are one source: a list in its
        order, others in the order of their names, each with its own header. CSV with a header or one address a line,
        JSON Lines or Parquet. Names that begin with ``_`` or ``.`` are left out of folders and matches. (templated)
    :param sql: a query whose rows are the source, of any database of which Airflow has a ``DbApiHook``; or the name of
        a ``.sql`` file. All of its rows are read before the first request, without a transaction that writes, and kept
        encrypted on disk, so that nothing holds a cursor open while the run goes on. Unless ``resume=False`` it needs
        an ORDER BY of its own, of a unique key: a retry resumes where the query gives the same rows in the same order.
        (templated)
    :param sql_conn_id: connection of the database. (templated)
    :param sql_parameters: values for the query's placeholders, as its driver has them (``%s``, ``%(name)s``, ``?``): a
        list or a mapping. The driver binds them; they are never part of the text, and never stored or shown, because an
        address may be among them. (templated)
    :param email_column: where the address is, in CSV, JSONL, Parquet and the query's result. (templated)
    :param read_options: how the source is read, a mapping with any of these names. (templated)
        ``format``: ``csv``, ``lines`` (one address a line), ``jsonl`` or ``parquet``; by default the name and the
        first lines of a file say it. ``encoding``: UTF-8 by default; a byte order mark counts more. ``delimiter``:
        detected by default. ``header``: False for CSV without one, and for ``subscribers`` that are lists or tuples;
        columns are numbers from 1 then,
        such as ``email_column=1``. ``skip_lines``: how many lines come before the header. ``where``: only rows with
        one of these values are read, such as ``{"Opted Out": ["TRUE", "1", "yes"]}``; case and spaces around do not
        matter, several columns must all match, and rows left out are counted as ``skipped``. ``status_values``: what
        words of the ``status_column`` mean besides HubSpot's own, such as ``{"TRUE": "UNSUBSCRIBED"}``.
    :param batch_size: subscribers per request. HubSpot documents no limit for this API.
    :param verify: read every subscriber back that HubSpot says is as wanted; those that are not as wanted are
        *unconfirmed*. One more request a batch.
    :param max_budget_share: share of the account's requests that this run may use, such as 0.5 to leave half to
        others.
    :param daily_reserve: share of the account's daily limit that this run leaves for others.
    :param on_insufficient_budget: if the run needs more requests than the account has left today: ``"fail"`` (before
        the first write, if the need is known then), or ``"partial"``: send what the account can afford and succeed
        with ``complete`` false; a cleared task resumes the run.
    :param max_changes: if more rows of the source would be written (all but duplicates and invalid ones, also those of
        earlier tries), the task fails before the first is. The source is read once more for that. (templated)
    :param stop_when_refused_alike: if HubSpot refuses all rows of the first batch (10 or more) with one error, and a
        row from further on as well, the task fails and sends nothing else. False: it goes on.
    :param on_rejected: ``"fail"``: when all rows are done, the task fails if any was rejected or invalid.
        ``"report"``: it succeeds and logs a warning. It fails either way if any is unconfirmed, or was resubscribed
        because its subscriber unsubscribed at that moment (RESUBSCRIBED_BY_RACE: it was undone).
    :param output: folder (path or URL) for what runs leave; by default ``[hubprefs] output`` of Airflow's
        configuration, and where that is empty nothing is written. Each run has a folder of its own in it,
        ``<dag_id>/<run_id>/<task_id>``, with ``/<map_index>`` for a mapped task; characters that could not stand in a
        file's name are percent-encoded. There is ``report.json``, also while the run goes on; ``report.html``, the same
        to look at; and ``dead_letters.jsonl``: the rows that were not applied, one JSON object a line, with the
        address. They can be sent again: ``source=`` that file, ``email_column="subscriber"``, and
        ``status_column="status"`` and the like where columns said what was wanted. Letters of an earlier run of the
        same task instance stay until there are new ones. Files on a local disk can be read by their owner alone; they
        do not outlive a pod: a retry elsewhere that misses the letters begins again. (templated)
    :param audit_addresses: whether the audit, which lies beside the report and says what was written, has addresses and
        not only fingerprints of them; by default ``[hubprefs] audit_addresses``. (templated)
    :param resume: whether a retry resumes where the try before it stopped; where only a few rows are unconfirmed, it
        asks about these. The checkpoint is kept in Airflow's task state store (3.3), or else in the run's folder;
        without either, a retry starts from the first row.
    :param on_changed_source: what a retry does when the source, the arguments or the portal changed since:
        ``"fail"``, or ``"restart"`` from the first row.
    :raises HubPrefsFailException: credentials, scopes, settings, arguments, or HubSpot refuses all rows alike.
    :raises HubPrefsException: the source cannot be read, HubSpot failed for too long, or ``on_rejected``.
    """

    template_fields: Sequence[str] = (
        "subscribers",
        "source",
        "sql",
        "sql_conn_id",
        "sql_parameters",
        "email_column",
        "read_options",
        "max_changes",
        "output_folder",
        "audit_addresses",
        "hubprefs_conn_id",
        "api_version",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    ARGUMENTS: ClassVar[Mapping[str, ArgumentReader]] = {
        **ReadsSource.ARGUMENTS,
        "batch_size": positive,
        "verify": yes_or_no,
        "max_budget_share": number,
        "daily_reserve": number,
        "on_insufficient_budget": choice("fail", "partial"),
        "max_changes": optional(count),
        "stop_when_refused_alike": yes_or_no,
        "on_rejected": choice("fail", "report"),
        "output_folder": lambda _, given: optional(path)("output", given),
        "audit_addresses": optional(yes_or_no),
        "resume": yes_or_no,
        "on_changed_source": choice("fail", "restart"),
    }
    RESULT: ClassVar[Sequence[str]] = RESULT
    """Fields of the report that the task returns."""
    operator_extra_links = Links("BATCH_LINKS")
    batch_size: int
    verify: bool
    max_budget_share: float
    daily_reserve: float
    on_insufficient_budget: Literal["fail", "partial"]
    max_changes: int | None
    stop_when_refused_alike: bool
    on_rejected: Literal["fail", "report"]
    output_folder: str | ObjectStoragePath | None
    """``output``, which is another attribute of Airflow's operators: their result."""
    audit_addresses: bool | None
    on_changed_source: Literal["fail", "restart"]
    ui_color = "#ffd0bf"
    _plan_digest: str | None = None
    """Of the plan that is applied, for the audit."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Send all rows, and return what became of them."""
        return self._execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Resume after a wait in the triggerer; the checkpoint has the rest."""
        from airflow_provider_hubprefs.triggers import events

        event = event or {}
        if event.get("status") == events.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout
        return self._execute(context, event)

    @announced
    def _execute(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        from airflow_provider_hubprefs.operators._rejected import fail_if_not_applied

        self._begin()
        self._check_arguments()
        given = self._source()
        summary = self._run(self._hook, given, context, event)
        self._known.update(summary)  # which may be of two runs
        result = self._result_of(summary)
        fail_if_not_applied(self, result, context)
        return result

    def _result_of(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        return {name: summary[name] for name in self.RESULT}

    def may_stay_behind(self, reason: str) -> bool:
        """Whether the task may succeed although rows were not applied.

        :param reason: outcome and category, such as ``invalid: INVALID_ADDRESS``; not of unconfirmed rows.
        """
        return self.on_rejected == "report"

    def _report_folder(self, context: Context) -> str | None:
        """Where the run's report will be, as far as that is known before the arguments are checked."""
        from airflow_provider_hubprefs.operators._files import folder_at

        try:
            folder = folder_at(optional(path)("output", self.output_folder), self, context)
        except Exception:  # noqa: BLE001 - the run says what is wrong
            return None
        return None if folder is None else str(folder.path)

    def on_kill(self) -> None:
        """Stop after the requests in flight; checkpoint and report are written, and a retry resumes there."""
        if "_hook" in vars(self):
            self._hook.client.stop()
        super().on_kill()

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        raise NotImplementedError

    def _run(
        self, hook: HubPrefsHook, given: Any, context: Context, event: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.send.run import run_bulk

        folder = self._folder(given, context)
        write = self._what_to_write(hook)
        read, arguments = self._arguments_of_run(hook, given, write, context, event, folder=folder)
        return run_bulk(hook.client, write, read, **arguments)

    def _folder(self, given: Any, context: Context) -> RunFolder | None:
        """Return the run's folder, which the source is no part of."""
        from airflow_provider_hubprefs.operators._files import folder_at

        folder = folder_at(self.output_folder, self, context)
        if folder is not None and self.source is not None:
            folder.check_apart_from(given.given)
        return folder

    def _arguments_of_run(
        self,
        hook: HubPrefsHook,
        given: Any,
        write: Write,
        context: Context,
        event: Mapping[str, Any] | None,
        *,
        folder: RunFolder | None,
        key: str = "hubprefs_run",
    ) -> tuple[Reader, dict[str, Any]]:
        """Return what reads the rows, and the keyword arguments of a run over them.

        :param key: of the run's checkpoint in Airflow's own store; a task may have several runs.
        """
        from airflow_provider_hubprefs.bulk.source.reader import reader_of
        from airflow_provider_hubprefs.bulk.source.size import SourceSize
        from airflow_provider_hubprefs.operators._files import task_of

        options = self._reading()
        checkpoint = self._checkpoint(hook, given, options, write, context=context, folder=folder, key=key)
        if checkpoint is not None and event is None and not self.resume:
            checkpoint.remove()
        if self.wait_for_completion and isinstance(given, Iterator):
            given = list(given)  # a run that waits reads it again
        source_size = SourceSize(given)
        deferrable = self.deferrable and checkpoint is not None
        return reader_of(source_size.source, **options, check=write.row_check), {
            "source_size": source_size,
            "daily_reserve": self.daily_reserve,
            "partial": self.on_insufficient_budget == "partial",
            "batch_size": self.batch_size,
            "verify": self.verify,
            "max_changes": self.max_changes,
            "stop_when_refused_alike": self.stop_when_refused_alike,
            "wait": BatchWait(self, hook, write, event or {}, deferrable=deferrable)
            if self.wait_for_completion
            else None,
            "after_wait": event is not None,
            "folder": folder,
            "checkpoint": checkpoint,
            "recorders": self._recorders(
                hook, given, write, context=context, folder=folder, checkpoint=checkpoint
            ),
            "restart": self.on_changed_source == "restart",
            "run": task_of(self, context),
            "connection": self.hubprefs_conn_id,
            "latest": self._known,
        }

    def _recorders(
        self,
        hook: HubPrefsHook,
        given: Any,
        write: Write,
        *,
        context: Context,
        folder: RunFolder | None,
        checkpoint: Checkpoint | None,
    ) -> list[RowRecorder]:
        """What the run writes of every row besides its dead letters."""
        from airflow_provider_hubprefs.operators._audit import audit_of

        more = {"source": given, "plan": self._plan_digest, "checkpoint": checkpoint}
        audit = audit_of(self, context, hook, write, folder, **more)
        return [audit] if audit else []

    def _checkpoint(
        self,
        hook: HubPrefsHook,
        given: Any,
        options: dict[str, Any],
        write: Write,
        *,
        context: Context,
        folder: RunFolder | None,
        key: str,
    ) -> Checkpoint | None:
        """In Airflow's own store for a task's state (3.3), or in the run's folder, or nowhere."""
        from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
        from airflow_provider_hubprefs.operators._files import place_of_checkpoint

        place = place_of_checkpoint(context, folder, key)
        if place is None or not Identity.applies_to(given):
            return None
        arguments = {**options, **write.arguments()}
        identity = Identity(hook.client, given, arguments=arguments, connection=self.hubprefs_conn_id)
        return Checkpoint(place, identity, writer=folder.writer if folder else "")
