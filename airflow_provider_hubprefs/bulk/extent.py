"""How much there is of a source, before it is read and while it is: for the budget and for progress."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from airflow_provider_hubprefs.bulk.lines import File, ends_of, lines_of
from airflow_provider_hubprefs.bulk.parquet import is_parquet, rows_of

_SHORTEST = 7
"""Bytes of a row that can be sent: ``a@b.co`` and the line's end."""

_DENSEST = 1032
"""Bytes that gzip makes of one, at most."""


class Extent:
    """The extent of a source. Read :attr:`source` in its place, and it knows how far that is.

    :param source: a file or an iterable.
    """

    def __init__(self, source: Any) -> None:
        self.source: Any = source
        self._given = source
        self._file: _Watched | None = None
        self._size = 0
        self._rows: int | None = None
        if hasattr(source, "open") and hasattr(source, "name"):
            self.source = self._file = _Watched(source)
        elif isinstance(source, Sized) and not isinstance(source, str | bytes):
            self._rows = len(source)

    def rows_at_most(self, *, exactly: bool = False) -> int | None:
        """Return how many rows can be sent at most; None where that cannot be known before reading.

        :param exactly: count a file's lines, where its size does not tell enough.
        :raises SourceError: the file cannot be read.
        """
        if self._rows is not None or self._file is None:
            return self._rows
        if exactly:
            with lines_of(self._given, encoding=None) as lines:
                self._rows = sum(1 for _ in lines)
            return self._rows
        file = self._file.file
        head, _, size = ends_of(file, length=8)
        if is_parquet(file, head):
            self._rows = rows_of(file)
            return self._rows
        if head.startswith(b"\x28\xb5\x2f\xfd"):  # zstd: a few bytes can be anything
            return None
        return size * (_DENSEST if head.startswith(b"\x1f\x8b") else 1) // _SHORTEST + 1

    def share(self, rows: int) -> float | None:
        """Return which share of the source was read, 0 to 1; None where that cannot be known.

        :param rows: that are through.
        """
        if self._rows is not None:
            return min(1.0, rows / self._rows) if self._rows else 1.0
        if self._file is None or not self._file.opened:
            return None
        if not self._size:
            self._size = ends_of(self._file.file, length=1)[2] or 1
        return min(1.0, self._file.at / self._size)


class _Watched:
    """A file that knows how far it was read."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.name = file.name
        self.opened = False
        self.at = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def open(self, *args: Any, **kwargs: Any) -> Any:
        """Open it."""
        self.opened = True
        return _Telling(self.file.open(*args, **kwargs), self)


class _Telling:
    """An open file of bytes that tells how far it was read."""

    def __init__(self, stream: Any, watched: _Watched) -> None:
        self._stream = stream
        self._watched = watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Telling:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._stream.__exit__(*error)

    def read(self, *args: Any) -> Any:
        """Read on."""
        data = self._stream.read(*args)
        self._watched.at = self._stream.tell()
        return data
