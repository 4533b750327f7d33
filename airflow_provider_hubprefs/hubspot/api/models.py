"""What is sent to HubSpot and what comes back, typed.

Lenient where HubSpot is: fields it does not send are absent or None, fields it adds are ignored, and values
it adds to an enumeration are carried through as text. Names follow HubSpot's OpenAPI documents, but that
``subscriberIdString`` is ``subscriber`` and identifiers of subscriptions are integers everywhere (HubSpot
sends text in definitions and integers in statuses).
"""

from __future__ import annotations

import codecs
import datetime
import os
import re
import threading
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args

import msgspec
from pendulum import DateTime  # noqa: TC002 - msgspec reads the annotations

from airflow_provider_hubprefs.hubspot.api.odd_answers import UNREADABLE, OddReader
from airflow_provider_hubprefs.hubspot.api.times import decode_time
from airflow_provider_hubprefs.hubspot.privacy import Printed, scrub

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
            return max(0.0, (at - datetime.datetime.now(datetime.UTC)).total_seconds()) if at.tzinfo else None
        except (ValueError, OverflowError):
            return None


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all: camelCase on the wire, absent fields omitted, no address in the printed form.

    :cvar DECISIVE: optional fields that decide what an answer means; others are absent where they cannot be read.
    :cvar PLACEHOLDER: what stands for a row that cannot be read; None: nothing does.
    """

    DECISIVE: ClassVar[frozenset[str]] = frozenset()
    PLACEHOLDER: ClassVar[Any] = None

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={shown!r}" for name, shown in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What ``rich`` prints, in tracebacks with local variables too."""
        return [(name, Printed(_shown(getattr(self, name)))) for name in self.__struct_fields__]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value) if isinstance(value, Wire) else scrub(repr(value))


class BatchError(Wire, frozen=True, kw_only=True):
    """One entry of ``errors`` inside a 200 or 207 (``StandardError``).

    :param context: where HubSpot gives it, names what the entry is about; values are lists of text.
    """

    PLACEHOLDER = MappingProxyType({})

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

    DECISIVE = frozenset({"set_status_success_reason"})
    PLACEHOLDER = MappingProxyType({"subscriber": "", "subscription_id": -1, "status": UNREADABLE})

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

    DECISIVE = frozenset({"wide_status_type", "business_unit_id"})
    PLACEHOLDER = MappingProxyType({"subscriber": "", "status": UNREADABLE})

    subscriber: str = msgspec.field(name="subscriberIdString")
    status: str
    wide_status_type: str | None = None
    channel: str | None = None
    timestamp: DateTime | None = None
    business_unit_id: int | None = None


class SubscriberStatuses(Wire, frozen=True, kw_only=True):
    """One subscriber's row of a batch read, or of a batch opt-out (``statuses`` may be absent there)."""

    DECISIVE = frozenset({"statuses"})
    PLACEHOLDER = MappingProxyType(
        {"subscriber": "", "statuses": [SubscriptionStatus(**SubscriptionStatus.PLACEHOLDER)]}
    )

    subscriber: str = msgspec.field(name="subscriberIdString")
    statuses: list[SubscriptionStatus] | None = None


class SubscriberWideStatuses(Wire, frozen=True, kw_only=True):
    """One subscriber's row of a batch read of opt-outs. No wide status means: not opted out."""

    DECISIVE = frozenset({"wide_statuses"})
    PLACEHOLDER = MappingProxyType(
        {"subscriber": "", "wide_statuses": [WideStatus(**WideStatus.PLACEHOLDER)]}
    )

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

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("subscriber", Printed(_shown(self.subscriber)))]


class Operation(Wire, Generic[T], frozen=True, kw_only=True):
    """One call's answer. ``status`` is PENDING, PROCESSING, CANCELED, COMPLETE or a value HubSpot adds.

    HubSpot answers COMPLETE at once as far as anyone has recorded; the other values are in its contract.

    :param num_errors: how many inputs failed, where HubSpot says so.
    """

    DECISIVE = frozenset({"given_results", "given_errors"})

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

    @property
    def ended(self) -> bool:
        """HubSpot says that it has finished it: COMPLETE, or SUCCESS as in a sample of its guide for v4.

        Only COMPLETE is knowledge of the preference.
        """
        return self.status in {"COMPLETE", "SUCCESS"}


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


def decode(body: bytes, kind: type[T], *, subscriber: str | None = None) -> T:
    """Read JSON into a model: numbers may be text, timestamps become aware ``pendulum`` times.

    One odd row does not hide the others, see :mod:`.odd_answers`.

    :param body: the answer's bytes.
    :param kind: the model, for instance ``Operation[WideStatus]``.
    :param subscriber: whom the call was about, for rows that do not name theirs.
    :raises msgspec.ValidationError: JSON, but not of this shape; the text names the field, never its value.
    :raises msgspec.DecodeError: no JSON.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return _decode(body, kind, subscriber)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None


def _decode(body: bytes, kind: type[T], subscriber: str | None) -> T:
    try:
        decoded: T = _decoder_of(kind).decode(body)
    except msgspec.ValidationError:
        try:
            decoded = OddReader(decode_time, subscriber).read(msgspec.json.decode(body), kind)
        except msgspec.ValidationError:
            decoded = None  # type: ignore[assignment]
        if decoded is None:
            raise
    return decoded


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_decoders_lock = threading.Lock()


def _begin_in_child() -> None:
    global _decoders_lock  # noqa: PLW0603 - a thread of the parent may have held it
    _decoders_lock = threading.Lock()


os.register_at_fork(after_in_child=_begin_in_child)


def _decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a model, made by one thread.

    msgspec 0.22 crashes the process where several threads prepare the same model for the first time at once.
    """
    found = _decoders.get(kind)
    if found is None:
        with _decoders_lock:
            found = _decoders[kind] = msgspec.json.Decoder(kind, strict=False, dec_hook=decode_time)
    return found
