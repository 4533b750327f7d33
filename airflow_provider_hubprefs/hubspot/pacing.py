"""Spending the account's budget without ever being told 429.

A request needs a slot, and a slot is free again one interval after its **answer arrived**: that is never
before HubSpot's own window forgot it, whatever the latency. How many slots there are, how long the interval
is and how much of it others have used, HubSpot says in the headers of every answer.

The arithmetic is in :mod:`.pacing_slots`. Who shares a budget is a matter of where it is kept: in this process
(:class:`ProcessPacer`), in a file for all processes of a machine (:mod:`.pacing_file`), or in Redis for many
machines (:mod:`.pacing_redis`). :func:`pacer_for` chooses.

Nothing here sleeps: a client asks :meth:`Pacer.wait` and sleeps in its own way.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import secrets
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow_provider_hubprefs.hubspot.pacing_slots import (
    ALONE_FOR,
    ASK_AGAIN,
    FIRST_INTERVAL,
    FIRST_LIMIT,
    NEVER,
    SERIAL_BITS,
    Budget,
    Slots,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Budget",
    "Pacer",
    "ProcessPacer",
    "Ticket",
    "pacer_for",
    "process_pacer",
    "search_pacer",
    "shared",
]

T = TypeVar("T")

SEARCHES = 5
"""CRM searches a second."""

_RETRY = 3.0
"""Seconds until a store that failed is tried again."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ticket:
    """One request's place in the queue. Its fields are the pacer's.

    :param slot: the slot that was promised; None while none is.
    :param at: when the slot may be used, by the pacer's clock.
    :param sent: when the request was sent; None while it was not.
    :param giver: which of two pacers promised the slot, where there are two.
    :param own: the place in the consumer's own queue, where it has only a share of the budget.
    :param patient: whether asking may wait until others have asked.
    """

    slot: int | None = None
    at: float = 0.0
    sent: float | None = None
    giver: Pacer | None = None
    own: Ticket | None = None
    patient: bool = True


