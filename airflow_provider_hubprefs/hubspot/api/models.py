"""What is sent to HubSpot and what comes back, typed.

Lenient where HubSpot is: fields it does not send are absent or None, fields it adds are ignored, and values
it adds to an enumeration are carried through as text. Names follow HubSpot's OpenAPI documents, but that
``subscriberIdString`` is ``subscriber`` and identifiers of subscriptions are integers everywhere (HubSpot
sends text in definitions and integers in statuses).
"""

from __future__ import annotations

import datetime
import functools
import re
import threading
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

import msgspec
import pendulum
from pendulum import DateTime

from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

StatusName = Literal["SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"]
STATUSES: tuple[StatusName, ...] = get_args(StatusName)

LegalBasis = Literal[
    "CONSENT_WITH_NOTICE",
    "LEGITIMATE_INTEREST_CLIENT",
    "LEGITIMATE_INTEREST_OTHER",
    "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR",
    "PERFORMANCE_OF_CONTRACT",
    "PROCESS_AND_STORE",
]
LEGAL_BASES: tuple[LegalBasis, ...] = get_args(LegalBasis)

_SECONDS = re.compile(r"\d{1,9}(\.\d+)?", re.ASCII)

NO_STATUS_CHANGE = "NO_STATUS_CHANGE"
"""``setStatusSuccessReason`` of a write that found everything as wanted."""
RESUBSCRIBE_OCCURRED = "RESUBSCRIBE_OCCURRED"
"""``setStatusSuccessReason`` of a write that subscribed a subscriber who had unsubscribed."""


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """An HTTP answer, whatever library brought it.

    :param status: HTTP status.
    :param headers: names in lower case.
    :param body: the bytes, decompressed.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Reply {self.status}, {len(self.body)} bytes>"

    @property
    def content_type(self) -> str:
        """Media type without parameters, in lower case; empty when not given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """Seconds of ``Retry-After`` (a number or a date), or None where it is absent or unreadable."""
        given = self.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(given):
            return float(given)
        try:
            at = parsedate_to_datetime(given)
        except ValueError:
            return None
        return max(0.0, (at - datetime.datetime.now(datetime.UTC)).total_seconds()) if at.tzinfo else None


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all: camelCase on the wire, absent fields omitted, no address in the printed form."""

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_shown(value)}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value) if isinstance(value, Wire) else scrub(repr(value))


class BatchError(Wire, frozen=True, kw_only=True):
    """One entry of ``errors`` inside a 200 or 207 (``StandardError``).

    :param context: where HubSpot gives it, names what the entry is about; values are lists of text.
    """

    status: str | int | None = None
    category: str | None = None
    message: str | None = None
    id: str | int | None = None
    sub_category: Any = None
    context: Any = None
    errors: Any = None
    links: Any = None

    def names(self) -> set[str]:
        """All text in the context: the subscribers among it are those the entry is about."""
        found: set[str] = set()
        context = self.context if isinstance(self.context, dict) else {}
        for value in context.values():
            found.update(
                item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)
            )
        return found


class SubscriptionStatus(Wire, frozen=True, kw_only=True, gc=False):
    """Status of one subscriber for one subscription (``PublicStatus``).

    :param source: free text of HubSpot's; never to branch on.
    :param set_status_success_reason: after a write: REQUESTED_CHANGE_OCCURRED, NO_STATUS_CHANGE,
        RESUBSCRIBE_OCCURRED, UNSUBSCRIBE_FROM_ALL_OCCURRED or whatever HubSpot adds.
    """

    subscriber: str = msgspec.field(name="subscriberIdString")
    subscription_id: int
    status: str
    channel: str | None = None
    source: str | None = None
    timestamp: DateTime | None = None
    business_unit_id: int | None = None
    subscription_name: str | None = None
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None
    set_status_success_reason: str | None = None


class WideStatus(Wire, frozen=True, kw_only=True, gc=False):
    """Opt-out of one subscriber, portal-wide or for one brand (``PublicWideStatus``).

    :param wide_status_type: PORTAL_WIDE or BUSINESS_UNIT_WIDE.
    """

    subscriber: str = msgspec.field(name="subscriberIdString")
    status: str
    wide_status_type: str | None = None
    channel: str | None = None
    timestamp: DateTime | None = None
    business_unit_id: int | None = None


class SubscriberStatuses(Wire, frozen=True, kw_only=True):
    """One subscriber's row of a batch read, or of a batch opt-out (``statuses`` may be absent there)."""

    subscriber: str = msgspec.field(name="subscriberIdString")
    statuses: list[SubscriptionStatus] | None = None


class SubscriberWideStatuses(Wire, frozen=True, kw_only=True):
    """One subscriber's row of a batch read of opt-outs. No wide status means: not opted out."""

    subscriber: str = msgspec.field(name="subscriberIdString")
    wide_statuses: list[WideStatus] | None = None


