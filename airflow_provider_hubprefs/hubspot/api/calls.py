"""The request for every operation, and how to read its answer. No I/O.

A :class:`Call` is sent by ``Client.send`` or ``AsyncClient.send``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from airflow_provider_hubprefs.hubspot.api.answers import with_unknown, without_statuses
from airflow_provider_hubprefs.hubspot.api.endpoints import (
    DEFAULT_VERSION,
    ENDPOINTS,
    Endpoint,
    check_subscriber,
    check_version,
    path_of,
    query_of,
)
from airflow_provider_hubprefs.hubspot.api.models import (
    LEGAL_BASES,
    STATUSES,
    Definition,
    Operation,
    PreferenceLinks,
    Reply,
    StatusChange,
    SubscriberStatuses,
    SubscriberWideStatuses,
    SubscriptionStatus,
    WideStatus,
    decode,
)
from airflow_provider_hubprefs.hubspot.api.refusals import error_from
from airflow_provider_hubprefs.hubspot.errors import (
    MalformedAnswerError,
    NotFoundError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.privacy import mask, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_hubprefs.hubspot.api.models import LegalBasis, StatusName

T = TypeVar("T")
R = TypeVar("R", SubscriberStatuses, SubscriberWideStatuses)
CHANNEL = "EMAIL"
"""The only channel HubSpot's documents name."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Call(Generic[T]):
    """One request, and what its answer means.

    :param endpoint: what is asked.
    :param version: API version, for error texts.
    :param path: absolute, percent-encoded, with the query string.
    :param body: bytes to send, or None.
    :param content_type: of the body.
    :param not_after: monotonic seconds until which it may leave; None: whenever. A call that has such an end
        (be it infinite) is sent once: all that belongs together is done again instead (``Sender.repeat``).
    :param read: turns the answer of a success into the result.
    :param unknown: the result where HubSpot does not know the subscriber (404); None where that is an error.
    :param spaced: the subscriber, where it has spaces: in a text they end an address.
    """

    endpoint: Endpoint
    version: str
    path: str
    body: bytes | None
    read: Callable[[Reply], T]
    content_type: str = "application/json"
    not_after: float | None = None
    unknown: T | None = None
    spaced: str | None = None

    def __repr__(self) -> str:
        return f"<Call {self.name}>"

    @property
    def name(self) -> str:
        """Endpoint and version, for error texts."""
        return f"{self.endpoint.name} ({self.version})"

    def conclude(self, reply: Reply) -> T:
        """Result of an answer.

        :raises HubSpotError: the answer is a refusal, or not what HubSpot's contract says.
        """
        if 200 <= reply.status < 300:
            return self._result(reply)
        if self.spaced is not None:
            body = reply.body.replace(self.spaced.encode(), mask(self.spaced).encode())
            reply = Reply(reply.status, reply.headers, body)
        error = error_from(reply, self.endpoint, call=self.name, version=self.version)
        if self.unknown is not None and isinstance(error, NotFoundError):
            return self.unknown
        raise error

    def _result(self, reply: Reply) -> T:
        details: dict[str, Any] = {
            "status": reply.status,
            "correlation_id": reply.headers.get("x-hubspot-correlation-id"),
        }
        try:
            return self.read(reply)
        except msgspec.ValidationError as wrong:
            failed = MalformedAnswerError(
                f"HubSpot's answer to {self.name} is not of the documented shape: {wrong}", **details
            )
        except (msgspec.DecodeError, UnicodeDecodeError):
            failed = MalformedAnswerError(
                f"HubSpot's answer to {self.name} is no JSON: {len(reply.body)} bytes of "
                f"{reply.content_type or 'unknown type'}, cut off or not from HubSpot",
                retryable=True,
                **details,
            )
        raise failed  # out here it has no context, which would carry the wrong value


