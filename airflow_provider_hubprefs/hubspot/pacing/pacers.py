"""Spending the account's budget without a single 429.

A request needs a slot, and a slot is free again one interval after its **answer arrived**. HubSpot's own window has
dropped the request by then, whatever the latency. The headers of every answer say how many slots there are, how long
the interval is and how many requests other clients have sent.

The arithmetic is in :mod:`.slots`. The place of a budget decides who shares it: this process
(:class:`ProcessPacer`), all processes of a machine (:mod:`.file`), or many machines (:mod:`.redis`).
:mod:`.store` chooses.

Nothing here sleeps for a slot: a client calls :meth:`Pacer.wait` and sleeps in its own way.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow_provider_hubprefs.hubspot.pacing.slots import (
    ASK_AGAIN,
    FIRST_INTERVAL,
    FIRST_LIMIT,
    NEVER,
    PROBE_FOR,
    SERIAL_BITS,
    Budget,
    Slots,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


@dataclass(slots=True)
class Ticket:
    """One request's place in the queue. Only pacers read and write its fields.

    :param slot: the number of the promised slot; None without one.
    :param at: when the slot may be used, by the pacer's clock.
    :param sent: when the request was sent; None before.
    :param granted_by: which pacer promised the slot, where there are two.
    :param share_ticket: the ticket for the consumer's share, where it may use only a share of the budget.
    """

    slot: int | None = None
    at: float = 0.0
    sent: float | None = None
    granted_by: Pacer | None = None
    share_ticket: Ticket | None = None


class Pacer(Protocol):
    """One budget, shared by all that spend it.

    An event loop calls with ``blocking=False``. On :class:`BusyError` it calls again in a thread, with the same
    arguments and ``blocking=True``.
    """

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        """Seconds until the ticket's request may be sent; 0 means now. Call again after waiting.

        :raises BusyError: only if not blocking.
        """

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        """Return the slot: the answer arrived, or none will. It is free again one interval from now.

        :param headers: of the answer, names in lower case; empty without an answer.
        :raises BusyError: only if not blocking.
        """

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """Stop all sending for so long, after a 429.

        :param seconds: an interval when None.
        :raises BusyError: only if not blocking.
        """

    @property
    def budget(self) -> Budget:
        """What HubSpot said last. Reading it may block."""


class BusyError(Exception):
    """The store is locked, or slow. Retry with ``blocking=True``."""


class StoreError(Exception):
    """The store of a budget cannot be used; the text says why."""


_alive: weakref.WeakSet[Forkable] = weakref.WeakSet()


class Forkable(ABC):
    """An object with locks or descriptors that a forked child must not share with its parent."""

    def __init__(self) -> None:
        self.begin()
        _alive.add(self)

    @abstractmethod
    def begin(self) -> None:
        """Make the locks and descriptors; runs again in a forked child."""


def _begin_in_child() -> None:
    for each in list(_alive):
        each.begin()


os.register_at_fork(after_in_child=_begin_in_child)


class SlotPacer(Forkable):
    """What pacers have in common, wherever they keep their slots: one turn in the queue per process.

    Only one thread of a process waits with a promised slot; the others call again when that one sends. So slots that
    come one by one go to all processes in turn, and a killed process loses at most one promised slot.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._not_before = NEVER
        super().__init__()

    def begin(self) -> None:
        """See :class:`Forkable`."""
        self._owner = secrets.randbits(62 - SERIAL_BITS)
        self._numbers = itertools.count()
        self._turn, self._whose_turn = NEVER, -1

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        """See :class:`Pacer`."""
        now = self._clock()
        if ticket.slot is None:
            if self._turn > now:
                return self._turn - now
            number = self._owner << SERIAL_BITS | next(self._numbers) % (1 << SERIAL_BITS)
            promised, at = self._take(number, blocking=blocking)
            if not promised:
                self._turn = min(at, now + ASK_AGAIN)
                return max(at - now, ASK_AGAIN / 10)
            ticket.slot, ticket.at, ticket.sent = number, at, None
            now = self._clock()  # later than before, if only by the time that the store took
            # Not for long: the limit may rise, or other processes may end.
            self._turn, self._whose_turn = min(at, now + PROBE_FOR), number
        wait = max(ticket.at, self._not_before) - now
        if wait > 0:
            return wait
        ticket.sent = now
        return 0.0

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        self.settle(ticket, Budget.from_headers(headers), blocking=blocking)

    def settle(self, ticket: Ticket, said: Budget, *, blocking: bool = True) -> None:
        """:meth:`done`, with headers that were read already."""
        number = ticket.slot
        if number == self._whose_turn:
            self._turn = NEVER
        if number is not None and number >> SERIAL_BITS == self._owner:
            self._give(number, ticket.sent, said, blocking=blocking)
        elif said.burst is not None:  # no slot, or one of the process that this one was forked from
            self._give(-1, None, said, blocking=blocking)
        ticket.slot = None

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        self._not_before = max(self._not_before, self._hold(seconds, blocking=blocking))

    @property
    @abstractmethod
    def budget(self) -> Budget:
        """What HubSpot said last."""

    @property
    @abstractmethod
    def last_seen(self) -> tuple[int, float, int]:
        """Limit, interval and number of processes, as last known; never blocks."""

    @abstractmethod
    def _take(self, number: int, *, blocking: bool) -> tuple[bool, float]:
        """Take a slot: whether there is one, and when it may be used or one should ask again."""

    @abstractmethod
    def _give(self, number: int, sent: float | None, said: Budget, *, blocking: bool) -> None:
        """Give a slot back; -1 for none."""

    @abstractmethod
    def _hold(self, seconds: float | None, *, blocking: bool) -> float:
        """Promise no slots; return until when."""


