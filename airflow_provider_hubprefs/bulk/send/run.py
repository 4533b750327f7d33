"""One bulk run from beginning to end: resume, send, wait, keep the checkpoint, write the report."""

from __future__ import annotations

import json
import logging
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.report.checkpoint import (
    CHECKPOINT_MISSING,
    CheckpointError,
    SupersededError,
    changed_since,
)
from airflow_provider_hubprefs.bulk.report.dead_letters import DeadLetters, Letters
from airflow_provider_hubprefs.bulk.report.progress import Progress
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.report.summary import summary_of
from airflow_provider_hubprefs.bulk.send.daily_budget import RESERVE, DailyBudget
from airflow_provider_hubprefs.bulk.send.guards import check_changes, permitted_definitions
from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd, wait_for_pending
from airflow_provider_hubprefs.bulk.send.pipeline import BATCH_SIZE, CONCURRENCY, Pipeline
from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
from airflow_provider_hubprefs.bulk.source.passed import SourceChangedError
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
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
    restart: bool = False,
    latest: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Carry a write out over all rows of a source; return the summary.

    The report is written before the first request, so that a folder that cannot be written is found then, and also
    when the run ends early. Ctrl-C ends the run after the requests in flight.

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
    :param restart: start from the first row where the checkpoint is of another run.
    :param latest: gets the summary as it was last, also of a run that fails.
    :return: see :class:`~.summary.Summary`.
    :raises CheckpointError: the checkpoint is of another run.
    :raises BudgetError: the account cannot afford the run.
    :raises HubSpotError: an error that no row is to blame for.
    :raises OSError: a file cannot be written.
    """
    letters = DeadLetters(folder) if folder is not None else None
    state = RunState(letters, usage=client.usage)
    state.source_counts = getattr(read, "counts", state.source_counts)
    caller = RowCaller(client, state.operations)

    @cache
    def count() -> int | None:
        if source_size is not None and not source_size.can_be_read_again:
            return None
        return sum(row.problem is None for row in read())

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
    files = _Files(client, state, folder, letters, checkpoint, latest=latest)

    def on_progress() -> None:
        progress.log()
        files.save(last=False)

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
        on_progress=on_progress,
        save=files.save,
    )
    state.needed = budget.needed
    resumed = _resume(state, checkpoint, letters, restart=restart, after_wait=after_wait)
    progress = Progress(state, source_size)
    files.write_report()
    work = _Work(
        client,
        write,
        read,
        state,
        pipeline,
        budget,
        files,
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
            progress = Progress(state, source_size)
            work.carry_out()
    except BaseException as error:
        unaffordable = isinstance(error, DailyLimitError) and partial
        state.incomplete_because = str(error) if unaffordable else type(error).__name__
        if not unaffordable:
            raise
    finally:
        summary = files.finish(work.end)
    return {**summary}


@dataclass
class _Work:
    """Sends what is to send, and waits for what is pending."""

    client: Client
    write: Write
    read: Callable[[], Iterable[Row]]
    state: RunState
    pipeline: Pipeline
    budget: DailyBudget
    files: _Files
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
            rows = iter(self.read())  # finds arguments that cannot work, and reads no row yet
            _use_definitions(self.client, self.write, state)
            deque(state.checked(rows), maxlen=0)  # passes over what an earlier try sent
            if self.max_changes is not None:
                check_changes(self.max_changes, self.count())
            self.budget.check_run()
            watched = self.pipeline.send(rows)
            state.all_sent = True
        if state.tally.pending:
            self.end = wait_for_pending(
                self.pipeline, self.read, self.wait, watched=watched, save=self.files.save
            )
        if self.end is not WaitEnd.COMPLETE:
            self.files.save()
            self.pipeline.give_up(self.read())
        state.complete = True


def _resume(
    state: RunState,
    checkpoint: Checkpoint | None,
    letters: DeadLetters | None,
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
    if letters is None:
        return True
    tally, kinds = state.tally, (state.tally.letters, state.tally.open_letters)
    lost = abs(tally.not_applied - sum(one.written for one in kinds)) or letters.missing(*kinds)
    if lost:
        _log.warning(
            "%s of %s dead letters of an earlier try are not in the output folder: was it on another machine's disk? "
            "The run begins again from the first row; what was done before does no harm and is unchanged then",
            lost,
            tally.not_applied,
        )
        state.begin_again(same_source=True)
    return not lost


def _use_definitions(client: Client, write: Write, state: RunState) -> None:
    """Fetch the portal's subscriptions before the source is read, where they decide which rows can be sent.

    Pending rows are found again by their places among the rows that can be sent: a try that resumes a wait uses the
    subscriptions that were active when the rows were sent.

    :raises ValidationError: the subscription that is the same for all rows cannot be written.
    """
    if (check := write.row_check) is None:
        return
    if state.tally.pending:
        known = state.active_subscriptions
        check.active = None if known is None else frozenset(known)
    elif not state.all_sent:
        check.use_definitions(permitted_definitions(client))
        state.active_subscriptions = None if check.active is None else sorted(check.active)


class _Files:
    """What a run leaves behind: checkpoint, report, dead letters."""

    def __init__(
        self,
        client: Client,
        state: RunState,
        folder: RunFolder | None,
        letters: DeadLetters | None,
        checkpoint: Checkpoint | None,
        *,
        latest: dict[str, Any] | None,
    ) -> None:
        self._latest = {} if latest is None else latest
        self._pacer = client.pacer
        self._state = state
        self._folder = folder
        self._letters = letters
        self._budget_before = client.pacer.budget
        self._checkpoint = checkpoint

    def save(self, *, last: bool = True) -> None:
        """Save the checkpoint.

        :param last: now; otherwise unless that was done a moment ago.
        :raises SupersededError: a later try of this run has begun.
        """
        if self._checkpoint is not None:
            self._checkpoint.save(self._state, last=last)

    def finish(self, end: WaitEnd) -> Summary:
        """Save the checkpoint, or delete it; write both files and return the summary.

        :raises SupersededError: a later try of this run has begun; its files are left alone.
        :raises OSError: a file cannot be written; the report is, where that is possible.
        """
        state, letters, checkpoint = self._state, self._letters, self._checkpoint
        kinds: tuple[Letters, ...] = ()
        resumable = not state.complete or end is WaitEnd.LEFT_TO_RETRY
        try:
            if checkpoint is not None:
                checkpoint.check_mine()
                if end is WaitEnd.COMPLETE and (resumable or state.resumable):
                    resumable = True
                    checkpoint.save(
                        state, last=True, ended=True
                    )  # otherwise it was before rows were given up
            if letters is not None:
                state.flush()
                kinds = (state.tally.letters, state.tally.open_letters)
                letters.assemble(*kinds, expected=state.tally.not_applied)
        except SupersededError:
            if self._folder is not None:
                self._folder.remove_parts(writer=self._folder.writer)
            raise
        except BaseException as error:
            if state.complete:
                state.complete, state.incomplete_because = False, type(error).__name__
            self.write_report()
            raise
        summary = self.write_report()
        if checkpoint is not None and not resumable:
            checkpoint.remove()
        if self._folder is not None:  # after the checkpoint: a retry that found one would look for them
            keep = {name for one in kinds for name in one.names()}
            self._folder.remove_parts(keep=keep if checkpoint is not None and resumable else ())
        return summary

    def write_report(self) -> Summary:
        """Write the summary to its file, if there is one, and return it.

        :raises OSError: it cannot be written.
        """
        folder = self._folder
        summary = summary_of(
            self._state,
            dead_letters=folder.letters if folder and self._letters and self._letters.assembled else None,
            report=folder.report if folder else None,
            budget_before=self._budget_before,
            budget_after=self._pacer.budget,
        )
        self._latest.update(summary)
        if folder is not None:
            folder.write(folder.report, [json.dumps(summary, indent=2).encode()])
        return summary
