"""A portal as a document (a mapping, or a JSON file): read, checked, and filled with defaults.

=============================== ====================================================================
member                          meaning, default
=============================== ====================================================================
``portal_id``                   the account's number (``48120091``)
``time_zone``                   the daily limit resets at its midnight (``US/Eastern``)
``definitions``                 list of definitions in HubSpot's form (those of a realistic portal)
``brands``                      list of ids, or of ``{"id", "name"}``; a non-empty list turns the Brands add-on on
``tokens``                      ``{name: {kind, scopes, burst, daily, value, expires_in}}``, besides the default ones
``oauth``                       ``{client_id, client_secret, refresh_token, expires_in, rotate, scopes}``
``subscribers``                 ``{address: {"opted_out": true | [brands], "statuses": {id: STATUS}}}``
``rejected``                    ``{address or pattern: {"category", "message"}}``: HubSpot refuses these addresses
``missing``                     ``{"addresses": [...], "applied": false}``: the 200 of a batch leaves these out
``batch_maximum``               inputs per batch (100; HubSpot does not document it)
``batch_errors``                ``context`` (default), ``no_context`` or ``whole``
``data_privacy``                ``off`` (default) or ``strict``
``unknown_subscriber``          ``not_specified`` (default) or ``not_found``
``resubscribe_clears_opt_out``  whether SUBSCRIBED for one subscription ends a portal-wide opt-out (false)
``operations``                  ``{"seconds": 0, "outcomes": {address or pattern: "CANCELED" | any word}}``
``limits``                      see :class:`LimitSettings`
``indexing_seconds``            seconds until CRM searches see a change (0)
=============================== ====================================================================

Seconds are a number, or ``[from, to]``. Patterns are those of a shell: ``*`` and ``?``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from airflow_provider_hubprefs.simulator.portal.definitions import ALL_SCOPES, SubscriptionType

Seconds = float | tuple[float, float]
Status = Literal["SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"]


class PortalError(ValueError):
    """A portal document cannot be loaded; the text names the member and what was expected."""


class _Member(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of all: an unknown member is refused."""


class BrandSettings(_Member):
    """One brand (``businessUnitId``)."""

    id: int
    name: str = ""


class TokenSettings(_Member):
    """One token; absent members mean all scopes, the account's limits, a made-up value, no expiry.

    :param expires_in: seconds; a negative number makes an expired token.
    """

    kind: Literal["private_app", "service_key", "oauth"] = "private_app"
    scopes: list[str] = msgspec.field(default_factory=lambda: list(ALL_SCOPES))
    burst: int | None = None
    daily: int | None = None
    value: str | None = None
    expires_in: float | None = None


class OAuthSettings(_Member):
    """The OAuth app that is installed in the portal.

    :param rotate: whether each refresh gives a new refresh token.
    """

    client_id: str = "simulated-client"
    client_secret: str = "simulated-secret"  # noqa: S105 - of no real app
    refresh_token: str = "simulated-refresh-token"  # noqa: S105
    expires_in: int = 1800
    rotate: bool = False
    scopes: list[str] = msgspec.field(default_factory=lambda: list(ALL_SCOPES))


class SubscriberSettings(_Member):
    """What the portal knows of a subscriber from the start.

    :param opted_out: of the whole portal (true), or of these brands.
    """

    opted_out: bool | list[int] = False
    statuses: dict[int, Status] = {}


class Rejection(_Member):
    """Why HubSpot refuses an address; ``{address}`` stands for it in the message."""

    category: str = "VALIDATION_ERROR"
    message: str = "{address} cannot receive communication preferences"


class MissingSettings(_Member):
    """Subscribers that the 200 of a batch leaves out.

    :param applied: whether a write to them is made.
    """

    addresses: list[str] = []
    applied: bool = False


class OperationSettings(_Member):
    """How long a write takes to end, and how it ends (COMPLETE unless listed)."""

    seconds: Seconds = 0.0
    outcomes: dict[str, str] = {}


class LimitSettings(_Member):
    """The account's limits; a token may have its own.

    :param burst: requests in ``interval_ms``, per app.
    :param search: CRM searches a second, of the whole account.
    :param search_results: results that a search can page to.
    :param search_page: results of one page, also where a search asks for more.
    :param count_refused: whether a refused request counts as well.
    """

    burst: int = 190
    interval_ms: int = 10_000
    daily: int = 1_000_000
    search: int = 5
    search_results: int = 10_000
    search_page: int = 200
    count_refused: bool = False


class PortalSettings(_Member):
    """A portal document; the module's table says what each member means."""

    portal_id: int = 48120091
    time_zone: str = "US/Eastern"
    definitions: list[SubscriptionType] | None = None
    brands: list[int | BrandSettings] = []
    tokens: dict[str, TokenSettings] = {}
    oauth: OAuthSettings = msgspec.field(default_factory=OAuthSettings)
    subscribers: dict[str, SubscriberSettings] = {}
    rejected: dict[str, Rejection] = msgspec.field(
        default_factory=lambda: {"rejected*@hubspot-rejects.example": Rejection()}
    )
    missing: MissingSettings = msgspec.field(default_factory=MissingSettings)
    batch_maximum: int = 100
    batch_errors: Literal["context", "no_context", "whole"] = "context"
    data_privacy: Literal["off", "strict"] = "off"
    unknown_subscriber: Literal["not_specified", "not_found"] = "not_specified"
    resubscribe_clears_opt_out: bool = False
    operations: OperationSettings = msgspec.field(default_factory=OperationSettings)
    limits: LimitSettings = msgspec.field(default_factory=LimitSettings)
    indexing_seconds: Seconds = 0.0

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"expected a time zone for time_zone, got {self.time_zone!r}") from None


def read_settings(document: Mapping[str, Any] | Path | str | None) -> PortalSettings:
    """Read and check a portal document.

    :param document: a mapping, or the path of a JSON file; the defaults if None.
    :raises PortalError: the file cannot be read, or a member is unknown or of the wrong kind.
    """
    where = "portal" if document is None or isinstance(document, Mapping) else f"portal file {document}"
    try:
        if document is None or isinstance(document, Mapping):
            encoded = msgspec.json.encode(dict(document or {}))
        else:
            encoded = Path(document).read_bytes()
        return msgspec.json.decode(encoded, type=PortalSettings)
    except OSError as error:
        raise PortalError(f"{where}: {error.strerror or error}") from None
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise PortalError(f"{where}: {error} (members: {__name__})") from None


def drawn_ms(seconds: Seconds, share: float) -> int:
    """Return a duration in milliseconds.

    :param share: where in ``[from, to]`` it lies, from 0 to 1.
    """
    least, most = seconds if isinstance(seconds, tuple) else (seconds, seconds)
    return int((least + (most - least) * share) * 1000)
