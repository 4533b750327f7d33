"""The ten operations of communication preferences: from a call to HubSpot's answer.

v4 and the dated versions from 2026-03 on are one contract.
"""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from airflow_provider_hubprefs.simulator.answers import ApiAnswer, ApiError, invalid, not_found
from airflow_provider_hubprefs.simulator.api.call import AnyChannelQuery, ChannelQuery
from airflow_provider_hubprefs.simulator.api.rows import (
    AnswerRow,
    cancellation,
    envelope,
    has_rows,
    slowest,
    status_row,
    wide_rows,
)
from airflow_provider_hubprefs.simulator.portal.settings import Status  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_hubprefs.simulator.api.call import ApiCall
    from airflow_provider_hubprefs.simulator.portal.portal import Portal

W = TypeVar("W", "PartialPublicStatusRequest", None)
Basis = Literal[
    "CONSENT_WITH_NOTICE", "LEGITIMATE_INTEREST_CLIENT", "LEGITIMATE_INTEREST_OTHER", "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR", "PERFORMANCE_OF_CONTRACT", "PROCESS_AND_STORE",
]  # fmt: skip


class LinkGenerationRequest(msgspec.Struct, rename="camel"):
    """The subscriber of the links."""

    subscriber_id_string: str
    subscription_id: int | None = None
    language: str | None = None


class PartialPublicStatusRequest(msgspec.Struct, rename="camel"):
    """The status to set; the subscriber is in the path."""

    channel: Literal["EMAIL"]
    status_state: Status
    subscription_id: int
    legal_basis: Basis | None = None
    legal_basis_explanation: str | None = None


class PublicStatusRequest(PartialPublicStatusRequest, rename="camel", kw_only=True):
    """The status to set, of one row of a batch."""

    subscriber_id_string: str


class BatchInputPublicStatusRequest(msgspec.Struct):
    """The rows of a batch write."""

    inputs: list[PublicStatusRequest]


class BatchInputString(msgspec.Struct):
    """The addresses of any other batch."""

    inputs: list[str]


# One subscriber -------------------------------------------------------------------------------------


def definitions(portal: Portal, call: ApiCall) -> ApiAnswer:
    """List the definitions, archived ones too; translations only when asked for."""
    asked = call.asked(AnyChannelQuery)
    brand = asked.business_unit_id
    portal.check_brand(brand)
    rows = []
    for each in portal.definitions.values():
        if brand is not None and each.brand != brand:
            continue
        row = msgspec.to_builtins(each)
        if not asked.include_translations:
            del row["subscriptionTranslations"]
        rows.append(row)
    return envelope(portal, rows)


