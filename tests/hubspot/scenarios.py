"""What the client must do, as data: a call, HubSpot's answers, what comes of it, what went over the wire.

The table knows no client: whatever sends :class:`~airflow_provider_hubprefs.hubspot.api.calls.Call` runs it.
Answers are written after HubSpot's documents and recorded ones: nulls for what is not set, no ``errors``,
``links`` or ``requestedAt`` unless there is something in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pendulum

from airflow_provider_hubprefs.hubspot import errors
from airflow_provider_hubprefs.hubspot.api.endpoints import DEFAULT_VERSION, VERSIONS
from airflow_provider_hubprefs.hubspot.api.models import (
    BatchError,
    Definition,
    Operation,
    PreferenceLinks,
    StatusChange,
    SubscriberStatuses,
    SubscriberWideStatuses,
    SubscriptionStatus,
    WideStatus,
)

from . import server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_hubprefs.hubspot.api.calls import Call, Calls

    from .server import Reaction

SUBSCRIBER = "Jane.O'Doe+news/1?a#b%c@Exämple.com"
ENCODED = "Jane.O%27Doe%2Bnews%2F1%3Fa%23b%25c%40Ex%C3%A4mple.com"
OTHER = "bob@example.org"
AT = "2026-11-22T03:04:05.678Z"
TIME = pendulum.datetime(2026, 11, 22, 3, 4, 5, 678000)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row.

    :param call: made of the version's calls; it may raise.
    :param answers: of the server, in order. A scenario fails when one is left over.
    :param result: what the call gives.
    :param error: or what it raises; ``details`` are attributes of it, ``says`` and ``says_not`` parts of its text.
    :param lines: the requests on the wire, to the character; ``bodies`` what they carried, as JSON.
    :param waited: seconds slept in all, from and to.
    """

    name: str
    call: Callable[[Calls], Call[Any]]
    version: str = DEFAULT_VERSION
    answers: tuple[Reaction, ...] = ()
    result: object = None
    error: type[Exception] | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    says_not: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    bodies: tuple[object, ...] = ()
    waited: tuple[float, float] = (0.0, 0.0)
    settings: Mapping[str, float] = field(default_factory=dict)


def operation(*results: object, **more: object) -> dict[str, object]:
    return {"status": "COMPLETE", "results": list(results), "startedAt": AT, "completedAt": AT, **more}


def complete(*results: Any, **more: Any) -> Operation[Any]:
    return Operation(
        status="COMPLETE", given_results=list(results), started_at=TIME, completed_at=TIME, **more
    )


def status_row(subscriber: str = SUBSCRIBER, **more: object) -> dict[str, object]:
    return {
        "channel": "EMAIL",
        "source": "Public status API, App ID:5848098",
        "status": "UNSUBSCRIBED",
        "subscriberIdString": subscriber,
        "subscriptionId": 1110685904,
        "timestamp": AT,
        "businessUnitId": 0,
        "subscriptionName": "Marketing Information",
        "legalBasis": None,
        "legalBasisExplanation": None,
        "setStatusSuccessReason": None,
        **more,
    }


def status_of(subscriber: str = SUBSCRIBER, **more: Any) -> SubscriptionStatus:
    fields: dict[str, Any] = {
        "channel": "EMAIL",
        "source": "Public status API, App ID:5848098",
        "status": "UNSUBSCRIBED",
        "subscriber": subscriber,
        "subscription_id": 1110685904,
        "timestamp": TIME,
        "business_unit_id": 0,
        "subscription_name": "Marketing Information",
        **more,
    }
    return SubscriptionStatus(**fields)


