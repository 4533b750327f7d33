"""Which columns of a source are read, and what a row's cells say is wanted of its subscriber."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.addresses import INVISIBLE
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.row import (
    EVERYTHING,
    INVALID_LEGAL_BASIS,
    INVALID_STATUS,
    INVALID_SUBSCRIPTION,
    INVALID_TIME,
    CellError,
    Wanted,
)
from airflow_provider_hubprefs.hubspot.api.models import LEGAL_BASES, STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LARGEST = 2**63 - 1
"""HubSpot's subscription ids are int64 (its OpenAPI documents)."""

_LONGEST_DATE = 8
"""Digits of a date without separators; a longer number counts seconds, or parts of them: which, it does not say."""

_EXACT = 2**53
"""Up to here a floating-point number is exactly the whole number that was meant."""

_STATUSES = {  # as HubSpot's API, its contact page, its exports and its older contact page say it
    "subscribed": "SUBSCRIBED",
    "opted in": "SUBSCRIBED",
    "unsubscribed": "UNSUBSCRIBED",
    "opted out": "UNSUBSCRIBED",
    "unsubscribed from all email": "UNSUBSCRIBED",
    "unsubscribed from all emails": "UNSUBSCRIBED",
    "not specified": "NOT_SPECIFIED",
    "not opted in or out": "NOT_SPECIFIED",
}
"""Not ``Not subscribed``: API v3 said it of those who had opted out and of those who had said nothing."""

_UNDECODED = (
    " They are not in the encoding they were read in: declare the right one (read_options={'encoding': ...})."
)
_AT_SIGNS = ("@", "%40", "\uff20", "\ufe6b")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns, fields or keys that are read; case, spaces around and invisible characters do not matter.

    Without a header they are numbers from 1.

    :param email: the address.
    :param status: the wanted status.
    :param subscription: the id of the subscription.
    :param legal_basis: one of HubSpot's; may be empty.
    :param legal_basis_explanation: in words; may be empty.
    :param effective_at: since when it is wanted, in ISO 8601 or as a time; without a zone it is UTC. May be empty.
    :param every_status: the status that is wanted of all rows, where no column says it.
    :param everything_allowed: whether ``everything`` or ``all`` may stand instead of a subscription: the row is an
        opt-out from everything.
    """

    email: str = "email"
    status: str | None = None
    subscription: str | None = None
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None
    effective_at: str | None = None
    every_status: str | None = None
    everything_allowed: bool = False

    def more(self) -> list[tuple[str, str]]:
        """Return the columns besides the address, in the order of a row's cells: what each is for, and its name."""
        named = ((what, getattr(self, what)) for what in _READERS)
        return [(what, name) for what, name in named if name is not None]

    def reader(self, status_values: Mapping[str, str]) -> Callable[[Sequence[object]], Wanted]:
        """Return a function that reads the cells of a row, one for each of :meth:`more`: text, a number or None.

        It raises :class:`~.row.CellError` where a cell cannot be read. An opt-out needs no legal basis: one that
        cannot be read is left out there.

        :param status_values: words for a status besides HubSpot's own, see :class:`~.options.ReadOptions`.
        """
        fields = [_READERS[what] for what, _ in self.more()]

        def read(cells: Sequence[object]) -> Wanted:
            values: dict[str, Any] = {}
            for (field, understood), cell in zip(fields, cells, strict=True):
                if (
                    field == "subscription_id"
                    and self.everything_allowed
                    and folded_cell(cell) in _EVERYTHING
                ):
                    values["everything"] = True
                    continue
                try:
                    values[field] = understood(cell, status_values)
                except CellError as error:
                    opts_out = (self.every_status or values.get("status")) == "UNSUBSCRIBED"
                    if not opts_out or error.category != INVALID_LEGAL_BASIS:
                        raise
                    values["legal_basis"] = values["legal_basis_explanation"] = None
                    break  # these two are the last
            if (
                values.get("everything")
                and (status := self.every_status or values.get("status")) not in _OPT_OUT
            ):
                raise CellError(
                    INVALID_STATUS, f"of everything only UNSUBSCRIBED can be wanted, and not {status}"
                )
            return Wanted(**values)

        return read


_EVERYTHING = (EVERYTHING, "all")
_OPT_OUT = ("UNSUBSCRIBED", None)
_WITHOUT_INVISIBLE = dict.fromkeys(map(ord, INVISIBLE))
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")


def folded(name: str) -> str:
    """Return a column's name as it is compared: without case, invisible characters, and what surrounds it."""
    return " ".join(name.translate(_WITHOUT_INVISIBLE).strip().strip('"').split()).casefold()


def folded_cell(cell: object) -> str:
    """Return a cell as it is compared with a word of the DAG author: text and numbers alike, without case.

    Yes and no of JSON and Parquet are ``true`` and ``false``, a whole number is one with or without ``.0``, and a cell
    without a value is empty.
    """
    if is_missing(cell):
        return ""
    text = folded(str(cell))
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def status_of(word: str) -> str | None:
    """Return the status that a folded word means by itself: HubSpot's names and what its screens and exports show.

    "Unsubscribed from all email" is wider than one subscription: a row that says so is an opt-out of its own one.
    """
    return _STATUSES.get(" ".join(word.replace("_", " ").replace("-", " ").split()))


