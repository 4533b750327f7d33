"""Spending the account's budget without ever being told 429.

A request needs a slot, and a slot is free again one interval after its **answer arrived**: that is never
before HubSpot's own window forgot it, whatever the latency. How many slots there are, and how long the
interval is, HubSpot says in the headers of every answer.

Nothing here sleeps: a client asks :meth:`Pacer.wait` and sleeps in its own way.
"""

from __future__ import annotations

import heapq
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST_LIMIT = 100
"""Requests per interval until HubSpot has said its own figure: the lowest it documents (Free and Starter)."""

FIRST_INTERVAL = 10.0
"""Seconds."""

_ASK_AGAIN = 0.05
"""Seconds until asking again while every slot is under way."""

_MOST = 10_000
_LONGEST = 3600.0
"""Beyond these a figure in a header (requests; seconds) is taken for a mistake: HubSpot's highest are 250 and 10."""

_NEVER = float("-inf")


@dataclass(slots=True)
class Ticket:
    """One request's place in the queue.

    :param slot_free_at: when its slot may be used, by the pacer's clock; None while it has none.
    """

    slot_free_at: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What HubSpot said of the account's budget last. None: it did not say (OAuth apps have no daily figures).

    :param burst: requests per interval.
    :param interval: in seconds.
    """

    burst: int | None = None
    burst_remaining: int | None = None
    interval: float | None = None
    daily: int | None = None
    daily_remaining: int | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Budget:
        """Read ``X-HubSpot-RateLimit-*``; what is absent or no number is None.

        :param headers: names in lower case.
        """
        burst = _whole(headers.get("x-hubspot-ratelimit-max"))
        milliseconds = _whole(headers.get("x-hubspot-ratelimit-interval-milliseconds"))
        return cls(
            burst=burst if burst and burst <= _MOST else None,
            burst_remaining=_whole(headers.get("x-hubspot-ratelimit-remaining")),
            interval=milliseconds / 1000 if milliseconds and milliseconds <= _LONGEST * 1000 else None,
            daily=_whole(headers.get("x-hubspot-ratelimit-daily")),
            daily_remaining=_whole(headers.get("x-hubspot-ratelimit-daily-remaining")),
        )


class Pacer(Protocol):
    """One budget, shared by all who spend it."""

    def wait(self, ticket: Ticket) -> float:
        """Seconds until the ticket's request may be sent; 0 means now. Ask again after waiting."""

    def done(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """The answer arrived, or none will: the slot is free again one interval from now."""

    def pause(self, seconds: float | None = None) -> None:
        """HubSpot said 429: nobody sends for this long (an interval when None)."""

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""


class ProcessPacer:
    """A budget shared by the threads of this process.

    :param limit: requests per interval to begin with.
    :param interval: seconds to begin with.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        limit: int = FIRST_LIMIT,
        interval: float = FIRST_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limit = limit
        self._interval = interval
        self._free: list[float] = [_NEVER] * limit  # a heap: when each free slot's last answer arrived
        self._slots = limit  # all there are: free ones and those under way
        self._not_before = clock()
        self._budget = Budget()

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        return self._budget

    def wait(self, ticket: Ticket) -> float:
        """See :class:`Pacer`. The slot that is free first is reserved, so one sleep is enough."""
        with self._lock:
            if ticket.slot_free_at is None:
                if not self._free:
                    return _ASK_AGAIN
                ticket.slot_free_at = heapq.heappop(self._free) + self._interval
            return max(0.0, max(ticket.slot_free_at, self._not_before) - self._clock())

    def done(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """See :class:`Pacer`."""
        with self._lock:
            self._learn(Budget.from_headers(headers))
            if ticket.slot_free_at is None:
                return
            ticket.slot_free_at = None
            if self._slots > self._limit:
                self._slots -= 1
            else:
                heapq.heappush(self._free, self._clock())

    def pause(self, seconds: float | None = None) -> None:
        """See :class:`Pacer`."""
        with self._lock:
            until = self._clock() + (self._interval if seconds is None else seconds)
            self._not_before = max(self._not_before, until)

    def _learn(self, said: Budget) -> None:
        """Follow what HubSpot says: more slots are free at once; of fewer, unused ones go first."""
        if said.burst is None:
            return
        self._budget = said
        self._interval = said.interval or self._interval
        self._limit = said.burst
        while self._slots < self._limit:
            heapq.heappush(self._free, _NEVER)
            self._slots += 1
        while self._slots > self._limit and self._free:
            heapq.heappop(self._free)
            self._slots -= 1


_pacers: dict[str, ProcessPacer] = {}
_pacers_lock = threading.Lock()


def process_pacer(key: str) -> ProcessPacer:
    """The one pacer of this process for a credential.

    :param key: fingerprint of the credential: two connections with one token share a budget, two portals never.
    """
    with _pacers_lock:
        return _pacers.setdefault(key, ProcessPacer())


def _whole(text: str | None) -> int | None:
    """Whole number of a header; None for anything else, and for more digits than any budget has."""
    digits = (text or "").strip()
    return int(digits) if digits.isdecimal() and len(digits) <= 12 else None
