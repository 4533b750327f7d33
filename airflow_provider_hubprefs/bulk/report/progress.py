"""How far a run is: a line in the log every ten seconds."""

from __future__ import annotations

import logging
import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.source.size import SourceSize

EVERY = 10.0
"""Seconds between two lines in the log."""

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
        self._source_size = source_size
        self._clock = clock
        self._begin, self._rows_before = clock(), state.rows_read
        self._logged = self._begin

    def log(self) -> None:
        """Log a line, unless the last one is less than :data:`EVERY` seconds old."""
        now, rows = self._clock(), self._state.rows_read
        if now - self._logged < EVERY:
            return
        self._logged = now
        rate = (rows - self._rows_before) / max(now - self._begin, 1e-9)
        share = self._source_size.share(rows) if self._source_size else None
        line = f"{rows:,} rows"
        if share is not None:
            line += f" ({share:.0%} of the source)"
        line += f", {rate:,.0f} a second"
        if share and rate:
            left = math.ceil((rows / share - rows) / rate)
            line += f", about {timedelta(seconds=left)} left"
        _log.info("%s: %s", line, dict(self._state.tally.counts))
