"""Guards: what must be so before anything is written.

Only active subscriptions of the portal are written; no subscriber is resubscribed without permission; a run that would
write more rows than it may writes none.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.source.row import (
    INVALID_LEGAL_BASIS,
    INVALID_SUBSCRIPTION,
    INVALID_TIME,
    CellError,
    Wanted,
)
from airflow_provider_hubprefs.hubspot.api.models import STATUSES
from airflow_provider_hubprefs.hubspot.errors import MissingScopesError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from airflow_provider_hubprefs.hubspot.api.models import Definition, StatusName, SubscriptionStatus
    from airflow_provider_hubprefs.hubspot.transport.client import Client


MAX_AGE = 5.0
"""Seconds; a write that rests on a reading leaves at most so long after the reading did."""

CLOCKS_DIFFER = timedelta(minutes=5)
"""So far ahead may the clock be that wrote the times of a source."""


def actual_status(statuses: Sequence[SubscriptionStatus] | None, subscription_id: int) -> StatusName | None:
    """The actual status of a subscriber for a subscription; None: unknown, which is no permission to write.

    HubSpot shows every active subscription of a subscriber (recorded live answers): one that is missing among others is
    unknown.

    :param statuses: all of the subscriber, as far as they are certain, see
        :func:`~airflow_provider_hubprefs.hubspot.api.answers.certain_statuses`; None: none is.
    """
    if not statuses:
        return None if statuses is None else "NOT_SPECIFIED"
    words = {word_of(one.status) for one in statuses if one.subscription_id == subscription_id}
    return next((status for status in STATUSES if words == {status}), None)


def word_of(status: str) -> str:
    """A word of HubSpot's, in the case of its documents."""
    return status.strip().upper()


def check_changes(most: int, rows: int | None) -> None:
    """Refuse a source of which more rows would be written than may be.

    :param rows: that would be written; None: the source can be read only once.
    :raises ValidationError: there are more; the text says how many. Or the source can be read only once.
    """
    if rows is None:
        raise ValidationError(
            "max_changes needs a source that can be read twice, and this one can be read only once. Nothing was sent. "
            "Give a list or a file",
            not_applied=True,
        )
    if rows > most:
        raise ValidationError(
            f"max_changes is {most:,}, and {rows:,} rows would be written. Nothing was sent. Check the source; if all "
            f"of its rows are meant, set max_changes to {rows} or more, or leave it out",
            not_applied=True,
        )


def unusable_subscription(definitions: Iterable[Definition], subscription_id: int) -> ValidationError | None:
    """Say why a subscription cannot be written; None: the portal has it and it is active."""
    by_id = {definition.id: definition for definition in definitions}
    found = by_id.get(subscription_id)
    if found is not None and found.is_active is not False:
        return None
    active = ", ".join(f"{one.id} ({one.name})" for one in by_id.values() if one.is_active is not False)
    what = "is not active" if found is not None else "is not one of the portal's"
    return ValidationError(
        f"subscription_id: {subscription_id} {what}; active ones are: {active or 'none'}", not_applied=True
    )


def permitted_definitions(client: Client) -> list[Definition] | None:
    """Fetch the portal's subscription types, of all brands; None: the token may not ask, or the answer is not whole."""
    try:
        answer = client.send(client.calls.get_definitions())
    except MissingScopesError:
        return None
    return answer.results if answer.ended else None


class RowCheck:
    """Refuses what a row says where HubSpot would, or where it lacks what a resubscription needs.

    :param same: what is the same for all rows.
    :param allow_resubscribe: see :class:`~.writes.SetStatus`.
    """

    def __init__(self, same: Wanted, *, allow_resubscribe: bool) -> None:
        self._same = same
        self._allow_resubscribe = allow_resubscribe
        self.active: frozenset[int] | None = None
        """Ids of the portal's active subscriptions; None: unknown, then every id passes."""
        self.subscribes = False
        """Whether a row was seen that needs its actual status to be read. A status column is read to its end first."""
        self.as_of: datetime | None = None
        """When the run began to read the source, the same in all its tries; the run sets it."""
        self.names: dict[int, str] = {}
        """Of the portal's subscriptions."""

    def use_definitions(self, definitions: Sequence[Definition] | None) -> None:
        """Take the portal's subscriptions, before any row is checked.

        :param definitions: None: the token may not ask for them.
        :raises ValidationError: the subscription that is the same for all rows cannot be written.
        """
        if definitions is None:
            return
        self.names = {one.id: one.name for one in definitions if one.name}
        number = self._same.subscription_id
        if number is not None and (error := unusable_subscription(definitions, number)) is not None:
            raise error
        self.active = frozenset(one.id for one in definitions if one.is_active is not False)

    def __call__(self, wanted: Wanted) -> None:
        """Check one row.

        :raises CellError: the row is invalid.
        """
        number = wanted.subscription_id
        if self.active is not None and number is not None and number not in self.active:
            raise CellError(
                INVALID_SUBSCRIPTION, f"subscription {number} is not one of the portal's active ones"
            )
        if wanted.effective_at and self.as_of and wanted.effective_at > self.as_of + CLOCKS_DIFFER:
            raise CellError(INVALID_TIME, "the time is in the future")
        status = self._same.status or wanted.status
        self.subscribes = self.subscribes or (status != "UNSUBSCRIBED" and not self._allow_resubscribe)
        basis = self._same.legal_basis or wanted.legal_basis
        if self._allow_resubscribe and status != "UNSUBSCRIBED" and not basis:
            raise CellError(INVALID_LEGAL_BASIS, "the legal basis is empty, and allow_resubscribe needs one")
