"""How much there is of a source, before it is read and while it is: for the budget and for progress."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.files import Files, files_of
from airflow_provider_hubprefs.bulk.source.parquet import is_parquet, rows_of
from airflow_provider_hubprefs.bulk.source.text import GZIP, PARQUET, ZSTD

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

    def share(self, rows: int) -> float | None:
        """Return which share of the source was read, 0 to 1; None where that cannot be known.

        :param rows: that are through.
        """
        if self.rows is not None:
            return min(1.0, rows / self.rows) if self.rows else 1.0
        if not isinstance(self.source, Files):
            return None
        files = self.source.found()
        size, read = sum(file.size for file in files), sum(file.bytes_read for file in files)
        return min(1.0, read / size) if size and read else None


def _rows_at_most(file: StoredFile) -> int | None:
    head, _, size = file.ends(length=8)
    if is_parquet(file) or head.startswith(PARQUET):
        return rows_of(file)
    return None if head.startswith((GZIP, ZSTD)) else size // _SHORTEST + 1
