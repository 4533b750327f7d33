"""Keys in a private temporary SQLite table: memory does not grow with the source, and no address is on disk.

SQLite creates the file with mode 0600 and unlinks it as soon as it is open: it is gone however the process ends.
Sources of up to about 500,000 rows stay in SQLite's page cache. A row takes about 30 bytes.

A key is stored as a digest of 88 bits. Among 100 million addresses two share a digest with a probability of 2e-11.
(With 64 bits it would be 1 in 3,700, and each such pair an opt-out that is silently not made.) The salt is random and
new for every table, so a digest does not reveal an address, and two addresses of one digest cannot be prepared.
"""

from __future__ import annotations

import secrets
import sqlite3
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Self

from airflow_provider_hubprefs.bulk.source.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

_CACHE = 16_000
"""KiB. Measured with 1,000,000 digests: 5.3 CPU-s; 8.9 with 2,000 KiB, 4.7 with 32,000."""


class DigestTable:
    """One row for every key: its digest and the columns that a subclass names.

    A context manager. Several threads may use it, but not at the same time.
    """

    COLUMNS: ClassVar[str]

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(blake2b.SALT_SIZE)
        # "" is SQLite's private temporary database. The threads of a run take turns at reading one source.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_CACHE}",
            f"CREATE TABLE digests (digest BLOB PRIMARY KEY, {self.COLUMNS}) WITHOUT ROWID",
            "BEGIN",  # never committed: nothing of it has to last
        ):
            self.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def digest(self, key: str) -> bytes:
        """Return what stands for a key in this table."""
        return blake2b(key.encode(), digest_size=11, salt=self._salt).digest()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Execute a statement.

        :raises SourceError: the temporary file cannot be written.
        """
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise SourceError(
                "The temporary file for finding duplicates cannot be written. It takes about 30 MB for a million rows: "
                "free disk space, or set TMPDIR to a directory that has it."
            ) from error
