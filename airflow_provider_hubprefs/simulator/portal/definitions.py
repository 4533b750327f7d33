"""What the simulated portal offers by default: scopes and subscriptions."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_hubprefs.simulator.portal.clock import milliseconds

READ = "communication_preferences.read"
WRITE = "communication_preferences.write"
READ_WRITE = "communication_preferences.read_write"
BATCH_READ = "communication_preferences.statuses.batch.read"
BATCH_WRITE = "communication_preferences.statuses.batch.write"
CONTACTS_READ = "crm.objects.contacts.read"
BATCH_SCOPES = (BATCH_READ, BATCH_WRITE)
ALL_SCOPES = (READ, WRITE, READ_WRITE, *BATCH_SCOPES, CONTACTS_READ)

_CREATED = "2024-03-05T09:30:00.000Z"


class SubscriptionType(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One definition, with the members that HubSpot sends.

    HubSpot sends ``id`` as text here and as a number in statuses.

    :raises ValueError: ``id`` is no number, or a time is not ISO 8601.
    """

    id: int | str
    name: str
    description: str = ""
    purpose: str = "Marketing"
    communication_method: str = "Email"
    brand: int = msgspec.field(name="businessUnitId", default=0)
    active: bool = msgspec.field(name="isActive", default=True)
    is_default: bool = False
    is_internal: bool = False
    created_at: str = _CREATED
    updated_at: str = _CREATED
    subscription_translations: list[dict[str, Any]] = []

    def __post_init__(self) -> None:
        try:
            self.id = str(int(self.id))
        except ValueError:
            raise ValueError(f"expected a numeric id, got {self.id!r}") from None
        for name, text in (("createdAt", self.created_at), ("updatedAt", self.updated_at)):
            try:
                milliseconds(text)
            except ValueError:
                raise ValueError(f"expected an ISO 8601 time for {name}, got {text!r}") from None

    @property
    def number(self) -> int:
        """The id as a number."""
        return int(self.id)


def default_definitions() -> list[SubscriptionType]:
    """Return the definitions of a realistic portal.

    Every portal has the first three (recorded live answers: names, purposes, which are internal). A company adds
    the others. The last one is archived.
    """
    own: dict[str, Any] = {"is_default": True, "is_internal": True}
    german = {
        "languageCode": "de",
        "name": "Monatlicher Newsletter",
        "description": "Einmal im Monat das Neueste.",
        "createdAt": 1709631000000,
        "updatedAt": 1709631000000,
        "subscriptionId": 348211907,
    }
    listed: tuple[tuple[int, str, str, str, dict[str, Any]], ...] = (
        (348211900, "Marketing Information", "Marketing", "Offers and updates.", {"is_default": True}),
        (348211901, "Customer Service Communication", "Service", "Requests for feedback.", own),
        (348211902, "One to One", "Sales", "One to One emails", own),
        (348211907, "Monthly newsletter", "Marketing", "News.", {"subscription_translations": [german]}),
        (348211911, "Product updates", "Service", "New features and maintenance.", {}),
        (348211915, "Events and webinars", "Marketing", "Invitations to events.", {}),
        (348211919, "Partner offers", "Marketing", "Offers of our partners.", {"active": False}),
    )
    return [
        SubscriptionType(id=number, name=name, purpose=purpose, description=text, **more)
        for number, name, purpose, text, more in listed
    ]


def brand_definition(brand: int, name: str) -> SubscriptionType:
    """Return the definition that a further brand adds to the default portal."""
    return SubscriptionType(id=348220000 + brand % 10_000, name=f"{name} newsletter", brand=brand)
