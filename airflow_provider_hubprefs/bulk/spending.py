"""What a run has spent, over all its tries: requests and time."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.client import Usage

if TYPE_CHECKING:
    from collections.abc import Callable


class Spending:
    """Adds what this try spends to what earlier ones did.

    :param usage: this try's client's.
    :param clock: monotonic seconds.
    """

    def __init__(self, usage: Usage | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._usage = usage or Usage()
        self._clock = clock
        self._begin = clock()
        self._before: dict[str, float] = {}
        self._answered_before: Counter[int] = Counter()
        self.waited_for_daily_budget = 0.0
        """Seconds of this try."""

    def figures(self) -> dict[str, Any]:
        """Sums of all tries, by the names of :class:`~.report.Summary`."""
        usage = self._usage
        now: dict[str, float] = {
            "duration_seconds": self._clock() - self._begin,
            "requests": usage.requests,
            "retries": usage.retries,
            "throttled": usage.throttled,
            "waited_for_budget_seconds": usage.waited_for_budget,
            "waited_for_daily_budget_seconds": self.waited_for_daily_budget,
        }
        return {name: round(amount + self._before.get(name, 0), 3) for name, amount in now.items()}

    @property
    def answered(self) -> Counter[int]:
        """How many answers took how long; see :mod:`~airflow_provider_hubprefs.hubspot.latency`."""
        return self._answered_before + self._usage.answered

    def state(self) -> dict[str, Any]:
        """What a later try needs to add to; JSON."""
        answered = {str(bucket): count for bucket, count in self.answered.items()}
        return {"figures": self.figures(), "answered": answered}

    def restore(self, state: dict[str, Any]) -> None:
        """Add to :meth:`state` of an earlier try."""
        self._before = state["figures"]
        self._answered_before = Counter({int(bucket): count for bucket, count in state["answered"].items()})
