"""The ten operations of v4 and of the dated versions: from a call to HubSpot's answer.

v4, 2026-03 and 2026-09 are one contract; 2025-09 answers its batch reads with 200 where the others say 207.
"""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_hubprefs.simulator import call as calls
from airflow_provider_hubprefs.simulator.bodies import Answer, HubSpotError, invalid, not_found
from airflow_provider_hubprefs.simulator.clock import iso
from airflow_provider_hubprefs.simulator.portal import LEGAL_BASES, STATUSES, Change, Portal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_hubprefs.simulator.call import Call
    from airflow_provider_hubprefs.simulator.settings import Definition

Row = dict[str, Any]
_TOOK_MS = 120  # recorded live answers: 50 to 900 ms between startedAt and completedAt


def definitions(portal: Portal, call: Call) -> Answer:
    """List the definitions, archived ones too; translations only when asked for."""
    brand = call.brand()
    portal.check_brand(brand)
    with_translations = call.flag("includeTranslations")
    rows = []
    for each in portal.settings.definitions.values():
        if brand is not None and each.brand != brand:
            continue
        row = dict(each.body)
        translations = row.pop("subscriptionTranslations", [])
        rows.append({**row, "subscriptionTranslations": translations} if with_translations else row)
    return envelope(portal, rows)


def generate_links(portal: Portal, call: Call) -> Answer:
    """Make a subscriber's own links; the answer has no envelope."""
    call.channel()
    brand = call.brand() or 0
    portal.check_brand(brand)
    body = call.object("LinkGenerationRequest", ["subscriberIdString"])
    address = calls.text(body, "subscriberIdString")
    language = calls.optional_text(body, "language")
    portal.check_address(address)
    secret = uuid.uuid5(uuid.NAMESPACE_URL, f"{portal.seed}:{brand}:{address.lower()}").hex
    site = f"https://{portal.settings.portal_id}.preferences.hubspot.example/hs/preferences-center"
    path = f"{site}/{quote(language or 'en', safe='')}"
    answer = {
        "subscriberIdString": address,
        "managePreferencesUrl": f"{path}/direct?data={secret}",
        "unsubscribeAllUrl": f"{path}/unsubscribe-all?data={secret}",
    }
    if body.get("subscriptionId") is not None:
        definition = portal.definition(calls.number(body, "subscriptionId"))
        single = f"{path}/unsubscribe?subscriptionId={definition.number}&data={secret}"
        answer["unsubscribeSingleUrl"] = single
    return Answer(200, answer)


def get_statuses(portal: Portal, call: Call) -> Answer:
    """Tell one subscriber's status for every active subscription.

    What HubSpot says of an address it has never seen is not published. Here: 200 with a NOT_SPECIFIED row
    for each, as its guide's example has them; the portal's ``unknown_subscriber`` can make it a 404.
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
    return envelope(portal, rows, status=status, errors=_canceled(key, status))


def set_status(portal: Portal, call: Call) -> Answer:
    """Set one subscriber's status for one subscription; resubscribing is allowed in these versions."""
    body = call.object("PartialPublicStatusRequest", ["channel", "statusState", "subscriptionId"])
    write = _Write(portal, call.version, body, call.address)
    row = write.apply()
    return envelope(
        portal, [row] if row else [], status=write.operation, errors=_canceled(write.key, write.operation)
    )


def get_unsubscribe_all(portal: Portal, call: Call) -> Answer:
    """Tell whether a subscriber has opted out; no results means it has not.

    What ``verbose`` does to this call is not published: it is checked, and changes nothing.
    """
    call.channel()
    call.flag("verbose")
    brand = call.brand()
    portal.check_brand(brand)
    key = portal.check_address(call.address)
    status = portal.operation_status(key)
    return envelope(portal, wide_rows(portal, key, brand), status=status, errors=_canceled(key, status))


