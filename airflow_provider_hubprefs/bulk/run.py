"""One run from beginning to end: go on where an earlier try stopped, send, keep the mark, write what became of it."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.dead_letters import DeadLetters, Path
from airflow_provider_hubprefs.bulk.exchange import Exchange
from airflow_provider_hubprefs.bulk.report import Report, Summary
from airflow_provider_hubprefs.bulk.runner import BATCH_SIZE, CONCURRENCY, Runner
from airflow_provider_hubprefs.bulk.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_hubprefs.bulk.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.bulk.writes import Write
    from airflow_provider_hubprefs.hubspot.client import Client

PROGRESS = 10.0
"""Seconds between two lines of progress in the log."""

_log = logging.getLogger(__name__)


def carry_out(
    client: Client,
    write: Write,
    rows: Iterable[Row],
    *,
    batch_size: int = BATCH_SIZE,
    concurrency: int = CONCURRENCY,
    verify: bool = False,
    dead_letters: Path | None = None,
    report_to: Path | None = None,
    checkpoint: Checkpoint | None = None,
    restart: bool = False,
) -> dict[str, Any]:
    """Carry a write out over all rows of a source; return the summary.

    Both files are written before the first request, so that a place that cannot be written is found out then,
    and also when the run ends early.

    :param rows: all of the source, also where an earlier try had come some way.
    :param verify: read every subscriber back that HubSpot says is as wanted.
    :param dead_letters: where rows go that were not applied.
    :param report_to: where the summary goes, as JSON.
    :param checkpoint: where to go on; None for a run that always begins anew.
    :param restart: begin again where the checkpoint is of another run.
    :raises ChangedError: the checkpoint is of another run.
    :raises HubSpotError: something that no row is to blame for.
    :raises OSError: a place cannot be written.
    """
    letters = DeadLetters(dead_letters) if dead_letters is not None else None
    report = Report(letters, spending=Spending(client.usage))
    exchange = Exchange(client, report.operations)
    if checkpoint is not None:
        report.source = checkpoint.identity.get("source")
        checkpoint.resume(report, restart=restart)
    if letters is not None and report.tries == 1:
        letters.begin()
    report.budget_before = client.pacer.budget
    where = {"dead_letters": dead_letters, "report": report_to}
    _write(report, where)
    before = report.rows_read
    begin = told = time.monotonic()

    def taken(*, last: bool = False) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= PROGRESS:
            told = now
            done = report.rows_read - before
            _log.info(
                "%d rows, %.0f a second: %s",
                report.rows_read,
                done / (now - begin),
                dict(report.tally.counts),
            )
        if checkpoint is not None:
            checkpoint.reached(report, last=last)

    try:
        runner = Runner(
            exchange, write, report, batch_size=batch_size, concurrency=concurrency, verify=verify
        )
        runner.run(rows, taken=taken)
        report.complete = True
    finally:
        if not report.complete:
            taken(last=True)
        report.assemble()
        report.budget_after = client.pacer.budget
        summary = _write(report, where)
        if checkpoint is None or report.complete:
            if checkpoint is not None:
                checkpoint.done()
            report.forget_parts()  # last: a retry that found a mark would look for them
    return summary


def _write(report: Report, where: dict[str, Path | None]) -> dict[str, Any]:
    """Write the details to their file, and return the summary."""
    details = {**report.details(), **{name: str(path) if path else None for name, path in where.items()}}
    if path := where["report"]:
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(details, indent=2))
    return {name: details[name] for name in Summary.__struct_fields__}
