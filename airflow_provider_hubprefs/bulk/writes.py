"""What a run can want of many subscribers, and how to see whether it is so.

A :class:`Write` knows the calls that write and those that read back, one for a batch and one for a single
subscriber, and judges what HubSpot answers. It sends nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import msgspec

from airflow_provider_hubprefs.bulk.columns import (
    INVALID_LEGAL_BASIS,
    INVALID_SUBSCRIPTION,
    CellError,
    Wanted,
)
from airflow_provider_hubprefs.bulk.plan import check_resubscribe, objection, unusable_subscription
from airflow_provider_hubprefs.bulk.source import Row
from airflow_provider_hubprefs.hubspot.models import (
    NO_STATUS_CHANGE,
    Operation,
    OptedOut,
    StatusChange,
    SubscriberOptedOut,
    SubscriberStatuses,
    SubscriberWideStatuses,
    SubscriptionStatus,
    WideStatus,
    decode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_hubprefs.hubspot.calls import Call, Calls
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError
    from airflow_provider_hubprefs.hubspot.models import Definition, Reply

Found = dict[str, list[Any]]
"""Lower-cased subscriber -> the statuses HubSpot answered for it."""


_NOTHING = Wanted()
SOMEBODY = Row(1, "check@example.com", wanted=Wanted(status="UNSUBSCRIBED", subscription_id=1))
"""Nobody's address, with which calls are built that are never sent, to find out what is wrong with the others."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing asked of many subscribers: by one call for a batch, or one call each.

    :param name: of the batch endpoint.
    """

    name: str
    batch: Callable[[Sequence[Row]], Call[Operation[Any]]]
    single: Callable[[Row], Call[Operation[Any]]]


class Write(Protocol):
    """What a run wants. ``row`` is the row it is about: of every row the same may be wanted, or something else."""

    write: Pair
    read: Pair

    def check(self) -> None:
        """Refuse what cannot work, before any request.

        :raises HubSpotError: names the argument.
        """

    @property
    def check_row(self) -> Callable[[Wanted], None] | None:
        """Refuses what a row says, while the source is read: see :func:`~.source.read_rows`. None: nothing to look at.

        It raises :class:`~.columns.CellError` where the row is invalid, HubSpotError where nothing of the run can work.
        """

    def arguments(self) -> dict[str, Any]:
        """What decides the write, by name: another run's differ."""

    def known(self) -> Any:
        """What was found out of the portal that decides which rows can be sent; JSON. None: nothing yet."""

    def recall(self, known: Any) -> None:
        """Take over what an earlier try had found out: its rows must be the same once more."""

    def subscription_of(self, row: Row) -> int | None:
        """Of which subscription the status is written; None where it is the opt-out of everything."""

    def look_first(self, row: Row) -> bool:
        """Whether the actual status is read before anything is written."""

    def is_so(self, actual: Sequence[Any], row: Row) -> bool:
        """Whether what was read is as wanted."""

    def objection(self, actual: Sequence[Any], row: Row) -> HubSpotError | None:
        """Why a subscriber who has these statuses must not be written, or None."""

    def verdict(self, answered: Sequence[Any], row: Row) -> Literal["changed", "unchanged"] | None:
        """What the answer of a write says of a subscriber; None when it does not say."""


