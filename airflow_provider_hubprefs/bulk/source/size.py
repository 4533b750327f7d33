"""How much there is of a source, before it is read and while it is: for the budget and for progress."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.files import Files, files_of
from airflow_provider_hubprefs.bulk.source.kept import KeptRows
from airflow_provider_hubprefs.bulk.source.parquet import is_parquet, rows_of
from airflow_provider_hubprefs.bulk.source.text import GZIP, PARQUET, ZSTD
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.stored import StoredFile

_SHORTEST = 7
"""Bytes of a row that can be sent: ``a@b.co`` and the line's end."""


class SourceSize:
    """The size of a source. Read :attr:`source` in its place: how far it was read is known then.

    :param source: files, a file or an iterable.
    """

    def __init__(self, source: Any) -> None:
        self.source: Any = files_of(source)
        self.rows = len(source) if isinstance(source, Sized) else None
        """How many there are, invalid ones and duplicates included; None: unknown."""

    @property
    def can_be_read_again(self) -> bool:
        """Whether reading all of it leaves something for another reading."""
        return not isinstance(self.source, Iterator)

    def rows_at_most(self) -> int | None:
        """Return how many rows there are at most; None where that cannot be known without reading.

        :raises SourceError: a file cannot be read.
        """
        if self.rows is not None or not isinstance(self.source, Files):
            return self.rows
        files = self.source.found()
        rows = [_rows_at_most(file) for file in files]
        known = [each for each in rows if each is not None]
        if len(known) < len(files):
            return None
        if all(map(is_parquet, files)):
            self.rows = sum(known)
        return sum(known)

    def names(self, *, most: int) -> tuple[list[str], int | None]:
        """Return the names of the first files, masked where they look like an address, and how many files there are.

        :return: no names, and None, where rows come from memory; names as they were given where no file is there; of a
            query the name that its rows have.
        """
        if not isinstance(self.source, Files):
            named = isinstance(self.source, KeptRows) and self.source.name
            return [scrub(named)] if named else [], None
        names = [path.name for path in self.source.given]
        with suppress(SourceError):  # reading it says what is wrong
            names = [file.name or file.path.name for file in self.source.found()]
        return ["/".join(map(scrub, name.split("/")))[:200] for name in names[:most]], len(names)

    def share(self, rows: int, *, taken: int | None = None) -> float | None:
        """Return which share of the source is through, 0 to 1; None where that cannot be known.

        :param rows: that are through.
        :param taken: rows that were taken from the source until now, which is read ahead; None: those.
        """
        if self.rows is not None:
            return min(1.0, rows / self.rows) if self.rows else 1.0
        if not isinstance(self.source, Files) or taken == 0:
            return None
        files = self.source.found()
        size, read = sum(file.size for file in files), sum(file.bytes_read for file in files)
        through = 1 if taken is None else rows / taken
        return min(1.0, read / size * through) if size and read else None


def _rows_at_most(file: StoredFile) -> int | None:
    head, _, size = file.ends(length=8)
    if is_parquet(file) or head.startswith(PARQUET):
        return rows_of(file)
    return None if head.startswith((GZIP, ZSTD)) else size // _SHORTEST + 1
