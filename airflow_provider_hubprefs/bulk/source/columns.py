"""Which columns of a source are read, and what a row's cells say is wanted of its subscriber."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.row import (
    INVALID_LEGAL_BASIS,
    INVALID_STATUS,
    INVALID_SUBSCRIPTION,
    CellError,
    Wanted,
)
from airflow_provider_hubprefs.hubspot.api.models import LEGAL_BASES, STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LARGEST = 2**63 - 1
"""HubSpot's subscription ids are int64 (its OpenAPI documents)."""

_AT_SIGNS = ("@", "%40", "\uff20", "\ufe6b")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns, fields or keys that are read; case and spaces around do not matter.

    :param email: the address.
    :param status: the wanted status.
    :param subscription: the id of the subscription.
    :param legal_basis: one of HubSpot's; may be empty.
    :param legal_basis_explanation: in words; may be empty.
    """

    email: str = "email"
    status: str | None = None
    subscription: str | None = None
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None

    def more(self) -> list[tuple[str, str]]:
        """Return the columns besides the address, in the order of a row's cells: what each is for, and its name."""
        named = ((what, getattr(self, what)) for what in _READERS)
        return [(what, name) for what, name in named if name is not None]

    def reader(self) -> Callable[[Sequence[object]], Wanted]:
        """Return a function that reads the cells of a row, one for each of :meth:`more`: text, a number or None.

        It raises :class:`~.row.CellError` where a cell cannot be read.
        """
        fields = [_READERS[what] for what, _ in self.more()]

        def read(cells: Sequence[object]) -> Wanted:
            pairs = zip(fields, cells, strict=True)
            return Wanted(**{field: understood(cell) for (field, understood), cell in pairs})

        return read


def folded(name: str) -> str:
    """Return a column's name as it is compared: without case, and what surrounds it."""
    return name.strip("\ufeff\xa0 \t\r\n").casefold()


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
        holds = "address" if what == "email" else what.replace("_", " ")
        raise SourceError(
            f"{label}: {len(found)} columns are called {quoted(called)}. Which one holds the {holds}? "
            "Rename the others."
        )
    listed = ", ".join(map(quoted, names[:20])) + (", ..." if len(names) > 20 else "")
    raise SourceError(
        f"{label}: no column is called {quoted(called)}. There are: {listed}. Name the right one ({what}_column=...)."
    )


def could_be_address(text: str) -> bool:
    """Whether an address could be in a text: then an error text does not show it."""
    return any(sign in text for sign in _AT_SIGNS)


def quoted(name: str) -> str:
    """Return a column's name for an error text: short, and not if it could be an address."""
    return '"***"' if could_be_address(name) else json.dumps(name.strip()[:40])


def _status(cell: object) -> str:
    text = _text(cell)
    if not text:
        raise CellError(INVALID_STATUS, "the status is empty")
    if text.upper() not in STATUSES:
        raise CellError(INVALID_STATUS, f"the status is not one of {', '.join(STATUSES)}")
    return text.upper()


def _subscription(cell: object) -> int:
    text = _text(cell)
    if not text:
        raise CellError(INVALID_SUBSCRIPTION, "the subscription is empty")
    if not (
        text.isascii() and text.isdecimal() and len(text) <= len(str(_LARGEST)) and int(text) <= _LARGEST
    ):
        raise CellError(INVALID_SUBSCRIPTION, "the subscription is not a whole number, as HubSpot's ids are")
    return int(text)


def _legal_basis(cell: object) -> str | None:
    text = _text(cell).upper()
    if text and text not in LEGAL_BASES:
        raise CellError(INVALID_LEGAL_BASIS, f"the legal basis is not one of {', '.join(LEGAL_BASES)}")
    return text or None


def _explanation(cell: object) -> str | None:
    text = _text(cell)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CellError(
            INVALID_LEGAL_BASIS,
            "the explanation of the legal basis is not in the file's encoding: declare the right one (encoding=...)",
        ) from None
    return text or None


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


_READERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "status": ("status", _status),
    "subscription": ("subscription_id", _subscription),
    "legal_basis": ("legal_basis", _legal_basis),
    "legal_basis_explanation": ("legal_basis_explanation", _explanation),
}
"""Column -> the field of :class:`Wanted` it fills, and how a cell of it is read."""
