"""What a run can want of many subscribers, and how to see whether it is so.

A :class:`Write` knows the calls that write and those that read back, one for a batch and one for a single
subscriber, and judges what HubSpot answers. It sends nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_provider_hubprefs.bulk.plan import check_resubscribe, objection
from airflow_provider_hubprefs.hubspot.models import (
    NO_STATUS_CHANGE,
    Operation,
    StatusChange,
    SubscriberStatuses,
    SubscriberWideStatuses,
    SubscriptionStatus,
    WideStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_hubprefs.hubspot.calls import Call, Calls
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError

Found = dict[str, list[Any]]
"""Lower-cased subscriber -> the statuses HubSpot answered for it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing asked of many subscribers: by one call for a batch, or one call each.

    :param name: of the batch endpoint.
    """

    name: str
    batch: Callable[[Sequence[str]], Call[Operation[Any]]]
    single: Callable[[str], Call[Operation[Any]]]


class Write(Protocol):
    """What a run wants."""

    write: Pair
    read: Pair
    look_first: bool
    """Whether the actual statuses are read before anything is written."""

    def check(self) -> None:
        """Refuse what cannot work, before any request.

        :raises HubSpotError: names the argument.
        """

    def arguments(self) -> dict[str, Any]:
        """What decides the write, by name: another run's differ."""

    def is_so(self, actual: Sequence[Any]) -> bool:
        """Whether what was read is as wanted."""

    def objection(self, actual: Sequence[Any]) -> HubSpotError | None:
        """Why a subscriber who has these statuses must not be written, or None."""

    def verdict(self, answered: Sequence[Any]) -> Literal["changed", "unchanged"] | None:
        """What the answer of a write says of a subscriber; None when it does not say."""


class UnsubscribeAll:
    """Opt subscribers out of everything, or of one brand.

    :param calls: of the API version in use.
    :param business_unit_id: brand.
    """

    look_first = False

    def __init__(self, calls: Calls, *, business_unit_id: int | None = None) -> None:
        brand = {"business_unit_id": business_unit_id}
        self._brand = business_unit_id
        self.write = Pair(
            "batch_unsubscribe_all",
            lambda subscribers: calls.batch_unsubscribe_all(subscribers, **brand),
            lambda subscriber: calls.unsubscribe_all(subscriber, **brand),
        )
        self.read = Pair(
            "batch_get_unsubscribe_all",
            lambda subscribers: calls.batch_get_unsubscribe_all(subscribers, **brand),
            lambda subscriber: calls.get_unsubscribe_all(subscriber, **brand),
        )

    def check(self) -> None:
        """See :class:`Write`. A version without opt-outs says so by building the call."""
        self.write.single("check@example.com")

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {"write": self.write.name, "business_unit_id": self._brand}

    def is_so(self, actual: Sequence[WideStatus]) -> bool:
        """Opted out of the brand, or of the whole portal."""
        return any(
            wide.status == "UNSUBSCRIBED"
            and (self._brand is None or wide.business_unit_id in {None, self._brand})
            for wide in actual
        )

    def objection(self, actual: Sequence[WideStatus]) -> HubSpotError | None:
        """Nothing speaks against an opt-out."""
        return None

    def verdict(self, answered: Sequence[SubscriptionStatus]) -> Literal["changed", "unchanged"] | None:
        """Unchanged where every subscription was unsubscribed before."""
        if not answered or any(status.status != "UNSUBSCRIBED" for status in answered):
            return None
        return _changed(answered)


class SetStatus:
    """Set the status of subscribers for one subscription.

    :param calls: of the API version in use.
    :param allow_resubscribe: whether those who unsubscribed may be written. Where not, actual statuses are
        read first, and they are left alone.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        subscription_id: int,
        status: str,
        legal_basis: str | None = None,
        legal_basis_explanation: str | None = None,
        allow_resubscribe: bool = False,
    ) -> None:
        self._contract = calls.contract
        self.subscription_id = subscription_id
        self._status = status
        self._basis = (legal_basis, legal_basis_explanation)
        self._allow_resubscribe = allow_resubscribe
        self.look_first = status != "UNSUBSCRIBED" and not allow_resubscribe
        self.write = Pair(
            "batch_set_statuses",
            lambda subscribers: calls.batch_set_statuses([self._change(one) for one in subscribers]),
            lambda subscriber: calls.set_status(
                subscriber,
                subscription_id,
                status,
                legal_basis=legal_basis,
                legal_basis_explanation=legal_basis_explanation,
            ),
        )
        self.read = Pair("batch_get_statuses", calls.batch_get_statuses, calls.get_statuses)

    def check(self) -> None:
        """See :class:`Write`. Building a call finds out what the version or HubSpot's enumerations do not have."""
        self.write.single("check@example.com")
        check_resubscribe(
            status=self._status,
            allow_resubscribe=self._allow_resubscribe,
            legal_basis=self._basis[0],
            contract=self._contract,
        )

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {
            "write": self.write.name,
            "subscription_id": self.subscription_id,
            "status": self._status,
            "basis": self._basis,
            "allow_resubscribe": self._allow_resubscribe,
        }

    def is_so(self, actual: Sequence[SubscriptionStatus]) -> bool:
        """See :class:`Write`."""
        return any(status.status == self._status for status in self._mine(actual))

    def objection(self, actual: Sequence[SubscriptionStatus]) -> HubSpotError | None:
        """Whoever unsubscribed is left alone."""
        return objection(
            actual, subscription_id=self.subscription_id, status=self._status, contract=self._contract
        )

    def verdict(self, answered: Sequence[SubscriptionStatus]) -> Literal["changed", "unchanged"] | None:
        """See :class:`Write`."""
        mine = self._mine(answered)
        return _changed(mine) if self.is_so(mine) else None

    def _mine(self, statuses: Sequence[SubscriptionStatus]) -> list[SubscriptionStatus]:
        return [status for status in statuses if status.subscription_id == self.subscription_id]

    def _change(self, subscriber: str) -> StatusChange:
        legal_basis, explanation = self._basis
        return StatusChange(
            subscriber=subscriber,
            subscription_id=self.subscription_id,
            status=self._status,
            legal_basis=legal_basis,
            legal_basis_explanation=explanation,
        )


def found_in(operation: Operation[Any], *, asked: str | None = None) -> Found:
    """Statuses by subscriber, whatever kind of rows an answer has. HubSpot promises no order.

    :param asked: the subscriber of a single call: whatever came back is about it.
    """
    found: Found = {} if asked is None else {asked.lower(): []}
    for row in operation.results:
        statuses: Sequence[Any] | None
        match row:
            case SubscriberStatuses():
                statuses = row.statuses
            case SubscriberWideStatuses():
                statuses = row.wide_statuses
            case _:
                statuses = [row]
        found.setdefault((asked or row.subscriber).lower(), []).extend(statuses or ())
    return found


def _changed(answered: Sequence[SubscriptionStatus]) -> Literal["changed", "unchanged"]:
    same = all(status.set_status_success_reason == NO_STATUS_CHANGE for status in answered)
    return "unchanged" if same else "changed"
