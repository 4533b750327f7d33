"""What the triggers that wait have in common: arguments that Airflow stores, deadlines, and one event."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_hubprefs.arguments import seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GRACE = timedelta(minutes=2)
"""A trigger keeps its own deadlines. Airflow's time-out comes this much later, in case no triggerer runs."""


class WaitTriggerBase(BaseTrigger):
    """A trigger that yields one event. Its arguments are the fields of a dataclass.

    A later release makes triggers of what this one stored: every argument has a default, and none is ever removed.

    The deadlines are on the wall clock, because they must survive a restart of the triggerer.
    """

    deadline: float | None
    execution_deadline: float | None

    def __post_init__(self) -> None:
        """Airflow's part."""
        super().__init__()  # type: ignore[no-untyped-call]
        for name in ("poke_interval", "max_wait"):
            if getattr(self, name, None) is not None:
                setattr(self, name, seconds(name, getattr(self, name), least=-1e10))  # any that was stored

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, always in this order."""
        arguments = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return f"{type(self).__module__}.{type(self).__name__}", arguments

    @property
    def defer_timeout(self) -> timedelta | None:
        """How long Airflow should wait for the event; None: without end."""
        ends = [end for end in (self.deadline, self.execution_deadline) if end is not None]
        return timedelta(seconds=seconds_left(min(ends)) or 0.0) + GRACE if ends else None

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event, and end."""
        yield TriggerEvent(await self.outcome())  # type: ignore[no-untyped-call]

    @abstractmethod
    async def outcome(self) -> dict[str, Any]:
        """Wait, and return the event; see :mod:`~airflow_provider_hubprefs.triggers.events`."""


def seconds_left(deadline: float | None) -> float | None:
    """Seconds until a deadline, at least 0; None where there is none."""
    return None if deadline is None else max(0.0, deadline - time.time())
