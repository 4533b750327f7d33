"""Which error an answer means that is not a success. No I/O.

No text of the errors carries an address: HubSpot's own messages are scrubbed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.api.endpoints import DEFAULT_VERSION, VERSIONS
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    BurstLimitError,
    ConflictError,
    DailyLimitError,
    ForeignAnswerError,
    HubSpotError,
    LockedError,
    MalformedAnswerError,
    MigratingError,
    MissingScopesError,
    NotFoundError,
    ServerError,
    SettingsError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.hubspot.api.endpoints import Endpoint
    from airflow_provider_hubprefs.hubspot.api.models import Reply

_NEVER_PASSES = frozenset({505})
"""HubSpot's guide "Error handling" asks to pause and retry 502, 503, 504 and 521 to 524. Other 5xx pass as well: 500,
and 520, 525 to 527, 530 and the like of the edges before HubSpot. Only a wrong version of HTTP does not.
"""

_FOREIGN_PASSES = frozenset({402, 403, 404, 406, 408, 409, 410, 418, 421, 424, 425, 444, 451, 499})
"""Statuses that a proxy, a firewall or an edge sends for a while, to requests that HubSpot would have answered.

Not: what a repeated request would get again (400, 405, 413, 414, 431), and 407, as each attempt is a failed login.
"""

_SAME_FOR_ALL = frozenset({423, 429, 477})
"""Statuses that are waited for, be they HubSpot's or not."""

_CATEGORY = re.compile(r"[A-Z][A-Z0-9_ ]*", re.ASCII)
_NO_SUCH_PATH = re.compile(
    r"(?:^|\s)/|\b(?:path|route|url|uri|endpoint|version|brand|business ?unit)\b", re.IGNORECASE
)
"""In the message of a 404: it is not about the subscriber."""

_LONGEST_MESSAGE = 500
_LONGEST_READ = 10_000
"""Characters of a text that are looked at; more than one error message ever needs."""


_Meaning = tuple[type[HubSpotError], str, dict[str, Any]]
"""The kind of error, a hint for its text, and its attributes."""
_TEMPORARY = {"retryable": True, "not_applied": True}


def error_from(
    reply: Reply, endpoint: Endpoint, *, call: str, version: str = DEFAULT_VERSION
) -> HubSpotError:
    """The error that a refusal or failure means.

    Every field of HubSpot's error body is optional, 5xx may be Cloudflare's HTML, and a body may be empty
    (HubSpot's guide "Error handling"). None of that hides the status.

    :param reply: the answer.
    :param endpoint: what was asked; names the scopes when HubSpot does not.
    :param call: its name, for the text.
    :param version: of the API, which HubSpot may not have yet.
    """
    body = _json_object(reply.body)
    category = _category(body)
    correlation_id = (
        _text(body.get("correlationId"))
        or _text(reply.headers.get("x-hubspot-correlation-id"))
        or _text(reply.headers.get("cf-ray"))
    )
    foreign = (
        400 <= reply.status < 500 and reply.status not in _SAME_FOR_ALL and not _is_hubspots(body, endpoint)
    )
    if foreign:
        category, said = None, _foreign(reply)
        kind, hint, more = _foreign_meaning(reply)
    else:
        said = _said(body, reply)
        kind, hint, more = _meaning(reply, body, category, endpoint, version)
    daily = kind is DailyLimitError  # the status says less than the hint
    said = "; ".join(part for part in ("" if daily else hint, said) if part)
    error = kind(
        f"{f'{hint}; ' if daily else ''}"
        f"{'A proxy or firewall before HubSpot' if foreign else 'HubSpot'} answered {reply.status}"
        f"{f' {category}' if category else ''} to {call}"
        f"{f': {said}' if said else ''}{f' [correlation id {correlation_id}]' if correlation_id else ''}",
        status=reply.status,
        category=category,
        correlation_id=correlation_id,
        retry_after=reply.retry_after,
        **more,
    )
    if foreign:
        error.permanent = False
    return error


def _is_hubspots(body: Mapping[str, Any], endpoint: Endpoint) -> bool:
    """Whether a body has the form of HubSpot's errors, of which every single field is optional.

    Proxies and gateways send JSON too, such as ``{"message": "Forbidden"}``.
    """
    oauth = not endpoint.scopes
    # A gateway's ``status`` may be a word, too.
    category = _category(body if oauth else {**body, "status": None})
    if category is not None and _CATEGORY.fullmatch(category):
        return True
    if _text(body.get("correlationId")) or (body.get("status") == "error" and _text(body.get("message"))):
        return True
    return oauth and bool(_text(body.get("error")) and _text(body.get("error_description")))


def _foreign(reply: Reply) -> str:
    what = (
        f"{len(reply.body)} bytes of {reply.content_type or 'unknown type'}"
        if reply.body
        else "an empty body"
    )
    return f"{what}, not HubSpot's answer; check the network from here to HubSpot (proxy, firewall, blocked address)"


def _foreign_meaning(reply: Reply) -> _Meaning:
    match reply.status:
        case 401:
            return AuthenticationError, "", {"not_applied": True}
        case 407:
            return ForeignAnswerError, "check user and password in HTTPS_PROXY", {"not_applied": True}
        case status:
            return ForeignAnswerError, "", {"retryable": status in _FOREIGN_PASSES}


def _meaning(
    reply: Reply, body: Mapping[str, Any], category: str | None, endpoint: Endpoint, version: str
) -> _Meaning:
    match reply.status:
        case 401:
            return AuthenticationError, "", {"not_applied": True}
        case 403:
            return _forbidden(body, category, endpoint)
        case 404:
            return _not_found(body, category, endpoint, version)
        case 409:
            return ConflictError, "", {}
        case 423:
            return LockedError, "", _TEMPORARY
        case 429:
            return _limited(body, reply)
        case 477:
            return MigratingError, "the account is moving between data centres", _TEMPORARY
        case status if status >= 500:
            return ServerError, "", {"retryable": status not in _NEVER_PASSES}
        case status if 300 <= status < 400:
            return ForeignAnswerError, "redirects are never followed with a token", {}
        case status if 400 <= status < 500:
            return ValidationError, "", {}
    return MalformedAnswerError, "this status means nothing here", {}


def _not_found(body: Mapping[str, Any], category: str | None, endpoint: Endpoint, version: str) -> _Meaning:
    """A 404 about the subscriber, or about the path: then it would be the same for every subscriber."""
    if endpoint.path.startswith("/") and "{" not in endpoint.path:
        return NotFoundError, "", {}
    about_path = (
        category != "OBJECT_NOT_FOUND"
        or not endpoint.path.startswith(("statuses/", "links/"))
        or _NO_SUCH_PATH.search(_text(body.get("message")) or "")
    )
    if about_path:
        hint = "HubSpot has no such path or brand: check the connection's api_version and business_unit_id"
        if version not in VERSIONS:
            hint = f"no API {version} yet? Newest known: {VERSIONS[-1]}, if api_version is empty; {hint}"
        return SettingsError, hint, {"not_applied": True}
    return NotFoundError, "", {}


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
