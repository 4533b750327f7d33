"""What a run has used, over all its tries: requests and time."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.transport.sender import Usage

if TYPE_CHECKING:
    from collections.abc import Callable


class RunUsage:
    """Adds what this try uses to what earlier tries used.

    :param usage: of this try's client.
    :param clock: monotonic seconds.
    """

    def __init__(self, usage: Usage | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._usage = usage or Usage()
        self._clock = clock
        self._begin = clock()
        self._figures_before: dict[str, float] = {}
        self._answered_before: Counter[int] = Counter()

    def figures(self) -> dict[str, Any]:
        """Sums of all tries, by the names of the fields of :class:`~.summary.Summary`."""
        usage = self._usage
        now: dict[str, float] = {
            "duration_seconds": self._clock() - self._begin,
            "requests": usage.requests,
            "retries": usage.retries,
            "throttled": usage.throttled,
            "waited_for_budget_seconds": usage.waited_for_budget,
        }
        return {name: round(amount + self._figures_before.get(name, 0), 3) for name, amount in now.items()}

    @property
    def answered(self) -> Counter[int]:
        """Number of answers by duration; see :mod:`~airflow_provider_hubprefs.hubspot.transport.latency`."""
        return self._answered_before + self._usage.answered

    def save(self) -> dict[str, Any]:
        """Return what a later try adds to, in JSON."""
        answered = {str(bucket): count for bucket, count in self.answered.items()}
        return {"figures": self.figures(), "answered": answered}

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from what an earlier try's :meth:`save` returned."""
        self._figures_before = saved["figures"]
        self._answered_before = Counter({int(bucket): count for bucket, count in saved["answered"].items()})
