"""The endpoints around tokens: OAuth's, and the introspection of private-app tokens. They take no bearer token."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from airflow_provider_hubprefs.simulator.answers import ApiAnswer, not_found

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator.api.call import ApiCall
    from airflow_provider_hubprefs.simulator.portal.portal import Portal

_USER_ID = 5170043
APP_ID = 7710000
"""The one app of the portal; writes through the API are its own."""


class AccessTokenInfoRequest(msgspec.Struct, rename="camel"):
    """The token that is asked about."""

    token_key: str


def refresh(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer ``POST /oauth/{version}/token``: a refresh token becomes an access token (HubSpot's OAuth guides).

    The parameters come as a form. The client is checked before the grant. Refresh tokens are not documented to
    rotate; a portal can make them.
    """
    form = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    oauth, tokens = portal.settings.oauth, portal.tokens
    if form.get("client_id") != oauth.client_id:
        return _refused("BAD_CLIENT_ID", "missing or unknown client id", "invalid_request")
    if form.get("client_secret") != oauth.client_secret:
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
        "expires_in": oauth.expires_in,
        "hub_id": portal.settings.portal_id,
        "scopes": sorted(token.scopes),
        "user_id": _USER_ID,
        "token_use": "access_token",
    }
    return ApiAnswer(200, answer)


def token_info(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer the introspection of a private-app token: its account and its scopes."""
    token = portal.tokens.find(call.read(AccessTokenInfoRequest).token_key)
    if token is None or token.kind == "oauth":
        raise not_found("No private app access token was found for the given key")
    answer = {
        "userId": _USER_ID,
        "hubId": portal.settings.portal_id,
        "appId": APP_ID,
        "scopes": sorted(token.scopes),
    }
    return ApiAnswer(200, answer)


def _refused(status: str, message: str, error: str) -> ApiAnswer:
    body = {"status": status, "message": message, "error": error, "error_description": message}
    return ApiAnswer(400, body)
