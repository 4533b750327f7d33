"""What can become of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError

OutcomeName = Literal["changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed"]
OUTCOMES: tuple[OutcomeName, ...] = get_args(OutcomeName)

APPLIED: tuple[OutcomeName, ...] = ("changed", "unchanged")
"""Outcomes after which a subscriber's preference is as wanted."""

NOT_APPLIED: tuple[OutcomeName, ...] = ("rejected", "invalid", "unconfirmed")
"""Outcomes after which a subscriber's preference may not be as wanted; these rows become dead letters."""

OPTED_OUT_IN_HUBSPOT = "OPTED_OUT_IN_HUBSPOT"
NEWER_IN_HUBSPOT = "NEWER_IN_HUBSPOT"
STATED_IN_HUBSPOT = "STATED_IN_HUBSPOT"
CHANGED_IN_HUBSPOT = "CHANGED_IN_HUBSPOT"

HUBSPOT_WINS = (OPTED_OUT_IN_HUBSPOT, NEWER_IN_HUBSPOT, STATED_IN_HUBSPOT, CHANGED_IN_HUBSPOT)
"""Categories of rejected rows in which HubSpot's status counts more than the row's: by rule, which is no failure."""

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
    :param actual: what HubSpot showed of the subscriber before anything was written: statuses for subscriptions, or
        opt-outs; None: it was not asked, or did not say.
    """

    row: Row
    outcome: OutcomeName | Literal["pending"]
    category: str | None = None
    message: str | None = None
    correlation_id: str | None = None
    actual: Sequence[Any] | None = None

    def __repr__(self) -> str:
        return f"Outcome({self.row!r}, {self.outcome!r}, {self.category!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("row", self.row), ("outcome", self.outcome), ("category", self.category)]


def left_to_hubspot(reasons: Mapping[str, int]) -> int:
    """Return how many of the rejected rows are so because HubSpot's status counts more.

    :param reasons: rows by outcome and category.
    """
    return sum(reasons.get(f"rejected: {name}", 0) for name in HUBSPOT_WINS)


STATUS_UNKNOWN = "STATUS_UNKNOWN"


def outcome_of_error(row: Row, error: HubSpotError, outcome: Literal["rejected", "unconfirmed"]) -> Outcome:
    """The outcome of a row that HubSpot or a guard refused, or whose actual status HubSpot refused to show."""
    return Outcome(row, outcome, error.category or str(error.status), str(error), error.correlation_id)


def outcome_unknown(row: Row, why: str = "HubSpot did not show the actual status") -> Outcome:
    """The outcome of a row that was not written, because its subscriber's actual status is unknown."""
    return Outcome(row, "unconfirmed", STATUS_UNKNOWN, f"{why}, so nothing was written")


def with_actual(outcome: Outcome, actual: Sequence[Any] | None) -> Outcome:
    """The outcome with what HubSpot showed before."""
    return outcome if actual is None else msgspec.structs.replace(outcome, actual=actual)
