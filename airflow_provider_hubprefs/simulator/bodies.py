"""HubSpot's answers as values: the error shapes, and what an endpoint hands to the server.

Shapes and messages follow HubSpot's error-handling page, its Postman collections and recorded live bodies.
Messages contain the subscriber's address where HubSpot's do, so clients must be able to cope with that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

JSON = "application/json;charset=utf-8"


@dataclass(slots=True)
class Answer:
    """What goes back to the client.

    :param body: an object to be sent as JSON, or the bytes themselves.
    """

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = JSON

    def content(self) -> bytes:
        """Return the body as it goes over the wire."""
        return self.body if isinstance(self.body, bytes) else msgspec.json.encode(self.body)


class HubSpotError(Exception):
    """A request that HubSpot refuses, with the fields of its error body.

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
        self.category = category
        self.message = message
        self.headers = headers or {}
        self.more = more

    def answer(self, correlation_id: str) -> Answer:
        """Return the answer for this refusal."""
        body = {
            "status": "error",
            "message": self.message,
            "correlationId": correlation_id,
            "category": self.category,
            **self.more,
        }
        return Answer(self.status, body, dict(self.headers))

    def entry(self, context: dict[str, list[str]] | None) -> dict[str, Any]:
        """Return the entry for ``errors`` inside a batch answer.

        Modelled on HubSpot's one published 207 sample (CRM create): no ``id``, ``links``, ``errors`` or
        ``subCategory``, and context values that are lists of strings.
        """
        entry: dict[str, Any] = {"status": "error", "category": self.category, "message": self.message}
        if context is not None:
            entry["context"] = context
        return entry


def invalid(message: str, **more: Any) -> HubSpotError:
    """Return a 400 VALIDATION_ERROR."""
    return HubSpotError(400, "VALIDATION_ERROR", message, **more)


def not_found(message: str, **more: Any) -> HubSpotError:
    """Return a 404 OBJECT_NOT_FOUND."""
    return HubSpotError(404, "OBJECT_NOT_FOUND", message, **more)


def no_credentials() -> HubSpotError:
    """Return the 401 for a missing or unknown token."""
    return HubSpotError(
        401,
        "INVALID_AUTHENTICATION",
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find "
        "more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        headers={"x-hubspot-auth-failure": "401 Unauthorized"},
    )


def expired_token(seconds_ago: int, expired_at: str) -> HubSpotError:
    """Return the 401 for a token that was valid once."""
    return HubSpotError(
        401,
        "EXPIRED_AUTHENTICATION",
        f"The OAuth token used to make this call expired {seconds_ago} second(s) ago.",
        context={"expire time": [expired_at]},
    )


def missing_scopes(scopes: list[str]) -> HubSpotError:
    """Return the 403 that names the scopes, any one of which would do."""
    return HubSpotError(
        403,
        "MISSING_SCOPES",
        "This app hasn't been granted all required scopes to make this call. Read more about required "
        "scopes here: https://developers.hubspot.com/scopes.",
        errors=[
            {
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": scopes},
            }
        ],
        links={"scopes": "https://developers.hubspot.com/scopes"},
    )


def burst_limit(correlation_id: str, portal_id: int, group: str) -> dict[str, Any]:
    """Return the 429 body of the ten-second limit; its key is ``errorType``, not ``category``."""
    return {
        "status": "error",
        "message": "You have reached your ten_secondly_rolling limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": correlation_id,
        "policyName": "TEN_SECONDLY_ROLLING",
        "groupName": f"publicapi:{group}-api-calls-ten-secondly:{portal_id}",
    }


def search_limit(correlation_id: str, portal_id: int) -> dict[str, Any]:
    """Return the 429 body of the CRM search's own limit (recorded in mk-node-hubspot#84)."""
    return {
        "status": "error",
        "message": "You have reached your secondly limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": correlation_id,
        "policyName": "SECONDLY",
        "groupName": f"crm:search:{portal_id}",
    }


def daily_limit(correlation_id: str) -> dict[str, Any]:
    """Return the 429 body of the daily limit."""
    return {
        "status": "error",
        "message": "You have reached your daily limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": correlation_id,
        "policyName": "DAILY",
        "requestId": correlation_id,
    }


_CLOUDFLARE = """<!DOCTYPE html>
<html lang="en-US">
<head><title>api.hubapi.com | {status}: {title}</title></head>
<body>
<h1>{title} <span>Error code {status}</span></h1>
<p>Visit <a href="https://www.cloudflare.com/5xx-error-landing">cloudflare.com</a> for more information.</p>
<p>Cloudflare Ray ID: <strong>{ray}</strong></p>
</body>
</html>
"""
_TITLES = {
    502: "Bad gateway",
    503: "Service temporarily unavailable",
    504: "Gateway time-out",
    520: "Web server is returning an unknown error",
    521: "Web server is down",
    522: "Connection timed out",
    523: "Origin is unreachable",
    524: "A timeout occurred",
}


def cloudflare(status: int, ray: str) -> Answer:
    """Return the HTML page that stands in HubSpot's place when its own servers do not answer."""
    page = _CLOUDFLARE.format(status=status, title=_TITLES.get(status, "Error"), ray=ray)
    return Answer(status, page.encode(), {"Server": "cloudflare", "CF-Ray": ray}, "text/html; charset=UTF-8")