class UnsubscribeAll:
    """Opt subscribers out of everything, or of one brand.

    :param calls: of the API version in use.
    :param business_unit_id: brand.
    """

    check_row = None
    """Rows say nothing but whom."""

    def __init__(self, calls: Calls, *, business_unit_id: int | None = None) -> None:
        brand = {"business_unit_id": business_unit_id}
        self._brand = business_unit_id
        self.write = Pair(
            "batch_unsubscribe_all",
            lambda rows: replace(calls.batch_unsubscribe_all(_subscribers(rows), **brand), read=_opted_out),
            lambda row: calls.unsubscribe_all(row.subscriber, **brand),
        )
        self.read = Pair(
            "batch_get_unsubscribe_all",
            lambda rows: calls.batch_get_unsubscribe_all(_subscribers(rows), **brand),
            lambda row: calls.get_unsubscribe_all(row.subscriber, **brand),
        )

    def check(self) -> None:
        """See :class:`Write`. A version without opt-outs says so by building the call."""
        self.write.single(SOMEBODY)

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {"write": self.write.name, "business_unit_id": self._brand}

    def known(self) -> None:
        """Nothing: the portal has no say in it."""

    def recall(self, known: Any) -> None:
        """See :class:`Write`."""

    def subscription_of(self, row: Row) -> int | None:
        """None: of all."""
        return None

    def look_first(self, row: Row) -> bool:
        """Never: an opt-out can do no harm."""
        return False

    def is_so(self, actual: Sequence[WideStatus], row: Row | None = None) -> bool:
        """Opted out of the brand, or of the whole portal."""
        return opted_out_of(self._brand, actual)

    def objection(self, actual: Sequence[WideStatus], row: Row) -> HubSpotError | None:
        """Nothing speaks against an opt-out."""
        return None

    def verdict(
        self, answered: Sequence[SubscriptionStatus | OptedOut], row: Row
    ) -> Literal["changed", "unchanged"] | None:
        """Unchanged where every subscription was unsubscribed before."""
        if {status.status for status in answered} != {"UNSUBSCRIBED"}:
            return None
        return _changed(answered)


class SetStatus:
    """Set the status of subscribers for a subscription: the same for all, or what each row says.

    :param calls: of the API version in use.
    :param subscription_id: None where the rows say it; the same goes for ``status``.
    :param allow_resubscribe: whether those who unsubscribed may be written. Where not, actual statuses are
        read first, and they are left alone.
    :param basis_by_row: the rows say the legal basis, too.
    :param definitions: asks for the portal's subscriptions; None where that is not permitted. Called once, when the
        first row is checked.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        subscription_id: int | None = None,
        status: str | None = None,
        legal_basis: str | None = None,
        legal_basis_explanation: str | None = None,
        allow_resubscribe: bool = False,
        basis_by_row: bool = False,
        definitions: Callable[[], Sequence[Definition] | None] = lambda: None,
    ) -> None:
        self._contract = calls.contract
        self._same = Wanted(
            status=status,
            subscription_id=subscription_id,
            legal_basis=legal_basis,
            legal_basis_explanation=legal_basis_explanation,
        )
        self._allow_resubscribe = allow_resubscribe
        self._basis_by_row = basis_by_row
        self._definitions = definitions
        self._found: list[frozenset[int] | None] = []
        self.write = Pair(
            "batch_set_statuses",
            lambda rows: calls.batch_set_statuses([self._change(row) for row in rows]),
            lambda row: self._single(calls, self._change(row)),
        )
        self.read = Pair(
            "batch_get_statuses",
            lambda rows: calls.batch_get_statuses(_subscribers(rows)),
            lambda row: calls.get_statuses(row.subscriber),
        )

    def check(self) -> None:
        """See :class:`Write`. Building a call finds out what the version or HubSpot's enumerations do not have."""
        self.write.single(SOMEBODY)
        if not self._basis_by_row:
            check_resubscribe(
                status=self._same.status,
                allow_resubscribe=self._allow_resubscribe,
                legal_basis=self._same.legal_basis,
                contract=self._contract,
            )

    def check_row(self, wanted: Wanted) -> None:
        """Refuse what a row says where HubSpot would, or where it lacks what a resubscription needs.

        :raises CellError: it is this row's.
        :raises ValidationError: the subscription that is the same for all cannot be written.
        """
        active, number = self._active(), wanted.subscription_id
        if active is not None and number is not None and number not in active:
            raise CellError(
                INVALID_SUBSCRIPTION, f"subscription {number} is none of the portal's active ones"
            )
        status = self._same.status or wanted.status
        basis = self._same.legal_basis or wanted.legal_basis
        if self._allow_resubscribe and status != "UNSUBSCRIBED" and not basis:
            raise CellError(INVALID_LEGAL_BASIS, "the legal basis is empty, and allow_resubscribe needs one")

    def known(self) -> Any:
        """The subscriptions that are active, or null where that is not told; in a list of one."""
        return [None if one is None else sorted(one) for one in self._found] or None

    def recall(self, known: Any) -> None:
        """See :class:`Write`."""
        self._found = [None if one is None else frozenset(one) for one in known or ()]

    def _active(self) -> frozenset[int] | None:
        if not self._found:
            self._found = [self._active_of(self._definitions())]
        return self._found[0]

    def _active_of(self, definitions: Sequence[Definition] | None) -> frozenset[int] | None:
        if definitions is None:
            return None
        number = self._same.subscription_id
        if number is not None and (error := unusable_subscription(definitions, number)) is not None:
            raise error
        return frozenset(one.id for one in definitions if one.is_active is not False)

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {
            "write": self.write.name,
            **msgspec.structs.asdict(self._same),
            "allow_resubscribe": self._allow_resubscribe,
        }

    def subscription_of(self, row: Row) -> int | None:
        """See :class:`Write`."""
        return self._change(row).subscription_id

    def look_first(self, row: Row) -> bool:
        """Whoever may have unsubscribed and would be subscribed."""
        return self._change(row).status != "UNSUBSCRIBED" and not self._allow_resubscribe

    def is_so(self, actual: Sequence[SubscriptionStatus], row: Row) -> bool:
        """See :class:`Write`."""
        wanted = self._change(row)
        return any(
            one.status == wanted.status for one in actual if one.subscription_id == wanted.subscription_id
        )

    def objection(self, actual: Sequence[SubscriptionStatus], row: Row) -> HubSpotError | None:
        """Whoever unsubscribed is left alone."""
        wanted = self._change(row)
        return objection(
            actual,
            subscription_id=wanted.subscription_id,
            status=wanted.status,
            contract=self._contract,
        )

    def verdict(
        self, answered: Sequence[SubscriptionStatus], row: Row
    ) -> Literal["changed", "unchanged"] | None:
        """See :class:`Write`."""
        if not self.is_so(answered, row):
            return None
        mine = self._change(row).subscription_id
        return _changed([one for one in answered if one.subscription_id == mine])

    def _change(self, row: Row) -> StatusChange:
        """What is wanted of a row: what is the same for all, and what it says itself."""
        same, own = self._same, row.wanted or _NOTHING
        number = own.subscription_id if same.subscription_id is None else same.subscription_id
        return StatusChange(
            subscriber=row.subscriber,
            subscription_id=cast(
                "int", number
            ),  # None, where a program names neither, is refused with the call
            status=same.status or own.status or "",
            legal_basis=same.legal_basis or own.legal_basis,
            legal_basis_explanation=same.legal_basis_explanation or own.legal_basis_explanation,
        )

    @staticmethod
    def _single(calls: Calls, change: StatusChange) -> Call[Operation[Any]]:
        return calls.set_status(
            change.subscriber,
            change.subscription_id,
            change.status,
            legal_basis=change.legal_basis,
            legal_basis_explanation=change.legal_basis_explanation,
        )