def unsubscribe_all(portal: Portal, call: Call) -> Answer:
    """Opt one subscriber out; without ``verbose=true`` the results are empty, and that is success."""
    call.channel()
    verbose = call.flag("verbose")
    brand = _opt_out_brand(portal, call)
    key = portal.check_address(call.address)
    operation, reasons = portal.unsubscribe_all(key, brand)
    rows = _opt_out_rows(portal, key, reasons) if verbose and _has_rows(operation) else []
    return envelope(portal, rows, status=operation, errors=_canceled(key, operation))


def batch_read(portal: Portal, call: Call) -> Answer:
    """Tell the statuses of many subscribers; see :func:`_read_each` for operations that are not over."""
    call.channel()
    brand = call.brand()
    portal.check_brand(brand)

    def row(key: str) -> Row:
        statuses = [status_row(portal, key, each) for each in portal.definitions_of(brand)]
        return {"subscriberIdString": key, "statuses": statuses}

    return _read_each(portal, call, row)


def batch_read_unsubscribe_all(portal: Portal, call: Call) -> Answer:
    """Tell the opt-outs of many subscribers; without ``businessUnitId``, of all brands (HubSpot's guide)."""
    call.channel()
    brand = call.brand()
    portal.check_brand(brand)

    def row(key: str) -> Row:
        return {"subscriberIdString": key, "wideStatuses": wide_rows(portal, key, brand)}

    return _read_each(portal, call, row)


def batch_unsubscribe_all(portal: Portal, call: Call) -> Answer:
    """Opt many subscribers out; failures hide in a 200 (published OpenAPI documents: no 207 here)."""
    call.channel()
    verbose = call.flag("verbose")
    brand = _opt_out_brand(portal, call)
    operations: list[str] = []

    def row(key: str) -> Row | None:
        operation, reasons = portal.unsubscribe_all(key, brand)
        operations.append(operation)
        if operation == "CANCELED":
            raise _cancellation(key)
        if not verbose or not _has_rows(operation):
            return None
        return {"subscriberIdString": key, "statuses": _opt_out_rows(portal, key, reasons)}

    rows, errors = _each_address(portal, call, row, writes=True)
    return envelope(portal, rows, errors=errors, status=_together(operations))


def batch_write(portal: Portal, call: Call) -> Answer:
    """Set many statuses; failures hide in a 200 (published OpenAPI documents: no 207 here)."""
    inputs = _inputs(portal, call, "BatchInputPublicStatusRequest")
    required = ["channel", "statusState", "subscriberIdString", "subscriptionId"]
    bodies = [calls.attributes(each, "PublicStatusRequest", required) for each in inputs]
    writes = [
        _Write(portal, call.version, each, calls.text(each, "subscriberIdString"), check=False)
        for each in bodies
    ]
    refused = {index: error for index, each in enumerate(writes) if (error := _refusal(each.check))}
    if refused and portal.settings.batch_errors == "whole":
        raise next(iter(refused.values()))
    errors = []
    rows = []
    operations: list[str] = []
    for index, write in enumerate(writes):
        if index in refused:
            errors.append(_entry(portal, refused[index], write.address))
            continue
        missing = portal.is_missing(write.key)
        if missing and not portal.applies_missing:
            continue
        row = write.apply()
        operations.append(write.operation)
        if write.operation == "CANCELED":
            errors.append(_entry(portal, _cancellation(write.address), write.address))
        elif row and not missing:
            rows.append(row)
    return envelope(portal, _shuffled(portal, rows), errors=errors, status=_together(operations))


