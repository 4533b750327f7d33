"""What a record says, and how records are chained. Pure.

A record is one line of JSON. Its last two fields are ``previous``, the hash of the record before (zeros in the first),
and ``hash``: 128 bits of BLAKE2b of the line up to there, of all that stands before ``,"hash"``. Each batch begins with
a record of what is so for all of its rows; the last record closes the file, with the number of those before it, and a
signature.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.privacy import fingerprint, scrub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome

BATCH, END = b'{"record":"batch",', b'{"record":"end",'
SIGNATURE = b',"signature":'
START = b"0" * 32
_RECORDED = frozenset({"changed", "unchanged", "rejected", "unconfirmed"})
_OPT_OUT = "UNSUBSCRIBED"
_scrubbed = lru_cache(maxsize=1000)(scrub)
_encode = msgspec.json.Encoder().encode


class Chain:
    """Chains records, and counts them; ``head`` is the hash of the last one."""

    def __init__(self) -> None:
        self.records, self.head = 0, START

    def add(self, body: bytes) -> bytes:
        """Return the line of a record.

        :param body: a JSON object that is not empty, on one line.
        """
        text = b'%b,"previous":"%b"' % (body.rstrip(b"\n")[:-1], self.head)
        self.head = hash_of(text)
        self.records += 1
        return b'%b,"hash":"%b"}\n' % (text, self.head)

    def close(self, rows: Mapping[str, int], keys: AuditKeys, *, complete: bool) -> bytes:
        """Return the line of the record that closes the file.

        :param rows: of the run, by outcome, also those that have no record.
        """
        end = {"record": "end", "complete": complete, "records": self.records, "rows": rows, "key": keys.id}
        text = _encode(end)[:-1]
        return self.add(text + SIGNATURE + _encode(keys.sign(self.head + text, keys.id)) + b"}")


def hash_of(text: bytes) -> bytes:
    """Return the hash of a line, up to its own."""
    return blake2b(text, digest_size=16).hexdigest().encode()


class Same(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all rows want; None: nothing, or what each row says. Without a subscription it is everything."""

    subscription: int | None = None
    after: str | None = None
    legal_basis: str | None = None
    explanation: str | None = None
    brand: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Same:
        """From the arguments of a write; one of two kinds has those of both."""
        brand = arguments.get("opt_outs", arguments).get("business_unit_id")
        say = arguments.get("statuses", arguments).get
        if say("write") == "batch_unsubscribe_all":
            return cls(after=_OPT_OUT, brand=brand)
        basis, explanation = say("legal_basis"), scrub(say("legal_basis_explanation") or "")
        return cls(say("subscription_id"), say("status"), basis, explanation or None, brand)


class _Record(msgspec.Struct, omit_defaults=True):
    """One row. What is not there is null, or as the record of its batch says."""

    subscriber: str
    outcome: str
    address: str | None = None
    subscription: int | None = None
    before: str | list[str] | None = None
    after: str | None = None
    category: str | None = None
    legal_basis: str | None = None
    explanation: str | None = None
    correlation_id: str | None = None


def record_of(outcome: Outcome, same: Same, *, key: bytes, addresses: bool) -> str | None:
    """Return the record of a row; None: nothing was to be written for it, or HubSpot showed it as wanted before.

    :param addresses: whether the record has the address.
    """
    if outcome.outcome not in _RECORDED:
        return None
    row, own = outcome.row, outcome.row.wanted
    record = _Record(fingerprint(row.subscriber, key=key), outcome.outcome)
    if own is not None:
        record.subscription = own.subscription_id if same.subscription is None else None
        record.after = own.status if same.after is None else None
        record.legal_basis = own.legal_basis if same.legal_basis is None else None
        explanation = own.legal_basis_explanation if same.explanation is None else None
        record.explanation = _scrubbed(explanation) if explanation else None
    number = record.subscription if same.subscription is None else same.subscription
    if number is None and same.after is None:
        record.after = _OPT_OUT
    if outcome.actual is not None:
        seen = _seen(outcome.actual, number)
        record.before = seen if number is None else next(iter(seen), None)
        wanted = _opt_outs(same.brand) if number is None else {record.after or same.after}
        if outcome.outcome == "unchanged" and wanted & {*seen}:
            return None
    record.address = row.subscriber if addresses else None
    record.category = _scrubbed(outcome.category) if outcome.category else None
    record.correlation_id = scrub(outcome.correlation_id) if outcome.correlation_id else None
    return _encode(record).decode()


def _opt_outs(brand: int | None) -> set[str | None]:
    return {_OPT_OUT, "PORTAL_WIDE", f"BUSINESS_UNIT_WIDE {brand}"}


def _seen(actual: Any, subscription: int | None) -> list[str]:
    """What HubSpot showed: the status for a subscription; of everything the opt-outs, or the different statuses."""
    if subscription is not None:
        found = {_scrubbed(one.status) for one in actual if one.subscription_id == subscription}
        return sorted(found) if actual else ["NOT_SPECIFIED"]
    return sorted({word for one in actual if (word := _word(one))})


def _word(status: Any) -> str:
    if hasattr(status, "subscription_id"):
        return _scrubbed(status.status)
    if status.status.strip().upper() != _OPT_OUT:
        return ""
    brand = "" if status.business_unit_id is None else f" {status.business_unit_id}"
    return _scrubbed(status.wide_status_type or "PORTAL_WIDE") + brand
