"""What a run wants of many subscribers, and whether an answer shows it.

A :class:`Write` builds the calls that write and those that read back, one for a batch and one for a single
subscriber, and says what HubSpot's answers mean. It sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from airflow_provider_hubprefs.bulk.report.outcome import Outcome, outcome_of_error, outcome_unknown
from airflow_provider_hubprefs.bulk.send.guards import RowCheck, actual_status, word_of
from airflow_provider_hubprefs.bulk.source.row import (
    Row,
    Wanted,
)
from airflow_provider_hubprefs.hubspot.api.models import (
    NO_STATUS_CHANGE,
    RESUBSCRIBE_OCCURRED,
    Operation,
    StatusChange,
    SubscriptionStatus,
    WideStatus,
)
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.hubspot.transport.batches import CallPair

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_hubprefs.bulk.report.summary import Kind
    from airflow_provider_hubprefs.hubspot.api.calls import Call, Calls

_NOTHING = Wanted()
SAMPLE_ROW = Row(1, "check@example.com", wanted=Wanted(status="UNSUBSCRIBED", subscription_id=1))
"""A row for calls that are built and never sent: building them finds arguments that cannot work."""

_SUBSCRIBED_ROW = Row(1, SAMPLE_ROW.subscriber, wanted=Wanted(status="SUBSCRIBED", subscription_id=1))


class Write:
    """What a run wants. Every row may want the same, or something of its own.

    :cvar kind: what it does to HubSpot; the report's words depend on it.
    :param phrase: what it does to every subscriber, such as ``opt out of everything``.
    :param done: what it has done to them, such as ``opted out``.
    :param write: the calls that write; None: the run only reads.
    :param read: the calls that read, before or after.
    :param row_check: refuses what a row says, while the source is read; None: rows say only an address.
    :raises HubSpotError: an argument cannot work; the text names it.
    """

    kind: Kind = "write"

    def __init__(
        self,
        phrase: str,
        done: str,
        *,
        write: CallPair[Row] | None,
        read: CallPair[Row],
        row_check: RowCheck | None = None,
    ) -> None:
        self.phrase = phrase
        self.done = done
        self.write = write
        self.read = read
        self.row_check = row_check
        (write or read).single(SAMPLE_ROW)

    def arguments(self) -> dict[str, Any]:
        """What decides the write, by name: it differs in another run."""
        raise NotImplementedError

    def split(self, rows: Sequence[Row]) -> Iterator[tuple[Write, list[Row]]]:
        """Yield the rows of a batch with the write that each goes to: this one, or one of those it is made of."""
        if rows:
            yield self, list(rows)

    def pairs(self) -> list[CallPair[Row]]:
        """The calls that a row may take, those that read first included."""
        reads = [self.read] if self.may_read_first() else []
        return reads if self.write is None else [*reads, self.write]

    def matches(self, actual: Sequence[Any], row: Row) -> bool:
        """Whether the statuses that were read are as the row wants."""
        raise NotImplementedError

    def outcome_of(self, answered: Sequence[Any], row: Row) -> Literal["changed", "unchanged"] | None:
        """What the answer to a write says of the row's subscriber; None when it does not say."""
        raise NotImplementedError

    def subscription_of(self, row: Row) -> int | None:
        """The subscription whose status is written; None: all of them."""
        return None

    def reads_first(self, row: Row) -> bool:
        """Whether the actual status is read before the row is written; where nothing is written, it is."""
        return self.write is None

    def reading_expires(self, row: Row) -> bool:
        """Whether the row may leave only a moment after its reading, so that the reading is repeated after a wait."""
        return self.reads_first(row)

    def may_read_first(self) -> bool:
        """Whether that may be so of some row."""
        return self.reads_first(SAMPLE_ROW) or self.reads_first(_SUBSCRIBED_ROW)

    def before_writing(self, statuses: Sequence[Any] | None, row: Row) -> Outcome | None:
        """Decide a row whose actual statuses were read: its outcome, or None where it is to be written.

        :param statuses: of its subscriber, as far as they are certain; None: unknown, which is no permission.
        """
        raise NotImplementedError

    def was_raced(self, answered: Sequence[Any], row: Row) -> bool:
        """Whether an answer says that the write resubscribed a subscriber, without permission."""
        return False

    def undo(self) -> Write:
        """The write that takes a resubscription back."""
        raise NotImplementedError


