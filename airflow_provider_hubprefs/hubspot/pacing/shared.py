"""A budget that many processes share through a store, and each process' share of it while the store fails.

A store holds some bytes and lets one process at a time change them. They have a checksum: a process may be killed while
it writes.
"""

from __future__ import annotations

import logging
import secrets
import struct
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, ProcessPacer
from airflow_provider_hubprefs.hubspot.pacing.slots import CAUTIOUS, LEASE, NEVER, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_RETRY = 2.0
"""Seconds until a store that failed is tried again."""

_SLACK = 2.0
"""Seconds (an interval at most) within which a process notices that the store is there, or has gone."""

_QUICK = 0.05
"""Seconds that an event loop may wait for an answer of the store."""

_THREADED_FOR = 60.0
"""Seconds for which a store is asked in threads only, after an answer that took longer."""

_CLOCK_STEP = 1.0
"""Seconds by which a store's clock may be put back; it stands still meanwhile. By more, the times mean nothing."""

_HEAD = struct.Struct("=II")  # checksum and length of the rest
_decoder = msgspec.msgpack.Decoder(tuple[float, Slots])

_log = logging.getLogger(__name__)


class StoreError(Exception):
    """The store of a budget cannot be used; the text says why."""


class Store(Protocol):
    """Where processes share the bytes of a budget."""

    @property
    def name(self) -> str:
        """For people."""

    def begin(self) -> None:
        """Make what a forked child must not share with its parent; runs again in the child."""

    def change(self, edit: Callable[[bytes, float], bytes], *, blocking: bool) -> None:
        """Replace the bytes while no other process does.

        :param edit: gets the bytes (none at first) and the time by the store's clock, returns the new ones. It may be
            called more than once; the last call counts.
        :raises BusyError: only if not blocking.
        :raises StoreError: the bytes cannot be read or written.
        """


