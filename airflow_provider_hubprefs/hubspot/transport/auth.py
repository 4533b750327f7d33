"""Credentials: a static token, or OAuth with a refresh token. No I/O: the client sends the calls."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from airflow_provider_hubprefs.hubspot.api.calls import Call
from airflow_provider_hubprefs.hubspot.api.endpoints import Endpoint, dated
from airflow_provider_hubprefs.hubspot.api.models import Wire, decode
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    HubSpotError,
    MalformedAnswerError,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.hubspot.api.models import Reply

_MARGIN = 60.0
"""A token counts as expired this many seconds early, so that it does not expire while a request is in flight."""

_SHORTEST_MARGIN_SHARE = 0.1

_log = logging.getLogger(__name__)


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of HubSpot's OAuth token endpoint."""

    access_token: str
    expires_in: float = 1800
    refresh_token: str | None = None
    hub_id: int | None = None
    scopes: list[str] | str | None = None

    def __repr__(self) -> str:
        return "TokenAnswer(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing: ``rich`` prints what this returns."""
        return []


class TokenInfo(Wire, frozen=True, kw_only=True):
    """HubSpot's description of a private app's token."""

    hub_id: int | None = None
    app_id: int | None = None
    scopes: list[str] | None = None


@dataclass(slots=True, repr=False)
class StaticToken:
    """A private app's token or a service key; neither expires.

    :param access_token: as HubSpot shows it.
    :raises SettingsError: empty, or with characters no token has (a line break copied along).
    """

    access_token: str
    kind: str = "private app or service key"
    remedy = (
        "the token is not accepted (401): check the field Token (the password) of the connection, as the token may be "
        "mistyped or cut off, or has expired or was revoked"
    )

    def __post_init__(self) -> None:
        check_secret("token (the connection's password)", self.access_token)

    def identity(self) -> str:
        """Secret that stays the same as long as the budget is the same; never shown."""
        return self.access_token


class OAuthRefresh:
    """OAuth's refresh-token flow (HubSpot's OAuth guide).

    An access token is used until shortly before ``expires_in`` is over. The next refresh uses the refresh token that
    HubSpot returned last. HubSpot does not document that it ever differs; if it does, it is kept by this object only,
    and the log says that the connection's own may be void.

    :param client_id: of the app.
    :param client_secret: of the app.
    :param refresh_token: of the installation in the portal.
    :param on_token: called with every new access and refresh token, to have them masked in logs.
    :raises SettingsError: something is missing.
    """

    kind = "OAuth app"
    remedy = (
        "a fresh access token is not accepted (401): check client_id, client_secret and refresh_token of the "
        "connection; the app may have been uninstalled"
    )

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        refresh_token: str,
        on_token: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_secret("client_id", client_id)
        check_secret("client_secret", client_secret)
        check_secret("refresh_token", refresh_token)
        self._client_id = client_id
        self._client_secret = client_secret
        self._refresh_token = refresh_token
        self._first_refresh_token = refresh_token
        self._on_token = on_token
        self._clock = clock
        self._access_token: str | None = None
        self._ends_at = 0.0
        self.hub_id: int | None = None
        self.scopes: tuple[str, ...] | None = None

    def token(self) -> str | None:
        """Access token to send now; None when :meth:`refresh_call` has to be sent first."""
        return self._access_token if self._clock() < self._ends_at else None

    def refresh_call(self, version: str) -> Call[TokenAnswer]:
        """Ask for a new access token.

        It sends a form: HubSpot answers 415 to JSON, and refuses these parameters in the query.

        :param version: API version of the connection.
        """
        path = f"/oauth/{dated(version)}/token"
        form = {
            "grant_type": "refresh_token",
            "client_id": self._client_id,
            "client_secret": self._client_secret,
            "refresh_token": self._refresh_token,
        }
        return Call(
            endpoint=Endpoint(name="refresh_token", method="POST", path=path, paced=False),
            version=dated(version),
            path=path,
            body=urlencode(form).encode(),
            content_type="application/x-www-form-urlencoded",
            read=_token_answer,
        )

    def accept(self, answer: TokenAnswer) -> None:
        """Use the new access token from now on."""
        margin = min(_MARGIN, answer.expires_in * _SHORTEST_MARGIN_SHARE)
        self._access_token = answer.access_token
        self._ends_at = self._clock() + answer.expires_in - margin
        renewed = answer.refresh_token or self._refresh_token
        if renewed != self._refresh_token:
            _log.warning(
                "HubSpot has replaced the refresh token: the one in the connection may be void from now on. This "
                "process goes on with the new one; other tasks need a new refresh_token in the connection's extra"
            )
        self._refresh_token = renewed
        self.hub_id = answer.hub_id
        scopes = answer.scopes.split() if isinstance(answer.scopes, str) else answer.scopes
        self.scopes = None if scopes is None else tuple(scopes)
        if self._on_token is not None:
            self._on_token(answer.access_token)
            self._on_token(self._refresh_token)

    def forget(self, token: str) -> None:
        """HubSpot calls this token expired (a clock jumped, or it was revoked). A newer one stays."""
        if token == self._access_token:
            self._access_token, self._ends_at = None, 0.0

    def identity(self) -> str:
        """App and installation: stays the same when tokens change."""
        return f"{self._client_id} {self._first_refresh_token}"


Auth = StaticToken | OAuthRefresh
"""What gives a client its access token."""


def token_info_call(token: str) -> Call[TokenInfo]:
    """Ask HubSpot what a private app's token may do. It changes nothing."""
    path = "/oauth/v2/private-apps/get/access-token-info"
    return Call(
        endpoint=Endpoint(name="token_info", method="POST", path=path, paced=False),
        version="v2",
        path=path,
        body=msgspec.json.encode({"tokenKey": token}),
        read=lambda reply: decode(reply.body, TokenInfo),
    )


def check_secret(name: str, value: object) -> None:
    """Refuse a secret that cannot be one.

    :param name: for the text.
    :raises SettingsError: without the value in its text.
    """
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name}: expected a value, got nothing")
    if value != value.strip() or not value.isascii() or not value.isprintable() or " " in value:
        raise SettingsError(
            f"{name}: expected printable ASCII without spaces or line breaks; "
            "was a line break or a quote copied along?"
        )


def _token_answer(reply: Reply) -> TokenAnswer:
    answer = decode(reply.body, TokenAnswer)
    for name in ("access_token", "refresh_token"):
        value = getattr(answer, name)
        try:
            if value is not None:
                check_secret(name, value)
        except SettingsError:
            raise MalformedAnswerError(f"HubSpot's token endpoint sent no usable {name}") from None
    return answer


def refresh_failure(error: HubSpotError) -> HubSpotError:
    """Turn the token endpoint's error into the one to raise; the call that needed the token was not sent.

    BAD_REFRESH_TOKEN, BAD_CLIENT_ID and the like come as 400: only a person can mend them.
    """
    if error.permanent and not isinstance(error, SettingsError):
        error = AuthenticationError(
            "the OAuth app is not accepted: check client_id, client_secret and refresh_token of the connection, as the "
            f"app may have been uninstalled, or its secret changed; {error}",
            status=error.status,
            category=error.category,
            correlation_id=error.correlation_id,
        )
    error.not_applied = True
    return error
