"""Which keys a source has named before, and in which row first."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.source.digests import DigestTable

if TYPE_CHECKING:
    from collections.abc import Sequence


class SeenKeys(DigestTable):
    """Keys seen, each with the number of the row that named it first."""

    COLUMNS = "number INTEGER NOT NULL"

    def repeated(self, named: Sequence[tuple[str, int]]) -> dict[int, int]:
        """Remember keys; return the rows that repeat one, each with the number of the row that named it first.

        :param named: at most 10,000 keys and the numbers of their rows, ascending.
        :raises SourceError: the temporary file cannot be written.
        """
        if not named:
            return {}
        digests = [self.digest(key) for key, _ in named]
        numbers = [number for _, number in named]
        # One statement: SQLite releases the interpreter for each, and the threads that send would take it in between.
        values = [value for pair in zip(digests, numbers, strict=True) for value in pair]
        if self.execute(_insertion(len(named)), values).rowcount == len(named):
            return {}
        repeats: dict[int, int] = {}
        for digest, number in zip(digests, numbers, strict=True):
            (first,) = self.execute("SELECT number FROM digests WHERE digest = ?", (digest,)).fetchone()
            if first != number:
                repeats[number] = first
        return repeats


@cache
def _insertion(rows: int) -> str:
    return f"INSERT OR IGNORE INTO digests VALUES {', '.join(['(?, ?)'] * rows)}"  # noqa: S608 - question marks