class Calls:
    """Builds the calls of one API version.

    :param version: ``v4`` or ``YYYY-MM``.
    :raises SettingsError: see :func:`~.endpoints.check_version`.
    """

    def __init__(self, version: str = DEFAULT_VERSION) -> None:
        check_version(version)
        self.version = version

    def get_definitions(
        self, *, business_unit_id: int | None = None, include_translations: bool = False
    ) -> Call[Operation[Definition]]:
        """Subscription types of the portal.

        :param business_unit_id: only those of this brand.
        :param include_translations: with names in other languages.
        """
        query = {"businessUnitId": business_unit_id, "includeTranslations": include_translations or None}
        return self._call("get_definitions", query=query, kind=Operation[Definition])

    def generate_links(
        self,
        subscriber: str,
        *,
        subscription_id: int | None = None,
        language: str | None = None,
        business_unit_id: int | None = None,
    ) -> Call[PreferenceLinks]:
        """Links to the subscriber's own preference pages.

        :param subscriber: address.
        :param subscription_id: for the link that unsubscribes from this one only.
        :param language: of the pages, such as ``en``.
        :param business_unit_id: brand; HubSpot takes 0, the account's, when None.
        """
        check_subscriber(subscriber)
        body = {"subscriberIdString": subscriber, "subscriptionId": subscription_id, "language": language}
        return self._call(
            "generate_links",
            query={"channel": CHANNEL, "businessUnitId": business_unit_id},
            body={name: value for name, value in body.items() if value is not None},
            kind=PreferenceLinks,
        )

    def get_statuses(
        self, subscriber: str, *, business_unit_id: int | None = None
    ) -> Call[Operation[SubscriptionStatus]]:
        """Statuses of one subscriber for every subscription."""
        return self._call(
            "get_statuses",
            subscriber=subscriber,
            query={"channel": CHANNEL, "businessUnitId": business_unit_id},
            kind=Operation[SubscriptionStatus],
            unknown=Operation(status="COMPLETE", given_results=[]),
        )

    def set_status(
        self,
        subscriber: str,
        subscription_id: int,
        status: StatusName | str,
        *,
        legal_basis: LegalBasis | str | None = None,
        legal_basis_explanation: str | None = None,
    ) -> Call[Operation[SubscriptionStatus]]:
        """Set one subscriber's status for one subscription.

        It does not read the status first; the operators do.

        :raises ValidationError: status or legal basis outside HubSpot's enumerations.
        """
        change = StatusChange(
            subscriber=subscriber,
            subscription_id=subscription_id,
            status=status,
            legal_basis=legal_basis,
            legal_basis_explanation=legal_basis_explanation,
        )
        check_change(change)
        body = change.wire()
        del body["subscriberIdString"]
        return self._call("set_status", subscriber=subscriber, body=body, kind=Operation[SubscriptionStatus])

    def get_unsubscribe_all(
        self, subscriber: str, *, business_unit_id: int | None = None
    ) -> Call[Operation[WideStatus]]:
        """Opt-outs of one subscriber. No results: not opted out (HubSpot's OpenAPI document)."""
        return self._call(
            "get_unsubscribe_all",
            subscriber=subscriber,
            query={"channel": CHANNEL, "businessUnitId": business_unit_id, "verbose": True},
            kind=Operation[WideStatus],
            unknown=Operation(status="COMPLETE", given_results=[]),
        )

    def unsubscribe_all(
        self, subscriber: str, *, business_unit_id: int | None = None
    ) -> Call[Operation[SubscriptionStatus]]:
        """Opt one subscriber out of everything, or of one brand.

        Asks for a verbose answer: otherwise HubSpot answers 200 and no results (HubSpot's guide for v4).

        :param business_unit_id: needed in portals with the Brands add-on; 0 is the account's own.
        """
        return self._call(
            "unsubscribe_all",
            subscriber=subscriber,
            query={"channel": CHANNEL, "businessUnitId": business_unit_id, "verbose": True},
            kind=Operation[SubscriptionStatus],
        )

    def batch_get_statuses(
        self, subscribers: Sequence[str], *, business_unit_id: int | None = None
    ) -> Call[Operation[SubscriberStatuses]]:
        """Statuses of many subscribers."""
        return self._batch_read("batch_get_statuses", subscribers, SubscriberStatuses, business_unit_id)

    def batch_set_statuses(self, changes: Sequence[StatusChange]) -> Call[Operation[SubscriptionStatus]]:
        """Set many statuses. A 200 can carry errors: look at them.

        :raises ValidationError: nothing to set, or a status or legal basis outside HubSpot's enumerations.
        """
        if not changes:
            raise ValidationError("batch_set_statuses: expected at least one change, got none")
        for change in changes:
            check_change(change)
        return self._call(
            "batch_set_statuses",
            body={"inputs": [change.wire() for change in changes]},
            kind=Operation[SubscriptionStatus],
        )

    def batch_unsubscribe_all(
        self, subscribers: Sequence[str], *, business_unit_id: int | None = None
    ) -> Call[Operation[SubscriberStatuses]]:
        """Opt many subscribers out of everything. A 200 can carry errors: look at them."""
        return self._batch(
            "batch_unsubscribe_all",
            subscribers,
            Operation[SubscriberStatuses],
            businessUnitId=business_unit_id,
            verbose=True,
        )

    def batch_get_unsubscribe_all(
        self, subscribers: Sequence[str], *, business_unit_id: int | None = None
    ) -> Call[Operation[SubscriberWideStatuses]]:
        """Opt-outs of many subscribers; of all brands where ``business_unit_id`` is None."""
        return self._batch_read(
            "batch_get_unsubscribe_all", subscribers, SubscriberWideStatuses, business_unit_id
        )

    def _batch_read(
        self, name: str, subscribers: Sequence[str], kind: type[R], business_unit_id: int | None
    ) -> Call[Operation[R]]:
        """A subscriber that HubSpot does not know has a row without statuses, as if asked about alone."""
        call = self._batch(name, subscribers, Operation[kind], businessUnitId=business_unit_id)  # type: ignore[valid-type]
        alone = Operation(status="COMPLETE", given_results=[without_statuses(kind, subscribers[0])])
        return replace(
            call,
            read=lambda reply: with_unknown(call.read(reply), subscribers, kind),
            unknown=alone if len(subscribers) == 1 else None,
        )

    def _batch(
        self, name: str, subscribers: Sequence[str], kind: type[Operation[T]], **query: object
    ) -> Call[Operation[T]]:
        if isinstance(subscribers, str):
            raise ValidationError(f"{name}: expected a list of subscribers, got one text")
        if not subscribers:
            raise ValidationError(f"{name}: expected at least one subscriber, got none")
        for subscriber in subscribers:
            check_subscriber(subscriber)
        return self._call(
            name,
            query={"channel": CHANNEL, **query},
            body={"inputs": list(subscribers)},
            kind=kind,
        )

    def _call(
        self,
        name: str,
        *,
        subscriber: str | None = None,
        query: Mapping[str, object] | None = None,
        body: object = None,
        kind: type[T],
        unknown: T | None = None,
    ) -> Call[T]:
        found = ENDPOINTS[name]
        return Call(
            endpoint=found,
            version=self.version,
            path=path_of(found, version=self.version, subscriber=subscriber) + query_of(query or {}),
            body=None if body is None else msgspec.json.encode(body),
            read=lambda reply: decode(reply.body, kind, subscriber=subscriber),
            unknown=unknown,
            spaced=subscriber if subscriber and len(subscriber.split()) > 1 else None,
        )


def check_change(change: StatusChange) -> None:
    """Refuse what HubSpot's enumerations do not have, before any request.

    :raises ValidationError: names the argument and the values it may have.
    """
    if not isinstance(change, StatusChange):
        raise ValidationError(f"changes: expected StatusChange objects, got {type(change).__name__}")
    check_subscriber(change.subscriber)
    if change.status not in STATUSES:
        raise ValidationError(f"status: expected one of {', '.join(STATUSES)}, got {shown(change.status)}")
    if change.legal_basis is not None and change.legal_basis not in LEGAL_BASES:
        raise ValidationError(
            f"legal_basis: expected one of {', '.join(LEGAL_BASES)}, got {shown(change.legal_basis)}"
        )
    if isinstance(change.subscription_id, bool) or not isinstance(change.subscription_id, int):
        raise ValidationError(
            f"subscription_id: expected a whole number, got {shown(change.subscription_id)}"
        )
