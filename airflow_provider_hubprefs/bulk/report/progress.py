"""How far a run is: for its report, and as a line in the log every ten seconds."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.report.outcome import PENDING
from airflow_provider_hubprefs.bulk.report.words import counted, outcomes_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.bulk.source.size import SourceSize

EVERY = 10.0
"""Seconds between two lines in the log, and six times that where nothing has changed."""

_SOONEST = 5.0
"""Seconds of sending before anything is said about the time left."""

_log = logging.getLogger(__name__)


class Progress:
    """How far a run is, how fast, and how long it still takes.

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
        self._taken = 0
        self._logged, self._line = clock(), ""
        self.begin()

    def begin(self) -> None:
        """Note that rows are sent from now on: what was read or passed over before says nothing about the rate."""
        self._samples: deque[tuple[float, int]] = deque([(self._clock(), self._state.rows_read)], maxlen=13)

    def reading(self, rows: Iterable[Row], tick: Callable[[], None]) -> Iterator[Row]:
        """Yield the rows of a source, from its first one, and count them.

        :param tick: called from time to time while they are read.
        """
        for number, row in enumerate(rows, 1):
            self._taken = number
            if number % 1000 == 0:
                tick()
            yield row

    @property
    def share(self) -> float | None:
        """Share of the source that has its outcome; None where that cannot be known."""
        state = self._state
        if state.all_sent or state.complete:
            return 1.0
        return self._source_size.share(state.rows_read, taken=self._taken) if self._source_size else None

    @property
    def rate(self) -> float:
        """Rows a second, of the last minute."""
        (begin, before), now = self._samples[0], self._clock()
        return (self._state.rows_read - before) / max(now - begin, 1e-9)

    @property
    def seconds_left(self) -> int | None:
        """Seconds until all rows are sent; None where that cannot be known."""
        share, rate, rows = self.share, self.rate, self._state.rows_read
        if not share or rate <= 0 or self._state.all_sent or self._clock() - self._samples[0][0] < _SOONEST:
            return None
        return math.ceil((rows / share - rows) / rate)

    def sample(self) -> None:
        """Note how far the run is, for the rate; unless that was done a moment ago."""
        if (now := self._clock()) - self._samples[-1][0] >= _SOONEST:
            self._samples.append((now, self._state.rows_read))

    def log(self) -> None:
        """Log a line, unless the last one is less than :data:`EVERY` seconds old."""
        now = self._clock()
        if now - self._logged < EVERY:
            return
        state = self._state
        pending = state.tally.reasons_of_pending.total()
        outcomes = outcomes_in_words({**state.tally.counts, PENDING: pending})
        if outcomes == self._line and (state.all_sent or now - self._logged < 6 * EVERY):
            return
        self._logged, self._line = now, outcomes
        line = counted(state.rows_read, "row")
        if not state.all_sent:
            if (share := self.share) is not None:
                line += f" ({share:.0%} of the source)"
            line += f", {self.rate:,.0f} a second"
            if (left := self.seconds_left) is not None:
                line += f", about {timedelta(seconds=left)} left"
        _log.info("%s: %s", line, outcomes or "none has its outcome yet")
