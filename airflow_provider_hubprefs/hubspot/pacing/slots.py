"""The arithmetic of the account's budget, without a clock, a lock or a place: the same for every store."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_LIMIT = 100
"""Requests per interval until the first answer says it: the lowest that HubSpot documents (Free and Starter)."""

FIRST_INTERVAL = 10.0
"""Seconds."""

ASK_AGAIN = 0.05
"""Seconds until a request asks again where the time is unknown, as when all slots are in flight."""

PROBE_FOR = 1.0
"""Seconds that a probe keeps the other requests waiting at most."""

LEASE = 30.0
"""Seconds after which a slot without an answer counts as answered.

HubSpot counts a request when it arrives, not when it answers: by then it has counted the request.
"""

_MOST = 10_000
_LONGEST = 3600.0
"""Higher figures in a header (requests; seconds) are ignored as mistakes: HubSpot's highest are 250 and 10."""

NEVER = float("-inf")

SERIAL_BITS = 20
"""The low bits of a slot's number count within a process; the high bits identify the process."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The account's budget, as HubSpot's last answer states it. None: not stated (OAuth apps have no daily figures).

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
        """Read ``X-HubSpot-RateLimit-*``; a header that is absent or not a number gives None.

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


@dataclass(slots=True)
class Slots:
    """The slots of a budget, free and held.

    **Other clients.** Requests that ``-Remaining`` counts beyond our own came from other clients of the account. Our
    own are counted generously (all in flight, and all answered less than an interval before this request was sent), so
    the rest was certainly not ours, however the answers overlapped. As many slots as the others use stay unused, and a
    few more, so that the others can grow up to half of the budget.

    **Probe.** After two intervals without an answer (at first, after a rest, after a pause) one request goes alone:
    its answer says the limit, and exactly what others have used, before many are in flight.

    :param limit: HubSpot's, per interval.
    :param share: of the limit that is ours to use.
    :param free: of each free slot, when its last answer arrived; oldest first.
    :param held: numbers of the slots that were promised and not given back.
    :param since: when each of those might be used, earliest first.
    :param not_before: no request goes before.
    :param last_answer: when it came.
    :param probe_until: when the other requests stop waiting for the probe.
    :param others: the most requests of others, in this interval and in the one before.
    :param others_since: when that interval began.
    """

    limit: int = FIRST_LIMIT
    interval: float = FIRST_INTERVAL
    share: float = 1.0
    free: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    since: list[float] = field(default_factory=list)
    not_before: float = NEVER
    last_answer: float = NEVER
    probe_until: float = NEVER
    others: tuple[int, int] = (0, 0)
    others_since: float = NEVER
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if not (self.free or self.held):
            self._resize()

    @property
    def size(self) -> int:
        """How many slots are ours."""
        return max(1, int(self.limit * self.share))

    @property
    def users(self) -> int:
        """How many processes hold slots, at least one."""
        return max(1, len({number >> SERIAL_BITS for number in self.held}))

    def take(self, now: float, number: int) -> float | None:
        """Promise a slot.

        :param number: its name until it is given back.
        :return: when it may be used; None when there is none now.
        """
        while self.since and self.since[0] + LEASE <= now:
            self.free_one(0, now)
        if self.not_before > now or not self._may_go(now):
            return None
        kept = self._kept(now)
        if len(self.free) <= kept:
            return None
        # The oldest slot goes, but no earlier than the newest of those that stay unused could.
        at = max(now, self.free[kept] + self.interval)
        self.free.pop(0)
        place = bisect_right(self.since, at)
        self.held.insert(place, number)
        self.since.insert(place, at)
        if self.probe_until > NEVER:
            self.probe_until = at + PROBE_FOR
        return at

    def pause(self, now: float, seconds: float | None) -> float:
        """Promise no slots for so long (an interval when None), after a 429; return until when.

        A 429 means other clients. The window was full, so their rate is unknown: a third of the limit is left to them.
        """
        self._turn_over(now)
        self.others = (max(self.others[0], self.limit // 3), self.others[1])
        self.not_before = max(self.not_before, now + (self.interval if seconds is None else seconds))
        self.probe_until = NEVER
        return self.not_before

    def give(self, now: float, number: int, sent: float | None, said: Budget) -> None:
        """Take a slot back, and follow HubSpot's headers. Of a slot that is not held here, only the limits count.

        :param sent: when its request was sent; None if it never was.
        """
        held = number in self.held
        if said.burst is not None:
            self._learn(said)
            if held and said.burst_remaining is not None and sent is not None:
                self._notice(now, sent, said.burst - said.burst_remaining)
        if held and sent is not None:
            self.last_answer, self.probe_until = now, NEVER
        if held:
            self.free_one(self.held.index(number), now)

    def free_one(self, index: int, now: float) -> None:
        """Free a held slot, as if its answer arrived now."""
        del self.held[index], self.since[index]
        if len(self.free) + len(self.held) < self.size:
            self.free.append(now)

    def _may_go(self, now: float) -> bool:
        """Whether a request may go now: with the others, or as the probe."""
        if self.last_answer >= max(self.not_before, now - 2 * self.interval):
            return True
        if self.probe_until < now - self.interval:
            self.probe_until = now + PROBE_FOR
            return True
        if now < self.probe_until:
            return False
        self.last_answer, self.probe_until = now, NEVER  # the probe takes too long
        return True

    def _kept(self, now: float) -> int:
        """How many slots stay unused: for others, and those beyond our share."""
        self._turn_over(now)
        others, most = max(self.others), self.limit * 3 // 4
        if others:
            others = min(most, max(others, min(others + others // 4 + 2, self.limit // 2)))
        return len(self.free) + len(self.held) - max(1, min(self.size, self.limit - others))

    def _notice(self, now: float, sent: float, used: int) -> None:
        """Count what others have used."""
        own = len(self.held) + len(self.free) - bisect_right(self.free, sent - self.interval)
        more = used - own
        if more <= 0:
            return
        self._turn_over(now)
        self.others = (max(self.others[0], more), self.others[1])
        if self.probe_until > NEVER:
            # The probe was our only request in flight, so the figure is exact: so many slots are in use.
            gone = max(0, min(more - (self.limit - self.size), len(self.free)))
            del self.free[:gone]
            self.free.extend([now] * gone)

    def _turn_over(self, now: float) -> None:
        """Begin a new interval; the figure for others decays by a quarter with each."""
        past = now - self.others_since
        if past >= self.interval:
            most = max(self.others[0], self.others[1] * 3 // 4)
            if past >= 2 * self.interval:  # no request asked meanwhile
                most = int(most * 0.75 ** min(past / self.interval - 1, 99))
            self.others = (0, most)
            self.others_since = now

    def _learn(self, said: Budget) -> None:
        """Follow the limits that HubSpot states."""
        self.budget = said
        self.limit = said.burst or self.limit
        self.interval = said.interval or self.interval
        self._resize()

    def _resize(self) -> None:
        """Add or drop slots. New ones are free at once; free ones are dropped first, oldest first."""
        there = len(self.free) + len(self.held)
        if there < self.size:
            self.free[:0] = [NEVER] * (self.size - there)
        else:
            del self.free[: there - self.size]


def _whole(text: str | None) -> int | None:
    """Whole number of a header; None for anything else, and for more than 12 digits."""
    digits = (text or "").strip()
    return int(digits) if digits.isdecimal() and len(digits) <= 12 else None
