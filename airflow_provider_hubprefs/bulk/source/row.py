"""One row of a source, and what it says is wanted of its subscriber."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airflow_provider_hubprefs.hubspot.privacy import mask

if TYPE_CHECKING:
    from datetime import datetime

INVALID_ADDRESS = "INVALID_ADDRESS"
INVALID_STATUS = "INVALID_STATUS"
INVALID_SUBSCRIPTION = "INVALID_SUBSCRIPTION"
INVALID_LEGAL_BASIS = "INVALID_LEGAL_BASIS"
INVALID_TIME = "INVALID_TIME"
CONTRADICTED_BY_INVALID_ROW = "CONTRADICTED_BY_INVALID_ROW"

EVERYTHING = "everything"
"""Instead of a subscription's id: all of them, those to come included."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is wanted of one subscriber; None where the source has no column for it, or an optional cell is empty.

    :param everything: whether it is wanted of everything: an opt-out, which names no subscription.
    :param effective_at: since when it is wanted; in UTC.
    """

    status: str | None = None
    subscription_id: int | None = None
    everything: bool = False
    effective_at: datetime | None = None
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None

    def cells(self) -> dict[str, Any]:
        """Return the cells of a row that says the same, by the names of these fields; see :mod:`.columns`."""
        found = msgspec.structs.asdict(self)
        if found.pop("everything"):
            found["subscription_id"] = EVERYTHING
        if self.effective_at is None:
            del found["effective_at"]
        return found


class CellError(ValueError):
    """A cell cannot be read. The text says why and does not quote the cell: it may hold an address.

    :param category: for the report.
    :param suggestion: of an address, the one that may be meant.
    """

    def __init__(self, category: str, why: str, *, suggestion: str = "") -> None:
        super().__init__(why)
        self.category = category
        self.suggestion = suggestion


@dataclass(slots=True)
class Counts:
    """What one reading of a source has counted besides its rows.

    :param skipped: rows that ``where`` leaves out.
    :param multiline_records: CSV records that span lines and count as one row.
    :param where_seen: columns of ``where`` that at least one row or header has.
    """

    skipped: int = 0
    multiline_records: int = 0
    where_seen: set[str] = field(default_factory=set)

    def keep_most(self, other: Counts) -> None:
        """Take over what another reading of the same source has counted, as far as it came further."""
        self.skipped = max(self.skipped, other.skipped)
        self.multiline_records = max(self.multiline_records, other.multiline_records)


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of a source.

    :param number: unique and ascending in the source. Where the source is one file or an iterable it is the row's
        :attr:`position`.
    :param subscriber: normalised; of an ``invalid`` row what was given, cut to 254 characters.
    :param problem: None, ``invalid`` or ``duplicate``.
    :param detail: why it is invalid, without the address; or which row a duplicate repeats.
    :param category: why it is invalid, in one word.
    :param wanted: what its other columns say; None where there are none.
    :param file: name of the row's file, where the source is a folder, a glob or a list of files.
    :param before: the numbers up to this one belong to the files before.
    :param suggestion: of an invalid address, the one that may be meant. Only a dead letter shows it.
    :param may_opt_out: of an invalid row, whether it may say that a subscriber opts out: another row does not subscribe
        who stands in it then.
    """

    number: int
    subscriber: str
    problem: Literal["invalid", "duplicate"] | None = None
    detail: str = ""
    category: str | None = None
    wanted: Wanted | None = None
    file: str | None = None
    before: int = 0
    suggestion: str = ""
    may_opt_out: bool = False

    @property
    def position(self) -> int:
        """Where a person finds the row in its file.

        The physical line (a CSV header is line 1; of a record that spans lines it is the first), the row of a Parquet
        file, or the position in an iterable, from 1.
        """
        return self.number - self.before

    def __repr__(self) -> str:
        """Masked: a row may end in a log or a traceback."""
        return f"Row({self.number}, {mask(self.subscriber)!r}, {self.problem!r}, {self.detail!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("number", self.number), ("subscriber", mask(self.subscriber)), ("problem", self.problem)]
