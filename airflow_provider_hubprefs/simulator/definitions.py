"""What the simulated portal offers when nothing else is loaded: definitions, brands, scopes and tiers."""

from __future__ import annotations

from typing import Any

READ = "communication_preferences.read"
WRITE = "communication_preferences.write"
READ_WRITE = "communication_preferences.read_write"
BATCH_READ = "communication_preferences.statuses.batch.read"
BATCH_WRITE = "communication_preferences.statuses.batch.write"
CONTACTS_READ = "crm.objects.contacts.read"
ALL_SCOPES = (READ, WRITE, READ_WRITE, BATCH_READ, BATCH_WRITE, CONTACTS_READ)
BATCH_SCOPES = frozenset({BATCH_READ, BATCH_WRITE})

TIERS: dict[str, tuple[int, int]] = {
    # requests per ten seconds, requests per day: HubSpot's usage guidelines
    "starter": (100, 250_000),
    "professional": (190, 625_000),
    "enterprise": (190, 1_000_000),
}

_CREATED = "2024-03-05T09:30:00.000Z"


def _definition(number: int, name: str, description: str, purpose: str, **other: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "name": name,
        "description": description,
        "purpose": purpose,
        "communicationMethod": "Email",
        "businessUnitId": 0,
        "isActive": True,
        "isDefault": False,
        "isInternal": False,
        "createdAt": _CREATED,
        "updatedAt": _CREATED,
        **other,
    }


def default_definitions() -> list[dict[str, Any]]:
    """Return the definitions of a portal as it is in practice.

    The first three are those every portal has (recorded live answers: names, purposes, which are internal);
    the others are what a company adds. One of them is archived.
    """
    german = {
        "languageCode": "de",
        "name": "Monatlicher Newsletter",
        "description": "Einmal im Monat das Neueste.",
        "createdAt": 1709631000000,
        "updatedAt": 1709631000000,
        "subscriptionId": 348211907,
    }
    return [
        _definition(
            348211900,
            "Marketing Information",
            "Marketing offers and updates.",
            "Marketing",
            isDefault=True,
        ),
        _definition(
            348211901,
            "Customer Service Communication",
            "Receive feedback requests and customer service information.",
            "Service",
            isDefault=True,
            isInternal=True,
        ),
        _definition(348211902, "One to One", "One to One emails", "Sales", isDefault=True, isInternal=True),
        _definition(
            348211907,
            "Monthly newsletter",
            "The latest, once a month.",
            "Marketing",
            subscriptionTranslations=[german],
        ),
        _definition(
            348211911, "Product updates", "New features, changes and planned maintenance.", "Service"
        ),
        _definition(
            348211915, "Events and webinars", "Invitations to events near you and online.", "Marketing"
        ),
        _definition(
            348211919,
            "Partner offers",
            "Discontinued: offers of our partners.",
            "Marketing",
            isActive=False,
        ),
    ]


def brand_definitions(brand: int, name: str) -> list[dict[str, Any]]:
    """Return the definition that a brand beside the account's own one adds to the default portal."""
    return [
        _definition(
            348220000 + brand % 10_000,
            f"{name} newsletter",
            f"News of {name}.",
            "Marketing",
            businessUnitId=brand,
        )
    ]
