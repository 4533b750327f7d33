"""The simulator's time, which a test can replace and move forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SimulatedClock:
    """Seconds since 1970, as the simulated HubSpot sees them.

    :param source: where the time comes from.
    """

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._ahead = 0.0

    def now(self) -> float:
        """Return the simulated time in seconds."""
        return self._source() + self._ahead

    def now_ms(self) -> int:
        """Return the simulated time in whole milliseconds, HubSpot's resolution."""
        return int(self.now() * 1000)

    def reset(self) -> None:
        """Return to the time of the source."""
        self._ahead = 0.0

    def advance(self, seconds: float) -> None:
        """Jump forward: limits refill, tokens expire and operations end as if this time had passed."""
        self._ahead += seconds


def iso(milliseconds: int) -> str:
    """Write a time as HubSpot does: ISO 8601, UTC, milliseconds, ``Z``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
