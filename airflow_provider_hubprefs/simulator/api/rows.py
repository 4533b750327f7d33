"""The parts of HubSpot's answers about preferences: envelopes, rows, and the errors inside a batch answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.simulator.answers import ApiAnswer, ApiError
from airflow_provider_hubprefs.simulator.portal.clock import iso
from airflow_provider_hubprefs.simulator.portal.definitions import CREATED_MS
from airflow_provider_hubprefs.simulator.portal.history import PreferenceChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.simulator.portal.definitions import SubscriptionType
    from airflow_provider_hubprefs.simulator.portal.portal import Portal

AnswerRow = dict[str, Any]
_TOOK_MS = 120  # recorded live answers: 50 to 900 ms between startedAt and completedAt


def envelope(
    portal: Portal,
    rows: list[AnswerRow],
    *,
    status: str = "COMPLETE",
    errors: Sequence[AnswerRow] = (),
    code: int = 200,
) -> ApiAnswer:
    """Wrap results as HubSpot does.

    ``errors``, ``numErrors``, ``links`` and ``requestedAt`` are left out where they are empty (recorded live
    answers). ``completedAt`` is there even while an operation is not complete, because the published document
    requires it; what HubSpot would send then was never seen.
    """
    now = portal.clock.now_ms()
    body: AnswerRow = {
        "completedAt": iso(now),
        "results": rows,
        "startedAt": iso(now - _TOOK_MS),
        "status": status,
    }
    if errors:
        body["numErrors"] = len(errors)
        body["errors"] = list(errors)
    return ApiAnswer(code, body)


def status_row(
    portal: Portal, key: str, definition: SubscriptionType, reason: str | None = None
) -> AnswerRow:
    """Return one PublicStatus.

    Legal basis, explanation and reason are null in rows that are read (recorded live answers).
    """
    change = portal.current(key, definition) or PreferenceChange(
        CREATED_MS, definition.number, None, "NOT_SPECIFIED", "Not specified"
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


def wide_rows(portal: Portal, key: str, brand: int | None) -> list[AnswerRow]:
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


def has_rows(operation: str) -> bool:
    """Return whether an operation has results: not before its end, and none when it was canceled."""
    return operation not in ("PENDING", "PROCESSING", "CANCELED")


def cancellation(address: str) -> ApiError:
    """Return the error of a canceled operation."""
    return ApiError(409, "CANCELED", f"The operation on {address} was canceled")


def slowest(operations: list[str]) -> str:
    """Return the status of a batch: that of its slowest part; CANCELED only when all of it was."""
    for status in ("PENDING", "PROCESSING"):
        if status in operations:
            return status
    if operations and set(operations) == {"CANCELED"}:
        return "CANCELED"
    return next((status for status in operations if status not in ("COMPLETE", "CANCELED")), "COMPLETE")
