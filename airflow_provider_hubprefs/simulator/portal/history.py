"""What happens to a subscriber: changes, and operations that take their time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class PreferenceChange(NamedTuple):
    """One entry of a subscriber's history.

    :param at: when, in milliseconds since 1970.
    :param subscription: its number; ``None`` for an opt-out.
    :param brand: for an opt-out, its brand; ``None`` means the whole portal.
    :param reason: HubSpot's ``setStatusSuccessReason``.
    """

    at: int
    subscription: int | None
    brand: int | None
    status: str
    source: str
    reason: str | None = None
    legal_basis: str | None = None
    explanation: str | None = None


@dataclass(slots=True)
class PortalOperation:
    """A write that takes its time: a third of it PENDING, then PROCESSING, then its outcome.

    :param started: in milliseconds since 1970; ``duration`` in milliseconds.
    :param change: what it changes; ``None`` where there is nothing to do.
    """

    started: int
    duration: int
    outcome: str
    change: PreferenceChange | None
    settled: bool = False

    def status(self, now: int) -> str:
        """Return the operation's status at a time in milliseconds."""
        passed = now - self.started
        if passed >= self.duration:
            return self.outcome
        return "PENDING" if passed * 3 < self.duration else "PROCESSING"


def ended_changes(operations: Iterable[PortalOperation], now: int) -> Iterator[PreferenceChange]:
    """Yield the changes of operations that ended since they were last asked for; canceled ones change nothing."""
    for operation in operations:
        ended = operation.started + operation.duration
        if operation.settled or now < ended:
            continue
        operation.settled = True
        if operation.change is not None and operation.outcome != "CANCELED":
            yield operation.change._replace(at=ended)


def left_over(operations: list[PortalOperation]) -> list[PortalOperation]:
    """Return the operations that still matter: open ones, or a last one that ended otherwise than COMPLETE."""
    left = [operation for operation in operations if not operation.settled]
    if not left and operations[-1].outcome != "COMPLETE":
        left = operations[-1:]
    return left
