"""How much there is of a source, before it is read and while it is: for the budget and for progress."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.errors import EmptyFileError
from airflow_provider_hubprefs.bulk.source.files import Files, is_file
from airflow_provider_hubprefs.bulk.source.parquet import is_parquet, rows_of
from airflow_provider_hubprefs.bulk.source.stored import ends_of
from airflow_provider_hubprefs.bulk.source.text import lines_of

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.stored import File

_SHORTEST = 7
"""Bytes of a row that can be sent: ``a@b.co`` and the line's end."""

_DENSEST = 1032
"""Bytes that gzip makes of one, at most."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class SourceSize:
    """The size of a source. Read :attr:`source` in its place: how far it was read is known then.

    :param source: files, a file or an iterable.
    """

    def __init__(self, source: Any) -> None:
        self.source: Any = Files(source) if is_file(source) else source
        self._files: Files | None = self.source if isinstance(self.source, Files) else None
        self._rows: int | None = None
        if isinstance(source, Sized) and not isinstance(source, str | bytes):
            self._rows = len(source)

    def rows_at_most(self, *, exactly: bool = False) -> int | None:
        """Return how many rows can be sent at most; None where that cannot be known before reading.

        :param exactly: count the lines of files whose size does not say enough.
        :raises SourceError: a file cannot be read.
        """
        if self._rows is not None or self._files is None:
            return self._rows
        total, all_counted = 0, True
        for each in self._files.found():
            rows, counted = _rows_at_most(each.file, exactly=exactly)
            if rows is None:
                return None
            total, all_counted = total + rows, all_counted and counted
        if all_counted:
            self._rows = total
        return total

    def share(self, rows: int) -> float | None:
        """Return which share of the source was read, 0 to 1; None where that cannot be known.

        :param rows: that are through.
        """
        if self._rows is not None:
            return min(1.0, rows / self._rows) if self._rows else 1.0
        if self._files is None or not self._files.bytes_read:
            return None
        size = sum(each.size for each in self._files.found())
        return min(1.0, self._files.bytes_read / size) if size else None


def _rows_at_most(file: File, *, exactly: bool) -> tuple[int | None, bool]:
    """Return how many rows a file has at most, if that can be known, and whether they were counted."""
    head, _, size = ends_of(file, length=8)
    if is_parquet(file, head):
        return rows_of(file), True
    if exactly:
        try:
            with lines_of(file, encoding=None) as lines:
                return sum(1 for _ in lines), True
        except EmptyFileError:
            return 0, True
    if head.startswith(_ZSTD):  # a few bytes can be anything
        return None, False
    return size * (_DENSEST if head.startswith(_GZIP) else 1) // _SHORTEST + 1, False
