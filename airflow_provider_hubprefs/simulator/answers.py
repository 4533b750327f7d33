"""HubSpot's answers as values: the error shapes, and what an endpoint hands to the server.

Shapes and messages follow HubSpot's error-handling page, its Postman collections and recorded live bodies.
Messages contain the subscriber's address where HubSpot's do, so that clients must cope with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(slots=True)
class ApiAnswer:
    """What goes back to the client.

    :param body: an object to be sent as JSON, or the bytes themselves.
    """

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json;charset=utf-8"

    def content(self) -> bytes:
        """Return the body as it goes over the wire."""
        return self.body if isinstance(self.body, bytes) else msgspec.json.encode(self.body)


class ApiError(Exception):
    """HubSpot refuses a request, with the fields of its error body.

    :param more: further members of the body, such as ``context`` or ``errors``.
    """

    def __init__(
        self,
        status: int,
        category: str,
        message: str,
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self._body = {"status": "error", "category": category, "message": message, **more}

    def answer(self, correlation_id: str) -> ApiAnswer:
        """Return the answer for this refusal."""
        return ApiAnswer(self.status, {**self._body, "correlationId": correlation_id}, dict(self.headers))

    def entry(self, address: str | None) -> dict[str, Any]:
        """Return the entry for ``errors`` inside a batch answer, which may name the subscriber.

        Modelled on HubSpot's one published 207 sample (CRM create): no ``id``, ``links``, ``errors`` or
        ``subCategory``, and context values that are lists of strings.
        """
        context = {} if address is None else {"context": {"subscriberIdString": [address]}}
        return {**self._body, **context}


def invalid(message: str) -> ApiError:
    """Return a 400 VALIDATION_ERROR."""
    return ApiError(400, "VALIDATION_ERROR", message)


def not_found(message: str) -> ApiError:
    """Return a 404 OBJECT_NOT_FOUND."""
    return ApiError(404, "OBJECT_NOT_FOUND", message)


def no_credentials() -> ApiError:
    """Return the 401 for a missing or unknown token."""
    return ApiError(
        401,
        "INVALID_AUTHENTICATION",
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find "
        "more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        headers={"x-hubspot-auth-failure": "401 Unauthorized"},
    )


def expired_token(seconds_ago: int, expired_at: str) -> ApiError:
    """Return the 401 for a token that was valid once."""
    return ApiError(
        401,
        "EXPIRED_AUTHENTICATION",
        f"The OAuth token used to make this call expired {seconds_ago} second(s) ago.",
        context={"expire time": [expired_at]},
    )


def missing_scopes(scopes: list[str]) -> ApiError:
    """Return the 403 that names the scopes, any one of which would do."""
    message = "One or more of the following scopes are required."
    return ApiError(
        403,
        "MISSING_SCOPES",
        "This app hasn't been granted all required scopes to make this call. Read more about required "
        "scopes here: https://developers.hubspot.com/scopes.",
        errors=[{"message": message, "context": {"requiredGranularScopes": scopes}}],
        links={"scopes": "https://developers.hubspot.com/scopes"},
    )


_POLICIES = {"burst": "ten_secondly_rolling", "search": "secondly", "daily": "daily"}


def limit_reached(limit: str, correlation_id: str) -> ApiAnswer:
    """Return the 429 of a limit; its body has ``errorType``, not ``category``.

    :param limit: ``burst``, ``search`` (recorded in mk-node-hubspot#84) or ``daily``.
    """
    policy = _POLICIES[limit]
    body = {
        "status": "error",
        "message": f"You have reached your {policy} limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": correlation_id,
        "policyName": policy.upper(),
    }
    return ApiAnswer(429, body)


_CLOUDFLARE = """<!DOCTYPE html>
<html lang="en-US">
<head><title>api.hubapi.com | {status}</title></head>
<body><h1>Error code {status}</h1><p>Cloudflare Ray ID: <strong>{ray}</strong></p></body>
</html>
"""


def cloudflare(status: int, correlation_id: str) -> ApiAnswer:
    """Return the HTML page that Cloudflare shows when HubSpot's own servers do not answer."""
    ray = correlation_id.replace("-", "")[:16]
    page = _CLOUDFLARE.format(status=status, ray=ray)
    headers = {"Server": "cloudflare", "CF-Ray": ray}
    return ApiAnswer(status, page.encode(), headers, "text/html; charset=UTF-8")
