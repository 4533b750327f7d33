"""Consumers of one budget in one process: a share for each, and an order among many tasks."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer, ProcessPacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.slots import ASK_AGAIN, FIRST_LIMIT, NEVER, Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class SharePacer:
    """A share of a budget for one consumer in this process; the rest is left to others.

    :param pacer: of the whole budget.
    :param share: more than 0, at most 1.
    :param clock: monotonic seconds.
    :raises ValueError: another share.
    """

    def __init__(self, pacer: Pacer, share: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"max_budget_share: expected more than 0 and at most 1, got {share!r}")
        self._pacer = pacer
        self._share = share
        self._own = ProcessPacer(limit=self._of(FIRST_LIMIT), clock=clock)

    def _of(self, limit: int) -> int:
        return math.ceil(round(limit * self._share, 6))  # 0.07 x 100 is a hair more than 7 to a float

    @property
    def budget(self) -> Budget:
        """What HubSpot said last, of the whole."""
        return self._pacer.budget

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        """See :class:`Pacer`."""
        ticket.share_ticket = ticket.share_ticket or Ticket()
        return self._own.wait(ticket.share_ticket) or self._pacer.wait(ticket, blocking=blocking)

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        said = Budget.from_headers(headers)
        share = Budget(burst=said.burst and self._of(said.burst), interval=said.interval)
        self._own.settle(ticket.share_ticket or Ticket(), share)
        self._pacer.done(ticket, headers, blocking=blocking)

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        self._pacer.pause(seconds, blocking=blocking)


class FifoPacer:
    """A budget that many tasks of one event loop spend in the order in which they asked.

    Without it, the task that asks at the moment a slot is free gets it, and one that sleeps until then may miss it
    again and again.

    :param pacer: of the budget.
    :param clock: monotonic seconds.
    """

    def __init__(self, pacer: Pacer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pacer = pacer
        self._clock = clock
        self._queue: dict[int, None] = {}  # by identity, in order; a ticket lives longer than its place
        self._first_goes_at = NEVER
        self._lock = threading.Lock()

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        return self._pacer.budget

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        """See :class:`Pacer`."""
        with self._lock:
            self._queue.setdefault(id(ticket))
            if next(iter(self._queue)) != id(ticket):
                return max(self._first_goes_at - self._clock(), ASK_AGAIN / 10)
        wait = self._pacer.wait(ticket, blocking=blocking)
        with self._lock:
            self._first_goes_at = self._clock() + wait
            if not wait:
                self._queue.pop(id(ticket), None)
        return wait

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        with self._lock:
            self._queue.pop(id(ticket), None)
        self._pacer.done(ticket, headers, blocking=blocking)

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        self._pacer.pause(seconds, blocking=blocking)
