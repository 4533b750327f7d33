"""A guard: only active subscriptions of the portal are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_hubprefs.hubspot.errors import MissingScopesError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_hubprefs.hubspot.api.models import Definition
    from airflow_provider_hubprefs.hubspot.transport.client import Client


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
    """Fetch the portal's subscription types, of all brands; None: the token may not ask."""
    try:
        return client.send(client.calls.get_definitions()).results
    except MissingScopesError:
        return None
