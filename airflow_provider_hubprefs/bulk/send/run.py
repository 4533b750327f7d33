"""One bulk run from beginning to end: resume, send, wait, keep the checkpoint, write the report."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs import __version__
from airflow_provider_hubprefs.bulk.report.checkpoint import (
    CHECKPOINT_MISSING,
    CheckpointError,
    changed_since,
)
from airflow_provider_hubprefs.bulk.report.outcome import NOT_APPLIED, left_to_hubspot
from airflow_provider_hubprefs.bulk.report.parts import Parts
from airflow_provider_hubprefs.bulk.report.progress import Progress
from airflow_provider_hubprefs.bulk.report.state import RunState, now
from airflow_provider_hubprefs.bulk.report.summary import About
from airflow_provider_hubprefs.bulk.report.words import counted, details, last_line, said_by
from airflow_provider_hubprefs.bulk.send.daily_budget import RESERVE, DailyBudget
from airflow_provider_hubprefs.bulk.send.guards import check_changes, permitted_definitions
from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd, wait_for_pending
from airflow_provider_hubprefs.bulk.send.pipeline import BATCH_SIZE, CONCURRENCY, Pipeline
from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
from airflow_provider_hubprefs.bulk.send.run_files import RunFiles
from airflow_provider_hubprefs.bulk.source.passed import SourceChangedError
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.report.recorder import RowRecorder
    from airflow_provider_hubprefs.bulk.report.summary import Summary
    from airflow_provider_hubprefs.bulk.send.pending_wait import PendingWait
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.bulk.source.size import SourceSize
    from airflow_provider_hubprefs.hubspot.transport.client import Client

_log = logging.getLogger(__name__)


def run_bulk(
    client: Client,
    write: Write,
    read: Callable[[], Iterable[Row]],
    *,
    source_size: SourceSize | None = None,
    batch_size: int = BATCH_SIZE,
    concurrency: int = CONCURRENCY,
    verify: bool = False,
    max_changes: int | None = None,
    stop_when_refused_alike: bool = True,
    wait: PendingWait | None = None,
    after_wait: bool = False,
    daily_reserve: float = RESERVE,
    partial: bool = False,
    folder: RunFolder | None = None,
    checkpoint: Checkpoint | None = None,
    recorders: Sequence[RowRecorder] = (),
    restart: bool = False,
    run: Mapping[str, Any] | None = None,
    connection: str | None = None,
    latest: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Carry a write out over all rows of a source; return the summary.

    The report is written before the first request, so that a folder that cannot be written is found then; while the
    run goes on; and when it ends, also early. The last line in the log is one sentence about all of it. Ctrl-C ends the
    run after the requests in flight.

    :param read: reads all of the source from its beginning. A run that waits calls it again and needs the same rows.
    :param source_size: size of the source; without it the run's need of requests is not checked before its first write.
    :param verify: read every subscriber back that HubSpot says is as wanted.
    :param max_changes: so many rows of the source, at most, may be to write; more of them stop the run before its first
        write. For this the source is read once more.
    :param stop_when_refused_alike: see :class:`~.pipeline.Pipeline`.
    :param wait: how to wait for pending rows when all rows are sent; None: not at all.
    :param after_wait: whether this resumes the same try after a wait elsewhere.
    :param daily_reserve: share of the account's daily limit that is left for others.
    :param partial: where the account cannot afford the run, send what it can, and end with ``complete`` false and the
        checkpoint kept.
    :param folder: where the report goes, and the rows that were not applied.
    :param checkpoint: where the run resumes; None: it always starts from the first row.
    :param recorders: write files of their own about the rows, into the folder or elsewhere. They need a folder.
    :param restart: start from the first row where the checkpoint is of another run.
    :param run: who runs it, for the report; see :class:`~.summary.About`. No address.
    :param connection: name of the connection, for the report.
    :param latest: gets the summary as it was last, also of a run that fails.
    :return: see :class:`~.summary.Summary`.
    :raises CheckpointError: the checkpoint is of another run.
    :raises BudgetError: the account cannot afford the run.
    :raises HubSpotError: an error that no row is to blame for.
    :raises OSError: a file cannot be written.
    """
    parts = _parts_in(folder, recorders)
    state = RunState(parts, usage=client.usage, recorders=recorders)
    state.source_counts = getattr(read, "counts", state.source_counts)
    caller = RowCaller(client, state.operations)

    @cache
    def count() -> int | None:
        if source_size is not None and not source_size.can_be_read_again:
            return None
        total = sendable = 0
        for row in progress.reading(read(), files.tick):
            total += 1
            sendable += row.problem is None
        if source_size is not None:
            source_size.rows = total
        return sendable

    budget = DailyBudget(
        caller,
        write,
        state,
        source_size=source_size,
        count=count,
        batch_size=batch_size,
        verify=verify,
        reserve=daily_reserve,
        partial=partial,
    )
    progress = Progress(state, source_size)
    files = RunFiles(
        client, state, progress, folder=folder, recorders=recorders, checkpoint=checkpoint, latest=latest
    )

    pipeline = Pipeline(
        caller,
        write,
        state,
        budget,
        batch_size=batch_size,
        concurrency=concurrency,
        verify=verify,
        waits=wait is not None,
        stop_when_refused_alike=stop_when_refused_alike,
        on_progress=files.on_batch,
        tick=files.tick,
        save=files.save,
    )
    state.needed = budget.needed
    about = _about(client, write, source_size, run=run, connection=connection)
    try:
        resumed = _resume(state, checkpoint, parts, restart=restart, after_wait=after_wait)
    except Exception as error:
        _say_how_it_ended(files.not_begun(about, error))
        raise
    about["portal"] = about["portal"] if checkpoint is None else checkpoint.portal
    files.begin(about)
    work = _Work(
        client,
        write,
        read,
        state,
        pipeline,
        budget,
        files,
        progress,
        wait,
        max_changes,
        count,
    )
    try:
        try:
            work.carry_out()
        except SourceChangedError:
            if not resumed:
                raise
            if not restart:
                raise changed_since(["source"], state.rows_read) from None
            state.begin_again(same_source=False)
            work.carry_out()
    except BaseException as error:
        unaffordable = isinstance(error, DailyLimitError) and partial
        state.incomplete_because = str(error) if unaffordable else type(error).__name__
        state.error = said_by(error)
        if getattr(wait, "elsewhere", False):
            state.incomplete_because = "HubSpot has not finished with all rows"
        if not unaffordable:
            raise
        _log.warning("%s", error)
    finally:
        summary = files.finish(work.end, goes_on_elsewhere=getattr(wait, "elsewhere", False))
        _say_how_it_ended(summary)
    client.observer.lasted("run.duration", summary["duration_seconds"])
    return {**summary}