class SharedPacer(ProcessPacer):
    """A budget in a store; while the store fails, this process' share of it. Each change is logged once.

    **Loss and return.** Every process remembers what it did in the running window (:class:`~.own.Own`). Where the
    slots begin anew (the store was emptied, or this process could not reach it), the first to notice reserves all of
    them, and everyone who comes puts his own requests in place of reserved ones. The rest is free an interval after
    the last process must have come back. Without a store a process goes on with the slots that it has used itself:
    those of all processes together are never more than there are. A process that has none, and knows no other, asks
    HubSpot by a probe and takes an eighth of what is left.

    :param store: where the budget is.
    :param clock: monotonic seconds.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seen = Slots()  # in the store, as they were last
        self._seen_at = self._active_at = NEVER
        self._all_seen = False  # whether all who use it have come since it began anew
        self._failing = False
        self._try_at = self._threaded_until = NEVER
        super().__init__(clock=clock)

    def begin(self) -> None:
        """See :class:`ProcessPacer`."""
        super().begin()
        self._store.begin()

    def _change(self, step: Callable[[Slots, float], T], *, blocking: bool = True) -> T:
        try:
            if not self._failing or self._may_try(blocking=blocking):
                result = self._change_store(step, blocking=blocking)
                self._works()
                return result
        except StoreError as error:
            self._failed(error)
        self._active_at = self._clock()
        return super()._change(step)

    def _change_store(self, step: Callable[[Slots, float], T], *, blocking: bool) -> T:
        done: list[tuple[T, Slots, float]] = []

        def edit(data: bytes, now: float) -> bytes:
            slots, now = self._slots_in(data, now)
            slots.users = {user: at for user, at in slots.users.items() if at > now - LEASE} | {
                self._owner: now
            }
            slots.changes += 1
            done.append((step(slots, now), slots, now - self._clock()))
            return _encode(slots, now)

        begun = time.monotonic()
        if not blocking and begun < self._threaded_until:
            raise BusyError
        try:
            self._store.change(edit, blocking=blocking)
        finally:
            if not blocking and (now := time.monotonic()) - begun > _QUICK:
                self._threaded_until = now + _THREADED_FOR
        result, self._seen, ahead = done[-1]
        self._seen_at = self._active_at = self._clock()
        self._all_seen = self._seen.reserved <= self._seen_at + ahead
        self._not_before = max(self._not_before, self._seen.not_before - ahead)
        return result

    def _slots_in(self, data: bytes, now: float) -> tuple[Slots, float]:
        """The slots in some bytes, and the time, which does not go back."""
        seen = self._seen
        known = self._slots if self._failing else seen  # also of HubSpot's limits, while there was no store
        try:
            written, slots = _decode(data) if data else (now, known)
        except ValueError:
            _log.warning("The budget in %s was damaged and begins anew", self._store.name)
            written, slots = now, known
        if written > now + _CLOCK_STEP:
            written, slots = now, known
        now = max(now, written)
        if self._failing or slots is known or (slots.epoch == seen.epoch and slots.changes < seen.changes):
            return self._anew(slots, now), now
        if slots.epoch != seen.epoch and self._seen_at > NEVER:
            self._own.add_to(slots, self._clock(), now)
            slots.users |= dict.fromkeys(seen.users, now)
        return slots, now

    def _anew(self, known: Slots, now: float, *, share: float = 0.0) -> Slots:
        """Slots of a budget of which only the limits and what this process did are known."""
        rest, ahead = _RETRY + min(_SLACK, known.interval), now - self._clock()
        make = partial(
            Slots,
            limit=known.limit,
            interval=known.interval,
            budget=known.budget,
            share=share or 1.0,
            least_share=share,
            not_before=self._not_before + ahead,
            users=dict.fromkeys(known.users | self._seen.users, now),
            epoch=secrets.randbits(53),
        )
        slots = make(reserved=now + rest, last_answer=now)
        if self._own.add_to(slots, now - ahead, now) or now - ahead - self._active_at < 2 * known.interval:
            return slots
        return make(unsure=rest)

    def _may_try(self, *, blocking: bool) -> bool:
        """Whether to try a failed store again now. One thread does, and it may take long."""
        with self._lock:
            if (now := self._clock()) < self._try_at:
                return False
            if not blocking:
                raise BusyError
            self._try_at = now + _RETRY
            return True

    def _failed(self, error: StoreError) -> None:
        with self._lock:
            now, seen = self._clock(), self._seen
            self._try_at = now + _RETRY
            if self._failing:
                return
            # One share more than there are users, for one who comes meanwhile.
            known = self._all_seen and now - self._seen_at < seen.interval
            shares = len(seen.users) + 1 if known else max(len(seen.users) + 1, round(1 / CAUTIOUS))
            slots = self._anew(seen, now, share=1 / shares)
            if self._seen_at > NEVER:  # perhaps only this process noticed: the others still use its slots
                slots.not_before = max(slots.not_before, now + _RETRY)
                if slots.reserved > NEVER:
                    slots.last_answer = slots.not_before
            self._slots, self._failing = slots, True
        _log.warning(
            "The budget in %s cannot be shared (%s). This process uses 1/%d of it (%s), "
            "more while it sees no other client, and tries again every %g s",
            self._store.name,
            error,
            shares,
            f"{shares - 1} used it" if known else "how many use it is not known",
            _RETRY,
        )

    def _works(self) -> None:
        if not self._failing:
            return
        with self._lock:
            was, self._failing = self._failing, False
        if was:
            _log.warning("The budget in %s is shared again", self._store.name)


def _encode(slots: Slots, now: float) -> bytes:
    body = msgspec.msgpack.encode((now, slots))
    return _HEAD.pack(zlib.crc32(body), len(body)) + body


def _decode(data: bytes) -> tuple[float, Slots]:
    """When the slots were written, and the slots.

    :raises ValueError: they are damaged.
    """
    if len(data) < _HEAD.size:
        raise ValueError("too short")
    checksum, length = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    if zlib.crc32(body) != checksum:
        raise ValueError("wrong checksum")
    return _decoder.decode(body)
