"""Tokens: those the portal has, those it mints, and the three endpoints that tell about them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from airflow_provider_hubprefs.simulator.bodies import (
    Answer,
    HubSpotError,
    expired_token,
    invalid,
    no_credentials,
    not_found,
)
from airflow_provider_hubprefs.simulator.clock import Clock, iso
from airflow_provider_hubprefs.simulator.definitions import ALL_SCOPES, BATCH_SCOPES, READ
from airflow_provider_hubprefs.simulator.settings import PortalError, Settings, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("private_app", "service_key", "oauth")
NO_BATCH = tuple(scope for scope in ALL_SCOPES if scope not in BATCH_SCOPES)


@dataclass(slots=True)
class Token:
    """What may be done with one bearer token.

    :param app: whose burst limit it draws on; the access tokens of one OAuth installation share theirs.
    :param daily: the account's daily limit as this token is told of it; ``None``: no daily limit or header.
    :param expires_ms: when it ends; ``None``: never.
    """

    name: str
    value: str
    kind: str
    scopes: frozenset[str]
    app: str
    burst: int
    daily: int | None
    expires_ms: int | None = None

    @property
    def group(self) -> str:
        """The word in ``groupName`` of a 429; it varies with the kind of authentication."""
        return {"private_app": "private-apps", "service_key": "service-keys"}.get(self.kind, "oauth")

    def may(self, alternatives: tuple[frozenset[str], ...]) -> bool:
        """Tell whether the scopes suffice for an endpoint."""
        return any(wanted <= self.scopes for wanted in alternatives)


class Tokens:
    """All tokens of a portal, by name and by value.

    Beside those of the portal document there are always: ``all`` (every scope), ``starter`` (no batch
    scopes: they cannot be granted below Marketing Hub Enterprise), ``read_only`` and ``expired``.
    """

    def __init__(self, settings: Settings, clock: Clock, seed: int) -> None:
        self._settings = settings
        self._clock = clock
        self._seed = seed
        self._by_value: dict[str, Token] = {}
        self.by_name: dict[str, Token] = {}
        self.refresh_tokens = {str(settings.oauth["refresh_token"])}
        self.minted = 0
        named: dict[str, dict[str, Any]] = {
            "all": {},
            "starter": {"scopes": NO_BATCH},
            "read_only": {"scopes": [READ]},
            "expired": {"kind": "oauth", "expires_in": -3600},
            **settings.tokens,
        }
        for name, wanted in named.items():
            self._add(name, wanted)

    def authenticate(self, authorization: str) -> Token:
        """Return the token of an ``Authorization`` header.

        :raises HubSpotError: 401, for a missing, unknown or expired one.
        """
        scheme, _, value = authorization.partition(" ")
        token = self._by_value.get(value.strip())
        if scheme.lower() != "bearer" or token is None:
            raise no_credentials()
        now = self._clock.now_ms()
        if token.expires_ms is not None and token.expires_ms <= now:
            raise expired_token((now - token.expires_ms) // 1000, iso(token.expires_ms))
        return token

    def name_of(self, authorization: str) -> str:
        """Return the name of a header's token, to be recorded in its place."""
        token = self._by_value.get(authorization.partition(" ")[2].strip())
        return token.name if token else "unknown"

    def mint(self) -> Token:
        """Make an OAuth access token that expires."""
        self.minted += 1
        oauth = self._settings.oauth
        wanted = {"kind": "oauth", "expires_in": oauth["expires_in"], "scopes": oauth["scopes"]}
        return self._add(f"oauth-{self.minted}", wanted)

    def rotate(self, old: str) -> str:
        """Return the refresh token for the next time: the same, or a new one if the portal rotates them."""
        if not self._settings.oauth["rotate"]:
            return old
        self.refresh_tokens.discard(old)
        new = f"simulated-refresh-{self._uuid(f'refresh-{self.minted}')}"
        self.refresh_tokens.add(new)
        return new

    def find(self, value: str) -> Token | None:
        """Return the token with this value."""
        return self._by_value.get(value)

    def _add(self, name: str, wanted: Mapping[str, Any]) -> Token:
        where = f"portal.tokens.{name}"
        kind_of(where, wanted, dict)
        kind = wanted.get("kind", "private_app")
        if kind not in KINDS:
            raise PortalError(f"{where}.kind: expected one of {', '.join(KINDS)}, found {kind!r}")
        scopes = frozenset(wanted.get("scopes", ALL_SCOPES))
        if self._settings.tier != "enterprise":
            scopes -= BATCH_SCOPES
        limits = self._settings.limits
        value = str(wanted.get("value") or self._value(name, kind))
        expires_in = wanted.get("expires_in")
        if expires_in is not None:
            kind_of(f"{where}.expires_in", expires_in, (int, float))
        token = Token(
            name=name,
            value=value,
            kind=kind,
            scopes=scopes,
            app="oauth" if kind == "oauth" else name,
            burst=kind_of(f"{where}.burst", wanted.get("burst", limits.burst), int),
            daily=None
            if kind == "oauth"
            else kind_of(f"{where}.daily", wanted.get("daily", limits.daily), int),
            expires_ms=None if expires_in is None else self._clock.now_ms() + int(expires_in * 1000),
        )
        self._by_value[value] = token
        self.by_name[name] = token
        return token

    def _value(self, name: str, kind: str) -> str:
        return f"{'simulated-access-' if kind == 'oauth' else 'pat-na1-'}{self._uuid(name)}"

    def _uuid(self, name: str) -> uuid.UUID:
        # Version 5, written as the version 4 that HubSpot's tokens look like.
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._seed}:{name}")
        return uuid.UUID(int=made.int, version=4)