WIDE_ROW = {
    "channel": "EMAIL",
    "status": "UNSUBSCRIBED",
    "subscriberIdString": SUBSCRIBER,
    "timestamp": AT,
    "wideStatusType": "PORTAL_WIDE",
}
WIDE = WideStatus(
    subscriber=SUBSCRIBER,
    status="UNSUBSCRIBED",
    wide_status_type="PORTAL_WIDE",
    channel="EMAIL",
    timestamp=TIME,
)
DEFINITION_ROW: dict[str, object] = {
    "id": "1110685904",
    "name": "Marketing Information",
    "description": "Offers",
    "purpose": "Marketing",
    "communicationMethod": "Email",
    "isActive": True,
    "isDefault": True,
    "isInternal": False,
    "businessUnitId": 0,
    "createdAt": AT,
    "updatedAt": AT,
}
DEFINITION = Definition(
    id=1110685904,
    name="Marketing Information",
    description="Offers",
    purpose="Marketing",
    communication_method="Email",
    is_active=True,
    is_default=True,
    is_internal=False,
    business_unit_id=0,
    created_at=TIME,
    updated_at=TIME,
)
LINKS_ROW = {
    "subscriberIdString": SUBSCRIBER,
    "managePreferencesUrl": "https://example.com/m",
    "unsubscribeAllUrl": "https://example.com/a",
    "unsubscribeSingleUrl": None,
}
SET_REASON = {"setStatusSuccessReason": "REQUESTED_CHANGE_OCCURRED"}
CHANGE = StatusChange(
    subscriber=SUBSCRIBER,
    subscription_id=1110685904,
    status="SUBSCRIBED",
    legal_basis="CONSENT_WITH_NOTICE",
    legal_basis_explanation="asked at the fair",
)


def _set_status(calls: Calls) -> Call[Any]:
    return calls.set_status(
        SUBSCRIBER,
        1110685904,
        "SUBSCRIBED",
        legal_basis="CONSENT_WITH_NOTICE",
        legal_basis_explanation="asked at the fair",
    )


def _modern(version: str) -> list[Scenario]:
    """The ten operations of v4 and the dated versions: one success each."""
    base = f"/communication-preferences/{version}"
    partial = {
        "channel": "EMAIL",
        "statusState": "SUBSCRIBED",
        "subscriptionId": 1110685904,
        "legalBasis": "CONSENT_WITH_NOTICE",
        "legalBasisExplanation": "asked at the fair",
    }
    two = {"inputs": [SUBSCRIBER, OTHER]}
    subscribed = {"status": "SUBSCRIBED", **SET_REASON}
    subscribed_of = {"status": "SUBSCRIBED", "set_status_success_reason": "REQUESTED_CHANGE_OCCURRED"}
    rows: list[tuple[str, Callable[[Calls], Call[Any]], str, object, object, object]] = [
        (
            "get_definitions",
            lambda calls: calls.get_definitions(business_unit_id=0, include_translations=True),
            f"GET {base}/definitions?businessUnitId=0&includeTranslations=true",
            None,
            operation(DEFINITION_ROW),
            complete(DEFINITION),
        ),
        (
            "generate_links",
            lambda calls: calls.generate_links(SUBSCRIBER, subscription_id=7, language="en"),
            f"POST {base}/links/generate?channel=EMAIL",
            {"subscriberIdString": SUBSCRIBER, "subscriptionId": 7, "language": "en"},
            LINKS_ROW,
            PreferenceLinks(
                subscriber=SUBSCRIBER,
                manage_preferences_url="https://example.com/m",
                unsubscribe_all_url="https://example.com/a",
            ),
        ),
        (
            "get_statuses",
            lambda calls: calls.get_statuses(SUBSCRIBER, business_unit_id=12),
            f"GET {base}/statuses/{ENCODED}?channel=EMAIL&businessUnitId=12",
            None,
            operation(status_row()),
            complete(status_of()),
        ),
        (
            "set_status",
            _set_status,
            f"POST {base}/statuses/{ENCODED}",
            partial,
            operation(status_row(**subscribed)),
            complete(status_of(**subscribed_of)),
        ),
        (
            "get_unsubscribe_all",
            lambda calls: calls.get_unsubscribe_all(SUBSCRIBER),
            f"GET {base}/statuses/{ENCODED}/unsubscribe-all?channel=EMAIL&verbose=true",
            None,
            operation(WIDE_ROW),
            complete(WIDE),
        ),
        (
            "unsubscribe_all",
            lambda calls: calls.unsubscribe_all(SUBSCRIBER, business_unit_id=0),
            f"POST {base}/statuses/{ENCODED}/unsubscribe-all?channel=EMAIL&businessUnitId=0&verbose=true",
            None,
            operation(status_row()),
            complete(status_of()),
        ),
        (
            "batch_get_statuses",
            lambda calls: calls.batch_get_statuses([SUBSCRIBER, OTHER]),
            f"POST {base}/statuses/batch/read?channel=EMAIL",
            two,
            operation({"subscriberIdString": SUBSCRIBER, "statuses": [status_row()]}),
            complete(SubscriberStatuses(subscriber=SUBSCRIBER, statuses=[status_of()])),
        ),
        (
            "batch_set_statuses",
            lambda calls: calls.batch_set_statuses([CHANGE]),
            f"POST {base}/statuses/batch/write",
            {"inputs": [{**partial, "subscriberIdString": SUBSCRIBER}]},
            operation(status_row(**subscribed)),
            complete(status_of(**subscribed_of)),
        ),
        (
            "batch_unsubscribe_all",
            lambda calls: calls.batch_unsubscribe_all([SUBSCRIBER, OTHER], business_unit_id=3),
            f"POST {base}/statuses/batch/unsubscribe-all?channel=EMAIL&businessUnitId=3&verbose=true",
            two,
            operation({"subscriberIdString": SUBSCRIBER, "statuses": [status_row()]}),
            complete(SubscriberStatuses(subscriber=SUBSCRIBER, statuses=[status_of()])),
        ),
        (
            "batch_get_unsubscribe_all",
            lambda calls: calls.batch_get_unsubscribe_all([SUBSCRIBER, OTHER]),
            f"POST {base}/statuses/batch/unsubscribe-all/read?channel=EMAIL",
            two,
            operation({"subscriberIdString": SUBSCRIBER, "wideStatuses": [WIDE_ROW]}),
            complete(SubscriberWideStatuses(subscriber=SUBSCRIBER, wide_statuses=[WIDE])),
        ),
    ]
    return [
        Scenario(
            name=f"{version} {name}",
            version=version,
            call=call,
            answers=(server.json(200, answer),),
            result=result,
            lines=(line,),
            bodies=(body,),
        )
        for name, call, line, body, answer, result in rows
    ]


