"""The four operations of v3: strings for ids, NOT_SUBSCRIBED, and a 400 for whatever is already so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.simulator import call as calls
from airflow_provider_hubprefs.simulator.bodies import Answer, invalid, not_found
from airflow_provider_hubprefs.simulator.portal import LEGAL_BASES

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator.call import Call
    from airflow_provider_hubprefs.simulator.portal import Portal
    from airflow_provider_hubprefs.simulator.settings import Definition


def definitions(portal: Portal, _: Call) -> Answer:
    """List the definitions, in v3's own envelope."""
    rows = [
        {name: value for name, value in each.body.items() if name != "subscriptionTranslations"}
        for each in portal.settings.definitions.values()
    ]
    return Answer(200, {"subscriptionDefinitions": rows})


def get_status(portal: Portal, call: Call) -> Answer:
    """Tell a subscriber's statuses; 404 for an address without any (HubSpot's v3 Postman collection)."""
    key = portal.check_address(call.address)
    if not portal.history(key):
        raise not_found(
            f"{call.address} either has no subscriptions associated with this portal or does not exist"
        )
    statuses = [_status(portal, key, each) for each in portal.active]
    return Answer(200, {"recipient": call.address, "subscriptionStatuses": statuses})


def subscribe(portal: Portal, call: Call) -> Answer:
    """Subscribe; refused after any unsubscribing, for v3 knows no way back (HubSpot's v3 guide)."""
    return _write(portal, call, "SUBSCRIBED")


def unsubscribe(portal: Portal, call: Call) -> Answer:
    """Unsubscribe from one subscription."""
    return _write(portal, call, "UNSUBSCRIBED")


def _write(portal: Portal, call: Call, wanted: str) -> Answer:
    body = call.object("PublicUpdateSubscriptionStatusRequest", ["emailAddress", "subscriptionId"])
    address = calls.text(body, "emailAddress")
    subscription = calls.text(body, "subscriptionId")
    legal_basis = calls.optional_text(body, "legalBasis", LEGAL_BASES)
    explanation = calls.optional_text(body, "legalBasisExplanation")
    if not (subscription.isascii() and subscription.isdigit()) or len(subscription) > 19:
        raise invalid(f"Subscription {subscription} does not exist in portal {portal.settings.portal_id}")
    key = portal.check_address(address)
    definition = portal.definition(int(subscription))
    portal.check_legal_basis("v3", legal_basis, explanation)
    before = portal.status(key, definition)
    if wanted == "SUBSCRIBED" and before == "UNSUBSCRIBED":
        raise invalid(
            f"Subscription {definition.number} for {address} cannot be updated because they have unsubscribed"
        )
    if before == wanted:
        word = "subscribed" if wanted == "SUBSCRIBED" else "unsubscribed"
        raise invalid(f"{address} is already {word} to subscription {definition.number}")
    portal.set_status(key, definition, wanted, legal_basis=legal_basis, explanation=explanation)
    return Answer(200, _status(portal, key, definition))


def _status(portal: Portal, key: str, definition: Definition) -> dict[str, Any]:
    """Return one PublicSubscriptionStatus; v3 has no word for "not specified"."""
    change = portal.current(key, definition)
    source = "SUBSCRIPTION_STATUS"
    if change is not None and change.subscription is None:
        source = "PORTAL_WIDE_STATUS" if change.brand is None else "BRAND_WIDE_STATUS"
    return {
        "id": str(definition.number),
        "name": definition.name,
        "description": str(definition.body["description"]),
        "status": "SUBSCRIBED" if change is not None and change.status == "SUBSCRIBED" else "NOT_SUBSCRIBED",
        "sourceOfStatus": source,
        "brandId": definition.brand or None,
        "preferenceGroupName": None,
        "legalBasis": change.legal_basis if change else None,
        "legalBasisExplanation": change.explanation if change else None,
    }