def token_endpoint(
    settings: Settings, tokens: Tokens, *, version: str, content_type: str, body: bytes
) -> Answer:
    """Answer ``POST /oauth/{version}/token``: a refresh token becomes an access token.

    The parameters come as a form, anything else is a 415. The client is checked before the grant, and
    ``v3`` and later tell the account and the scopes as well (HubSpot's OAuth guides). Refresh tokens are
    not documented to rotate; a portal can make them.
    """
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HubSpotError(415, "INVALID_CONTENT_TYPE", "HTTP 415 Unsupported Media Type")
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    oauth = settings.oauth
    if form.get("client_id") != oauth["client_id"]:
        return _refused("BAD_CLIENT_ID", "missing or unknown client id", "invalid_request")
    if form.get("client_secret") != oauth["client_secret"]:
        return _refused("BAD_CLIENT_SECRET", "missing or invalid client secret", "invalid_request")
    if form.get("grant_type") != "refresh_token":
        return _refused("BAD_GRANT_TYPE", "missing or unknown grant type", "unsupported_grant_type")
    refresh_token = form.get("refresh_token", "")
    if refresh_token not in tokens.refresh_tokens:
        message = "refresh token is invalid, expired or revoked"
        return _refused("BAD_REFRESH_TOKEN", message, "invalid_grant")
    token = tokens.mint()
    answer = {
        "token_type": "bearer",
        "access_token": token.value,
        "refresh_token": tokens.rotate(refresh_token),
        "expires_in": oauth["expires_in"],
    }
    if version != "v1":
        answer |= {
            "hub_id": settings.portal_id,
            "scopes": sorted(token.scopes),
            "user_id": 5170043,
            "token_use": "access_token",
        }
    return Answer(200, answer)


def _refused(status: str, message: str, error: str) -> Answer:
    return Answer(400, {"status": status, "message": message, "error": error, "error_description": message})


def token_info(settings: Settings, tokens: Tokens, body: bytes) -> Answer:
    """Answer the introspection of private-app tokens: whose it is and what it may do."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid("Invalid input JSON on line 1, column 1: expected an object") from error
    key = decoded.get("tokenKey") if isinstance(decoded, dict) else None
    if not isinstance(key, str):
        raise invalid(
            "Invalid input JSON on line 1, column 2: Cannot build AccessTokenInfoRequest, "
            "some of required attributes are not set [tokenKey]"
        )
    token = tokens.find(key)
    if token is None or token.kind == "oauth":
        raise not_found("No private app access token was found for the given key")
    answer = {
        "userId": 5170043,
        "hubId": settings.portal_id,
        "appId": 7710000 + len(token.name),
        "scopes": sorted(token.scopes),
    }
    return Answer(200, answer)


def account_details(settings: Settings, here: datetime) -> Answer:
    """Answer the account's details.

    :param here: the present time in the account's time zone, for its offset.
    """
    offset = here.utcoffset() or timedelta()
    answer = {
        "portalId": settings.portal_id,
        "accountType": "STANDARD",
        "timeZone": settings.time_zone,
        "companyCurrency": "USD",
        "additionalCurrencies": [],
        "utcOffset": here.isoformat()[-6:],
        "utcOffsetMilliseconds": int(offset.total_seconds() * 1000),
        "uiDomain": "app.hubspot.com",
        "dataHostingLocation": "na1",
    }
    return Answer(200, answer)