class ProcessPacer(SlotPacer):
    """A budget shared by the threads of this process.

    :param limit: requests per interval, where it is known; otherwise the first request finds out.
    :param interval: seconds to begin with.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        limit: int | None = None,
        interval: float = FIRST_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        last_answer = NEVER if limit is None else clock()
        self._slots = Slots(limit=limit or FIRST_LIMIT, interval=interval, last_answer=last_answer)
        super().__init__(clock)

    def begin(self) -> None:
        """See :class:`Forkable`."""
        super().begin()
        self._lock = threading.Lock()
        while self._slots.held:  # the parent's: this process will not give them back
            self._slots.free_one(0, self._clock())

    def _change(self, step: Callable[[Slots], T], *, blocking: bool = True) -> T:
        """Do something to the slots while nothing else does."""
        with self._lock:
            return step(self._slots)

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        return self._change(lambda slots: slots.budget)

    @property
    def last_seen(self) -> tuple[int, float, int]:
        """See :class:`SlotPacer`."""
        return self._slots.limit, self._slots.interval, self._slots.users

    def follow(self, limit: int, interval: float, share: float, *, rest: float = 0.0) -> None:
        """Take over a limit that another pacer learned, and use a share of it.

        :param rest: seconds to wait before, so that what is in flight arrives; the first answer then counts it.
        """

        def follow(slots: Slots) -> None:
            slots.share = share
            slots.not_before = max(slots.not_before, self._clock() + rest)
            slots.learn(Budget(burst=limit, interval=interval))

        self._change(follow)

    def _take(self, number: int, *, blocking: bool) -> tuple[bool, float]:
        def take(slots: Slots) -> tuple[bool, float]:
            now = self._clock()
            at = slots.take(now, number)
            return at is not None, max(slots.not_before, now + ASK_AGAIN) if at is None else at

        return self._change(take, blocking=blocking)

    def _give(self, number: int, sent: float | None, said: Budget, *, blocking: bool) -> None:
        self._change(lambda slots: slots.give(self._clock(), number, sent, said), blocking=blocking)

    def _hold(self, seconds: float | None, *, blocking: bool) -> float:
        return self._change(lambda slots: slots.pause(self._clock(), seconds), blocking=blocking)
