"""While the store of a budget fails, each process uses its share of the limit."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.hubspot.pacing.pacers import (
    BusyError,
    Forkable,
    ProcessPacer,
    SlotPacer,
    StoreError,
    Ticket,
)
from airflow_provider_hubprefs.hubspot.pacing.slots import NEVER, PROBE_FOR, Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RETRY = 3.0
"""Seconds until a store that failed is tried again."""

_log = logging.getLogger(__name__)


class FallbackPacer(Forkable):
    """A shared budget; this process' share of it while the store fails. Each change is logged once.

    :param store: the pacer of the shared budget.
    :param name: of the store, for people.
    :param clock: monotonic seconds.
    """

    def __init__(self, store: SlotPacer, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._own = ProcessPacer(clock=clock)
        self._worked = self._failing = False
        self._try_at = NEVER
        super().__init__()

    def begin(self) -> None:
        """See :class:`Forkable`."""
        self._lock = threading.Lock()

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        if not self._failing:
            try:
                return self._store.budget
            except StoreError as error:
                self._failed(error)
        return self._own.budget

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        """See :class:`Pacer`."""
        if ticket.slot is not None and ticket.granted_by is not None:
            return ticket.granted_by.wait(ticket, blocking=blocking)
        if not self._failing or self._may_try(blocking=blocking):
            try:
                ticket.granted_by, wait = self._store, self._store.wait(ticket, blocking=blocking)
            except StoreError as error:
                self._failed(error)
            else:
                self._works()
                return wait
        ticket.granted_by = self._own
        return self._own.wait(ticket)

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        if ticket.granted_by is not self._own and not self._failing:
            try:
                return self._store.done(ticket, headers, blocking=blocking)
            except StoreError as error:
                self._failed(error)
        return self._own.done(ticket, headers)  # which returns no slot that it did not promise

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """See :class:`Pacer`."""
        self._own.pause(seconds)
        if not self._failing:
            try:
                self._store.pause(seconds, blocking=blocking)
            except StoreError as error:
                self._failed(error)

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
            self._try_at = self._clock() + _RETRY
            if self._failing:
                return
            limit, interval, users = self._store.last_seen
            self._own.follow(limit, interval, 1 / users, rest=PROBE_FOR if self._worked else 0.0)
            self._failing = True
        _log.warning(
            "The budget in %s cannot be shared (%s). This process uses 1/%d of it and tries again every %d s.",
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