class Translation(Wire, frozen=True, kw_only=True):
    """A subscription's name and description in one language."""

    subscription_id: int | None = None
    language_code: str | None = None
    name: str | None = None
    description: str | None = None
    created_at: DateTime | None = None
    updated_at: DateTime | None = None


class Definition(Wire, frozen=True, kw_only=True):
    """A subscription type of the portal."""

    id: int
    name: str
    description: str | None = None
    is_active: bool | None = None
    is_default: bool | None = None
    is_internal: bool | None = None
    purpose: str | None = None
    communication_method: str | None = None
    business_unit_id: int | None = None
    created_at: DateTime | None = None
    updated_at: DateTime | None = None
    translations: list[Translation] | None = msgspec.field(name="subscriptionTranslations", default=None)


class PreferenceLinks(Wire, frozen=True, kw_only=True):
    """A subscriber's own preference pages. Such a link is a secret: its holder can change the preferences."""

    subscriber: str = msgspec.field(name="subscriberIdString")
    manage_preferences_url: str
    unsubscribe_all_url: str
    unsubscribe_single_url: str | None = None

    def __repr__(self) -> str:
        return f"PreferenceLinks(subscriber={_shown(self.subscriber)}, ...)"


class Operation(Wire, Generic[T], frozen=True, kw_only=True):
    """One call's answer. ``status`` is PENDING, PROCESSING, CANCELED, COMPLETE or a value HubSpot adds.

    HubSpot answers COMPLETE at once as far as anyone has recorded; the other values are in its contract.

    :param num_errors: how many inputs failed, where HubSpot says so.
    """

    status: str
    given_results: list[T] | None = msgspec.field(name="results", default=None)
    given_errors: list[BatchError] | None = msgspec.field(name="errors", default=None)
    num_errors: int | None = None
    requested_at: DateTime | None = None
    started_at: DateTime | None = None
    completed_at: DateTime | None = None
    links: dict[str, Any] | None = None

    @property
    def results(self) -> list[T]:
        """The rows; empty also where HubSpot sent null or nothing."""
        return self.given_results or []

    @property
    def errors(self) -> list[BatchError]:
        """Failures inside the success; empty also where HubSpot sent null or nothing."""
        return self.given_errors or []

    @property
    def canceled(self) -> bool:
        """HubSpot canceled it."""
        return self.status == "CANCELED"

    @property
    def complete(self) -> bool:
        """HubSpot has finished it. False for an unknown status: that is not a success."""
        return self.status == "COMPLETE"


class StatusChange(Wire, frozen=True, kw_only=True):
    """What to write for one subscriber and one subscription (``PublicStatusRequest``)."""

    subscriber: str = msgspec.field(name="subscriberIdString")
    subscription_id: int
    status: str = msgspec.field(name="statusState")
    channel: str = "EMAIL"
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None

    def wire(self) -> dict[str, Any]:
        """As HubSpot wants it: the channel always, what is not set not at all."""
        return {"channel": self.channel, **msgspec.to_builtins(self)}


def decode(body: bytes, kind: type[T]) -> T:
    """Read JSON into a model: numbers may be text, timestamps become aware ``pendulum`` times.

    :param body: the answer's bytes.
    :param kind: the model, for instance ``Operation[WideStatus]``.
    :raises msgspec.ValidationError: JSON, but not of this shape; the text names the field, never its value.
    :raises msgspec.DecodeError: no JSON.
    """
    try:
        decoded: T = _decoder_of(kind).decode(body)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    return decoded


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_decoders_lock = threading.Lock()


def _decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a model, made by one thread.

    msgspec 0.22 crashes the process where several threads prepare the same model for the first time at once.
    """
    found = _decoders.get(kind)
    if found is None:
        with _decoders_lock:
            found = _decoders[kind] = msgspec.json.Decoder(kind, strict=False, dec_hook=_decode_time)
    return found


def _decode_time(_kind: type, value: object) -> DateTime:
    """Times come as ISO text, and inside translations as epoch milliseconds."""
    if isinstance(value, str):
        return _iso_time(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return pendulum.from_timestamp(value / 1000)
        except (ValueError, OverflowError, OSError):
            raise ValueError("expected epoch milliseconds") from None
    raise ValueError("expected an ISO 8601 time or epoch milliseconds")


@functools.lru_cache(maxsize=4096)
def _iso_time(text: str) -> DateTime:
    """Read ISO text; without a zone it is UTC.

    An opt-out writes one time on every subscription, so times are kept. They are made by hand: ``pendulum.instance``
    takes five times as long, which is 9 s for a million opt-outs.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
        utc = moment.astimezone(datetime.UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise ValueError("expected an ISO 8601 time") from None
    date = (utc.year, utc.month, utc.day)
    return DateTime(*date, utc.hour, utc.minute, utc.second, utc.microsecond, tzinfo=pendulum.UTC)