def _parts_in(folder: RunFolder | None, recorders: Sequence[RowRecorder]) -> Parts | None:
    if folder is not None:
        return Parts(folder)
    if recorders:
        raise ValidationError("output: expected a folder, got none, and this run needs one for its files")
    return None


@dataclass
class _Work:
    """Sends what is to send, and waits for what is pending."""

    client: Client
    write: Write
    read: Callable[[], Iterable[Row]]
    state: RunState
    pipeline: Pipeline
    budget: DailyBudget
    files: RunFiles
    progress: Progress
    wait: PendingWait | None
    max_changes: int | None
    count: Callable[[], int | None]
    end: WaitEnd = WaitEnd.COMPLETE

    def carry_out(self) -> None:
        """Do it, from where the state is.

        :raises SourceChangedError: other rows stand where those were that an earlier try sent.
        """
        state = self.state
        watched: list[Row] = []
        if state.all_sent:
            _use_definitions(self.client, self.write, state)
        else:
            rows = self._rows()  # finds arguments that cannot work, and reads no row yet
            _use_definitions(self.client, self.write, state)
            deque(state.checked(rows), maxlen=0)  # passes over what an earlier try sent
            if self.max_changes is not None:
                check_changes(self.max_changes, self.count())
            self.budget.check_run()
            self.progress.begin()
            watched = self.pipeline.send(rows)
            state.all_sent = True
        if state.tally.pending:
            self.end = wait_for_pending(
                self.pipeline,
                self._rows,
                self.wait,
                watched=watched,
                save=self.files.before_wait,
                tick=self.files.tick,
            )
        if self.end is not WaitEnd.COMPLETE:
            self.files.save()
            self.pipeline.give_up(self._rows())
        state.complete = True

    def _rows(self) -> Iterator[Row]:
        return self.progress.reading(self.read(), self.files.tick)