def column_number(name: str) -> int | None:
    """Return the number of a column that is named by one, from 1; None for any other name."""
    text = name.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 and int(text) > 0 else None


def positions(names: Sequence[str], called: str) -> list[int]:
    """Find the columns of a name: of exactly this spelling, or else in another case."""
    exactly = [at for at, name in enumerate(names) if name.strip() == called.strip()]
    return exactly or [at for at, name in enumerate(names) if folded(name) == folded(called)]


def position(names: Sequence[str], what: str, called: str, *, label: str) -> int:
    """Find the column of a name.

    :param what: the column is for, see :class:`Columns`.
    :param label: of the file, for error texts.
    :raises SourceError: there is no such column, or more than one.
    """
    found = positions(names, called)
    if len(found) == 1:
        return found[0]
    if found:
        holds = {"email": "address", "where": "value that is looked for"}.get(what, what.replace("_", " "))
        raise SourceError(
            f"{label}: {len(found)} columns are called {quoted(called)}. Which one holds the {holds}? "
            "Rename the others."
        )
    argument = "read_options: where" if what == "where" else f"{what}_column=..."
    undecoded = any("\udc80" <= char <= "\udcff" for name in names for char in name)
    raise SourceError(
        f"{label}: no column is called {quoted(called)}. There are: {listed(names)}. Name the right one ({argument})."
        f"{_UNDECODED if undecoded else ''}"
    )


def listed(names: Sequence[str]) -> str:
    """Return the names of columns for an error text."""
    return ", ".join(map(quoted, names[:20])) + (", ..." if len(names) > 20 else "")


def could_be_address(text: str) -> bool:
    """Whether an address could be in a text: then an error text does not show it."""
    return any(sign in text for sign in _AT_SIGNS)


def quoted(name: str) -> str:
    """Return a column's name for an error text: short, and not if it could be an address."""
    return '"***"' if could_be_address(name) else json.dumps(name.strip()[:40])


def _status(cell: object, values: Mapping[str, str]) -> str:
    text = folded_cell(cell)
    status = values.get(text) or status_of(text)
    if status is None and not text:
        raise CellError(INVALID_STATUS, "the status is empty")
    if status is None:
        raise CellError(
            INVALID_STATUS,
            f"the status is not one of {', '.join(STATUSES)}, and no word for one: say what it means "
            "(read_options={'status_values': ...})",
        )
    return status


def _subscription(cell: object, _: object) -> int:
    if is_missing(cell):
        raise CellError(INVALID_SUBSCRIPTION, "the subscription is empty")
    text = str(cell).strip()
    if isinstance(cell, float):
        text = str(int(cell)) if cell.is_integer() and abs(cell) <= _EXACT else ""
    elif whole := _WHOLE.fullmatch(text):
        text = whole[1]
    if not (
        text.isascii() and text.isdecimal() and len(text) <= len(str(_LARGEST)) and int(text) <= _LARGEST
    ):
        empty = isinstance(cell, str) and not text
        why = "empty" if empty else "not a whole number, as HubSpot's ids are"
        raise CellError(INVALID_SUBSCRIPTION, f"the subscription is {why}")
    return int(text)


def _legal_basis(cell: object, _: object) -> str | None:
    text = _text(cell).upper()
    if text and text not in LEGAL_BASES:
        raise CellError(INVALID_LEGAL_BASIS, f"the legal basis is not one of {', '.join(LEGAL_BASES)}")
    return text or None


def _explanation(cell: object, _: object) -> str | None:
    text = _text(cell)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CellError(
            INVALID_LEGAL_BASIS,
            "the explanation of the legal basis is not in the file's encoding: declare the right one "
            "(read_options={'encoding': ...})",
        ) from None
    return text or None


def _time(cell: object, _: object) -> datetime | None:
    text = "" if is_missing(cell) or str(cell) == "NaT" else str(cell).strip()
    if not text:
        return None
    number = isinstance(cell, int | float) or (text.isdecimal() and len(text) > _LONGEST_DATE)
    try:
        if not number:
            moment = datetime.fromisoformat(f"{text[:-4]}Z" if text.endswith(" UTC") else text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise CellError(
        INVALID_TIME,
        f"the time is {'a number' if number else 'none'}; expected ISO 8601, such as 2026-11-22T10:00:00Z",
    )


def is_missing(cell: object) -> bool:
    """Whether a cell has no value: None, or the NaN that data frames have instead."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


_READERS: dict[str, tuple[str, Callable[[object, Mapping[str, str]], Any]]] = {
    "status": ("status", _status),
    "subscription": ("subscription_id", _subscription),
    "effective_at": ("effective_at", _time),
    "legal_basis": ("legal_basis", _legal_basis),
    "legal_basis_explanation": ("legal_basis_explanation", _explanation),
}
"""Column -> the field of :class:`Wanted` it fills, and how a cell of it is read."""
