"""What the simulated portal offers: scopes and subscriptions."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_hubprefs.simulator.portal.clock import iso

READ = "communication_preferences.read"
WRITE = "communication_preferences.write"
READ_WRITE = "communication_preferences.read_write"
BATCH_READ = "communication_preferences.statuses.batch.read"
BATCH_WRITE = "communication_preferences.statuses.batch.write"
CONTACTS_READ = "crm.objects.contacts.read"
BATCH_SCOPES = (BATCH_READ, BATCH_WRITE)
ALL_SCOPES = (READ, WRITE, READ_WRITE, *BATCH_SCOPES, CONTACTS_READ)

CREATED_MS = 1709631000000
"""When all definitions were made, in milliseconds since 1970."""


class SubscriptionType(msgspec.Struct, kw_only=True, rename="camel"):
    """One definition, with the members that HubSpot sends.

    HubSpot sends ``id`` as text here and as a number in statuses.
    """

    id: str
    name: str
    description: str = ""
    purpose: str = "Marketing"
    communication_method: str = "Email"
    brand: int = msgspec.field(name="businessUnitId", default=0)
    active: bool = msgspec.field(name="isActive", default=True)
    is_default: bool = False
    is_internal: bool = False
    created_at: str = iso(CREATED_MS)
    updated_at: str = iso(CREATED_MS)
    subscription_translations: list[dict[str, Any]] = []

    @property
    def number(self) -> int:
        """The id as a number."""
        return int(self.id)


def definitions_of_portal(brands: list[int]) -> dict[int, SubscriptionType]:
    """Return the definitions of a realistic portal by number; each further brand adds one.

    Every portal has the first three (recorded live answers: names, purposes, which are internal). A company adds
    the others. The last one before those of the brands is archived.
    """
    own: dict[str, Any] = {"is_default": True, "is_internal": True}
    german = {
        "languageCode": "de",
        "name": "Monatlicher Newsletter",
        "description": "Einmal im Monat das Neueste.",
        "createdAt": CREATED_MS,
        "updatedAt": CREATED_MS,
        "subscriptionId": 348211907,
    }
    listed: list[tuple[int, str, str, str, dict[str, Any]]] = [
        (348211900, "Marketing Information", "Marketing", "Offers and updates.", {"is_default": True}),
        (348211901, "Customer Service Communication", "Service", "Requests for feedback.", own),
        (348211902, "One to One", "Sales", "One to One emails", own),
        (348211907, "Monthly newsletter", "Marketing", "News.", {"subscription_translations": [german]}),
        (348211911, "Product updates", "Service", "New features and maintenance.", {}),
        (348211915, "Events and webinars", "Marketing", "Invitations to events.", {}),
        (348211919, "Partner offers", "Marketing", "Offers of our partners.", {"active": False}),
    ]
    listed += [
        (348220000 + brand % 10_000, f"Newsletter of brand {brand}", "Marketing", "", {"brand": brand})
        for brand in brands
        if brand
    ]
    return {
        number: SubscriptionType(id=str(number), name=name, purpose=purpose, description=text, **more)
        for number, name, purpose, text, more in listed
    }
