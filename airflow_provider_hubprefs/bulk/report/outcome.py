"""What can become of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.row import Row

OutcomeName = Literal["changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed"]
OUTCOMES: tuple[OutcomeName, ...] = get_args(OutcomeName)

APPLIED: tuple[OutcomeName, ...] = ("changed", "unchanged")
"""Outcomes after which a subscriber's preference is as wanted."""

NOT_APPLIED: tuple[OutcomeName, ...] = ("rejected", "invalid", "unconfirmed")
"""Outcomes after which a subscriber's preference may not be as wanted; these rows become dead letters."""

PENDING: Literal["pending"] = "pending"
"""No outcome yet: HubSpot accepted the row and has not finished with it. Summaries count it as *unconfirmed*."""

OPERATION_PREFIX = "OPERATION_"
"""Begins the category of a row whose operation had not ended: OPERATION_PENDING, OPERATION_PROCESSING."""


class ConservationError(Exception):
    """Rows read and outcomes do not add up: a defect of this package, never of the source."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one row.

    :param category: why, in one word: HubSpot's category, or this package's.
    :param message: why, in a sentence. It may contain the address, so only dead letters have it.
    :param correlation_id: identifies HubSpot's answer to HubSpot's support.
    """

    row: Row
    outcome: OutcomeName | Literal["pending"]
    category: str | None = None
    message: str | None = None
    correlation_id: str | None = None

    def __repr__(self) -> str:
        return f"Outcome({self.row!r}, {self.outcome!r}, {self.category!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("row", self.row), ("outcome", self.outcome), ("category", self.category)]