def _subscribers(rows: Sequence[Row]) -> list[str]:
    return [row.subscriber for row in rows]


def opted_out_of(brand: int | None, actual: Sequence[WideStatus]) -> bool:
    """Whether these say an opt-out, of the brand where one is given, or of the whole portal."""
    return any(
        wide.status == "UNSUBSCRIBED" and (brand is None or wide.business_unit_id in {None, brand})
        for wide in actual
    )


def found_in(operation: Operation[Any], *, asked: str | None = None) -> Found:
    """Statuses by subscriber, whatever kind of rows an answer has. HubSpot promises no order.

    :param asked: the subscriber of a single call: whatever came back is about it.
    """
    found: Found = {} if asked is None else {asked.lower(): []}
    for row in operation.results:
        statuses: Sequence[Any] | None
        match row:
            case SubscriberStatuses() | SubscriberOptedOut():
                statuses = row.statuses
            case SubscriberWideStatuses():
                statuses = row.wide_statuses
            case _:
                statuses = [row]
        found.setdefault((asked or row.subscriber).lower(), []).extend(statuses or ())
    return found


def _opted_out(reply: Reply) -> Operation[Any]:
    """Read no more of an opt-out's answer than a run needs: half the time."""
    return decode(reply.body, Operation[SubscriberOptedOut])


def _changed(answered: Sequence[SubscriptionStatus | OptedOut]) -> Literal["changed", "unchanged"]:
    reasons = {status.set_status_success_reason for status in answered}
    return "unchanged" if reasons == {NO_STATUS_CHANGE} else "changed"
