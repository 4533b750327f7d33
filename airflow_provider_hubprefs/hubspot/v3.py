"""v3's shapes, translated to those of v4 and later.

v3 writes identifiers as text, calls UNSUBSCRIBED ``NOT_SUBSCRIBED``, has one call to subscribe and one to
unsubscribe, answers 400 where nothing was to do, and refuses to subscribe whoever unsubscribed (HubSpot's
guide and Postman collection for v3). It has no batches, no opt-out and no NOT_SPECIFIED.
"""

from __future__ import annotations

from typing import Any, TypeVar

from airflow_provider_hubprefs.hubspot.errors import HubSpotError, NotFoundError, UnsupportedCallError
from airflow_provider_hubprefs.hubspot.models import (
    NO_STATUS_CHANGE,
    Definition,
    Operation,
    Reply,
    StatusChange,
    SubscriptionStatus,
    Wire,
    decode,
)

T = TypeVar("T")
_NAMES = {"NOT_SUBSCRIBED": "UNSUBSCRIBED"}


class _Definitions(Wire, frozen=True, kw_only=True):
    subscription_definitions: list[Definition] | None = None


class _Status(Wire, frozen=True, kw_only=True):
    id: int
    status: str
    name: str | None = None
    source_of_status: str | None = None
    brand_id: int | None = None
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None

    def common(self, subscriber: str, *, reason: str | None = None) -> SubscriptionStatus:
        return SubscriptionStatus(
            subscriber=subscriber,
            subscription_id=self.id,
            status=_NAMES.get(self.status, self.status),
            channel="EMAIL",
            source=self.source_of_status,
            business_unit_id=self.brand_id,
            subscription_name=self.name,
            legal_basis=self.legal_basis,
            legal_basis_explanation=self.legal_basis_explanation,
            set_status_success_reason=reason,
        )


class _Statuses(Wire, frozen=True, kw_only=True):
    recipient: str
    subscription_statuses: list[_Status] | None = None


def definitions(reply: Reply) -> Operation[Definition]:
    """``subscriptionDefinitions`` as results."""
    return _complete(decode(reply.body, _Definitions).subscription_definitions or [])


def statuses(reply: Reply) -> Operation[SubscriptionStatus]:
    """``subscriptionStatuses`` as results.

    NOT_SUBSCRIBED is read as UNSUBSCRIBED: v3 does not tell "never asked" from "said no", and taking a "no"
    for "never asked" could subscribe someone by accident.
    """
    found = decode(reply.body, _Statuses)
    return _complete([status.common(found.recipient) for status in found.subscription_statuses or []])


def no_statuses_for_unknown(error: HubSpotError) -> Operation[SubscriptionStatus] | None:
    """404 OBJECT_NOT_FOUND of an address without statuses is no results."""
    if isinstance(error, NotFoundError) and error.category == "OBJECT_NOT_FOUND":
        return _complete([])
    return None


def write_endpoint(change: StatusChange) -> str:
    """Name of the endpoint that sets this status.

    :raises UnsupportedCallError: NOT_SPECIFIED.
    """
    if change.status == "NOT_SPECIFIED":
        raise UnsupportedCallError(
            "HubSpot's API v3 can only subscribe and unsubscribe; v4 and the dated versions have NOT_SPECIFIED"
        )
    return "subscribe" if change.status == "SUBSCRIBED" else "unsubscribe"


def change(change: StatusChange) -> dict[str, Any]:
    """Body of a write; the identifier is text."""
    body = {
        "emailAddress": change.subscriber,
        "subscriptionId": str(change.subscription_id),
        "legalBasis": change.legal_basis,
        "legalBasisExplanation": change.legal_basis_explanation,
    }
    return {name: value for name, value in body.items() if value is not None}


def written(reply: Reply, change: StatusChange) -> Operation[SubscriptionStatus]:
    """Answer of a write."""
    status = decode(reply.body, _Status)
    return _complete([status.common(change.subscriber, reason="REQUESTED_CHANGE_OCCURRED")])


def nothing_to_do(error: HubSpotError, change: StatusChange) -> Operation[SubscriptionStatus] | None:
    """400 "already (un)subscribed" is NO_STATUS_CHANGE.

    The message is matched because v3 gives no other sign (everywhere else messages may change at any time,
    says HubSpot's definition of breaking changes).
    """
    word = "subscribed" if change.status == "SUBSCRIBED" else "unsubscribed"
    if error.status != 400 or f"is already {word} to subscription" not in str(error):
        return None
    same = _Status(id=change.subscription_id, status=change.status)
    return _complete([same.common(change.subscriber, reason=NO_STATUS_CHANGE)])


def _complete(results: list[T]) -> Operation[T]:
    return Operation(status="COMPLETE", given_results=results)