class Mixed(Write):
    """A run whose rows are of two kinds: those about one subscription, and those about everything.

    :param statuses: for rows that name a subscription.
    :param opt_outs: for the others.
    """

    def __init__(self, statuses: Write, opt_outs: Write) -> None:  # its parts do all that concerns a row
        self.phrase, self.done, self.row_check = statuses.phrase, statuses.done, statuses.row_check
        self.write, self.read, self.kind = statuses.write, statuses.read, statuses.kind
        self.statuses, self.opt_outs = statuses, opt_outs

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {"statuses": self.statuses.arguments(), "opt_outs": self.opt_outs.arguments()}

    def split(self, rows: Sequence[Row]) -> Iterator[tuple[Write, list[Row]]]:
        """See :class:`Write`."""
        yield from self.statuses.split([row for row in rows if not _is_about_everything(row)])
        yield from self.opt_outs.split([row for row in rows if _is_about_everything(row)])

    def subscription_of(self, row: Row) -> int | None:
        """See :class:`Write`."""
        return None if _is_about_everything(row) else self.statuses.subscription_of(row)

    def pairs(self) -> list[CallPair[Row]]:
        """See :class:`Write`. A row takes those of one kind."""
        return max(self.statuses.pairs(), self.opt_outs.pairs(), key=len)


class UnsubscribeAll(Write):
    """Opt subscribers out of everything, or of one brand.

    :param calls: of the API version in use.
    :param business_unit_id: brand.
    """

    def __init__(self, calls: Calls, *, business_unit_id: int | None = None) -> None:
        brand = {"business_unit_id": business_unit_id}
        self._brand = business_unit_id
        of_brand = "" if business_unit_id is None else f" of brand {business_unit_id}"
        super().__init__(
            f"opt out{of_brand or ' of everything'}",
            f"opted out{of_brand}",
            write=CallPair(
                "batch_unsubscribe_all",
                lambda rows: calls.batch_unsubscribe_all(_subscribers(rows), **brand),
                lambda row: calls.unsubscribe_all(row.subscriber, **brand),
            ),
            read=CallPair(
                "batch_get_unsubscribe_all",
                lambda rows: calls.batch_get_unsubscribe_all(_subscribers(rows), **brand),
                lambda row: calls.get_unsubscribe_all(row.subscriber, **brand),
            ),
        )

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {"write": "batch_unsubscribe_all", "business_unit_id": self._brand}

    def matches(self, actual: Sequence[WideStatus], row: Row) -> bool:
        """Opted out of the brand, or of the whole portal."""
        return opted_out_of(self._brand, actual)

    def outcome_of(
        self, answered: Sequence[SubscriptionStatus], row: Row
    ) -> Literal["changed", "unchanged"] | None:
        """Unchanged where every subscription was unsubscribed before."""
        if {word_of(status.status) for status in answered} != {"UNSUBSCRIBED"}:
            return None
        return _changed(answered)


