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

_BATCH_HINT = "; the batch scopes can only be granted with Marketing Hub Enterprise"


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
    details: dict[str, Any] = {
        "status": reply.status,
        "category": category,
        "sub_category": _sub_category(body.get("subCategory")),
        "correlation_id": _text(body.get("correlationId"))
        or _text(reply.headers.get("x-hubspot-correlation-id"))
        or _text(reply.headers.get("cf-ray")),
        "retry_after": reply.retry_after,
    }
    said = _said(body, reply)
    head = f"HubSpot answered {reply.status}{f' {category}' if category else ''} to {call}"
    tail = f" [correlation id {details['correlation_id']}]" if details["correlation_id"] else ""
    make = _Text(head, said, tail, details)
    match reply.status:
        case 401:
            return _authentication(make, expired=category == "EXPIRED_AUTHENTICATION")
        case 403:
            return _forbidden(make, body, endpoint)
        case 404:
            return NotFoundError(make.text(), **details)
        case 409:
            return ConflictError(make.text(), **details)
        case 423:
            return LockedError(make.text(), retryable=True, not_applied=True, **details)
        case 429:
            return _limited(make, body, reply)
        case 477:
            return MigratingError(
                make.text("the account is moving between data centres"),
                retryable=True,
                not_applied=True,
                **details,
            )
        case status if status >= 500:
            return ServerError(make.text(), retryable=status in RETRYABLE_SERVER_STATUSES, **details)
        case status if 300 <= status < 400:
            return MalformedAnswerError(make.text("redirects are never followed with a token"), **details)
        case status if 400 <= status < 500:
            return ValidationError(make.text(), **details)
    return MalformedAnswerError(make.text("this status means nothing here"), **details)


class _Text:
    """Puts an error's sentence together: head, what HubSpot said, a hint, the correlation id."""

    def __init__(self, head: str, said: str, tail: str, details: dict[str, Any]) -> None:
        self.head, self.said, self.tail, self.details = head, said, tail, details

    def text(self, hint: str = "") -> str:
        parts = [part for part in (self.said, hint) if part]
        return f"{self.head}{': ' if parts else ''}{'; '.join(parts)}{self.tail}"


def _authentication(make: _Text, *, expired: bool) -> AuthenticationError:
    hint = (
        "the token has expired or was revoked: put a new one into the connection"
        if expired
        else "check the token in the connection's password field"
    )
    return AuthenticationError(make.text(hint), expired=expired, not_applied=True, **make.details)


def _forbidden(make: _Text, body: Mapping[str, Any], endpoint: Endpoint) -> HubSpotError:
    named = _required_scopes(body)
    if make.details["category"] != "MISSING_SCOPES" and not named:
        return AuthenticationError(make.text("the token may not do this"), not_applied=True, **make.details)
    scopes = named or sorted({scope for alternative in endpoint.scopes for scope in alternative})
    if named:
        hint = f"grant the token one of these scopes: {', '.join(named)}"
    else:
        alternatives = [" and ".join(sorted(alternative)) for alternative in endpoint.scopes]
        hint = f"grant the token {', or '.join(alternatives) or 'the scopes this call needs'}"
    if any(".batch." in scope for scope in scopes):
        hint += _BATCH_HINT
    return MissingScopesError(make.text(hint), scopes=scopes, not_applied=True, **make.details)


def _limited(make: _Text, body: Mapping[str, Any], reply: Reply) -> HubSpotError:
    policy = _text(body.get("policyName"))
    nothing_left = reply.headers.get("x-hubspot-ratelimit-daily-remaining", "").strip() == "0"
    if policy == "DAILY" or (policy is None and nothing_left):
        return DailyLimitError(
            make.text(
                "the day's requests are used up; the limit resets at midnight in the account's time zone"
            ),
            not_applied=True,
            **make.details,
        )
    return BurstLimitError(make.text(), retryable=True, not_applied=True, **make.details)


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


def _sub_category(value: object) -> str | None:
    """Text in some answers, an object in others (StandardError in HubSpot's OpenAPI documents)."""
    return _text(value.get("name") if isinstance(value, dict) else value)


def _text(value: object) -> str | None:
    """HubSpot's text for people: one line, limited in length, without an address."""
    if not isinstance(value, str):
        return None
    return scrub(" ".join(value[:_LONGEST_READ].split()))[:_LONGEST_MESSAGE] or None
