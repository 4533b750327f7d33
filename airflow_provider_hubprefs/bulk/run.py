"""One run from beginning to end: go on where an earlier try stopped, send, keep the mark, write what became of it."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from airflow_provider_hubprefs.bulk.budget import RESERVE, DailyBudget, OnInsufficient
from airflow_provider_hubprefs.bulk.checkpoint import GONE, ChangedError
from airflow_provider_hubprefs.bulk.dead_letters import DeadLetters
from airflow_provider_hubprefs.bulk.exchange import Exchange
from airflow_provider_hubprefs.bulk.progress import Progress
from airflow_provider_hubprefs.bulk.runner import BATCH_SIZE, CONCURRENCY, Runner
from airflow_provider_hubprefs.bulk.state import RunState
from airflow_provider_hubprefs.bulk.summary import details_of, summary_of
from airflow_provider_hubprefs.bulk.under_way import wait_out
from airflow_provider_hubprefs.bulk.usage import RunUsage
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_hubprefs.bulk.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.extent import Extent
    from airflow_provider_hubprefs.bulk.row import Row
    from airflow_provider_hubprefs.bulk.storage import Path
    from airflow_provider_hubprefs.bulk.under_way import Waiting
    from airflow_provider_hubprefs.bulk.writes import Write
    from airflow_provider_hubprefs.hubspot.client import Client


def carry_out(
    client: Client,
    write: Write,
    read: Callable[[], Iterable[Row]],
    *,
    extent: Extent | None = None,
    batch_size: int = BATCH_SIZE,
    concurrency: int = CONCURRENCY,
    verify: bool = False,
    waiting: Waiting | None = None,
    daily_reserve: float = RESERVE,
    on_insufficient_budget: OnInsufficient = "fail",
    dead_letters: Path | None = None,
    report_to: Path | None = None,
    checkpoint: Checkpoint | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Carry a write out over all rows of a source; return the summary.

    Both files are written before the first request, so that a place that cannot be written is found out then,
    and also when the run ends early. Ctrl-C, and a SIGTERM nobody else handles, end it after the requests under way.

    :param read: reads all of the source, also where an earlier try had come some way. Where it is waited for what
        takes HubSpot its time, it is called again, and has to give the same rows.
    :param extent: of the source whose rows these are; without it nobody knows how long the run will be.
    :param verify: read every subscriber back that HubSpot says is as wanted.
    :param waiting: how to wait for operations that are under way when all rows are sent; None: not at all.
    :param daily_reserve: share of the account's daily limit that is left for others.
    :param on_insufficient_budget: what to do where the account cannot afford the run: ``fail``; ``wait``;
        ``partial``: send what it can, and end with ``complete`` false and the checkpoint kept.
    :param dead_letters: where rows go that were not applied.
    :param report_to: where the report goes, as JSON; see :class:`~.summary.Details`.
    :param checkpoint: where to go on; None for a run that always begins anew.
    :param restart: begin again where the checkpoint is of another run.
    :return: see :class:`~.summary.Summary`.
    :raises ChangedError: the checkpoint is of another run.
    :raises BudgetError: the account cannot afford the run.
    :raises HubSpotError: something that no row is to blame for.
    :raises OSError: a place cannot be written.
    """
    letters = DeadLetters(dead_letters) if dead_letters is not None else None
    source = checkpoint.identity.get("source") if checkpoint is not None else None
    state = RunState(letters, usage=RunUsage(client.usage), source=source)
    exchange = Exchange(client, state.operations)
    budget = DailyBudget(
        exchange,
        write,
        state,
        extent=extent,
        batch_size=batch_size,
        verify=verify,
        reserve=daily_reserve,
        on_insufficient=on_insufficient_budget,
    )
    runner = Runner(
        exchange,
        write,
        state,
        batch_size=batch_size,
        concurrency=concurrency,
        verify=verify,
        waits=waiting is not None,
        allowance=budget,
    )
    resumed = _resumed(state, write, checkpoint, waiting, restart=restart)
    if letters is not None and not resumed:
        letters.begin()
    before: dict[str, Any] = {
        "dead_letters": dead_letters,
        "report": report_to,
        "budget_before": client.pacer.budget,
    }
    _write(state, **before)

    progress = Progress(state, extent)

    def save(*, last: bool = True) -> None:
        if checkpoint is not None:
            state.active_subscriptions = write.known()
            checkpoint.save(state, last=last)

    def taken() -> None:
        progress.log()
        save(last=False)

    keep = False
    with _ended_by_sigterm():
        try:
            write.check()
            if not state.all_sent:
                budget.judge()
                state.all_sent = runner.run(read(), taken=taken)
            if state.tally.open:
                waited = wait_out(runner, state, read, waiting, taken=taken, mark=save)
                if waited and state.all_sent and state.tally.open:
                    save()
                    keep = waiting is not None and waiting.retried
                    runner.give_up(read())
            state.complete = state.all_sent and not state.tally.open
        except DailyLimitError:
            if on_insufficient_budget != "partial":
                raise
        except BaseException as error:
            state.incomplete_because = type(error).__name__
            raise
        finally:
            if not (state.complete or keep):
                save()
            over = checkpoint is None or (state.complete and not keep)
            summary = _end(state, letters, checkpoint, over=over, **before, budget_after=client.pacer.budget)
    return summary


def _resumed(
    state: RunState, write: Write, checkpoint: Checkpoint | None, waiting: Waiting | None, *, restart: bool
) -> bool:
    """Restore the state that an earlier try saved; return whether there was one."""
    same_try = waiting is not None and waiting.same_try
    if checkpoint is None:
        if same_try:
            raise ChangedError(GONE)
        return False
    resumed = checkpoint.resume(state, restart=restart, same_try=same_try)
    if state.tally.open:
        write.recall(state.active_subscriptions)
    return resumed


def _end(
    state: RunState, letters: DeadLetters | None, checkpoint: Checkpoint | None, *, over: bool, **details: Any
) -> dict[str, Any]:
    """Write both files, and remove what only a later try needs.

    :param over: no later try resumes this run.
    """
    state.flush()
    if letters is not None:
        letters.assemble(state.tally.letters.parts)
    summary = _write(state, **details)
    if over and checkpoint is not None:
        checkpoint.remove()
    if over and letters is not None:
        letters.forget_after(0)  # last: while there is a checkpoint, a retry looks for them
    return summary


def _write(state: RunState, *, report: Path | None, **more: Any) -> dict[str, Any]:
    """Write the details to their file; return the summary."""
    details = details_of(state, report=report, **more)
    if report is not None:
        with report.open("w", encoding="utf-8") as file:
            file.write(json.dumps(msgspec.to_builtins(details), indent=2))
    return summary_of(details)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Make a SIGTERM that would end a script on the spot an exception, as Ctrl-C is one. Airflow has its own way."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
