"""One row of a source, and what it says is wanted of its subscriber."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from airflow_provider_hubprefs.hubspot.privacy import mask

INVALID_ADDRESS = "INVALID_ADDRESS"
INVALID_STATUS = "INVALID_STATUS"
INVALID_SUBSCRIPTION = "INVALID_SUBSCRIPTION"
INVALID_LEGAL_BASIS = "INVALID_LEGAL_BASIS"


class Wanted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is wanted of one subscriber; None where the source has no column for it, or an optional cell is empty."""

    status: str | None = None
    subscription_id: int | None = None
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None


class CellError(ValueError):
    """A cell cannot be read. The text says why and does not quote the cell: it may hold an address.

    :param category: for the report.
    """

    def __init__(self, category: str, why: str) -> None:
        super().__init__(why)
        self.category = category


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
    """

    number: int
    subscriber: str
    problem: Literal["invalid", "duplicate"] | None = None
    detail: str = ""
    category: str | None = None
    wanted: Wanted | None = None
    file: str | None = None
    before: int = 0

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