class SetStatus(Write):
    """Set the status of subscribers for a subscription: the same for all, or what each row says.

    :param calls: of the API version in use.
    :param subscription_id: None where the rows say it; the same goes for ``status``.
    :param allow_resubscribe: whether subscribers who have unsubscribed may be written. Without it actual statuses
        are read first, and those subscribers are rejected.
    :param basis_by_row: the rows say the legal basis, too.
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
    ) -> None:
        self._calls = calls
        self._same = Wanted(
            status=status,
            subscription_id=subscription_id,
            legal_basis=legal_basis,
            legal_basis_explanation=legal_basis_explanation,
        )
        self._allow_resubscribe = allow_resubscribe

        def set_one(row: Row) -> Call[Operation[Any]]:
            change = self._change(row)
            return calls.set_status(
                change.subscriber,
                change.subscription_id,
                change.status,
                legal_basis=change.legal_basis,
                legal_basis_explanation=change.legal_basis_explanation,
            )

        which = (
            "the subscription of each row" if subscription_id is None else f"subscription {subscription_id}"
        )
        super().__init__(
            f"set {which} to {status or 'the status of each row'}",
            f"set to {status}" if status else "set as their rows say",
            write=CallPair(
                "batch_set_statuses",
                lambda rows: calls.batch_set_statuses([self._change(row) for row in rows]),
                set_one,
            ),
            read=CallPair(
                "batch_get_statuses",
                lambda rows: calls.batch_get_statuses(_subscribers(rows)),
                lambda row: calls.get_statuses(row.subscriber),
            ),
            row_check=RowCheck(self._same, allow_resubscribe=allow_resubscribe),
        )
        # HubSpot's own pages ask for a legal basis when a person resubscribes a contact.
        if allow_resubscribe and status != "UNSUBSCRIBED" and not (basis_by_row or legal_basis):
            raise ValidationError("legal_basis: expected one with allow_resubscribe=True, got none")

    def arguments(self) -> dict[str, Any]:
        """See :class:`Write`."""
        return {
            "write": "batch_set_statuses",
            **msgspec.structs.asdict(self._same),
            "allow_resubscribe": self._allow_resubscribe,
        }

    def subscription_of(self, row: Row) -> int | None:
        """See :class:`Write`."""
        return self._change(row).subscription_id

    def reads_first(self, row: Row) -> bool:
        """Where the subscriber may have unsubscribed and would be resubscribed."""
        return self._change(row).status != "UNSUBSCRIBED" and not self._allow_resubscribe

    def matches(self, actual: Sequence[SubscriptionStatus], row: Row) -> bool:
        """See :class:`Write`."""
        wanted = self._change(row)
        found = [word_of(one.status) for one in actual if one.subscription_id == wanted.subscription_id]
        return bool(found) and set(found) == {wanted.status}

    def before_writing(self, statuses: Sequence[SubscriptionStatus] | None, row: Row) -> Outcome | None:
        """Subscribers who have unsubscribed must not be resubscribed.

        After an opt-out from everything HubSpot shows every subscription UNSUBSCRIBED (recorded live answers).
        """
        wanted = self._change(row)
        actual = actual_status(statuses, wanted.subscription_id)
        if actual is None:
            return outcome_unknown(row)
        if wanted.status == "UNSUBSCRIBED" or actual != "UNSUBSCRIBED":
            return Outcome(row, "unchanged") if self.matches(statuses or (), row) else None
        error = ValidationError(
            f"the subscriber has unsubscribed from subscription {wanted.subscription_id} and was not set to "
            f"{wanted.status}: if there is a new consent, set allow_resubscribe=True and a legal_basis. Nothing was "
            "written.",
            category="RESUBSCRIBE_NOT_ALLOWED",
            not_applied=True,
        )
        return outcome_of_error(row, error, "rejected")

    def outcome_of(
        self, answered: Sequence[SubscriptionStatus], row: Row
    ) -> Literal["changed", "unchanged"] | None:
        """See :class:`Write`."""
        if not self.matches(answered, row):
            return None
        mine = self._change(row).subscription_id
        return _changed([one for one in answered if one.subscription_id == mine])

    def was_raced(self, answered: Sequence[SubscriptionStatus], row: Row) -> bool:
        """HubSpot says RESUBSCRIBE_OCCURRED: the subscriber unsubscribed after the actual status was read.

        So it does where the rest of the answer's row cannot be read.
        """
        numbers = {self._change(row).subscription_id, SubscriptionStatus.PLACEHOLDER["subscription_id"]}
        reasons = {one.set_status_success_reason for one in answered if one.subscription_id in numbers}
        return self.reads_first(row) and RESUBSCRIBE_OCCURRED in map(word_of, filter(None, reasons))

    def undo(self) -> SetStatus:
        """See :class:`Write`. The rows may name the subscription."""
        number = self._same.subscription_id
        return SetStatus(self._calls, subscription_id=number, status="UNSUBSCRIBED")

    def _change(self, row: Row) -> StatusChange:
        """What a row wants: what is the same for all, and what it says itself."""
        same, own = self._same, row.wanted or _NOTHING
        number = own.subscription_id if same.subscription_id is None else same.subscription_id
        return StatusChange(
            subscriber=row.subscriber,
            # None, where a program names neither, is refused with the call.
            subscription_id=cast("int", number),
            status=same.status or own.status or "",
            legal_basis=same.legal_basis or own.legal_basis,
            legal_basis_explanation=same.legal_basis_explanation or own.legal_basis_explanation,
        )


def _is_about_everything(row: Row) -> bool:
    return row.wanted is None or row.wanted.subscription_id is None


def _subscribers(rows: Sequence[Row]) -> list[str]:
    return [row.subscriber for row in rows]


def opted_out_of(brand: int | None, actual: Sequence[WideStatus]) -> bool:
    """Whether these show an opt-out of the whole portal, or of the brand where one is given.

    Without a brand, the opt-out of one brand is not one of everything.
    """
    return any(word_of(wide.status) == "UNSUBSCRIBED" and _covers(wide, brand) for wide in actual)


def _covers(wide: WideStatus, brand: int | None) -> bool:
    kind = word_of(wide.wide_status_type or "")
    if not kind:
        kind = "PORTAL_WIDE" if wide.business_unit_id is None else "BUSINESS_UNIT_WIDE"
    of_brand = brand is not None and wide.business_unit_id == brand
    return kind == "PORTAL_WIDE" or (kind == "BUSINESS_UNIT_WIDE" and of_brand)


def _changed(answered: Sequence[SubscriptionStatus]) -> Literal["changed", "unchanged"]:
    reasons = {word_of(status.set_status_success_reason or "") for status in answered}
    return "unchanged" if reasons == {NO_STATUS_CHANGE} else "changed"