class Pacer(Protocol):
    """One budget, shared by all who spend it.

    :param blocks: whether asking may take longer than a lock is held in passing: an event loop then asks in a
        thread.
    """

    blocks: bool

    @property
    def quick(self) -> bool:
        """Whether it blocks only while others ask: a ticket without patience has its answer, or BusyError, at once."""

    def wait(self, ticket: Ticket) -> float:
        """Seconds until the ticket's request may be sent; 0 means now. Ask again after waiting.

        :raises BusyError: the ticket is not patient, and others are asking; this is also so of :meth:`done`.
        """

    def done(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """The answer arrived, or none will: the slot is free again one interval from now."""

    def pause(self, seconds: float | None = None) -> None:
        """HubSpot said 429: nobody sends for this long (an interval when None)."""

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""


class BusyError(Exception):
    """Somebody else has the budget for a moment. Asking again, with patience, goes on as if it was the first time."""


class StoreError(Exception):
    """A budget cannot be had where it is kept; the text says why."""


class SlotPacer:
    """What pacers have in common, wherever they keep their slots: one turn in the queue per process.

    Only one of a process' threads waits with a slot of its own; the others ask again when it goes. So slots that
    come one by one go round among the processes, and little is promised that a kill would lose.

    :param clock: monotonic seconds.
    """

    blocks = True
    quick = False

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._not_before = NEVER
        self.begin()
        _alive.add(self)

    def begin(self) -> None:
        """Make what one process must not have of another; a fork calls it again."""
        self._owner = secrets.randbits(62 - SERIAL_BITS)
        self._numbers = itertools.count()
        self._turn, self._whose_turn = NEVER, -1

    def wait(self, ticket: Ticket) -> float:
        """See :class:`Pacer`."""
        now = self._clock()
        if ticket.slot is None:
            if self._turn > now:
                return self._turn - now
            number = self._owner << SERIAL_BITS | next(self._numbers) % (1 << SERIAL_BITS)
            promised, at = self._take(number, patient=ticket.patient)
            if not promised:
                self._turn = min(at, now + ASK_AGAIN)
                return max(at - now, ASK_AGAIN / 10)
            ticket.slot, ticket.at, ticket.sent = number, at, None
            now = self._clock()  # later than before, if only by the time that asking took
            # Not for long: the limit may rise meanwhile, or others go home.
            self._turn, self._whose_turn = min(at, now + ALONE_FOR), number
        wait = max(ticket.at, self._not_before) - now
        if wait > 0:
            return wait
        ticket.sent = now
        return 0.0

    def done(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """See :class:`Pacer`."""
        self.settle(ticket, Budget.from_headers(headers))

    def settle(self, ticket: Ticket, said: Budget) -> None:
        """:meth:`done`, with headers that were read already."""
        number = ticket.slot
        if number == self._whose_turn:
            self._turn = NEVER
        if number is not None and number >> SERIAL_BITS == self._owner:
            self._give(number, ticket.sent, said, patient=ticket.patient)
        elif said.burst is not None:  # without a slot, or with one of the process that this one is a fork of
            self._give(-1, None, said, patient=ticket.patient)
        ticket.slot = None

    def pause(self, seconds: float | None = None) -> None:
        """See :class:`Pacer`."""
        until = self._hold(seconds)
        self._not_before = max(self._not_before, until)

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        raise NotImplementedError

    @property
    def last_seen(self) -> tuple[int, float, int]:
        """Limit, interval and number of processes, as they were known last."""
        raise NotImplementedError

    def _take(self, number: int, *, patient: bool = True) -> tuple[bool, float]:
        """Ask for a slot: whether there is one, and when it may be used or one should ask again."""
        raise NotImplementedError

    def _give(self, number: int, sent: float | None, said: Budget, *, patient: bool = True) -> None:
        """Give a slot back; -1 for none."""
        raise NotImplementedError

    def _hold(self, seconds: float | None) -> float:
        """Let nobody send; return until when."""
        raise NotImplementedError


class ProcessPacer(SlotPacer):
    """A budget shared by the threads of this process.

    :param limit: requests per interval, where it is known; otherwise the first request finds out.
    :param interval: seconds to begin with.
    :param share: of the limit that is this process' to use.
    :param clock: monotonic seconds.
    """

    blocks = False

    def __init__(
        self,
        *,
        limit: int | None = None,
        interval: float = FIRST_INTERVAL,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        heard = NEVER if limit is None else clock()
        self._slots = Slots(limit=limit or FIRST_LIMIT, interval=interval, share=share, heard=heard)
        super().__init__(clock)

    def begin(self) -> None:
        """See :class:`SlotPacer`."""
        super().begin()
        self._lock = threading.Lock()
        while self._slots.held:  # a fork's: nobody here will give them back
            self._slots.free_one(0, self._clock())

    def _change(self, step: Callable[[Slots], T], *, patient: bool = True) -> T:
        """Do something to the slots while nobody else does."""
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
        """Take a limit, and a share of it, from somebody who knows.

        :param rest: seconds to wait before, so that what is under way arrives; the first answer then tells of it.
        """

        def follow(slots: Slots) -> None:
            slots.share = share
            slots.not_before = max(slots.not_before, self._clock() + rest)
            slots.learn(Budget(burst=limit, interval=interval))

        self._change(follow)

    def _take(self, number: int, *, patient: bool = True) -> tuple[bool, float]:
        def take(slots: Slots) -> tuple[bool, float]:
            now = self._clock()
            at = slots.take(now, number)
            return at is not None, max(slots.not_before, now + ASK_AGAIN) if at is None else at

        return self._change(take, patient=patient)

    def _give(self, number: int, sent: float | None, said: Budget, *, patient: bool = True) -> None:
        self._change(lambda slots: slots.give(self._clock(), number, sent, said), patient=patient)

    def _hold(self, seconds: float | None) -> float:
        return self._change(lambda slots: slots.pause(self._clock(), seconds))


class SteadyPacer:
    """A shared budget, and this process' part of it while the store cannot be had. The log says so once.

    :param store: where the budget is kept.
    :param name: of the store, for people.
    """

    blocks = True

    def __init__(self, store: SlotPacer, name: str) -> None:
        self._store = store
        self._name = name
        self._own = ProcessPacer()
        self._worked = self._failing = False
        self._try_at = NEVER
        self.begin()
        _alive.add(self)

    def begin(self) -> None:
        """Make what one process must not have of another; a fork calls it again."""
        self._lock = threading.Lock()

    @property
    def quick(self) -> bool:
        """See :class:`Pacer`; a store that is tried again may take its time."""
        return self._store.quick and not self._failing

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        if not self._failing:
            try:
                return self._store.budget
            except StoreError as error:
                self._failed(error)
        return self._own.budget

    def wait(self, ticket: Ticket) -> float:
        """See :class:`Pacer`."""
        if ticket.slot is not None and ticket.giver is not None:
            return ticket.giver.wait(ticket)
        if not self._failing or self._may_try():
            try:
                ticket.giver, wait = self._store, self._store.wait(ticket)
            except StoreError as error:
                self._failed(error)
            else:
                self._works()
                return wait
        ticket.giver = self._own
        return self._own.wait(ticket)

    def done(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """See :class:`Pacer`."""
        if ticket.giver is not self._own and not self._failing:
            try:
                return self._store.done(ticket, headers)
            except StoreError as error:
                self._failed(error)
        return self._own.done(ticket, headers)  # which gives back nothing that it did not promise

    def pause(self, seconds: float | None = None) -> None:
        """See :class:`Pacer`."""
        self._own.pause(seconds)
        if not self._failing:
            try:
                self._store.pause(seconds)
            except StoreError as error:
                self._failed(error)

    def _may_try(self) -> bool:
        with self._lock:
            if (now := time.monotonic()) < self._try_at:
                return False
            self._try_at = now + _RETRY  # the others go on meanwhile
            return True

    def _failed(self, error: StoreError) -> None:
        with self._lock:
            self._try_at = time.monotonic() + _RETRY
            if self._failing:
                return
            limit, interval, users = self._store.last_seen
            self._own.follow(limit, interval, 1 / users, rest=ALONE_FOR if self._worked else 0.0)
            self._failing = True
        _log.warning(
            "The budget in %s cannot be shared (%s): this process goes on with 1/%d of it; "
            "it is tried again every %d s",
            self._name,
            error,
            users,
            _RETRY,
        )

    def _works(self) -> None:
        self._worked = True
        if not self._failing:
            return
        with self._lock:
            was, self._failing = self._failing, False
        if was:
            _log.warning("The budget in %s is shared again", self._name)


class SharePacer:
    """A part of a budget, for one consumer in this process: it leaves the rest to others.

    :param pacer: the whole.
    :param share: more than 0, at most 1.
    :raises ValueError: another share.
    """

    def __init__(self, pacer: Pacer, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"max_budget_share: expected more than 0 and at most 1, got {share!r}")
        self._pacer = pacer
        self.blocks = pacer.blocks
        self._share = share
        self._part = ProcessPacer(limit=self._of(pacer.budget.burst or FIRST_LIMIT))

    @property
    def quick(self) -> bool:
        """See :class:`Pacer`."""
        return self._pacer.quick

    def _of(self, limit: int) -> int:
        return math.ceil(round(limit * self._share, 6))  # 0.07 x 100 is a hair more than 7 to a float

    @property
    def budget(self) -> Budget:
        """What HubSpot said last, of the whole."""
        return self._pacer.budget

    def wait(self, ticket: Ticket) -> float:
        """See :class:`Pacer`."""
        ticket.own = ticket.own or Ticket()
        return self._part.wait(ticket.own) or self._pacer.wait(ticket)

    def done(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """See :class:`Pacer`."""
        said = Budget.from_headers(headers)
        part = Budget(burst=said.burst and self._of(said.burst), interval=said.interval)
        self._part.settle(ticket.own or Ticket(), part)
        self._pacer.done(ticket, headers)

    def pause(self, seconds: float | None = None) -> None:
        """See :class:`Pacer`."""
        self._pacer.pause(seconds)


class QueuedPacer:
    """A budget that is spent in the order of asking, where many tasks wait for it at once.

    Otherwise whoever asks at the moment a slot comes free has it, and one who sleeps until then may miss it again
    and again.

    :param pacer: the budget.
    """

    def __init__(self, pacer: Pacer) -> None:
        self.blocks = pacer.blocks
        self._pacer = pacer
        self._queue: dict[int, None] = {}  # by identity, in order; a ticket lives longer than its place
        self._first_goes_at = NEVER
        self._lock = threading.Lock()

    @property
    def quick(self) -> bool:
        """See :class:`Pacer`."""
        return self._pacer.quick

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        return self._pacer.budget

    def wait(self, ticket: Ticket) -> float:
        """See :class:`Pacer`."""
        with self._lock:
            self._queue.setdefault(id(ticket))
            if next(iter(self._queue)) != id(ticket):
                return max(self._first_goes_at - time.monotonic(), ASK_AGAIN / 10)
        wait = self._pacer.wait(ticket)
        with self._lock:
            self._first_goes_at = time.monotonic() + wait
            if not wait:
                self._queue.pop(id(ticket), None)
        return wait

    def done(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """See :class:`Pacer`."""
        with self._lock:
            self._queue.pop(id(ticket), None)
        self._pacer.done(ticket, headers)

    def pause(self, seconds: float | None = None) -> None:
        """See :class:`Pacer`."""
        self._pacer.pause(seconds)


def shared(pacer: Pacer, share: float) -> Pacer:
    """Return a pacer that never has more than a share of the budget's slots in use.

    :param pacer: of the whole budget.
    :param share: more than 0, at most 1.
    :raises ValueError: another share.
    """
    return SharePacer(pacer, share)


_pacers: dict[tuple[str, str], Pacer] = {}
_pacers_lock = threading.Lock()
_alive: weakref.WeakSet[SlotPacer | SteadyPacer] = weakref.WeakSet()


def pacer_for(store: str | None, key: str) -> Pacer:
    """The one pacer of this process for a credential.

    :param store: ``process``; ``file`` or ``file:///folder`` for all processes of this machine (the default);
        ``redis://host:port/db`` or ``rediss://`` for many machines (extra ``redis``).
    :param key: fingerprint of the credential: two connections with one token share a budget, two portals never.
    :raises ValueError: another store.
    :raises ModuleNotFoundError: Redis without its client.
    """
    store = (store or "file").strip()
    with _pacers_lock:
        if (store, key) not in _pacers:
            _pacers[store, key] = _make(store, key)
        return _pacers[store, key]


def _make(store: str, key: str) -> Pacer:
    if store == "process":
        return ProcessPacer()
    if store == "file" or store.startswith("file:"):
        from airflow_provider_hubprefs.hubspot.pacing_file import file_pacer  # noqa: PLC0415 - needs this module

        return file_pacer(store, key)
    if store.startswith(("redis:", "rediss:")):
        from airflow_provider_hubprefs.hubspot.pacing_redis import redis_pacer  # noqa: PLC0415 - an extra

        return redis_pacer(store, key)
    raise ValueError("budget_store: expected process, file, file:///a/folder or redis://host:port/db")


def search_pacer(key: str) -> Pacer:
    """The one pacer of this process for a credential's CRM searches.

    They have a limit of their own, five a second for the whole account, of which no header tells (HubSpot's guide
    "Search the CRM"). Only this process keeps to it: who shares it with others meets a 429, which is waited for.

    :param key: see :func:`pacer_for`.
    """
    with _pacers_lock:
        if ("search", key) not in _pacers:
            _pacers["search", key] = ProcessPacer(limit=SEARCHES, interval=1.0)
        return _pacers["search", key]


def process_pacer(key: str) -> Pacer:
    """The pacer of this process alone for a credential.

    :param key: see :func:`pacer_for`.
    """
    return pacer_for("process", key)


def _after_fork() -> None:
    """Leave everything to the parent that is its own: locks its threads hold, slots, turns."""
    _pacers_lock.release()
    for pacer in list(_alive):
        pacer.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_pacers_lock.acquire,
        after_in_parent=_pacers_lock.release,
        after_in_child=_after_fork,
    )
