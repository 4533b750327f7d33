"""Rows that contradict each other: the same subscriber and subscription, with another status.

Which of them counts can only be said when all of the source has been read, so it is read twice: once to find out, and
once to send. What is remembered between the two is in a private temporary file, as in :mod:`.dedupe` and for the same
reasons: keyed digests, gone with the process, and memory that does not grow with the source. Measured with 1,000,000
rows, 10,000 of them contradicting another: 2.3 times the CPU of reading that file without its statuses, and the same
8 MB.
"""

from __future__ import annotations

import secrets
import sqlite3
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, get_args

from airflow_provider_hubprefs.bulk.lines import SourceError

if TYPE_CHECKING:
    from types import TracebackType

OnConflict: TypeAlias = Literal["error", "last", "opt_out_wins"]
ON_CONFLICT: tuple[OnConflict, ...] = get_args(OnConflict)

_SHOWN = 5


class ContradictionError(SourceError):
    """Rows contradict each other, and nobody said which of them count. Names their numbers only."""


class Verdicts:
    """Which row counts for every key: of rows that agree the first, of others what ``on_conflict`` says.

    A context manager; not for several threads at once. All of the rows are added, then :meth:`check`, then
    :meth:`of` for each of them.

    :param on_conflict: ``"error"``; ``"last"``: the last row counts; ``"opt_out_wins"``: the first UNSUBSCRIBED
        does, and where there is none it is an error.
    """

    def __init__(self, on_conflict: OnConflict) -> None:
        self._on_conflict = on_conflict
        self._contradicted = False
        self._key = secrets.token_bytes(32)
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._cursor = self._database.cursor()
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -8000"):
            self._cursor.execute(f"PRAGMA {setting}")
        # number: of the row that counts so far; other: of the first row that contradicts it.
        self._cursor.execute(
            "CREATE TABLE verdict (digest BLOB PRIMARY KEY, number INTEGER NOT NULL, status TEXT NOT NULL, "
            "other INTEGER) WITHOUT ROWID"
        )
        self._cursor.execute("BEGIN")  # never committed: nothing of it is to last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, key: str, number: int, status: str) -> None:
        """Take one row.

        :param key: of what it is about.
        :raises sqlite3.Error: the temporary file cannot be written (disk full).
        """
        digest = self._digest(key)
        self._cursor.execute(
            "INSERT OR IGNORE INTO verdict VALUES (?, ?, ?, NULL)", (digest, number, status[0])
        )
        if self._cursor.rowcount:
            return
        counting, so_far, other = self._cursor.execute(
            "SELECT number, status, other FROM verdict WHERE digest = ?", (digest,)
        ).fetchone()
        if other is None and so_far == status[0]:
            return
        self._contradicted = True
        takes_over = self._on_conflict == "last" or (
            self._on_conflict == "opt_out_wins" and so_far != "U" and status[0] == "U"
        )
        now = (number, status[0]) if takes_over else (counting, so_far)
        self._cursor.execute(
            "UPDATE verdict SET number = ?, status = ?, other = ? WHERE digest = ?",
            (*now, number if other is None else other, digest),
        )

    def check(self) -> None:
        """Stop where it cannot be said which row counts.

        :raises ContradictionError: says for how many keys, and names some rows.
        """
        if not self._contradicted or self._on_conflict == "last":
            return
        undecided = "other IS NOT NULL" + (
            " AND status <> 'U'" if self._on_conflict == "opt_out_wins" else ""
        )
        (count,) = self._cursor.execute(f"SELECT count(*) FROM verdict WHERE {undecided}").fetchone()  # noqa: S608
        if not count:
            return
        pairs = self._cursor.execute(
            f"SELECT number, other FROM verdict WHERE {undecided} ORDER BY number LIMIT {_SHOWN}"  # noqa: S608
        ).fetchall()
        rows = "; ".join(f"{number} and {other}" for number, other in pairs)
        advice = (
            "None of them unsubscribes, so that on_conflict='opt_out_wins' cannot tell. Mend the source, or set "
            "on_conflict='last'"
            if self._on_conflict == "opt_out_wins"
            else "Mend the source, or set on_conflict='last' or 'opt_out_wins'"
        )
        raise ContradictionError(
            f"{count} times rows contradict each other: the same subscriber and subscription with another status, in "
            f"rows {rows}{'; ...' if count > _SHOWN else ''}. {advice}. Nothing was written."
        )

    def of(self, key: str) -> tuple[int, bool] | None:
        """Return the number of the row that counts, and whether others contradict it; None for an unknown key."""
        found = self._cursor.execute(
            "SELECT number, other IS NOT NULL FROM verdict WHERE digest = ?", (self._digest(key),)
        ).fetchone()
        return found and (found[0], bool(found[1]))

    def _digest(self, key: str) -> bytes:
        return blake2b(key.encode(), digest_size=16, key=self._key).digest()