class _Write:
    """One wanted status: checked first, then applied, so that a whole batch can be refused untouched."""

    def __init__(self, portal: Portal, version: str, body: Row, address: str, *, check: bool = True) -> None:
        calls.text(body, "channel", ["EMAIL"])
        self.status = calls.text(body, "statusState", STATUSES)
        self.subscription = calls.number(body, "subscriptionId")
        self.legal_basis = calls.optional_text(body, "legalBasis", LEGAL_BASES)
        self.explanation = calls.optional_text(body, "legalBasisExplanation")
        self.portal = portal
        self.version = version
        self.address = address
        self.operation = "COMPLETE"
        if check:
            self.check()

    def check(self) -> None:
        self.key = self.portal.check_address(self.address)
        self.definition = self.portal.definition(self.subscription)
        self.portal.check_legal_basis(self.version, self.legal_basis, self.explanation)

    def apply(self) -> Row | None:
        """Return the row of the answer; ``None`` while the operation has not come to its end."""
        self.operation, reason = self.portal.set_status(
            self.key,
            self.definition,
            self.status,
            legal_basis=self.legal_basis,
            explanation=self.explanation,
        )
        if not _has_rows(self.operation):
            return None
        return status_row(self.portal, self.key, self.definition, reason)


# Rows and envelopes ---------------------------------------------------------------------------------


def envelope(
    portal: Portal,
    rows: list[Row],
    *,
    status: str = "COMPLETE",
    errors: Sequence[Row] = (),
    code: int = 200,
) -> Answer:
    """Wrap results as HubSpot does.

    ``errors``, ``numErrors``, ``links`` and ``requestedAt`` are left out where there is nothing to say
    (recorded live answers). ``completedAt`` is there even while an operation is not complete, because the
    published document requires it; what HubSpot would send then was never seen.
    """
    now = portal.clock.now_ms()
    body: Row = {
        "completedAt": iso(now),
        "results": rows,
        "startedAt": iso(now - _TOOK_MS),
        "status": status,
    }
    if errors:
        body["numErrors"] = len(errors)
        body["errors"] = list(errors)
    return Answer(code, body)


def status_row(portal: Portal, key: str, definition: Definition, reason: str | None = None) -> Row:
    """Return one PublicStatus.

    Rows that are read carry nulls for the legal basis, its explanation and the reason, unless there is
    something to tell (recorded live answers).
    """
    change = portal.current(key, definition) or Change(
        definition.created_ms, definition.number, None, "NOT_SPECIFIED", "Not specified", None, None, None
    )
    return {
        "businessUnitId": definition.brand,
        "channel": "EMAIL",
        "legalBasis": change.legal_basis,
        "legalBasisExplanation": change.explanation,
        "setStatusSuccessReason": reason,
        "source": change.source,
        "status": change.status,
        "subscriberIdString": key,
        "subscriptionId": definition.number,
        "subscriptionName": definition.name,
        "timestamp": iso(change.at),
    }


def wide_rows(portal: Portal, key: str, brand: int | None) -> list[Row]:
    """Return a subscriber's opt-outs; PORTAL_WIDE rows have no ``businessUnitId`` (recorded live answers)."""
    rows = []
    for of_brand, change in portal.opt_outs(key).items():
        if of_brand is not None and brand is not None and of_brand != brand:
            continue
        row = {
            "channel": "EMAIL",
            "status": change.status,
            "subscriberIdString": key,
            "timestamp": iso(change.at),
            "wideStatusType": "PORTAL_WIDE" if of_brand is None else "BUSINESS_UNIT_WIDE",
        }
        rows.append(row if of_brand is None else {"businessUnitId": of_brand, **row})
    return rows


def _opt_out_rows(portal: Portal, key: str, reasons: dict[int, str]) -> list[Row]:
    return [
        status_row(portal, key, portal.settings.definitions[number], reason)
        for number, reason in reasons.items()
    ]


def _opt_out_brand(portal: Portal, call: Call) -> int | None:
    """Return the brand an opt-out is for; with the Brands add-on it must be named (HubSpot's guide)."""
    brand = call.brand()
    portal.check_brand(brand)
    if not portal.settings.brands:
        return None
    if brand is None:
        raise invalid("businessUnitId is required for portals with the Brands add-on")
    return brand


# Batches --------------------------------------------------------------------------------------------


def _inputs(portal: Portal, call: Call, builds: str) -> list[Any]:
    inputs = call.object(builds, ["inputs"])["inputs"]
    if not isinstance(inputs, list):
        raise invalid("Invalid input JSON: inputs must be an array")
    maximum = portal.settings.batch_maximum
    if len(inputs) > maximum:
        raise invalid(f"The maximum number of inputs is {maximum}, but {len(inputs)} were given")
    return inputs


