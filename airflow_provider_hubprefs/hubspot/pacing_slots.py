"""The arithmetic of the account's budget, without a clock, a lock or a place: the same for every store."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_LIMIT = 100
"""Requests per interval until HubSpot has said its own figure: the lowest it documents (Free and Starter)."""

FIRST_INTERVAL = 10.0
"""Seconds."""

ASK_AGAIN = 0.05
"""Seconds until asking again where nobody can say how long it takes: every slot is under way, say."""

ALONE_FOR = 1.0
"""Seconds that a request which goes ahead alone keeps the others waiting at most."""

LEASE = 30.0
"""Seconds after which a slot whose answer never came is taken for answered.

HubSpot counts a request when it arrives, not when it has been answered: whatever was sent was counted by then.
"""

_MOST = 10_000
_LONGEST = 3600.0
"""Beyond these a figure in a header (requests; seconds) is taken for a mistake: HubSpot's highest are 250 and 10."""

NEVER = float("-inf")

SERIAL_BITS = 20
"""Of a slot's number, which tell one process' slots from each other; the others tell whose it is."""


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


@dataclass(slots=True)
class Slots:
    """The slots of a budget, and who has them.

    **Others' requests.** What ``-Remaining`` says is used beyond our own requests was used by others. Our own are
    counted generously (all under way, all whose answer came less than an interval before this request was sent):
    what then is left was certainly not ours, however the answers overlapped. As long as others are there, so many
    slots stay unused, and a few more, so that they can grow up to half of the budget.

    **One goes ahead.** Where nothing was heard for two intervals (at first, after a rest, after a pause) one
    request goes alone: its answer tells the limit and exactly what others have used before many are under way.

    :param limit: HubSpot's, per interval.
    :param share: of the limit that is ours to use.
    :param free: when the last answer of each free slot arrived, oldest first.
    :param held: the numbers of slots that were promised and not given back.
    :param since: when each of those might be used, earliest first.
    :param not_before: nobody sends before.
    :param heard: when the last answer came.
    :param alone_until: so long one request goes alone.
    :param others: the most that others were seen to use, in this interval and in the one before.
    :param others_since: when that interval began.
    """

    limit: int = FIRST_LIMIT
    interval: float = FIRST_INTERVAL
    share: float = 1.0
    free: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    since: list[float] = field(default_factory=list)
    not_before: float = NEVER
    heard: float = NEVER
    alone_until: float = NEVER
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
        # The oldest goes, but not before the youngest of those it leaves behind could: they stay unused.
        at = max(now, self.free[kept] + self.interval)
        self.free.pop(0)
        place = bisect_right(self.since, at)
        self.held.insert(place, number)
        self.since.insert(place, at)
        if self.alone_until > NEVER:
            self.alone_until = at + ALONE_FOR
        return at

    def pause(self, now: float, seconds: float | None) -> float:
        """HubSpot said 429: promise nothing for so long (an interval when None); return until when.

        Somebody else was there, and since the window was full, nobody knows how much they wanted: they get room
        to show it.
        """
        self._turn_over(now)
        self.others = (max(self.others[0], self.limit // 3), self.others[1])
        self.not_before = max(self.not_before, now + (self.interval if seconds is None else seconds))
        self.alone_until = NEVER
        return self.not_before

    def give(self, now: float, number: int, sent: float | None, said: Budget) -> None:
        """Take a slot back, and follow what HubSpot said.

        :param sent: when its request was sent; None if it never was.
        """
        if said.burst is not None:
            self.learn(said)
            if said.burst_remaining is not None and sent is not None:
                self._notice(now, sent, said.burst - said.burst_remaining)
        if sent is not None:
            self.heard, self.alone_until = now, NEVER
        if number in self.held:
            self.free_one(self.held.index(number), now)

    def free_one(self, index: int, now: float) -> None:
        """Take the answer to a held slot for arrived."""
        del self.held[index], self.since[index]
        if len(self.free) + len(self.held) < self.size:
            self.free.append(now)

    def _may_go(self, now: float) -> bool:
        """Whether a request may go now, with the others or ahead of them."""
        if self.heard >= max(self.not_before, now - 2 * self.interval):
            return True
        if self.alone_until < now - self.interval:
            self.alone_until = now + ALONE_FOR
            return True
        if now < self.alone_until:
            return False
        self.heard, self.alone_until = now, NEVER  # whoever went ahead takes too long
        return True

    def _kept(self, now: float) -> int:
        """How many slots stay unused, for others and because there are more than are ours."""
        self._turn_over(now)
        others, most = max(self.others), self.limit * 3 // 4
        if others:
            others = min(most, max(others, min(others + others // 4 + 2, self.limit // 2)))
        return len(self.free) + len(self.held) - max(1, min(self.size, self.limit - others))

    def _notice(self, now: float, sent: float, used: int) -> None:
        """See what others have used."""
        own = len(self.held) + len(self.free) - bisect_right(self.free, sent - self.interval)
        more = used - own
        if more <= 0:
            return
        self._turn_over(now)
        self.others = (max(self.others[0], more), self.others[1])
        if self.alone_until > NEVER:
            # Nobody of us was under way beside it, so it is exact: there is no room for so many now.
            gone = max(0, min(more - (self.limit - self.size), len(self.free)))
            del self.free[:gone]
            self.free.extend([now] * gone)

    def _turn_over(self, now: float) -> None:
        """Begin a new interval; who is not seen any more is forgotten by and by."""
        past = now - self.others_since
        if past >= self.interval:
            most = max(self.others[0], self.others[1] * 3 // 4)
            if past >= 2 * self.interval:  # nobody asked meanwhile
                most = int(most * 0.75 ** min(past / self.interval - 1, 99))
            self.others = (0, most)
            self.others_since = now

    def learn(self, said: Budget) -> None:
        """Follow what HubSpot says of its limits."""
        self.budget = said
        self.limit = said.burst or self.limit
        self.interval = said.interval or self.interval
        self._resize()

    def _resize(self) -> None:
        """More slots are free at once; of too many, unused ones go first."""
        there = len(self.free) + len(self.held)
        if there < self.size:
            self.free[:0] = [NEVER] * (self.size - there)
        else:
            del self.free[: there - self.size]


def _whole(text: str | None) -> int | None:
    """Whole number of a header; None for anything else, and for more digits than any budget has."""
    digits = (text or "").strip()
    return int(digits) if digits.isdecimal() and len(digits) <= 12 else None
