"""Guards: what must be so before anything is written.

Only active subscriptions of the portal are written; no subscriber is resubscribed without permission; a run that would
write more rows than it may writes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_hubprefs.hubspot.api.models import STATUSES
from airflow_provider_hubprefs.hubspot.errors import MissingScopesError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_hubprefs.hubspot.api.models import Definition, StatusName, SubscriptionStatus
    from airflow_provider_hubprefs.hubspot.transport.client import Client


MAX_AGE = 5.0
"""Seconds; a write that rests on a reading leaves at most so long after the reading did."""


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
