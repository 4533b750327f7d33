"""How far a run is: a line in the log every ten seconds."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.source.size import SourceSize

EVERY = 10.0
"""Seconds between two lines in the log."""

_REMEMBERED = 7
"""Lines; rate and time left are computed since the oldest of them, so that they follow the current speed."""

_log = logging.getLogger(__name__)


class Progress:
    """Logs how far a run is.

    :param state: of the run.
    :param source_size: size of its source; None where it is unknown.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        state: RunState,
        source_size: SourceSize | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._extent = source_size
        self._clock = clock
        self._lines = deque([(clock(), state.rows_read, 0.0)], maxlen=_REMEMBERED)

    def log(self) -> None:
        """Log a line, unless the last one is less than :data:`EVERY` seconds old."""
        if self._clock() - self._lines[-1][0] >= EVERY:
            _log.info("%s", self._line())

    def _line(self) -> str:
        now, rows = self._clock(), self._state.rows_read
        share = self._extent.share(rows) if self._extent else None
        then, rows_then, share_then = self._lines[0]
        seconds = max(now - then, 1e-9)
        self._lines.append((now, rows, share or 0.0))
        line = f"{rows:,} rows"
        if share is not None:
            line += f" ({share:.0%} of the source)"
        line += f", {(rows - rows_then) / seconds:,.0f} a second"
        if share is not None and share > share_then:
            line += f", about {_duration((1 - share) / (share - share_then) * seconds)} left"
        return f"{line}: {dict(self._state.tally.counts)}"


def _duration(seconds: float) -> str:
    """Seconds as a person writes them: 40 s, 3 min, 2 h 5 min."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
