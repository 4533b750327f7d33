"""What a run has spent, over all its tries: requests, time, and how fast rows went through."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.client import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

_POINTS = 120
"""At most so many of rows a second over time: where they would be more, each stands for twice as long."""


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
        self.every = 1.0
        """Seconds that a figure of :attr:`rows` stands for."""
        self.rows: list[int] = []

    def figures(self) -> dict[str, Any]:
        """Sums of all tries, by the names of :class:`~.report.Summary`."""
        usage = self._usage
        now: dict[str, float] = {
            "duration_seconds": self._clock() - self._begin,
            "requests": usage.requests,
            "retries": usage.retries,
            "throttled": usage.throttled,
            "waited_for_budget_seconds": usage.waited_for_budget,
        }
        return {name: round(amount + self._before.get(name, 0), 3) for name, amount in now.items()}

    @property
    def answered(self) -> Counter[int]:
        """How many answers took how long; see :mod:`~airflow_provider_hubprefs.hubspot.latency`."""
        return self._answered_before + self._usage.answered

    def passed(self, rows: int) -> None:
        """Note that rows are through."""
        seconds = self._clock() - self._begin + self._before.get("duration_seconds", 0)
        while (index := int(seconds / self.every)) >= _POINTS:
            self.rows = [sum(self.rows[at : at + 2]) for at in range(0, len(self.rows), 2)]
            self.every *= 2
        self.rows += [0] * (index + 1 - len(self.rows))
        self.rows[index] += rows

    def state(self) -> dict[str, Any]:
        """What a later try needs to add to; JSON."""
        answered = {str(bucket): count for bucket, count in self.answered.items()}
        return {"figures": self.figures(), "answered": answered, "every": self.every, "rows": self.rows}

    def restore(self, state: dict[str, Any]) -> None:
        """Add to :meth:`state` of an earlier try."""
        self._before = state["figures"]
        self._answered_before = Counter({int(bucket): count for bucket, count in state["answered"].items()})
        self.every, self.rows = state["every"], list(state["rows"])