def _read_each(portal: Portal, call: Call, row: Callable[[str], Row]) -> Answer:
    """Answer a batch read.

    What HubSpot's would say of an operation that is not over was never seen (COMPLETE is all there ever was), so
    it is defined here, much as batch writes have it: whoever's operation is not over, or ended with a word
    nobody knows, has no row, and the answer's status is that of the slowest; whoever's was canceled is named in
    ``errors``, and has its row, which shows what is so.
    """
    operations: list[str] = []
    canceled: list[Row] = []

    def settled(key: str) -> Row | None:
        operation = portal.operation_status(key)
        if operation == "CANCELED":
            canceled.append(_entry(portal, _cancellation(key), key))
        else:
            operations.append(operation)
        return row(key) if operation in ("COMPLETE", "CANCELED") else None

    rows, errors = _each_address(portal, call, settled)
    errors += canceled
    return envelope(portal, rows, errors=errors, status=_together(operations), code=_read_code(call, errors))


def _each_address(
    portal: Portal, call: Call, row: Callable[[str], Row | None], *, writes: bool = False
) -> tuple[list[Row], list[Row]]:
    """Make one row for each address of a batch: the rows and the errors.

    Rows do not come back in the order of the inputs, because nothing says that HubSpot keeps it.
    """
    inputs = _inputs(portal, call, "BatchInputString")
    addresses: dict[str, str] = {}
    refused: list[tuple[str, HubSpotError]] = []
    for address in inputs:
        if not isinstance(address, str):
            raise invalid("Invalid input JSON: inputs must be an array of strings")
        try:
            addresses.setdefault(portal.check_address(address), address)
        except HubSpotError as error:
            refused.append((address, error))
    if refused and portal.settings.batch_errors == "whole":
        raise refused[0][1]
    errors = [_entry(portal, error, address) for address, error in refused]
    rows = []
    for key, address in addresses.items():
        missing = portal.is_missing(key)
        if missing and not (writes and portal.applies_missing):
            continue
        try:
            made = row(key)
        except HubSpotError as error:
            errors.append(_entry(portal, error, address))
            continue
        if made is not None and not missing:
            rows.append(made)
    return _shuffled(portal, rows), errors


def _refusal(check: Callable[[], None]) -> HubSpotError | None:
    try:
        check()
    except HubSpotError as error:
        return error
    return None


def _entry(portal: Portal, error: HubSpotError, address: str) -> Row:
    named = portal.settings.batch_errors != "no_context"
    return error.entry({"subscriberIdString": [address]} if named else None)


def _shuffled(portal: Portal, rows: list[Row]) -> list[Row]:
    random.Random(f"{portal.seed}:{len(rows)}").shuffle(rows)
    return rows


def _read_code(call: Call, errors: Sequence[Row]) -> int:
    return 207 if errors and call.version != "2025-09" else 200


# Operations -----------------------------------------------------------------------------------------


def _has_rows(operation: str) -> bool:
    """Tell whether an operation has results to show: not before its end, and none when it was canceled."""
    return operation not in ("PENDING", "PROCESSING", "CANCELED")


def _cancellation(address: str) -> HubSpotError:
    return HubSpotError(409, "CANCELED", f"The operation on {address} was canceled")


def _canceled(key: str, operation: str) -> list[Row]:
    return [_cancellation(key).entry({"subscriberIdString": [key]})] if operation == "CANCELED" else []


def _together(operations: Iterable[str]) -> str:
    """Return the status of a batch: that of its slowest part; CANCELED only when all of it was."""
    found = list(operations)
    for status in ("PENDING", "PROCESSING"):
        if status in found:
            return status
    if found and all(status == "CANCELED" for status in found):
        return "CANCELED"
    return next((status for status in found if status not in ("COMPLETE", "CANCELED")), "COMPLETE")
