"""The arithmetic of the account's budget, without a clock, a lock or a place: the same for every store."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.hubspot.pacing.others import Others

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
LONGEST = 60.0
"""Higher figures in a header (requests; seconds) are ignored as mistakes: HubSpot's highest are 250 and 10. Nor does a
429 stop all processes for longer: after so many seconds a probe asks again."""

NEVER = float("-inf")

CAUTIOUS = 1 / 8
"""Share of a process where it is not known how many there are."""

MOST_ALONE = 7 / 8
"""Share that a process reaches which cannot know others and sees none: newcomers still find some room."""

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

    def after(self, before: Budget, *, limit: int) -> Budget:
        """What the account's budget is, where another answer came first although its request may have come later.

        Of the two, the fewest requests left of the day are the truth. Far more mean that the day is another.

        :param limit: so many requests HubSpot may have counted between the two, at most.
        """
        left, was = self.daily_remaining, before.daily_remaining
        overtaken = left is not None and was is not None and was < left <= was + limit
        return replace(self, daily_remaining=was) if overtaken else self

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Budget:
        """Read ``X-HubSpot-RateLimit-*``; a header that is absent or not a number gives None.

        Beside an interval that is absurd the limit says nothing either: one request an hour would stop everybody.

        :param headers: names in lower case.
        """
        burst = _whole(headers.get("x-hubspot-ratelimit-max"))
        milliseconds = _whole(headers.get("x-hubspot-ratelimit-interval-milliseconds")) or 0
        credible = milliseconds <= LONGEST * 1000
        return cls(
            burst=burst if burst and burst <= _MOST and credible else None,
            burst_remaining=_whole(headers.get("x-hubspot-ratelimit-remaining")),
            interval=milliseconds / 1000 if milliseconds and credible else None,
            daily=_whole(headers.get("x-hubspot-ratelimit-daily")),
            daily_remaining=_whole(headers.get("x-hubspot-ratelimit-daily-remaining")),
        )


@dataclass(slots=True)
class Slots:
    """The slots of a budget, free and held.

    **Other clients.** Requests that ``-Remaining`` counts beyond our own came from other clients of the app. Our own
    are counted generously (all in flight, and all answered less than an interval before this request was sent), so
    the rest was certainly not ours, however the answers overlapped. As many slots as the others use stay unused.

    **Probe.** After two intervals without an answer (at first, after a rest, after a pause) one request goes alone:
    its answer says the limit, and exactly what others have used, before many are in flight.

    **Processes that are not known.** Slots that begin anew, or without a store, may not be all of the truth. So each
    process adds what it did itself (:meth:`add`), in place of slots that are reserved for those who may still come.

    :param limit: HubSpot's, per interval.
    :param share: of the limit that is ours to use.
    :param free: of each free slot, when its last answer arrived; oldest first.
    :param held: numbers of the slots that were promised and not given back.
    :param since: when each of those might be used, earliest first.
    :param not_before: no request goes before.
    :param last_answer: when it came.
    :param probe_until: when the other requests stop waiting for the probe.
    :param others: requests of other clients.
    :param budget: what HubSpot said last.
    :param reserved: until then processes that are not known may send with the slots that have this time in ``free``.
    :param unsure: if the probe finds others, so many seconds are reserved for them; 0: they are foreign clients.
    :param least_share: where it is not 0, the share doubles with each interval in which no other client was seen, and
        falls back to this as soon as one is.
    :param users: when each process used these slots last.
    :param epoch: its number changes when the slots begin anew.
    :param changes: in this epoch.
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
    others: Others = field(default_factory=Others)
    budget: Budget = field(default_factory=Budget)
    reserved: float = NEVER
    unsure: float = 0.0
    least_share: float = 0.0
    users: dict[int, float] = field(default_factory=dict)
    epoch: int = 0
    changes: int = 0

    def __post_init__(self) -> None:
        if not (self.free or self.held):
            self._resize()

    @property
    def size(self) -> int:
        """How many slots are ours."""
        return max(1, int(self.limit * self.share))

    def take(self, now: float, number: int) -> float | None:
        """Promise a slot; or confirm the promise, if it still holds.

        :param number: its name until it is given back.
        :return: when it may be used; None when there is none now.
        """
        while self.since and self.since[0] + LEASE <= now:
            self.free_one(0, now)
        if number in self.held:
            return max(now, self.since[self.held.index(number)], self.not_before)
        if self.not_before > now or not self._may_go(now):
            return None
        kept = self._kept(now)
        if len(self.free) <= kept:
            return None
        # The oldest slot goes, but no earlier than the newest of those that stay unused could.
        at = max(now, self.free[kept] + self.interval)
        if at > now + self.interval:  # reserved; an earlier one may come
            return None
        self.free.pop(0)
        self._hold(number, at)
        if self.probe_until > NEVER:
            self.probe_until = at + PROBE_FOR
        return at

    def add(self, held: Iterable[tuple[int, float]], free: Iterable[float]) -> None:
        """Count requests of the running window that these slots do not know.

        :param held: number of each that is in flight, and when it was sent.
        :param free: when each of the others was answered.
        """
        held, free = [one for one in held if one[0] not in self.held], list(free)
        first = bisect_left(self.free, self.reserved)
        reserved = bisect_right(self.free, self.reserved) - first
        del self.free[first : first + min(reserved, len(held) + len(free))]
        for number, at in held:
            self._hold(number, at)
        self.free = sorted([*self.free, *free])
        self.last_answer = max(self.last_answer, *free, *(at for _, at in held), NEVER)
        self._resize()

    def pause(self, now: float, seconds: float | None) -> float:
        """Promise no slots for so long (an interval when None; a minute at most), after a 429; return until when."""
        self._turn_over(now)
        self.others.refused(self.limit)
        self.not_before = max(
            self.not_before, now + min(self.interval if seconds is None else seconds, LONGEST)
        )
        self.probe_until = NEVER
        return self.not_before

    def give(self, now: float, number: int, sent: float | None, said: Budget) -> None:
        """Take a slot back, and follow HubSpot's headers. Of a slot that is not held here, only the limits count.

        :param sent: when its request was sent; None if it never was.
        """
        held = number in self.held
        if said.burst is not None:
            at_once = sent is not None and sent <= self.last_answer
            self._learn(said.after(self.budget, limit=self.limit) if at_once else said)
            if held and said.burst_remaining is not None and sent is not None:
                self._notice(now, sent, said.burst - said.burst_remaining)
        if held and sent is not None:
            self.last_answer, self.probe_until = max(self.last_answer, now), NEVER
            self.unsure = self.unsure if self.least_share else 0.0
        if held:
            self.free_one(self.held.index(number), now)

    def free_one(self, index: int, now: float) -> None:
        """Free a held slot, as if its answer arrived now."""
        del self.held[index], self.since[index]
        if len(self.free) + len(self.held) < self.size:
            insort(self.free, now)

    def _hold(self, number: int, at: float) -> None:
        place = bisect_right(self.since, at)
        self.held.insert(place, number)
        self.since.insert(place, at)

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
        ours = max(1, min(self.size, self.limit - self.others.count(self.limit)))
        return len(self.free) + len(self.held) - ours

    def _turn_over(self, now: float) -> None:
        """Begin a new interval; without a store, take more if no other client was seen."""
        alone = self.others.turn_over(now, self.interval) and now > self.reserved + 2 * self.interval
        if alone and self.least_share:
            self.share = min(2 * self.share, MOST_ALONE)
            self._resize()

    def _notice(self, now: float, sent: float, used: int) -> None:
        """Count what others have used."""
        # Certain is what was answered before this request went, if it had been sent half an interval earlier at most.
        certain, perhaps = self._ours(now - self.interval / 2, sent), self._ours(sent - self.interval, now)
        self.others.compare(now, sent, (certain, perhaps), used, interval=self.interval, limit=self.limit)
        self._turn_over(now)
        # Reserved slots are of processes that share these slots; without a store they may be anybody's.
        reserved = (
            0 if self.least_share or self.reserved <= sent - self.interval else self.free.count(self.reserved)
        )
        more = used - len(self.held) - perhaps - reserved
        if not self.others.notice(now, more):
            return
        if self.least_share:
            self.share = self.least_share
            self._resize()
        if self.probe_until > NEVER:
            self._make_room(now, more, used)

    def _ours(self, after: float, until: float) -> int:
        """How many of our requests were answered then."""
        reserved = self.free.count(self.reserved) if after < self.reserved <= until else 0
        return bisect_right(self.free, until) - bisect_right(self.free, after) - reserved

    def _make_room(self, now: float, more: int, used: int) -> None:
        """Count exactly: the probe was our only request in flight, so others have used so many slots."""
        self.reserved = now + self.unsure
        if self.unsure:
            gone = len(self.free) - max(0, int((self.limit - used) * CAUTIOUS))
        else:
            gone = more - (self.limit - self.size)
        gone = max(0, min(gone, len(self.free)))
        del self.free[:gone]
        self.free.extend([self.reserved] * gone)

    def _learn(self, said: Budget) -> None:
        """Follow the limits that HubSpot states."""
        self.budget = said
        self.limit = said.burst or self.limit
        self.interval = said.interval or self.interval
        self._resize()

    def _resize(self) -> None:
        """Add or drop slots. New ones are as the reserved ones, or free; the oldest free ones are dropped first."""
        there = len(self.free) + len(self.held)
        if there < self.size:
            self.free = sorted([*self.free, *[self.reserved] * (self.size - there)])
        else:
            del self.free[: there - self.size]


def _whole(text: str | None) -> int | None:
    """Whole number of a header; None for anything else, and for more than 12 digits."""
    digits = (text or "").strip()
    return int(digits) if digits.isdecimal() and len(digits) <= 12 else None
