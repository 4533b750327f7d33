"""One run from beginning to end: go on where an earlier try stopped, send, keep the mark, write what became of it."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_hubprefs.bulk.budget import RESERVE, DailyBudget, OnInsufficient
from airflow_provider_hubprefs.bulk.checkpoint import GONE, ChangedError
from airflow_provider_hubprefs.bulk.dead_letters import DeadLetters, Path
from airflow_provider_hubprefs.bulk.exchange import Exchange
from airflow_provider_hubprefs.bulk.progress import Progress
from airflow_provider_hubprefs.bulk.report import Report, Summary
from airflow_provider_hubprefs.bulk.runner import BATCH_SIZE, CONCURRENCY, Runner
from airflow_provider_hubprefs.bulk.spending import Spending
from airflow_provider_hubprefs.bulk.under_way import wait_out
from airflow_provider_hubprefs.hubspot.errors import DailyLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_hubprefs.bulk.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.extent import Extent
    from airflow_provider_hubprefs.bulk.source import Row
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
    :param report_to: where the report goes, as JSON; see :class:`~.report.Details`.
    :param checkpoint: where to go on; None for a run that always begins anew.
    :param restart: begin again where the checkpoint is of another run.
    :return: see :class:`~.report.Summary`.
    :raises ChangedError: the checkpoint is of another run.
    :raises BudgetError: the account cannot afford the run.
    :raises HubSpotError: something that no row is to blame for.
    :raises OSError: a place cannot be written.
    """
    letters = DeadLetters(dead_letters) if dead_letters is not None else None
    report = Report(letters, spending=Spending(client.usage))
    exchange = Exchange(client, report.operations)
    budget = DailyBudget(
        exchange,
        write,
        report,
        extent=extent,
        batch_size=batch_size,
        verify=verify,
        reserve=daily_reserve,
        on_insufficient=on_insufficient_budget,
    )
    runner = Runner(
        exchange,
        write,
        report,
        batch_size=batch_size,
        concurrency=concurrency,
        verify=verify,
        waits=waiting is not None,
        allowance=budget,
    )
    resumed = _resumed(report, write, checkpoint, waiting, restart=restart)
    if letters is not None and not resumed:
        letters.begin()
    report.budget_before = client.pacer.budget
    where = {"dead_letters": dead_letters, "report": report_to}
    _write(report, where)

    keep = False
    progress = Progress(report, extent)
    with _ended_by_sigterm():

        def taken() -> None:
            progress.log()
            if checkpoint is not None:
                checkpoint.reached(report)

        def mark() -> None:
            if checkpoint is not None:
                checkpoint.reached(report, last=True)

        try:
            write.check()
            if not report.all_sent:
                budget.judge()
                report.all_sent = runner.run(read(), taken=taken)
            if report.tally.open:
                waited = wait_out(runner, report, read, waiting, taken=taken, mark=mark)
                if waited and report.all_sent and report.tally.open:
                    mark()
                    keep = waiting is not None and waiting.retried
                    runner.give_up(read())
            report.complete = report.all_sent and not report.tally.open
        except DailyLimitError:
            if on_insufficient_budget != "partial":
                raise
        except BaseException as error:
            report.incomplete_because = type(error).__name__
            raise
        finally:
            summary = _end(report, checkpoint, client, where, keep=keep)
    return summary


def _resumed(
    report: Report, write: Write, checkpoint: Checkpoint | None, waiting: Waiting | None, *, restart: bool
) -> bool:
    """Put the report where an earlier try left it; whether there was one."""
    report.known = write.known
    same_try = waiting is not None and waiting.same_try
    if checkpoint is None:
        if same_try:
            raise ChangedError(GONE)
        return False
    report.source = checkpoint.identity.get("source")
    resumed = checkpoint.resume(report, restart=restart, same_try=same_try)
    if report.tally.open:
        write.recall(report.recalled)
    return resumed


def _end(
    report: Report,
    checkpoint: Checkpoint | None,
    client: Client,
    where: dict[str, Path | None],
    *,
    keep: bool,
) -> dict[str, Any]:
    """Keep the mark, or forget it; write both files.

    :param keep: the mark as it is is what a later try is to go on from: this one has given up what is under way.
    """
    if checkpoint is not None and not (report.complete or keep):
        checkpoint.reached(report, last=True)
    report.assemble()
    report.budget_after = client.pacer.budget
    summary = _write(report, where)
    if checkpoint is None or (report.complete and not keep):
        if checkpoint is not None:
            checkpoint.remove()
        report.forget_parts()  # last: a retry that found a mark would look for them
    return summary


def _write(report: Report, where: dict[str, Path | None]) -> dict[str, Any]:
    """Write the details to their file, and return the summary."""
    details = {**report.details(), **{name: str(path) if path else None for name, path in where.items()}}
    if path := where["report"]:
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(details, indent=2))
    return {name: details[name] for name in Summary.__struct_fields__}


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
