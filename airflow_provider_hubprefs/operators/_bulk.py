"""One bulk run as a task: what the operators for many subscribers have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.arguments import (
    PrivateArgument,
    check_choice,
    value_of,
)
from airflow_provider_hubprefs.compat import AirflowTaskTimeout
from airflow_provider_hubprefs.exceptions import airflow_errors
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.operators._files import file_at, files_at
from airflow_provider_hubprefs.operators._rejected import fail_if_not_applied
from airflow_provider_hubprefs.operators._waiting import BatchWait, WaitingBase
from airflow_provider_hubprefs.task_state import TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.compat import Context, ObjectStoragePath
    from airflow_provider_hubprefs.storage import Place


class HubPrefsBatchOperator(WaitingBase):
    """One bulk run: rows of a source, one write, a report. Subclasses define the write.

    Its other parameters are those of :class:`~airflow_provider_hubprefs.operators._waiting.WaitingBase`.

    Subclasses return, and also push when they fail because of ``on_rejected``: ``read`` and a count for each outcome
    (``changed``, ``unchanged``, ``rejected``, ``invalid``, ``duplicate``, ``unconfirmed``), which add up to it;
    ``skipped``, the rows that ``where`` left out;
    ``reasons``, ``complete``, ``tries``, ``requests`` and the other fields of
    :class:`~airflow_provider_hubprefs.bulk.report.summary.Summary`. Never an address.

    With ``wait_for_completion`` the task waits when all rows are sent. Polls ask about a few of those that HubSpot has
    not finished with; when it has finished with these, the task asks about all. Rows that are pending after the
    ``timeout`` are *unconfirmed*. A retry resumes the wait if the run can be resumed (see ``resume``); where it cannot,
    a ``deferrable`` task waits in the worker and logs a warning.

    :param subscribers: addresses, or mappings with one under ``email_column``: a list, an earlier task's
        result, or what ``expand`` gives. Never stored. Either this or ``source``.
    :param source: path or URL, read through ``ObjectStoragePath``, of a file, a folder (read with its subfolders), or
        with wildcards (``s3://bucket/unload/part-*.csv``); or a list of them. All files are one source: a list in its
        order, others in the order of their names, each with its own header. CSV with a header or one address a line,
        JSON Lines or Parquet. Names that begin with ``_`` or ``.`` are left out of folders and matches. (templated)
    :param email_column: where the address is, in CSV, JSONL and Parquet. (templated)
    :param read_options: how the source is read, a mapping with any of these names. (templated)
        ``format``: ``csv``, ``lines`` (one address a line), ``jsonl`` or ``parquet``; by default the name and the
        first lines of a file say it. ``encoding``: UTF-8 by default. ``delimiter``: detected by default. ``header``:
        False for CSV without one, and for ``subscribers`` that are lists or tuples; columns are numbers from 1 then,
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
    :param on_rejected: ``"fail"``: when all rows are done, the task fails if any was rejected, invalid or
        unconfirmed. ``"report"``: it succeeds and logs a warning.
    :param dead_letters: path or URL to write those rows to, one JSON object a line, with the address. An older
        file there is replaced. (templated)
    :param report: path or URL to write the summary and further details to, as JSON. (templated)
    :param resume: whether a retry resumes where the try before it stopped. The checkpoint is kept in Airflow's task
        state store (3.3), or else beside ``report``; without either, a retry starts from the first row.
    :param on_changed_source: what a retry does when the source, the arguments or the portal changed since:
        ``"fail"``, or ``"restart"`` from the first row.
    :raises HubPrefsFailException: credentials, scopes, settings, arguments, or HubSpot refuses all rows alike.
    :raises HubPrefsException: the source cannot be read, HubSpot failed for too long, or ``on_rejected``.
    """

    template_fields: Sequence[str] = (
        "subscribers",
        "source",
        "email_column",
        "read_options",
        "dead_letters",
        "report",
        "hubprefs_conn_id",
        "api_version",
    )
    subscribers = PrivateArgument()
    business_unit_id: int | str | None = None
    ui_color = "#ffd0bf"

    def __init__(
        self,
        *,
        subscribers: Any = None,
        source: str | ObjectStoragePath | Sequence[str | ObjectStoragePath] | None = None,
        email_column: str | int = "email",
        read_options: Mapping[str, Any] | str | None = None,
        batch_size: int = 100,
        verify: bool = False,
        max_budget_share: float = 1.0,
        daily_reserve: float = 0.05,
        on_insufficient_budget: Literal["fail", "partial"] = "fail",
        on_rejected: Literal["fail", "report"] = "fail",
        dead_letters: str | ObjectStoragePath | None = None,
        report: str | ObjectStoragePath | None = None,
        resume: bool = True,
        on_changed_source: Literal["fail", "restart"] = "fail",
        **kwargs: Any,
    ) -> None:
        for name in ("delimiter", "encoding", "format", "where"):
            if name in kwargs:
                raise TypeError(
                    f"{name}: expected in read_options={{{name!r}: ...}}, got it as an argument of its own"
                )
        super().__init__(**kwargs)
        self.subscribers = subscribers
        self.source = source
        self.email_column = email_column
        self.read_options = read_options
        self.batch_size = batch_size
        self.verify = verify
        self.max_budget_share = max_budget_share
        self.daily_reserve = daily_reserve
        self.on_insufficient_budget = on_insufficient_budget
        self.on_rejected = on_rejected
        self.dead_letters = dead_letters
        self.report = report
        self.resume = resume
        self.on_changed_source = on_changed_source
        self._running: HubPrefsHook | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Send all rows and return the summary."""
        return self._execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Resume after a wait in the triggerer; the checkpoint has the rest."""
        from airflow_provider_hubprefs.triggers import events

        event = event or {}
        if event.get("status") == events.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout
        return self._execute(context, event)

    def _execute(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with airflow_errors():
            self._begin()
            self._check_arguments()
            given = self._source()
            self._running = HubPrefsHook(
                self.hubprefs_conn_id,
                self.api_version,
                business_unit_id=self.business_unit_id,
                max_budget_share=self.max_budget_share,
            )
            summary = self._run(self._running, given, context, event)
        self.log.info("%s", summary)
        if not summary["complete"]:
            self.log.warning("Not all rows were read: %s", summary["incomplete_because"])
        fail_if_not_applied(self, summary, context)
        return summary

    def on_kill(self) -> None:
        """Stop after the requests in flight; checkpoint and report are written, and a retry resumes there."""
        if self._running is not None:
            self._running.client.stop()
        super().on_kill()

    def _source(self) -> Any:
        from airflow_provider_hubprefs.bulk.source.items import flattened
        from airflow_provider_hubprefs.bulk.source.options import ReadOptions

        if self.source is not None:
            return files_at(self.source)
        return flattened(value_of(self.subscribers), ReadOptions.of(self.read_options))

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        raise NotImplementedError

    def _reading(self) -> dict[str, Any]:
        """How the source is read.

        :raises ValidationError: an option is unknown, of the wrong type, or makes no sense with another argument.
        """
        from airflow_provider_hubprefs.bulk.source.options import ReadOptions

        columns, options = self._columns(), ReadOptions.of(self.read_options)
        options.check(columns, of_files=self.source is not None)
        return {"columns": columns, "options": options}

    def _columns(self) -> Columns:
        from airflow_provider_hubprefs.bulk.source.columns import Columns

        return Columns(email=str(self.email_column))

    def _check_arguments(self) -> None:
        from airflow_provider_hubprefs.hubspot.errors import ValidationError

        if (self.subscribers is None) == (self.source is None):
            got = "neither" if self.source is None else "both"
            raise ValidationError(f"expected either subscribers or source, got {got}")
        self._reading()
        check_choice("on_rejected", self.on_rejected, "fail", "report")
        check_choice("on_changed_source", self.on_changed_source, "fail", "restart")
        check_choice("on_insufficient_budget", self.on_insufficient_budget, "fail", "partial")

    def _run(
        self, hook: HubPrefsHook, given: Any, context: Context, event: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.send.run import run_bulk
        from airflow_provider_hubprefs.bulk.source.reader import reader_of
        from airflow_provider_hubprefs.bulk.source.size import SourceSize

        write = self._what_to_write(hook)
        options = self._reading()
        checkpoint = self._checkpoint(hook, given, options, write, context)
        if checkpoint is not None and event is None and not self.resume:
            checkpoint.remove()
        if self.wait_for_completion and isinstance(given, Iterator):
            given = list(given)  # a run that waits reads it again
        source_size = SourceSize(given)
        return run_bulk(
            hook.client,
            write,
            reader_of(source_size.source, **options, check=write.row_check),
            source_size=source_size,
            daily_reserve=self.daily_reserve,
            partial=self.on_insufficient_budget == "partial",
            batch_size=self.batch_size,
            verify=self.verify,
            wait=self._wait(hook, write, event or {}, resumable=checkpoint is not None),
            after_wait=event is not None,
            dead_letters=file_at(self.dead_letters),
            report_to=file_at(self.report),
            checkpoint=checkpoint,
            restart=self.on_changed_source == "restart",
        )

    def _wait(
        self, hook: HubPrefsHook, write: Write, event: Mapping[str, Any], *, resumable: bool
    ) -> BatchWait | None:
        from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd

        if not self.wait_for_completion:
            return None
        return BatchWait(
            self,
            hook,
            write,
            event=event,
            on_timeout=WaitEnd.LEFT_TO_RETRY if self.on_rejected == "fail" else WaitEnd.GIVEN_UP,
            deferrable=self.deferrable and resumable,
        )

    def _checkpoint(
        self, hook: HubPrefsHook, given: Any, options: dict[str, Any], write: Write, context: Context
    ) -> Checkpoint | None:
        """Airflow's own store for a task's state (3.3), or an object beside the report, or nothing."""
        from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, identity_of
        from airflow_provider_hubprefs.storage import ObjectPlace

        if not (self.resume or (self.wait_for_completion and self.deferrable)):
            return None
        place: Place
        if (in_airflow := TaskState(context, "hubprefs_run")).available:
            place = in_airflow
        elif self.report:
            report = file_at(self.report)
            place = ObjectPlace(report.parent / f"{report.name}.checkpoint")
        else:
            return None
        identity = identity_of(hook.client, given, arguments={**options, **write.arguments()})
        return Checkpoint(place, identity) if identity is not None else None
