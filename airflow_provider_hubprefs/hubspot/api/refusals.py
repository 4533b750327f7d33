"""Which error an answer means that is not a success. No I/O.

No text of the errors carries an address: HubSpot's own messages are scrubbed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    BurstLimitError,
    ConflictError,
    DailyLimitError,
    HubSpotError,
    LockedError,
    MalformedAnswerError,
    MigratingError,
    MissingScopesError,
    NotFoundError,
    ServerError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.hubspot.api.endpoints import Endpoint
    from airflow_provider_hubprefs.hubspot.api.models import Reply

RETRYABLE_SERVER_STATUSES = frozenset({500, 502, 503, 504, 521, 522, 523, 524})
"""HubSpot's guide "Error handling" asks to pause and retry these; 500 occurs too and is as passing."""

_LONGEST_MESSAGE = 500
_LONGEST_READ = 10_000
"""Characters of a text that are looked at; more than one error message ever needs."""


_Meaning = tuple[type[HubSpotError], str, dict[str, Any]]
"""The kind of error, a hint for its text, and its attributes."""
_TEMPORARY = {"retryable": True, "not_applied": True}


def error_from(reply: Reply, endpoint: Endpoint, *, call: str) -> HubSpotError:
    """The error that a refusal or failure means.

    Every field of HubSpot's error body is optional, 5xx may be Cloudflare's HTML, and a body may be empty
    (HubSpot's guide "Error handling"). None of that hides the status.

    :param reply: the answer.
    :param endpoint: what was asked; names the scopes when HubSpot does not.
    :param call: its name, for the text.
    """
    body = _json_object(reply.body)
    category = _category(body)
    correlation_id = (
        _text(body.get("correlationId"))
        or _text(reply.headers.get("x-hubspot-correlation-id"))
        or _text(reply.headers.get("cf-ray"))
    )
    kind, hint, more = _meaning(reply, body, category, endpoint)
    said = "; ".join(part for part in (hint, _said(body, reply)) if part)
    return kind(
        f"HubSpot answered {reply.status}{f' {category}' if category else ''} to {call}"
        f"{f': {said}' if said else ''}{f' [correlation id {correlation_id}]' if correlation_id else ''}",
        status=reply.status,
        category=category,
        correlation_id=correlation_id,
        retry_after=reply.retry_after,
        **more,
    )


def _meaning(reply: Reply, body: Mapping[str, Any], category: str | None, endpoint: Endpoint) -> _Meaning:
    match reply.status:
        case 401:
            expired = category == "EXPIRED_AUTHENTICATION"
            hint = (
                "the token has expired or was revoked: put a new one into the connection"
                if expired
                else "check the token in the connection's password field"
            )
            return AuthenticationError, hint, {"expired": expired, "not_applied": True}
        case 403:
            return _forbidden(body, category, endpoint)
        case 404:
            return NotFoundError, "", {}
        case 409:
            return ConflictError, "", {}
        case 423:
            return LockedError, "", _TEMPORARY
        case 429:
            return _limited(body, reply)
        case 477:
            return MigratingError, "the account is moving between data centres", _TEMPORARY
        case status if status >= 500:
            return ServerError, "", {"retryable": status in RETRYABLE_SERVER_STATUSES}
        case status if 300 <= status < 400:
            return MalformedAnswerError, "redirects are never followed with a token", {}
        case status if 400 <= status < 500:
            return ValidationError, "", {}
    return MalformedAnswerError, "this status means nothing here", {}


def _forbidden(body: Mapping[str, Any], category: str | None, endpoint: Endpoint) -> _Meaning:
    scopes = _required_scopes(body)
    if category != "MISSING_SCOPES" and not scopes:
        return AuthenticationError, "the token may not do this", {"not_applied": True}
    if scopes:
        hint = f"grant the token one of these scopes: {', '.join(scopes)}"
    else:
        scopes = sorted(frozenset().union(*endpoint.scopes))
        alternatives = [" and ".join(sorted(alternative)) for alternative in endpoint.scopes]
        hint = f"grant the token {', or '.join(alternatives) or 'the scopes this call needs'}"
    if any(".batch." in scope for scope in scopes):
        hint += "; the batch scopes can only be granted with Marketing Hub Enterprise"
    return MissingScopesError, hint, {"scopes": scopes, "not_applied": True}


def _limited(body: Mapping[str, Any], reply: Reply) -> _Meaning:
    policy = _text(body.get("policyName"))
    nothing_left = reply.headers.get("x-hubspot-ratelimit-daily-remaining", "").strip() == "0"
    if policy == "DAILY" or (policy is None and nothing_left):
        hint = "the day's requests are used up: run it again after midnight in the account's time zone"
        return DailyLimitError, hint, {"not_applied": True}
    return BurstLimitError, "", _TEMPORARY


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _category(body: Mapping[str, Any]) -> str | None:
    """HubSpot has three names for it: 429 says ``errorType``, OAuth's token endpoint ``status``."""
    named = _text(body.get("category")) or _text(body.get("errorType"))
    status = _text(body.get("status"))
    return named or (status if status and status != "error" else None)


def _said(body: Mapping[str, Any], reply: Reply) -> str:
    message = _text(body.get("message")) or _text(body.get("error_description"))
    if message:
        return message
    if not reply.body:
        return "the body was empty"
    return (
        ""
        if body
        else f"the body was {len(reply.body)} bytes of {reply.content_type or 'unknown type'}, not JSON"
    )


def _required_scopes(body: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    errors = body.get("errors")
    for error in errors if isinstance(errors, list) else ():
        context = error.get("context") if isinstance(error, dict) else None
        scopes = context.get("requiredGranularScopes") if isinstance(context, dict) else None
        found += [text for scope in scopes if (text := _text(scope))] if isinstance(scopes, list) else []
    return found


def _text(value: object) -> str | None:
    """HubSpot's text for people: one line, limited in length, without an address."""
    if not isinstance(value, str):
        return None
    return scrub(" ".join(value[:_LONGEST_READ].split()))[:_LONGEST_MESSAGE] or None
