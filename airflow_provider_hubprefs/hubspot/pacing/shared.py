"""A budget that many processes share through a store, and each process' share of it while the store fails.

A store holds some bytes and lets one process at a time change them. They have a checksum: a process may be killed while
it writes. A budget that is lost or damaged begins anew, with a probe whose answer says what is used.
"""

from __future__ import annotations

import logging
import struct
import time
import zlib
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, ProcessPacer
from airflow_provider_hubprefs.hubspot.pacing.slots import NEVER, PROBE_FOR, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_RETRY = 3.0
"""Seconds until a store that failed is tried again."""

_CLOCK_STEP = 1.0
"""Seconds by which a store's clock may be put back; it stands still meanwhile. By more, the times mean nothing."""

_HEAD = struct.Struct("=II")  # checksum and length of the rest
_decoder = msgspec.msgpack.Decoder(tuple[float, Slots])

_log = logging.getLogger(__name__)


class StoreError(Exception):
    """The store of a budget cannot be used; the text says why."""


class Store(Protocol):
    """Where processes share the bytes of a budget.

    :param name: for people.
    """

    name: str

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
    """A budget in a store; this process' share of it while the store fails. Each change is logged once.

    :param store: where the budget is.
    :param clock: monotonic seconds.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seen = Slots()  # in the store, as they were last
        self._worked = self._failing = False
        self._try_at = NEVER
        super().__init__(clock=clock)

    def begin(self) -> None:
        """See :class:`ProcessPacer`."""
        super().begin()
        self._store.begin()

    def _change(self, step: Callable[[Slots, float], T], *, blocking: bool = True) -> T:
        if not self._failing or self._may_try(blocking=blocking):
            try:
                result = self._change_store(step, blocking=blocking)
            except StoreError as error:
                self._failed(error)
            else:
                self._works()
                return result
        return super()._change(step)

    def _change_store(self, step: Callable[[Slots, float], T], *, blocking: bool) -> T:
        results: list[T] = []

        def edit(data: bytes, now: float) -> bytes:
            slots, now = self._decode(data, now)
            results.append(step(slots, now))
            self._seen = slots
            return _encode(slots, now)

        self._store.change(edit, blocking=blocking)
        return results[-1]

    def _decode(self, data: bytes, now: float) -> tuple[Slots, float]:
        """The slots in some bytes, and the time, which does not go back."""
        if not data:
            return Slots(), now
        try:
            written, slots = _decode(data)
        except ValueError:
            _log.warning("The budget in %s was damaged and begins anew", self._store.name)
            return Slots(), now
        return (Slots(), now) if written > now + _CLOCK_STEP else (slots, max(now, written))

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
            users = seen.users
            # A rest lets what is in flight arrive; the answer of the first request then counts it.
            rest = PROBE_FOR if self._worked else 0.0
            self._slots = Slots(
                limit=seen.limit,
                interval=seen.interval,
                share=1 / users,
                budget=seen.budget,
                not_before=now + rest,
            )
            self._failing = True
        _log.warning(
            "The budget in %s cannot be shared (%s). This process uses 1/%d of it and tries again every %d s.",
            self._store.name,
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
