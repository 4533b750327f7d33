"""Spending the account's budget without a single 429.

A request needs a slot, and a slot is free again one interval after its **answer arrived**. HubSpot's own window has
dropped the request by then, whatever the latency. The headers of every answer say how many slots there are, how long
the interval is and how many requests other clients have sent.

The arithmetic is in :mod:`.slots`. The place of a budget decides who shares it: this process
(:class:`ProcessPacer`), or all processes that name one store (:mod:`.shared`). :mod:`.store` chooses.

Nothing here sleeps for a slot: a client calls :meth:`Pacer.wait` and sleeps in its own way.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow_provider_hubprefs.hubspot.pacing.own import Own
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
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
_log = logging.getLogger(__name__)


_FEW = 10
"""A lower limit than this is followed, but reported: the lowest that HubSpot documents is ten times as high."""


@dataclass(slots=True)
class Ticket:
    """One request's place in the queue. Only pacers read and write its fields.

    :param slot: the number of the promised slot; None without one.
    :param at: when the slot may be used, by the pacer's clock.
    :param sent: when the request was sent; None before.
    :param share_ticket: the ticket for the consumer's share, where it may use only a share of the budget.
    """

    slot: int | None = None
    at: float = 0.0
    sent: float | None = None
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


_alive: weakref.WeakSet[ProcessPacer] = weakref.WeakSet()


def _begin_in_child() -> None:
    for each in list(_alive):
        each.begin()


os.register_at_fork(after_in_child=_begin_in_child)


class ProcessPacer:
    """A budget shared by the threads of this process.

    Only one thread waits with a promised slot; the others call again when that one sends. So slots of a shared store
    that come one by one go to all processes in turn, and a killed process loses at most one promised slot.

    :param limit: requests per interval, where it is known; otherwise the first request finds out.
    :param interval: seconds to begin with.
    :param share: of the limit that may be used.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        limit: int | None = None,
        interval: float = FIRST_INTERVAL,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._not_before = NEVER
        self._warned: set[str] = set()
        self._slots = Slots(
            limit=limit or FIRST_LIMIT,
            interval=interval,
            share=share,
            last_answer=NEVER if limit is None else clock(),
        )
        self.begin()
        _alive.add(self)

    def begin(self) -> None:
        """Make what a forked child must not share with its parent; runs again in the child."""
        self._owner = secrets.randbits(62 - SERIAL_BITS)
        self._numbers = itertools.count()
        self._turn, self._whose_turn = NEVER, -1
        self._lock = threading.Lock()
        self._own = Own()
        while self._slots.held:  # the parent's: this process will not give them back
            self._slots.free_one(0, self._clock())

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        """See :class:`Pacer`. A promise is confirmed when it is due: the slots may have begun anew meanwhile."""
        now = self._clock()
        if ticket.slot is None:
            if self._turn > now:
                return self._turn - now
            number = self._owner << SERIAL_BITS | next(self._numbers) % (1 << SERIAL_BITS)
        else:
            number = ticket.slot
            if (wait := max(ticket.at, self._not_before) - now) > 0:
                return wait

        def take(slots: Slots, now: float) -> tuple[bool, float]:
            at = slots.take(now, number)
            return at is not None, max(slots.not_before - now, ASK_AGAIN) if at is None else at - now

        promised, wait = self._change(take, blocking=blocking)
        now = self._clock()  # later than before, if only by the time that the store took
        if not promised:
            ticket.slot, self._turn = None, now + ASK_AGAIN
            return wait
        if ticket.slot is None:
            # Not for long: the limit may rise, or other processes may end.
            self._turn, self._whose_turn = now + min(wait, PROBE_FOR), number
        ticket.slot, ticket.at = number, now + wait
        if wait == 0:
            ticket.sent = now
            self._own.sent(number, now)
        return wait

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        said, number, sent = Budget.from_headers(headers), ticket.slot, ticket.sent
        if number == self._whose_turn:
            self._turn = NEVER
        if number is None or number >> SERIAL_BITS != self._owner:
            number = -1  # no slot, or one of the process that this one was forked from

        def give(slots: Slots, now: float) -> int:
            # The age is measured after the store's clock was read: it says at worst that the request went earlier.
            slots.give(now, number, None if sent is None else now - (self._clock() - sent), said)
            known = not slots.least_share and slots.reserved + slots.interval < now
            return slots.others.most if known else 0

        if number >= 0 or said.burst is not None:
            others = self._change(give, blocking=blocking)
            self._own.answered(number, self._clock())
            self._report(headers, said, others)
        ticket.slot = None

    def _report(self, headers: Mapping[str, str], said: Budget, others: int) -> None:
        """Log, once for each, what people should know of HubSpot's answer."""
        stated = (
            headers.get("x-hubspot-ratelimit-max"),
            headers.get("x-hubspot-ratelimit-interval-milliseconds"),
        )
        followed = said.burst, said.interval
        if any(text and value is None for text, value in zip(stated, followed, strict=True)):
            self._warn(
                "HubSpot's answer states an impossible limit, which does not count: %.20s in %.20s ms",
                *stated,
            )
        elif said.burst is not None and said.burst < _FEW:
            self._warn(
                "HubSpot's answer states a limit of %d only; all follow it until another answer", said.burst
            )
        if others > max(2, (said.burst or 0) // 20):
            self._warn(
                "Other clients spend this HubSpot app's budget, too: %d requests in %g s were not of this budget. "
                "If they are workers of yours (other users, machines, containers, temporary folders), share it with "
                "them: name one Redis in budget_conn_id",
                others,
                said.interval or FIRST_INTERVAL,
            )

    def _warn(self, text: str, *arguments: object) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning(text, *arguments)

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """See :class:`Pacer`. A minute is the longest."""
        wait = self._change(lambda slots, now: slots.pause(now, seconds) - now, blocking=blocking)
        self._not_before = max(self._not_before, self._clock() + wait)

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        return self._change(lambda slots, _: slots.budget)

    def _change(self, step: Callable[[Slots, float], T], *, blocking: bool = True) -> T:
        """Do something to the slots, by their clock, while nothing else does.

        :raises BusyError: only if not blocking.
        """
        with self._lock:
            return step(self._slots, self._clock())


class SharePacer:
    """A share of a budget for some consumers in this process; the rest is left to others.

    :param pacer: of the whole budget.
    :param share: more than 0, at most 1.
    :param clock: monotonic seconds.
    :raises ValueError: another share.
    """

    def __init__(self, pacer: Pacer, share: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"max_budget_share: expected more than 0 and at most 1, got {shown(share)}")
        self._pacer = pacer
        self._own = ProcessPacer(limit=FIRST_LIMIT, share=share, clock=clock)

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
        # What remains is of the whole, so it says nothing about others that use this share.
        limits = {name: value for name, value in headers.items() if not name.endswith("-remaining")}
        self._own.done(ticket.share_ticket or Ticket(), limits)
        self._pacer.done(ticket, headers, blocking=blocking)

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        self._pacer.pause(seconds, blocking=blocking)
