"""What a run leaves behind, while it goes on and when it ends: checkpoint, report, page, dead letters."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_hubprefs.bulk.page.letters import first_letters
from airflow_provider_hubprefs.bulk.page.page import render
from airflow_provider_hubprefs.bulk.report.checkpoint import SupersededError
from airflow_provider_hubprefs.bulk.report.dead_letters import assemble
from airflow_provider_hubprefs.bulk.report.history import History, Point
from airflow_provider_hubprefs.bulk.report.parts import Parts
from airflow_provider_hubprefs.bulk.report.summary import summary_of
from airflow_provider_hubprefs.bulk.report.words import said_by
from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd
from airflow_provider_hubprefs.storage import json_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.report.progress import Progress
    from airflow_provider_hubprefs.bulk.report.recorder import RowRecorder
    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.report.summary import About, Summary
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.storage import Path

REPORT_EVERY = 5.0
"""Seconds between two reports while a run goes on."""

PAGE_EVERY = 60.0
"""Seconds between two pages, and between two reports while all rows are sent and some are waited for."""

_log = logging.getLogger(__name__)


class RunFiles:
    """Writes the files of one try of a run, all of them in the thread that carries it out.

    A report that cannot be written ends the run before its first request; later on, until its end, it does not. The
    page never does.

    :param latest: gets the summary as it was last, also of a run that fails.
    """

    def __init__(
        self,
        client: Client,
        state: RunState,
        progress: Progress,
        *,
        folder: RunFolder | None,
        recorders: Sequence[RowRecorder] = (),
        checkpoint: Checkpoint | None,
        latest: dict[str, Any] | None = None,
    ) -> None:
        self._latest = {} if latest is None else latest
        self._client = client
        self._state = state
        self._progress = progress
        self._folder = folder
        self._recorders = recorders
        self._has_letters = False
        self._budget_before = client.pacer.budget
        self._checkpoint = checkpoint
        self._history = History()
        self._about: About
        self._reported_at = self._paged_at = 0.0
        self._page_fails = self._report_fails = self._waited = False

    def begin(self, about: About) -> None:
        """Write the first report.

        :raises OSError: it cannot be written.
        """
        self._about = about
        if self._folder is not None and (self._state.tries > 1 or self._state.rows_read):
            self._history.resume(self._folder.report, started_at=self._state.started_at)
        self._write(going_on=True, page=True)

    def not_begun(self, about: About, error: Exception) -> Summary:
        """Write why this try did not begin: into the report of the try before, whose counts stay, or a first one."""
        self._about = about
        self._state.incomplete_because, self._state.error = type(error).__name__, said_by(error)
        folder, self._folder = self._folder, None
        summary = self._write(going_on=False, page=False)
        if folder is not None:
            with suppress(Exception):  # the error says more than what a store raises besides
                places = {"report": str(folder.report), "page": str(folder.page)}
                now_so = {
                    name: summary[name]
                    for name in ("state", "incomplete_because", "error", "seconds_left", "ended_at")
                }
                summary = cast("Summary", {**summary, **places, **_unfinished(folder.report), **now_so})
                folder.write(folder.report, [json.dumps(summary, indent=2).encode()])
                self._write_page(folder, summary, folder.letters if summary["dead_letters"] else None)
        self._latest.update(summary)
        return summary

    def on_batch(self) -> None:
        """Save the checkpoint, and so on, unless that was done a moment ago."""
        self.save(last=False)
        self.tick()

    def tick(self) -> None:
        """Log how far the run is and write the report, unless that was done a moment ago.

        :raises SupersededError: a later try of this run has begun.
        """
        self._progress.log()
        self._progress.sample()
        now = time.monotonic()
        if now - self._reported_at < (PAGE_EVERY if self._state.all_sent else REPORT_EVERY):
            return
        if self._checkpoint is not None:
            self._checkpoint.check_mine()
        self._write_if_possible(page=now - self._paged_at >= PAGE_EVERY)

    def before_wait(self) -> None:
        """Save the checkpoint and write the report: another process may resume the run.

        :raises SupersededError: a later try of this run has begun.
        """
        self.save()
        first, self._waited = not self._waited, True
        self._write_if_possible(page=first or time.monotonic() - self._paged_at >= PAGE_EVERY)

    def save(self, *, last: bool = True) -> None:
        """Save the checkpoint.

        :param last: now; otherwise unless that was done a moment ago.
        :raises SupersededError: a later try of this run has begun.
        """
        if self._checkpoint is not None:
            self._checkpoint.save(self._state, last=last)

    def finish(self, end: WaitEnd, *, goes_on_elsewhere: bool) -> Summary:
        """Save the checkpoint, or delete it; write all files and return the summary.

        :raises SupersededError: a later try of this run has begun; its files are left alone.
        :raises OSError: a file cannot be written; the report is, where that is possible.
        """
        state, folder, checkpoint = self._state, self._folder, self._checkpoint
        resumable = not state.complete or end is WaitEnd.LEFT_TO_RETRY
        try:
            if checkpoint is not None:
                checkpoint.check_mine()
                if end is WaitEnd.COMPLETE and (resumable or state.resumable):
                    resumable = True
                    checkpoint.save(
                        state, last=True, ended=True
                    )  # otherwise it was before rows were given up
            if folder is not None:
                self._put_together(folder)
        except SupersededError:
            if folder is not None:
                folder.remove_parts(writer=folder.writer)
            raise
        except BaseException as error:
            if state.complete:
                state.complete, state.incomplete_because = False, type(error).__name__
                state.error = said_by(error)
                if checkpoint is not None and end is WaitEnd.COMPLETE:
                    with suppress(Exception):  # a retry writes the files then, and sends nothing again
                        checkpoint.save(state, last=True, ended=True)
            self._write(going_on=False, page=True)
            raise
        summary = self._write(going_on=goes_on_elsewhere, page=True)
        if checkpoint is not None and not resumable:
            checkpoint.remove()
        if folder is not None:  # after the checkpoint: a retry that found one would look for them
            keep = {name for one in state.tally.lines for name in one.names()}
            folder.remove_parts(keep=keep if checkpoint is not None and resumable else ())
        return summary

    def _put_together(self, folder: RunFolder) -> None:
        """Make the files of which the tries have written parts."""
        state, parts = self._state, Parts(folder)
        state.flush()
        tally = state.tally
        letters = (tally.letters, tally.open_letters)
        self._has_letters = assemble(folder, *letters, expected=tally.not_applied)
        for recorder, lines in zip(self._recorders, tally.recorded, strict=True):
            recorder.finish(parts.read(lines), tally.counts, complete=state.complete)

    def _write_if_possible(self, *, page: bool) -> None:
        """Write the report of a run that goes on, whatever its store says; what that is, is logged once."""
        try:
            self._write(going_on=True, page=page)
        except Exception as error:  # noqa: BLE001 - stores raise what their libraries raise
            if not self._report_fails:
                _log.warning("The report cannot be written now (%s); the run goes on", type(error).__name__)
            self._report_fails = True

    def _write(self, *, going_on: bool, page: bool) -> Summary:
        """Write the summary to its file, and the page beside it, if there is a folder; return the summary.

        :raises OSError: the report cannot be written.
        """
        folder, state, budget = self._folder, self._state, self._client.pacer.budget
        full, left = budget.burst, budget.burst_remaining
        used = None if full is None or left is None else full - left
        seconds = round((datetime.now(UTC) - datetime.fromisoformat(state.started_at)).total_seconds(), 1)
        self._history.add(
            Point(max(0.0, seconds), state.rows_read, state.usage.requests, budget.daily_remaining, used)
        )
        letters = folder.letters if folder and self._has_letters else None
        summary = summary_of(
            state,
            self._progress,
            self._about,
            going_on=going_on,
            history=self._history.points,
            dead_letters=letters,
            report=folder.report if folder else None,
            page=folder.page if folder and not self._page_fails else None,
            budget_before=self._budget_before,
            budget_after=budget,
        )
        for recorder in self._recorders:
            summary.update(recorder.reported())  # type: ignore[typeddict-item]
        self._latest.update(summary)
        self._reported_at = time.monotonic()
        if folder is not None:
            folder.write(folder.report, [json.dumps(summary, indent=2).encode()])
            if page and self._write_page(folder, summary, letters) != bool(summary["page"]):
                summary["page"] = None if self._page_fails else str(folder.page)
                folder.write(folder.report, [json.dumps(summary, indent=2).encode()])
        return summary

    def _write_page(self, folder: RunFolder, summary: Summary, letters: Path | None) -> bool:
        """Write the page; return whether it is there. What goes wrong with it is logged once, and ends nothing."""
        self._paged_at = time.monotonic()
        try:
            found = first_letters(letters, most=100) if letters is not None else []
            folder.write(folder.page, [render(summary, found).encode()])
            self._page_fails = False
        except Exception as error:  # noqa: BLE001 - whatever it is: the run goes on
            if not self._page_fails:
                text = "The report's page %s cannot be written (%s); the run goes on, and report.json says the same"
                _log.warning(text, folder.page.name, type(error).__name__)
            self._page_fails = True
        return not self._page_fails


def _unfinished(report: Path) -> dict[str, Any]:
    """What an earlier try reported that did not complete the run; empty where there is no such report."""
    found = json_in(report) or {}
    return found if "read" in found and not found.get("complete") else {}
