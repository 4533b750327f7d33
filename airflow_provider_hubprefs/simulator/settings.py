"""A portal as a document (a mapping, or a JSON file): read, checked, and given its defaults.

=============================== ====================================================================
member                          meaning, default
=============================== ====================================================================
``portal_id``                   the account's number (``48120091``)
``time_zone``                   the account's time zone: the daily limit resets at its midnight
``tier``                        ``starter``, ``professional`` or ``enterprise`` (default): the limits, and whether
                                batch scopes can be granted
``definitions``                 list of definitions in HubSpot's form (default: a realistic portal's)
``brands``                      list of ids, or of ``{"id", "name"}``; non-empty turns the Brands add-on on
``tokens``                      ``{name: {kind, scopes, burst, daily, value, expires_in}}``, added to the default ones
``oauth``                       ``{client_id, client_secret, refresh_token, expires_in, rotate, scopes}``
``subscribers``                 ``{address: {"opted_out": true | [brands], "statuses": {id: STATUS | {...}}}}``
``generate``                    a number: so many subscribers ``subscriber-0000001@example.com`` and on
``rejected``                    ``{address or pattern: {"category", "message"}}``: refused by HubSpot
``missing``                     ``{"addresses": [...], "share": 0.0, "applied": false}``: left out of a batch's 200
``batch_maximum``               inputs per batch (100; HubSpot does not document it)
``batch_errors``                ``context`` (default), ``no_context`` or ``whole``
``data_privacy``                ``off`` (default), ``v3-only`` or ``strict``
``unknown_subscriber``          ``not_specified`` (default) or ``not_found``
``unknown_subscription``        ``invalid`` (400, default) or ``not_found`` (404)
``resubscribe_clears_opt_out``  whether one subscription's SUBSCRIBED ends a portal-wide opt-out (false)
``operations``                  ``{"seconds": 0, "outcomes": {address or pattern: "CANCELED" | any word}}``; the
                                seconds a number, or ``[from, to]``
``limits``                      ``{burst, interval_ms, daily, search, count_refused, retry_after}``
``indexing_seconds``            after how long CRM searches see a change (0): a number, or ``[from, to]``
=============================== ====================================================================

Patterns are those of a shell: ``*`` and ``?``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_hubprefs.simulator.clock import milliseconds
from airflow_provider_hubprefs.simulator.definitions import (
    ALL_SCOPES,
    TIERS,
    brand_definitions,
    default_definitions,
)

Document = Mapping[str, Any]
T = TypeVar("T")

DEFAULT_REJECTED: dict[str, dict[str, str]] = {
    "rejected*@hubspot-rejects.example": {
        "category": "VALIDATION_ERROR",
        "message": "{address} cannot receive communication preferences",
    }
}
_CHOICES = {
    "batch_errors": ("context", "no_context", "whole"),
    "data_privacy": ("off", "v3-only", "strict"),
    "unknown_subscriber": ("not_specified", "not_found"),
    "unknown_subscription": ("invalid", "not_found"),
    "tier": tuple(TIERS),
}


class PortalError(ValueError):
    """A portal document that cannot be loaded; the text names the member and what was expected."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One subscription type of the portal, with its number at hand."""

    number: int
    brand: int
    active: bool
    name: str
    created_ms: int
    body: dict[str, Any]


@dataclass(slots=True)
class LimitSettings:
    """The account's limits; a token may have its own. ``search`` is what all may search together in a second."""

    burst: int = 190
    interval_ms: int = 10_000
    daily: int = 1_000_000
    search: int = 5
    count_refused: bool = False
    retry_after: bool = False


@dataclass(slots=True)
class Settings:
    """How this portal behaves; the module's table says what each member means."""

    portal_id: int = 48120091
    time_zone: str = "US/Eastern"
    tier: str = "enterprise"
    definitions: dict[int, Definition] = field(default_factory=dict)
    brands: dict[int, str] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    oauth: dict[str, Any] = field(default_factory=dict)
    rejected: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, Any] = field(default_factory=dict)
    batch_maximum: int = 100
    batch_errors: str = "context"
    data_privacy: str = "off"
    unknown_subscriber: str = "not_specified"
    unknown_subscription: str = "invalid"
    resubscribe_clears_opt_out: bool = False
    operation_seconds: tuple[float, float] = (0.0, 0.0)
    operation_outcomes: dict[str, str] = field(default_factory=dict)
    indexing_seconds: tuple[float, float] = (0.0, 0.0)
    limits: LimitSettings = field(default_factory=LimitSettings)
    subscribers: dict[str, Any] = field(default_factory=dict)
    generate: int = 0


