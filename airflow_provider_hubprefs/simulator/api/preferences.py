"""The ten operations of communication preferences: from a call to HubSpot's answer.

v4 and the dated versions from 2026-03 on are one contract.
"""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from airflow_provider_hubprefs.simulator.answers import ApiAnswer, ApiError, invalid, not_found
from airflow_provider_hubprefs.simulator.api.call import build
from airflow_provider_hubprefs.simulator.api.rows import (
    AnswerRow,
    canceled_entries,
    cancellation,
    envelope,
    error_entry,
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

Basis = Literal[
    "CONSENT_WITH_NOTICE", "LEGITIMATE_INTEREST_CLIENT", "LEGITIMATE_INTEREST_OTHER", "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR", "PERFORMANCE_OF_CONTRACT", "PROCESS_AND_STORE",
]  # fmt: skip


class LinkGenerationRequest(msgspec.Struct, rename="camel"):
    """For whom links are made."""

    subscriber_id_string: str
    subscription_id: int | None = None
    language: str | None = None


class PartialPublicStatusRequest(msgspec.Struct, rename="camel"):
    """The status to set; the subscriber is in the path."""

    channel: Literal["EMAIL"]
    status_state: Status
    subscription_id: int
    legal_basis: Basis | None = msgspec.field(default=None)
    legal_basis_explanation: str | None = msgspec.field(default=None)


class PublicStatusRequest(PartialPublicStatusRequest, rename="camel", kw_only=True):
    """The status to set, of one row of a batch."""

    subscriber_id_string: str


class BatchInputPublicStatusRequest(msgspec.Struct):
    """The rows of a batch write."""

    inputs: list[Any]


class BatchInputString(msgspec.Struct):
    """The addresses of any other batch."""

    inputs: list[str]


# One subscriber -------------------------------------------------------------------------------------


def definitions(portal: Portal, call: ApiCall) -> ApiAnswer:
    """List the definitions, archived ones too; translations only when asked for."""
    brand = call.brand()
    portal.check_brand(brand)
    with_translations = call.flag("includeTranslations")
    rows = []
    for each in portal.definitions.values():
        if brand is not None and each.brand != brand:
            continue
        row = msgspec.to_builtins(each)
        if not with_translations:
            del row["subscriptionTranslations"]
        rows.append(row)
    return envelope(portal, rows)


def generate_links(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Make a subscriber's own links; the answer has no envelope."""
    call.channel()
    brand = call.brand() or 0
    portal.check_brand(brand)
    wanted = call.read(LinkGenerationRequest)
    address = wanted.subscriber_id_string
    key = portal.check_address(address)
    secret = uuid.uuid5(uuid.NAMESPACE_URL, f"{portal.seed}:{brand}:{key}").hex
    site = f"https://{portal.settings.portal_id}.preferences.hubspot.example/hs/preferences-center"
    path = f"{site}/{quote(wanted.language or 'en', safe='')}"
    answer = {
        "subscriberIdString": address,
        "managePreferencesUrl": f"{path}/direct?data={secret}",
        "unsubscribeAllUrl": f"{path}/unsubscribe-all?data={secret}",
    }
    if wanted.subscription_id is not None:
        number = portal.definition(wanted.subscription_id).number
        answer["unsubscribeSingleUrl"] = f"{path}/unsubscribe?subscriptionId={number}&data={secret}"
    return ApiAnswer(200, answer)


def get_statuses(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer one subscriber's status for every active subscription.

    What HubSpot answers for an address it has never seen is not published. Here: 200 with a NOT_SPECIFIED row for
    each, as in its guide's example; the portal's ``unknown_subscriber`` can make it a 404.
    """
    call.channel()
    brand = call.brand()
    portal.check_brand(brand)
    key = portal.check_address(call.address)
    status = portal.operation_status(key)
    if portal.settings.unknown_subscriber == "not_found" and not portal.history(key) and status == "COMPLETE":
        raise not_found(
            f"{call.address} either has no subscriptions associated with this portal or does not exist"
        )
    rows = [status_row(portal, key, each) for each in portal.definitions_of(brand)]
    return envelope(portal, rows, status=status, errors=canceled_entries(key, status))


def set_status(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Set one subscriber's status for one subscription; resubscribing is allowed."""
    wanted = call.read(PartialPublicStatusRequest)
    key = _check(portal, wanted, call.address)
    operation, rows = _apply(portal, wanted, key)
    return envelope(portal, rows, status=operation, errors=canceled_entries(key, operation))


def get_unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer whether a subscriber has opted out; no results: it has not.

    What ``verbose`` does to this call is not published: it is checked, and changes nothing.
    """
    call.channel()
    call.flag("verbose")
    brand = call.brand()
    portal.check_brand(brand)
    key = portal.check_address(call.address)
    status = portal.operation_status(key)
    return envelope(
        portal, wide_rows(portal, key, brand), status=status, errors=canceled_entries(key, status)
    )


def unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Opt one subscriber out; without ``verbose=true`` the results of a success are empty."""
    call.channel()
    verbose = call.flag("verbose")
    brand = _opt_out_brand(portal, call)
    key = portal.check_address(call.address)
    operation, rows = _opt_out(portal, key, brand)
    return envelope(
        portal, rows if verbose else [], status=operation, errors=canceled_entries(key, operation)
    )


# Many subscribers -----------------------------------------------------------------------------------


def batch_read(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer the statuses of many subscribers; see :func:`_read_each` for operations that are under way."""
    call.channel()
    brand = call.brand()
    portal.check_brand(brand)

    def row(key: str) -> AnswerRow:
        statuses = [status_row(portal, key, each) for each in portal.definitions_of(brand)]
        return {"subscriberIdString": key, "statuses": statuses}

    return _read_each(portal, call, row)


def batch_read_unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Answer the opt-outs of many subscribers; without ``businessUnitId``, of all brands (HubSpot's guide)."""
    call.channel()
    brand = call.brand()
    portal.check_brand(brand)
    return _read_each(
        portal,
        call,
        lambda key: {"subscriberIdString": key, "wideStatuses": wide_rows(portal, key, brand)},
    )


def batch_unsubscribe_all(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Opt many subscribers out; errors are in a 200 (published OpenAPI documents: no 207 here)."""
    call.channel()
    verbose = call.flag("verbose")
    brand = _opt_out_brand(portal, call)
    operations: list[str] = []

    def row(key: str) -> AnswerRow | None:
        operation, statuses = _opt_out(portal, key, brand)
        operations.append(operation)
        if operation == "CANCELED":
            raise cancellation(key)
        return {"subscriberIdString": key, "statuses": statuses} if verbose and statuses else None

    rows, errors = _each_address(portal, call, row, applied=portal.settings.missing.applied)
    return envelope(portal, rows, errors=errors, status=slowest(operations))


def batch_write(portal: Portal, call: ApiCall) -> ApiAnswer:
    """Set many statuses; errors are in a 200 (published OpenAPI documents: no 207 here)."""
    inputs = call.read(BatchInputPublicStatusRequest).inputs
    _check_size(portal, inputs)
    wanted = [build(each, PublicStatusRequest) for each in inputs]
    checked: list[str | ApiError] = [_checked(portal, each) for each in wanted]
    refused = [each for each in checked if isinstance(each, ApiError)]
    if refused and portal.settings.batch_errors == "whole":
        raise refused[0]
    errors: list[AnswerRow] = []
    rows: list[AnswerRow] = []
    operations: list[str] = []
    for change, key in zip(wanted, checked, strict=True):
        address = change.subscriber_id_string
        if isinstance(key, ApiError):
            errors.append(error_entry(portal, key, address))
            continue
        missing = portal.is_missing(key)
        if missing and not portal.settings.missing.applied:
            continue
        operation, made = _apply(portal, change, key)
        operations.append(operation)
        if operation == "CANCELED":
            errors.append(error_entry(portal, cancellation(address), address))
        elif not missing:
            rows += made
    return envelope(portal, _shuffled(portal, rows), errors=errors, status=slowest(operations))


# What they share ------------------------------------------------------------------------------------


def _opt_out_brand(portal: Portal, call: ApiCall) -> int | None:
    """Return the brand an opt-out is for; with the Brands add-on it must be named (HubSpot's guide)."""
    brand = call.brand()
    portal.check_brand(brand)
    if not portal.brands:
        return None
    if brand is None:
        raise invalid("businessUnitId is required for portals with the Brands add-on")
    return brand


def _opt_out(portal: Portal, key: str, brand: int | None) -> tuple[str, list[AnswerRow]]:
    """Opt a subscriber out; return the operation's status, and its rows when it has ended."""
    operation, reasons = portal.unsubscribe_all(key, brand)
    if not has_rows(operation):
        return operation, []
    return operation, [
        status_row(portal, key, portal.definitions[number], reason) for number, reason in reasons.items()
    ]


def _check(portal: Portal, wanted: PartialPublicStatusRequest, address: str) -> str:
    """Return the key of the subscriber whose status can be set; raise a 400 otherwise."""
    key = portal.check_address(address)
    portal.definition(wanted.subscription_id)
    portal.check_legal_basis(wanted.legal_basis, wanted.legal_basis_explanation)
    return key


def _checked(portal: Portal, wanted: PublicStatusRequest) -> str | ApiError:
    try:
        return _check(portal, wanted, wanted.subscriber_id_string)
    except ApiError as error:
        return error


def _apply(portal: Portal, wanted: PartialPublicStatusRequest, key: str) -> tuple[str, list[AnswerRow]]:
    """Set a status; return the operation's status, and its row when it has ended."""
    definition = portal.definition(wanted.subscription_id)
    operation, reason = portal.set_status(
        key,
        definition,
        wanted.status_state,
        legal_basis=wanted.legal_basis,
        explanation=wanted.legal_basis_explanation,
    )
    return operation, [status_row(portal, key, definition, reason)] if has_rows(operation) else []


def _check_size(portal: Portal, inputs: Sequence[object]) -> None:
    maximum = portal.settings.batch_maximum
    if len(inputs) > maximum:
        raise invalid(f"The maximum number of inputs is {maximum}, but {len(inputs)} were given")


def _read_each(portal: Portal, call: ApiCall, row: Callable[[str], AnswerRow]) -> ApiAnswer:
    """Answer a batch read.

    HubSpot was only ever seen to answer COMPLETE. For other operations it is defined here, much as in batch
    writes. A subscriber whose operation is under way, or ended with an unknown word, has no row, and the answer's
    status is that of the slowest operation. A subscriber whose operation was canceled is named in ``errors``, and
    has its row, which shows what is so.
    """
    operations: list[str] = []
    canceled: list[AnswerRow] = []

    def settled(key: str) -> AnswerRow | None:
        operation = portal.operation_status(key)
        if operation == "CANCELED":
            canceled.append(error_entry(portal, cancellation(key), key))
        else:
            operations.append(operation)
        return row(key) if operation in ("COMPLETE", "CANCELED") else None

    rows, errors = _each_address(portal, call, settled)
    errors += canceled
    return envelope(portal, rows, errors=errors, status=slowest(operations), code=207 if errors else 200)


def _each_address(
    portal: Portal, call: ApiCall, row: Callable[[str], AnswerRow | None], *, applied: bool = False
) -> tuple[list[AnswerRow], list[AnswerRow]]:
    """Make one row for each address of a batch.

    Rows do not come back in the order of the inputs, because nothing says that HubSpot keeps it.

    :param applied: whether a subscriber that the answer leaves out is written.
    :returns: the rows and the errors.
    """
    addresses: dict[str, str] = {}
    refused: list[tuple[str, ApiError]] = []
    inputs = call.read(BatchInputString).inputs
    _check_size(portal, inputs)
    for address in inputs:
        try:
            addresses.setdefault(portal.check_address(address), address)
        except ApiError as error:
            refused.append((address, error))
    if refused and portal.settings.batch_errors == "whole":
        raise refused[0][1]
    rows = []
    for key, address in addresses.items():
        missing = portal.is_missing(key)
        if missing and not applied:
            continue
        try:
            made = row(key)
        except ApiError as error:
            refused.append((address, error))
            continue
        if made is not None and not missing:
            rows.append(made)
    return _shuffled(portal, rows), [error_entry(portal, error, address) for address, error in refused]


def _shuffled(portal: Portal, rows: list[AnswerRow]) -> list[AnswerRow]:
    random.Random(f"{portal.seed}:{len(rows)}").shuffle(rows)
    return rows
