"""What one process has sent in the running window, wherever the slots are kept."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.hubspot.pacing.slots import LEASE, LONGEST

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.pacing.slots import Slots


class Own:
    """Requests of this process that are in flight, and when the others were answered, by the process' clock."""

    def __init__(self) -> None:
        self._in_flight: dict[int, float] = {}
        self._answered: list[float] = []

    def sent(self, number: int, now: float) -> None:
        """Remember a request that goes with a slot of this number."""
        self._in_flight[number] = now

    def answered(self, number: int, now: float) -> None:
        """Remember that its answer came, or that none will."""
        if self._in_flight.pop(number, None) is not None:
            self._answered = [*self._answered[bisect_right(self._answered, now - LONGEST) :], now]

    def add_to(self, slots: Slots, now: float, its_now: float) -> bool:
        """Count what is in the window in slots that do not know it; return whether there was anything.

        :param now: by the process' clock.
        :param its_now: the same by the clock of the slots.
        """
        held = [
            (number, at + its_now - now) for number, at in list(self._in_flight.items()) if at > now - LEASE
        ]
        free = [at + its_now - now for at in self._answered if at > now - slots.interval]
        slots.add(held, free)
        return bool(held or free)
