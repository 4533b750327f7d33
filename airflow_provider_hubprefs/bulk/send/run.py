"""One bulk run from beginning to end: resume, send, wait, keep the checkpoint, write the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.report.checkpoint import CHECKPOINT_MISSING, CheckpointError
from airflow_provider_hubprefs.bulk.report.dead_letters import DeadLetters
from airflow_provider_hubprefs.bulk.report.progress import Progress
from airflow_provider_hubprefs.bulk.report.state import RunState
from airflow_provider_hubprefs.bulk.report.summary import summary_of
from airflow_provider_hubprefs.bulk.send.daily_budget import RESERVE, DailyBudget
from airflow_provider_hubprefs.bulk.send.guards import check_changes, permitted_definitions
from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd, wait_for_pending
from airflow_provider_hubprefs.bulk.send.pipeline import BATCH_SIZE, CONCURRENCY, Pipeline
from airflow_provider_hubprefs.bulk.send.row_caller import RowCaller
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.summary import Summary
    from airflow_provider_hubprefs.bulk.send.pending_wait import PendingWait
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.bulk.source.size import SourceSize
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.storage import Path


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
    dead_letters: Path | None = None,
    report_to: Path | None = None,
    checkpoint: Checkpoint | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Carry a write out over all rows of a source; return the summary.

    Both files are written before the first request, so that a path that cannot be written is found then, and also
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
    :param dead_letters: where rows go that were not applied.
    :param report_to: where the summary goes, as JSON.
    :param checkpoint: where the run resumes; None: it always starts from the first row.
    :param restart: start from the first row where the checkpoint is of another run.
    :return: see :class:`~.summary.Summary`.
    :raises CheckpointError: the checkpoint is of another run.
    :raises BudgetError: the account cannot afford the run.
    :raises HubSpotError: an error that no row is to blame for.
    :raises OSError: a file cannot be written.
    """
    letters = DeadLetters(dead_letters) if dead_letters is not None else None
    source = checkpoint.identity.get("source") if checkpoint is not None else None
    state = RunState(letters, usage=client.usage, source=source)
    resumed = _resume(state, checkpoint, restart=restart, after_wait=after_wait)
    caller = RowCaller(client, state.operations)
    budget = DailyBudget(
        caller,
        write,
        state,
        source_size=source_size,
        batch_size=batch_size,
        verify=verify,
        reserve=daily_reserve,
        partial=partial,
    )
    progress = Progress(state, source_size)
    files = _Files(client, state, letters, checkpoint, {"dead_letters": dead_letters, "report": report_to})

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
    )
    if letters is not None and not resumed:
        letters.begin()
    files.write_report()
    end = WaitEnd.COMPLETE
    try:
        watched: list[Row] = []
        if state.all_sent:
            _use_definitions(client, write, state)
        else:
            rows = read()  # finds arguments that cannot work, and reads no row yet
            _use_definitions(client, write, state)
            if max_changes is not None:
                check_changes(max_changes, read, source_size and source_size.source)
            budget.check_run()
            watched = pipeline.send(rows)
            state.all_sent = True
        if state.tally.pending:
            end = wait_for_pending(pipeline, read, wait, watched=watched, save=files.save)
        if end is not WaitEnd.COMPLETE:
            files.save()
            pipeline.give_up(read())
        state.complete = True
    except BaseException as error:
        unaffordable = isinstance(error, DailyLimitError) and partial
        state.incomplete_because = str(error) if unaffordable else type(error).__name__
        if not unaffordable:
            raise
    finally:
        summary = files.finish(end)
    return {**summary}


def _resume(state: RunState, checkpoint: Checkpoint | None, *, restart: bool, after_wait: bool) -> bool:
    """Restore the state that an earlier try saved; return whether there was one."""
    if checkpoint is None:
        if after_wait:
            raise CheckpointError(CHECKPOINT_MISSING)
        return False
    return checkpoint.resume(state, restart=restart, same_try=after_wait)


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
    """What a run leaves behind: checkpoint, report, dead letters.

    :param paths: by their names in the summary.
    """

    def __init__(
        self,
        client: Client,
        state: RunState,
        letters: DeadLetters | None,
        checkpoint: Checkpoint | None,
        paths: dict[str, Path | None],
    ) -> None:
        self._pacer = client.pacer
        self._state = state
        self._letters = letters
        self._budget_before = client.pacer.budget
        self._checkpoint = checkpoint
        self._paths = paths

    def save(self, *, last: bool = True) -> None:
        """Save the checkpoint.

        :param last: now; otherwise unless that was done a moment ago.
        """
        if self._checkpoint is not None:
            self._checkpoint.save(self._state, last=last)

    def finish(self, end: WaitEnd) -> Summary:
        """Save the checkpoint, or delete it; write both files and return the summary."""
        state = self._state
        resumable = not state.complete or end is WaitEnd.LEFT_TO_RETRY
        if end is WaitEnd.COMPLETE and not state.complete:  # otherwise it was saved before rows were given up
            self.save()
        state.flush()
        if self._letters is not None:
            self._letters.assemble(state.tally.letters.parts)
        summary = self.write_report()
        if self._checkpoint is not None:
            if resumable:
                return summary
            self._checkpoint.remove()
        if self._letters is not None:
            self._letters.forget_after(0)  # after the checkpoint: a retry that found one would look for them
        return summary

    def write_report(self) -> Summary:
        """Write the summary to its file, if there is one, and return it.

        :raises OSError: it cannot be written.
        """
        summary = summary_of(
            self._state, **self._paths, budget_before=self._budget_before, budget_after=self._pacer.budget
        )
        if path := self._paths["report"]:
            with path.open("w", encoding="utf-8") as file:
                file.write(json.dumps(summary, indent=2))
        return summary
