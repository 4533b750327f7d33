"""What a poller asks about subscribers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_hubprefs.hubspot.transport.batches import CallPair

if TYPE_CHECKING:
    from airflow_provider_hubprefs.hubspot.api.calls import Calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about a subscriber. Waits with equal questions can share a request.

    :param about: the opt-out, or the statuses for all subscriptions.
    :param business_unit_id: brand.
    """

    about: Literal["opt_out", "statuses"]
    business_unit_id: int | None = None

    def pair(self, calls: Calls) -> CallPair[str]:
        """The calls that ask it."""
        brand: dict[str, Any] = {"business_unit_id": self.business_unit_id}
        if self.about == "opt_out":
            return CallPair(
                "batch_get_unsubscribe_all",
                lambda subscribers: calls.batch_get_unsubscribe_all(subscribers, **brand),
                lambda subscriber: calls.get_unsubscribe_all(subscriber, **brand),
            )
        return CallPair(
            "batch_get_statuses",
            lambda subscribers: calls.batch_get_statuses(subscribers, **brand),
            lambda subscriber: calls.get_statuses(subscriber, **brand),
        )