BURST = {
    "status": "error",
    "message": "You have reached your ten_secondly_rolling limit.",
    "errorType": "RATE_LIMIT",
    "correlationId": "c-1",
    "policyName": "TEN_SECONDLY_ROLLING",
}
DAILY = {**BURST, "message": "You have reached your daily limit.", "policyName": "DAILY"}
_LINE = f"GET /communication-preferences/{DEFAULT_VERSION}/statuses/{ENCODED}?channel=EMAIL"
_OK = server.json(200, operation(status_row()))
_NAMING = f"{SUBSCRIBER} and {SUBSCRIBER.lower()} and {quote(SUBSCRIBER, safe='')} are wrong"


def get_statuses(calls: Calls) -> Call[Any]:
    return calls.get_statuses(SUBSCRIBER)


def _final(name: str, answer: Reaction, error: type[Exception], **expected: Any) -> Scenario:
    """One request, one error: not to be repeated."""
    return Scenario(name=name, call=get_statuses, answers=(answer,), error=error, lines=(_LINE,), **expected)


def _retried(name: str, *answers: Reaction, waited: tuple[float, float], **more: Any) -> Scenario:
    """Failures that pass, and then the result."""
    return Scenario(
        name=name,
        call=get_statuses,
        answers=(*answers, _OK),
        result=complete(status_of()),
        lines=(_LINE,) * (len(answers) + 1),
        waited=waited,
        **more,
    )


def _missing_scopes(*scopes: str) -> dict[str, object]:
    return {
        "status": "error",
        "message": "This app hasn't been granted all required scopes to make this call.",
        "correlationId": "c-1",
        "category": "MISSING_SCOPES",
        "errors": [
            {
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": list(scopes)},
            }
        ],
    }