def generate_links(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Make a subscriber's own links; the answer has no envelope."""
    brand = _brand(portal, call) or 0
    wanted = call.read(LinkGenerationRequest)
    key = portal.check_address(wanted.subscriber_id_string)
    secret = uuid.uuid5(uuid.NAMESPACE_URL, f"{portal.seed}:{brand}:{key}").hex
    path = f"https://{portal.settings.portal_id}.preferences.hubspot.example/hs/preferences-center"
    query = f"language={wanted.language or 'en'}&data={secret}"
    answer = {
        "subscriberIdString": wanted.subscriber_id_string,
        "managePreferencesUrl": f"{path}/direct?{query}",
        "unsubscribeAllUrl": f"{path}/unsubscribe-all?{query}",
    }
    if wanted.subscription_id is not None:
        number = portal.definition(wanted.subscription_id).number
        answer["unsubscribeSingleUrl"] = f"{path}/unsubscribe?subscriptionId={number}&{query}"
    return ApiAnswer(200, answer)


def get_statuses(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer one subscriber's status for every active subscription.

    What HubSpot answers for an address it has never seen is not published. Here: 200 with a NOT_SPECIFIED row for
    each, as in its guide's example; the portal's ``unknown_subscriber`` can make it a 404.
    """
    brand = _brand(portal, call)
    key = portal.check_address(call.address)
    operation = portal.operation_status(key)
    _check_known(portal, call.address, key, operation)
    return _one(portal, key, operation, _status_rows(portal, key, brand))


def set_status(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Set one subscriber's status for one subscription; resubscribing is allowed."""
    wanted = call.read(PartialPublicStatusRequest)
    key = _check(portal, call.address, wanted)
    operation, row = _set(portal, key, wanted)
    return _one(portal, key, operation, [row] if row else [])


def get_unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer whether a subscriber has opted out; no results: it has not.

    What ``verbose`` does to this call is not published: it is checked, and changes nothing.
    """
    brand = _brand(portal, call)
    key = portal.check_address(call.address)
    operation = portal.operation_status(key)
    _check_known(portal, call.address, key, operation)
    return _one(portal, key, operation, wide_rows(portal, key, brand))


def unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Opt one subscriber out; without ``verbose=true`` the results of a success are empty."""
    opt_out = _opt_out(portal, call)
    key = portal.check_address(call.address)
    return _one(portal, key, *opt_out(key))


# Many subscribers -----------------------------------------------------------------------------------


def batch_read(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer the statuses of many subscribers."""
    brand = _brand(portal, call)
    return _read(portal, call, "statuses", lambda key: _status_rows(portal, key, brand))


def batch_read_unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer the opt-outs of many subscribers; without ``businessUnitId``, of all brands (HubSpot's guide)."""
    brand = _brand(portal, call)
    return _read(portal, call, "wideStatuses", lambda key: wide_rows(portal, key, brand))


def batch_unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Opt many subscribers out; errors are in a 200 (published OpenAPI documents: no 207 here)."""
    opt_out = _opt_out(portal, call)

    def act(key: str, _: None) -> tuple[str, AnswerRow | None]:
        operation, statuses = opt_out(key)
        return operation, {"subscriberIdString": key, "statuses": statuses} if statuses else None

    return _batch(portal, _addresses(call), act)


def batch_write(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Set many statuses; errors are in a 200 (published OpenAPI documents: no 207 here)."""
    inputs = [(each.subscriber_id_string, each) for each in call.read(BatchInputPublicStatusRequest).inputs]
    return _batch(portal, inputs, lambda key, wanted: _set(portal, key, wanted))


def _read(portal: Portal, call: ApiCall, member: str, rows_of: Callable[[str], list[AnswerRow]]) -> ApiAnswer:
    """Answer a batch read.

    HubSpot was only ever seen to answer COMPLETE. For other operations it is defined here, much as in batch
    writes. A subscriber whose operation is under way, or ended with an unknown word, has no row, and the answer's
    status is that of the slowest operation. A subscriber whose operation was canceled is named in ``errors``, and
    has its row, which shows what is so.
    """

    def read(key: str, _: None) -> tuple[str, AnswerRow | None]:
        operation = portal.operation_status(key)
        ended = operation in ("COMPLETE", "CANCELED")
        return operation, {"subscriberIdString": key, member: rows_of(key)} if ended else None

    return _batch(portal, _addresses(call), read, reads=True)


def _batch(
    portal: Portal,
    inputs: Sequence[tuple[str, W]],
    act: Callable[[str, W], tuple[str, AnswerRow | None]],
    *,
    reads: bool = False,
) -> ApiAnswer:
    """Answer a batch: all inputs are checked before any is acted on, so that a whole batch can be refused.

    Rows do not come back in the order of the inputs, because nothing says that HubSpot keeps it.

    :param inputs: addresses, and the status to set of each, if any.
    :param act: reads or writes; returns the operation's status, and the row if there is one.
    """
    settings = portal.settings
    if len(inputs) > settings.batch_maximum:
        raise invalid(
            f"The maximum number of inputs is {settings.batch_maximum}, but {len(inputs)} were given"
        )
    errors: list[tuple[str, ApiError]] = []
    accepted = []
    for address, wanted in inputs:
        try:
            key = _check(portal, address, wanted)
            if reads:
                _check_known(portal, address, key, portal.operation_status(key))
            accepted.append((address, key, wanted))
        except ApiError as error:
            errors.append((address, error))
    if errors and settings.batch_errors == "whole":
        raise errors[0][1]
    rows, operations = [], []
    for address, key, wanted in accepted:
        missing = portal.is_missing(key)
        if missing and (reads or not settings.missing.applied):
            continue
        operation, row = act(key, wanted)
        if operation == "CANCELED":
            errors.append((address, cancellation(address)))
        if operation != "CANCELED" or not reads:
            operations.append(operation)
        if row is not None and not missing:
            rows.append(row)
    random.Random(f"{portal.seed}:{len(rows)}").shuffle(rows)
    named = settings.batch_errors != "no_context"
    entries = [error.entry(address if named else None) for address, error in errors]
    code = 207 if reads and errors else 200
    return envelope(portal, rows, errors=entries, status=slowest(operations), code=code)


# What they share ------------------------------------------------------------------------------------


def _brand(portal: Portal, call: ApiCall) -> int | None:
    """Return the brand that is asked about, if any, of a call that needs the channel."""
    brand = call.asked(ChannelQuery).business_unit_id
    portal.check_brand(brand)
    return brand


def _addresses(call: ApiCall) -> list[tuple[str, None]]:
    """Return the addresses of a batch, each once."""
    once = {address.lower(): address for address in call.read(BatchInputString).inputs}
    return [(address, None) for address in once.values()]


def _check(portal: Portal, address: str, wanted: PartialPublicStatusRequest | None) -> str:
    """Return the key of a subscriber, whose status can be set as wanted; raise a 400 otherwise."""
    key = portal.check_address(address)
    if wanted is not None:
        portal.definition(wanted.subscription_id)
        portal.check_legal_basis(wanted.legal_basis, wanted.legal_basis_explanation)
    return key


def _check_known(portal: Portal, address: str, key: str, operation: str) -> None:
    """Raise a 404 for a subscriber that HubSpot has never seen, where the portal is so."""
    unknown = not portal.history(key) and operation == "COMPLETE"
    if unknown and portal.settings.unknown_subscriber == "not_found":
        raise not_found(
            f"{address} either has no subscriptions associated with this portal or does not exist"
        )


def _set(portal: Portal, key: str, wanted: PartialPublicStatusRequest) -> tuple[str, AnswerRow | None]:
    """Set a status; return the operation's status, and its row when it has ended."""
    definition = portal.definition(wanted.subscription_id)
    operation, reason = portal.set_status(
        key,
        definition,
        wanted.status_state,
        legal_basis=wanted.legal_basis,
        explanation=wanted.legal_basis_explanation,
    )
    return operation, status_row(portal, key, definition, reason) if has_rows(operation) else None


def _opt_out(portal: Portal, call: ApiCall) -> Callable[[str], tuple[str, list[AnswerRow]]]:
    """Return what opts a subscriber out: it returns the operation's status, and the rows to show.

    With the Brands add-on, the brand must be named; without it, opt-outs are of the portal (HubSpot's guide).
    """
    verbose = call.asked(ChannelQuery).verbose
    brand = _brand(portal, call)
    if not portal.settings.brands:
        brand = None
    elif brand is None:
        raise invalid("businessUnitId is required for portals with the Brands add-on")

    def opt_out(key: str) -> tuple[str, list[AnswerRow]]:
        operation, reasons = portal.unsubscribe_all(key, brand)
        shown = reasons if verbose and has_rows(operation) else {}
        return operation, [status_row(portal, key, portal.definitions[one], shown[one]) for one in shown]

    return opt_out


def _status_rows(portal: Portal, key: str, brand: int | None) -> list[AnswerRow]:
    return [status_row(portal, key, each) for each in portal.definitions_of(brand)]


def _one(portal: Portal, key: str, operation: str, rows: list[AnswerRow]) -> ApiAnswer:
    """Answer about one subscriber; a canceled operation is in ``errors``."""
    canceled = [cancellation(key).entry(key)] if operation == "CANCELED" else []
    return envelope(portal, rows, status=operation, errors=canceled)
