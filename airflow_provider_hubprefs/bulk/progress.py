"""How far a run is: a line in the log every ten seconds, and a bar where somebody looks on."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from airflow_provider_hubprefs.bulk.extent import Extent
    from airflow_provider_hubprefs.bulk.report import Report

EVERY = 10.0
"""Seconds between two lines in the log."""

_REMEMBERED = 7
"""Lines; the rate and the time left are those since the oldest of them, so that they follow what goes on now."""

_log = logging.getLogger(__name__)


class Progress:
    """Tells how far a run is.

    :param report: of the run.
    :param extent: of its source; None where nobody knows.
    :param bar: whether to draw one; by default where the standard error is a terminal.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        report: Report,
        extent: Extent | None = None,
        *,
        bar: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._extent = extent
        self._clock = clock
        self._marks = deque([(clock(), report.rows_read, 0.0)], maxlen=_REMEMBERED)
        self._bar = _Bar() if (sys.stderr.isatty() if bar is None else bar) else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.show(self._share(), self._report.rows_read)
            self._bar.end()

    def tell(self) -> None:
        """Say how far the run is, unless that was done a moment ago."""
        if self._bar:
            self._bar.show(self._share(), self._report.rows_read)
        if self._clock() - self._marks[-1][0] >= EVERY:
            _log.info("%s", self._line())

    def _share(self) -> float | None:
        return self._extent.share(self._report.rows_read) if self._extent else None

    def _line(self) -> str:
        now, rows, share = self._clock(), self._report.rows_read, self._share()
        then, rows_then, share_then = self._marks[0]
        seconds = max(now - then, 1e-9)
        self._marks.append((now, rows, share or 0.0))
        line = f"{rows:,} rows"
        if share is not None:
            line += f" ({share:.0%} of the source)"
        line += f", {(rows - rows_then) / seconds:,.0f} a second"
        if share is not None and share > share_then:
            line += f", about {_duration((1 - share) / (share - share_then) * seconds)} left"
        return f"{line}: {dict(self._report.tally.counts)}"


def _duration(seconds: float) -> str:
    """For people: 40 s, 3 min, 2 h 5 min."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class _Bar:
    """A bar on the terminal."""

    def __init__(self) -> None:
        from rich import progress  # noqa: PLC0415 - only where there is a terminal
        from rich.console import Console  # noqa: PLC0415

        self._progress = progress.Progress(
            progress.TextColumn("{task.fields[rows]:,} rows"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: Any = None

    def begin(self) -> None:
        self._progress.start()
        self._task = self._progress.add_task("", total=None, rows=0)

    def show(self, share: float | None, rows: int) -> None:
        known: dict[str, Any] = {} if share is None else {"total": 1.0, "completed": share}
        self._progress.update(self._task, rows=rows, **known)

    def end(self) -> None:
        self._progress.stop()