ERRORS = [
    _final(
        "400 is a validation error, with HubSpot's words but no address",
        server.error(400, message=_NAMING),
        errors.ValidationError,
        details={
            "status": 400,
            "category": "VALIDATION_ERROR",
            "correlation_id": "c-1",
            "retryable": False,
            "permanent": True,
            "retry_after": None,
        },
        says=("400 VALIDATION_ERROR", "get_statuses (2026-09)", "are wrong", "[correlation id c-1]"),
    ),
    _final("a category with an address in it", server.error(400, _NAMING, _NAMING), errors.ValidationError),
    _final(
        "401 with a token that is none",
        server.error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found."),
        errors.AuthenticationError,
        details={"status": 401, "retryable": False, "permanent": True},
        says=("the token is not accepted (401): check the field Token", "mistyped or cut off"),
    ),
    _final(
        "401 of a static token that has expired is final",
        server.error(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired."),
        errors.AuthenticationError,
        details={"category": "EXPIRED_AUTHENTICATION", "retryable": False},
        says=("has expired or was revoked",),
    ),
    _final(
        "403 names the scopes HubSpot asks for",
        server.json(403, _missing_scopes("communication_preferences.read", "other.scope")),
        errors.MissingScopesError,
        details={
            "scopes": ("communication_preferences.read", "other.scope"),
            "category": "MISSING_SCOPES",
            "retryable": False,
        },
        says=("communication_preferences.read, other.scope",),
        says_not=("Enterprise",),
    ),
    Scenario(
        name="403 of a batch call that names no scopes: they come from the table, with the hub they need",
        call=lambda calls: calls.batch_unsubscribe_all([SUBSCRIBER]),
        answers=(server.error(403, "MISSING_SCOPES"),),
        error=errors.MissingScopesError,
        details={"scopes": ("communication_preferences.statuses.batch.write",)},
        says=("communication_preferences.statuses.batch.write", "Marketing Hub Enterprise"),
        lines=(
            f"POST /communication-preferences/{DEFAULT_VERSION}"
            "/statuses/batch/unsubscribe-all?channel=EMAIL&verbose=true",
        ),
    ),
    Scenario(
        name="403 of links/generate says which scopes belong together",
        call=lambda calls: calls.generate_links(SUBSCRIBER),
        answers=(server.error(403, "MISSING_SCOPES"),),
        error=errors.MissingScopesError,
        says=(
            "communication_preferences.read and communication_preferences.write, "
            "or communication_preferences.read_write",
        ),
        lines=(f"POST /communication-preferences/{DEFAULT_VERSION}/links/generate?channel=EMAIL",),
    ),
    _final("403 for another reason", server.error(403, "FORBIDDEN"), errors.AuthenticationError),
    _final(
        "404 that names a path",
        server.error(404, "OBJECT_NOT_FOUND", "Unable to find GET /communication-preferences/v9"),
        errors.SettingsError,
        says=("api_version",),
    ),
    Scenario(
        name="404 of a write is final",
        call=_set_status,
        answers=(server.error(404, "OBJECT_NOT_FOUND"),),
        error=errors.NotFoundError,
        lines=(f"POST /communication-preferences/{DEFAULT_VERSION}/statuses/{ENCODED}",),
    ),
    _final("409 is final", server.error(409, "CONFLICT"), errors.ConflictError),
    _final("414 is final", server.answer(414), errors.ForeignAnswerError, says=("an empty body",)),
    _final("407 is final", server.answer(407), errors.ForeignAnswerError, says=("HTTPS_PROXY",)),
    _final(
        "429 of the daily limit is final",
        server.json(429, DAILY),
        errors.DailyLimitError,
        details={"category": "RATE_LIMIT", "retryable": False, "permanent": False},
        says=("midnight",),
    ),
    _final(
        "429 that names no policy is of the daily limit when nothing is left of the day",
        server.answer(429, x_hubspot_ratelimit_daily_remaining="0"),
        errors.DailyLimitError,
    ),
    _final(
        "477 that asks for more than the maximum is an error at once",
        server.error(477, "MIGRATION_IN_PROGRESS", retry_after="86400"),
        errors.MigratingError,
        details={"retry_after": 86400.0, "retryable": True},
        says=("moving between data centres",),
    ),
    *(_final(f"{status} is not retried", server.answer(status), errors.ServerError) for status in (505,)),
    _final(
        "a redirect is never followed",
        server.answer(302, location="/elsewhere"),
        errors.ForeignAnswerError,
        details={"status": 302, "retryable": False},
        says=("redirects are never followed",),
    ),
    _final("an error that is JSON but no object", server.json(400, ["no"]), errors.ForeignAnswerError),
    _final(
        "an error whose every field is of a wrong type",
        server.json(
            400, {"message": 1, "category": [], "correlationId": {}, "errors": "x", "subCategory": 3}
        ),
        errors.ForeignAnswerError,
        details={"category": None, "correlation_id": None},
    ),
    _final(
        "a correlation id in the headers",
        server.json(
            400, {"category": "X", "subCategory": {"name": "X.Y"}}, **{"X_HubSpot_Correlation_Id": "h-1"}
        ),
        errors.ValidationError,
        details={"correlation_id": "h-1"},
    ),
    _final("an error nested without end", server.answer(400, b"[" * 100_000), errors.ForeignAnswerError),
    _final(
        "an answer of another shape",
        server.json(200, {"status": [SUBSCRIBER], "results": []}),
        errors.MalformedAnswerError,
        details={"status": 200, "retryable": False},
        says=("not of the documented shape", "`$.status`"),
    ),
]

_THREE = (0.5 + 1.0, 1.0 + 2.0)
RETRIES = [
    *(
        _retried(f"{status} is retried", server.error(status, "X", _NAMING), waited=(0.5, 1.0))
        for status in (500, 501, 503, 507, 508, 520, 521, 522, 523, 524, 525, 526, 527, 530, 598, 599)
    ),
    *(
        _retried(f"{status} is given a few seconds", server.answer(status), waited=(2.0, 4.0))
        for status in (502, 504)
    ),
    *(
        _retried(f"{status} from a proxy is retried", server.cloudflare(status), waited=(0.5, 1.0))
        for status in (403, 404, 408, 421, 425, 451)
    ),
    _retried("Cloudflare's HTML is retried", server.cloudflare(503), waited=(0.5, 1.0)),
    _retried("an empty 503 is retried", server.answer(503), waited=(0.5, 1.0)),
    _retried("waits grow", server.answer(503), server.answer(503), server.answer(503), waited=(3.5, 7.0)),
    _retried("423 waits two seconds at least", server.error(423, "LOCKED"), waited=(2.0, 2.0)),
    _retried("429 waits for the interval", server.json(429, BURST), waited=(10.0, 10.1)),
    _retried("429 without a body waits too", server.answer(429), waited=(10.0, 10.1)),
    _retried("Retry-After of a 429 is honoured", server.json(429, BURST, retry_after="3"), waited=(3.0, 3.3)),
    _retried("Retry-After of a 503 is honoured", server.answer(503, Retry_After="7.5"), waited=(7.5, 8.25)),
    _retried(
        "Retry-After of 0 is no leave to hammer", server.answer(503, retry_after="0"), waited=(0.5, 1.0)
    ),
    _retried(
        "a header that is none (urllib3 warns of it, and names the path)",
        server.raw(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\nno colon in here\r\n\r\n"),
        waited=(0.5, 1.0),
    ),
    *(
        _retried(
            f"Retry-After: {value} says nothing", server.answer(503, retry_after=value), waited=(0.5, 1.0)
        )
        for value in ("-5", "nan", "inf", "1e400", "soon", "1, 1", "", "9" * 5000)
    ),
    _retried("477 is waited for", server.error(477, retry_after="600"), waited=(600.0, 660.0)),
    _retried("477 that says no time", server.error(477), waited=(0.5, 1.0)),
    _retried("a dropped connection is retried", server.drop, waited=(0.5, 1.0)),
    _retried("a cut-off answer is retried", server.truncated(b'{"status":'), waited=(0.5, 1.0)),
    _retried("something that is no HTTP is retried", server.raw(b"SSH-2.0\r\n\r\n"), waited=(0.5, 1.0)),
    _retried("an empty 200 is retried", server.answer(200), waited=(0.5, 1.0)),
    _retried("a 204 is retried: the call has an answer", server.answer(204), waited=(0.5, 1.0)),
    _retried("HTML with status 200 is retried", server.answer(200, b"<html>"), waited=(0.5, 1.0)),
    _retried(
        "bytes that are no UTF-8 are retried", server.answer(200, b'{"status":"\xff"}'), waited=(0.5, 1.0)
    ),
    Scenario(
        name="what stays unreadable is given up after three attempts",
        call=get_statuses,
        answers=(server.answer(200, b"<html>"),) * 3,
        error=errors.MalformedAnswerError,
        says=("is no JSON: 6 bytes of unknown type",),
        lines=(_LINE,) * 3,
        waited=_THREE,
    ),
    Scenario(
        name="retrying ends when the time is over, with the last error",
        call=get_statuses,
        answers=(server.answer(503), server.answer(503), server.error(500, "LAST")),
        error=errors.ServerError,
        details={"status": 500, "category": "LAST", "retryable": True},
        lines=(_LINE,) * 3,
        settings={"retry_total": 3.2},
        waited=_THREE,
    ),
    Scenario(
        name="Retry-After beyond the total time is an error at once",
        call=get_statuses,
        answers=(server.json(429, BURST, retry_after="3600"),),
        error=errors.BurstLimitError,
        details={"retry_after": 3600.0},
        lines=(_LINE,),
    ),
    Scenario(
        name="a v4 write is repeated: HubSpot calls the second one NO_STATUS_CHANGE",
        call=_set_status,
        version="v4",
        answers=(
            server.drop,
            server.json(200, operation(status_row(setStatusSuccessReason="NO_STATUS_CHANGE"))),
        ),
        result=complete(status_of(set_status_success_reason="NO_STATUS_CHANGE")),
        lines=(f"POST /communication-preferences/v4/statuses/{ENCODED}",) * 2,
        waited=(0.5, 1.0),
    ),
]

_STATUSES = f"GET /communication-preferences/{{version}}/statuses/{ENCODED}"
_BATCH = "POST /communication-preferences/{version}/statuses/batch"
UNKNOWN: tuple[tuple[str, Callable[[Calls], Call[Any]], str, list[Any]], ...] = (
    ("get_statuses", get_statuses, f"{_STATUSES}?channel=EMAIL", []),
    (
        "get_unsubscribe_all",
        lambda calls: calls.get_unsubscribe_all(SUBSCRIBER),
        f"{_STATUSES}/unsubscribe-all?channel=EMAIL&verbose=true",
        [],
    ),
    (
        "batch_get_statuses",
        lambda calls: calls.batch_get_statuses([SUBSCRIBER]),
        f"{_BATCH}/read?channel=EMAIL",
        [SubscriberStatuses(subscriber=SUBSCRIBER, statuses=[])],
    ),
    (
        "batch_get_unsubscribe_all",
        lambda calls: calls.batch_get_unsubscribe_all([SUBSCRIBER]),
        f"{_BATCH}/unsubscribe-all/read?channel=EMAIL",
        [SubscriberWideStatuses(subscriber=SUBSCRIBER, wide_statuses=[])],
    ),
)

ANSWERS = [
    Scenario(
        name="207 is a success with errors in it",
        call=lambda calls: calls.batch_get_statuses([SUBSCRIBER]),
        answers=(
            server.json(
                207,
                operation(
                    numErrors=1,
                    errors=[
                        {
                            "status": "error",
                            "category": "VALIDATION_ERROR",
                            "message": f"{SUBSCRIBER} is no address",
                            "context": {"emails": [SUBSCRIBER]},
                        }
                    ],
                ),
            ),
        ),
        result=complete(
            num_errors=1,
            given_errors=[
                BatchError(
                    status="error",
                    category="VALIDATION_ERROR",
                    message=f"{SUBSCRIBER} is no address",
                    context={"emails": [SUBSCRIBER]},
                )
            ],
        ),
        lines=(f"POST /communication-preferences/{DEFAULT_VERSION}/statuses/batch/read?channel=EMAIL",),
    ),
    *(
        Scenario(
            name=f"{version} {name} of a subscriber that HubSpot does not know",
            version=version,
            call=call,
            answers=(server.error(404, "OBJECT_NOT_FOUND", f"{SUBSCRIBER} does not exist"),),
            result=Operation(status="COMPLETE", given_results=rows),
            lines=(f"{line.format(version=version)}",),
        )
        for version in VERSIONS
        for name, call, line, rows in UNKNOWN
    ),
    Scenario(
        name="a subscriber that HubSpot does not know among others",
        call=lambda calls: calls.batch_get_statuses([OTHER, SUBSCRIBER]),
        answers=(
            server.json(
                207,
                operation(
                    {"subscriberIdString": OTHER, "statuses": []},
                    numErrors=1,
                    errors=[
                        {"category": "OBJECT_NOT_FOUND", "context": {"subscriberIdString": [SUBSCRIBER]}}
                    ],
                ),
            ),
        ),
        result=complete(
            SubscriberStatuses(subscriber=OTHER, statuses=[]),
            SubscriberStatuses(subscriber=SUBSCRIBER.lower(), statuses=[]),
        ),
        lines=(f"POST /communication-preferences/{DEFAULT_VERSION}/statuses/batch/read?channel=EMAIL",),
    ),
    Scenario(
        name="an odd row says nothing, and an odd time is none",
        call=get_statuses,
        answers=(
            server.json(
                200, operation(status_row(timestamp=SUBSCRIBER), {"status": SUBSCRIBER, "subscriptionId": 7})
            ),
        ),
        result=complete(
            status_of(timestamp=None),
            SubscriptionStatus(subscriber=SUBSCRIBER, subscription_id=7, status="UNREADABLE"),
        ),
        lines=(_LINE,),
    ),
    Scenario(
        name="an unknown status is carried through",
        call=get_statuses,
        answers=(server.json(200, {"status": "SUCCESS", "results": None, "new": 1}),),
        result=Operation(status="SUCCESS"),
        lines=(_LINE,),
    ),
    Scenario(
        name="a repeated header and one in odd case do no harm",
        call=get_statuses,
        answers=(
            server.json(
                200,
                operation(status_row()),
                **{"X_hubspot_RATELIMIT_max": "190, 190", "SET_COOKIE": "a=b", "X_": "\xe9"},
            ),
        ),
        result=complete(status_of()),
        lines=(_LINE,),
    ),
]

REFUSED_BEFORE = [
    Scenario(name=f"refused before any request: {name}", call=call, error=errors.ValidationError, says=says)
    for name, call, says in (
        ("no address", lambda calls: calls.get_statuses("jane"), ("subscriber",)),
        ("None", lambda calls: calls.get_statuses(None), ("subscriber", "NoneType")),
        (
            "an address with a space behind",
            lambda calls: calls.get_statuses(f"{SUBSCRIBER} "),
            ("subscriber",),
        ),
        ("half a character", lambda calls: calls.get_statuses("jane\udc80@example.com"), ("subscriber",)),
        ("a status HubSpot has not", lambda calls: calls.set_status(SUBSCRIBER, 1, "OUT"), ("SUBSCRIBED",)),
        (
            "status and address in each other's place",
            lambda calls: calls.set_status(OTHER, 1, SUBSCRIBER),
            ("status",),
        ),
        (
            "identifier and address in each other's place",
            lambda calls: calls.set_status(OTHER, SUBSCRIBER, "SUBSCRIBED"),
            ("subscription_id",),
        ),
        (
            "a legal basis HubSpot has not",
            lambda calls: calls.set_status(OTHER, 1, "SUBSCRIBED", legal_basis=SUBSCRIBER),
            ("legal_basis", "NON_GDPR"),
        ),
        ("an empty batch", lambda calls: calls.batch_unsubscribe_all([]), ("at least one",)),
        ("an empty batch of changes", lambda calls: calls.batch_set_statuses([]), ("at least one",)),
        ("one text for a batch", lambda calls: calls.batch_get_statuses(SUBSCRIBER), ("a list",)),
        ("a number in a batch", lambda calls: calls.batch_get_statuses([SUBSCRIBER, 7]), ("int",)),
    )
]

SCENARIOS: list[Scenario] = [
    *(scenario for version in VERSIONS for scenario in _modern(version)),
    *ERRORS,
    *RETRIES,
    *ANSWERS,
    *REFUSED_BEFORE,
]