def read_document(source: Document | Path | str | None) -> dict[str, Any]:
    """Return a portal document, from a mapping or a JSON file.

    :raises PortalError: when the file is missing, is not JSON or does not hold an object.
    """
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return dict(source)
    path = Path(source)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PortalError(f"portal file {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise PortalError(f"portal file {path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise PortalError(f"portal file {path}: expected an object, found {type(document).__name__}")
    return document


def read_settings(document: Document) -> Settings:
    """Check a portal document and fill in what it leaves out.

    :raises PortalError: on an unknown member or a value of the wrong kind, naming it.
    """
    unknown = sorted(set(document) - set(_READERS))
    if unknown:
        raise PortalError(f"portal: unknown member {unknown[0]!r}; known are {', '.join(sorted(_READERS))}")
    settings = Settings()
    for name, kind in _READERS.items():
        if name in document:
            _set(settings, name, kind_of(f"portal.{name}", document[name], kind))
    if "limits" not in document or "burst" not in document["limits"]:
        settings.limits.burst = TIERS[settings.tier][0]
    if "limits" not in document or "daily" not in document["limits"]:
        settings.limits.daily = TIERS[settings.tier][1]
    if "rejected" not in document:
        settings.rejected = dict(DEFAULT_REJECTED)
    if "definitions" not in document:
        _set(settings, "definitions", default_definitions())
        for brand, name in settings.brands.items():
            if brand:
                _add_definitions(settings, brand_definitions(brand, name))
    settings.oauth = {
        "client_id": "simulated-client",
        "client_secret": "simulated-secret",
        "refresh_token": "simulated-refresh-token",
        "expires_in": 1800,
        "rotate": False,
        "scopes": list(ALL_SCOPES),
        **settings.oauth,
    }
    return settings


_READERS: dict[str, type | tuple[type, ...]] = {
    "portal_id": int,
    "time_zone": str,
    "tier": str,
    "definitions": list,
    "brands": list,
    "tokens": dict,
    "oauth": dict,
    "subscribers": dict,
    "generate": int,
    "rejected": dict,
    "missing": dict,
    "batch_maximum": int,
    "batch_errors": str,
    "data_privacy": str,
    "unknown_subscriber": str,
    "unknown_subscription": str,
    "resubscribe_clears_opt_out": bool,
    "operations": dict,
    "limits": dict,
    "indexing_seconds": (int, float, list),
}


def _set(settings: Settings, name: str, value: Any) -> None:
    if name in _CHOICES and value not in _CHOICES[name]:
        raise PortalError(f"portal.{name}: expected one of {', '.join(_CHOICES[name])}, found {value!r}")
    if name == "definitions":
        _add_definitions(settings, value)
    elif name == "brands":
        settings.brands = _brands(value)
    elif name == "operations":
        settings.operation_seconds = _seconds("portal.operations.seconds", value.get("seconds", 0))
        settings.operation_outcomes = kind_of("portal.operations.outcomes", value.get("outcomes", {}), dict)
    elif name == "limits":
        unknown = sorted(set(value) - set(LimitSettings.__slots__))
        if unknown:
            raise PortalError(f"portal.limits: unknown member {unknown[0]!r}")
        kinds = {each: bool if each in ("count_refused", "retry_after") else int for each in value}
        given: dict[str, Any] = {
            each: kind_of(f"portal.limits.{each}", value[each], kinds[each]) for each in value
        }
        settings.limits = LimitSettings(**given)
    elif name == "indexing_seconds":
        settings.indexing_seconds = _seconds("portal.indexing_seconds", value)
    elif name == "time_zone":
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise PortalError(f"portal.time_zone: {value!r} is not a time zone") from error
        settings.time_zone = value
    else:
        setattr(settings, name, value)


def _seconds(where: str, value: Any) -> tuple[float, float]:
    """Read a number, or ``[from, to]``."""
    least, most = value if isinstance(value, list) and len(value) == 2 else (value, value)
    return float(kind_of(where, least, (int, float))), float(kind_of(where, most, (int, float)))


def _brands(entries: list[Any]) -> dict[int, str]:
    brands: dict[int, str] = {}
    for entry in entries:
        entry_ = {"id": entry} if isinstance(entry, int) else kind_of("portal.brands", entry, dict)
        number = kind_of("portal.brands[].id", entry_.get("id"), int)
        brands[number] = str(entry_.get("name", f"Brand {number}"))
    # The account's own brand always exists, with the id 0 (HubSpot's guide).
    return {0: "Account brand", **brands} if brands else {}


def _add_definitions(settings: Settings, entries: list[Any]) -> None:
    for entry in entries:
        body = {
            "isActive": True,
            "isDefault": False,
            "isInternal": False,
            "businessUnitId": 0,
            "description": "",
            "communicationMethod": "Email",
            "purpose": "Marketing",
            "createdAt": "2024-03-05T09:30:00.000Z",
            **kind_of("portal.definitions[]", entry, dict),
        }
        body.setdefault("updatedAt", body["createdAt"])
        try:
            number = int(body["id"])
            body["id"] = str(number)  # HubSpot sends it as a string here, and as a number in statuses
            name = body["name"]
        except (KeyError, ValueError, TypeError) as error:
            raise PortalError(
                f"portal.definitions[]: a numeric id and a name are needed, found {entry!r}"
            ) from error
        settings.definitions[number] = Definition(
            number=number,
            brand=kind_of("portal.definitions[].businessUnitId", body["businessUnitId"], int),
            active=kind_of("portal.definitions[].isActive", body["isActive"], bool),
            name=str(name),
            created_ms=_created(body["createdAt"]),
            body=body,
        )


def _created(text: Any) -> int:
    try:
        return milliseconds(text)
    except (TypeError, ValueError) as error:
        raise PortalError(f"portal.definitions[].createdAt: {text!r} is not an ISO 8601 time") from error


def kind_of(name: str, value: Any, kind: type[T] | tuple[type[T], ...]) -> T:
    """Return a value if it is of the kind; a boolean is not taken for a number.

    :raises PortalError: when it is not, naming the member.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(each.__name__ for each in kinds)
        raise PortalError(f"{name}: expected {wanted}, found {type(value).__name__}")
    return value
