"""Which subscribers a source has named before, in memory that does not grow with it.

The digests of the first 1,000,000 are kept in memory, packed: 19 MB, where a set of str takes 107. Those of later ones
are in SQLite with a page cache of 2 MB, so that a source of 10,000,000 rows takes hardly more memory. SQLite for all of
them would take less, and about twice the CPU: every one goes to a random page.

SQLite's file is temporary: it creates it with mode 0600 and unlinks it as soon as it is open, so that it is gone
however the process ends. Most sources never need one.

A digest has 88 bits: among 100 million addresses, two share one with a probability of 2e-11. With 64 bits it would be
1 in 3,700, and every such pair an opt-out that is silently not made. The salt is a new random one for every object, so
what is in the file tells nothing about an address, and nobody can prepare a pair. (A key would do the same, and
have a block more to hash for every address.)
"""

from __future__ import annotations

import secrets
import sqlite3
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

IN_MEMORY = 1_000_000
_BUCKETS = 16384
_DIGEST = 11
_KEPT = _DIGEST - 1
_ENTRY = _KEPT + 4
"""Bytes in a bucket: of a digest, but for the first, as that chose the bucket; and of a row's number."""


class Seen:
    """Subscribers seen, each with the row that named it first. A context manager; not for several threads at once.

    :param in_memory: so many; the others are in a temporary file.
    """

    def __init__(self, *, in_memory: int = IN_MEMORY) -> None:
        self._salt = secrets.token_bytes(blake2b.SALT_SIZE)
        self._room = in_memory
        self._buckets = [b""] * _BUCKETS
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def repeated(self, named: Sequence[tuple[str, int]]) -> dict[int, int]:
        """Remember subscribers; return the rows that repeat one, each with the number of the row that named it first.

        :param named: at most 10,000 subscribers in their normalised form, and the numbers of their rows, ascending.
        :raises sqlite3.Error: the temporary file cannot be written (disk full).
        """
        salt, buckets = self._salt, self._buckets
        repeats: dict[int, int] = {}
        later: list[bytes | int] = []
        for subscriber, number in named:
            digest = blake2b(subscriber.encode(), digest_size=_DIGEST, salt=salt).digest()
            at, rest = int.from_bytes(digest[:2], "little") % _BUCKETS, digest[1:]
            bucket = buckets[at]
            if rest in bucket and (first := _number_in(bucket, rest)) is not None:
                repeats[number] = first
            elif self._room and number < 2**32:
                buckets[at] = bucket + rest + number.to_bytes(4, "little")
                self._room -= 1
            else:
                later += digest, number
        return {**repeats, **self._repeated_later(later)} if later else repeats

    def _repeated_later(self, cells: Sequence[bytes | int]) -> dict[int, int]:
        if self._database is None:
            self._database = _open()
        # One statement: between two of them, threads that send would take turns with this one.
        rows = len(cells) // 2
        done = self._database.execute(_insertion(rows), cells)
        if done.rowcount == rows:
            return {}
        find = "SELECT number FROM seen WHERE digest = ?"
        repeats: dict[int, int] = {}
        for digest, number in zip(cells[::2], cells[1::2], strict=True):
            (first,) = self._database.execute(find, (digest,)).fetchone()
            if first != number:
                repeats[int(number)] = first
        return repeats

    def close(self) -> None:
        """Forget everything, and give the temporary file's space back."""
        self._buckets = []
        if self._database is not None:
            self._database.close()


def _number_in(bucket: bytes, rest: bytes) -> int | None:
    """Number that stands behind a digest; None where the bytes of two entries only look like it."""
    at = bucket.find(rest)
    while at % _ENTRY:
        at = bucket.find(rest, at + 1)
        if at < 0:
            return None
    return int.from_bytes(bucket[at + _KEPT : at + _ENTRY], "little")


def _open() -> sqlite3.Connection:
    # "" is SQLite's private temporary database. A run's threads may take turns at reading one source.
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000"):
        database.execute(f"PRAGMA {setting}")
    database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID")
    database.execute("BEGIN")  # one transaction, never committed: nothing of it is to last
    return database


@cache
def _insertion(rows: int) -> str:
    return f"INSERT OR IGNORE INTO seen VALUES {', '.join(['(?, ?)'] * rows)}"  # noqa: S608 - question marks