def _resume(
    state: RunState,
    checkpoint: Checkpoint | None,
    parts: Parts | None,
    *,
    restart: bool,
    after_wait: bool,
) -> bool:
    """Restore the state that an earlier try saved; where its dead letters are gone, the run begins again.

    :return: whether the run goes on where that try stopped.
    """
    if checkpoint is None:
        if after_wait:
            raise CheckpointError(CHECKPOINT_MISSING)
        return False
    if not checkpoint.resume(state, restart=restart, same_try=after_wait):
        return False
    tally, lost = state.tally, 0
    if parts is not None:
        letters = tally.letters.written + tally.open_letters.written
        lost = abs(tally.not_applied - letters) or parts.missing(*tally.lines)
    if lost:
        _log.warning(
            "%s of %s lines that an earlier try wrote are not in the output folder: was it on another machine's disk? "
            "The run begins again from the first row; what was done before does no harm and is unchanged then",
            lost,
            max(tally.not_applied, sum(one.written for one in tally.lines)),
        )
        state.begin_again(same_source=True)
    elif state.all_sent:
        _log.info("An earlier try sent all %s", counted(tally.read, "row"))
    elif tally.read:
        _log.info("The run goes on at row %s, where an earlier try stopped", f"{tally.read + 1:,}")
    return not lost


def _about(
    client: Client,
    write: Write,
    source_size: SourceSize | None,
    *,
    run: Mapping[str, Any] | None,
    connection: str | None,
) -> About:
    names, number_of_files = ([], None) if source_size is None else source_size.names(most=20)
    return About(
        run={**(run or {})},
        write=write.phrase,
        done=write.done,
        kind=write.kind,
        connection=connection,
        portal=getattr(client.auth, "hub_id", None),
        api_version=client.calls.version,
        provider_version=__version__,
        source_names=names,
        source_files=number_of_files,
    )


def _say_how_it_ended(summary: Summary) -> None:
    failed = sum(summary[name] for name in NOT_APPLIED) - left_to_hubspot(summary["reasons"])
    bad = failed > 0 and summary["state"] != "waiting"
    bad = bad or summary["state"] == "incomplete"
    if summary["report"] is None:
        _log.info("%s", details(summary))
    _log.log(logging.WARNING if bad else logging.INFO, "%s", last_line(summary))


def _use_definitions(client: Client, write: Write, state: RunState) -> None:
    """Fetch the portal's subscriptions before the source is read, where they decide which rows can be sent.

    Pending rows are found again by their places among the rows that can be sent: a try that resumes a wait uses the
    subscriptions that were active when the rows were sent, and what was in the future then is so still.

    :raises ValidationError: the subscription that is the same for all rows cannot be written.
    """
    if (check := write.row_check) is None:
        return
    state.as_of = state.as_of or now()
    check.as_of = datetime.fromisoformat(state.as_of)
    if state.tally.pending:
        known = state.active_subscriptions
        check.active = None if known is None else frozenset(known)
    elif not state.all_sent:
        check.use_definitions(permitted_definitions(client))
        state.active_subscriptions = None if check.active is None else sorted(check.active)
