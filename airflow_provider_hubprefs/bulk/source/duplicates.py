"""Rows that repeat or contradict another, and which of them counts.

Two rows are about the same when they have one key: the subscriber, and the subscription where there is a column of
them. They contradict each other when their statuses differ, whatever their legal basis; and so do an opt-out from
everything and a row that wants another status of one subscription of the same subscriber. A row that cannot be read
may be an opt-out: no other row subscribes a subscriber who stands in it, or who may be meant.

Keys are kept in a private temporary SQLite table: memory does not grow with the source, and no address is on disk.
SQLite creates the file with mode 0600 and unlinks it as soon as it is open: it is gone however the process ends.
Sources of up to about 500,000 rows stay in SQLite's page cache. A row takes about 30 bytes.

A key is stored as a digest of 88 bits. Among 100 million addresses two share a digest with a probability of 2e-11.
(With 64 bits it would be 1 in 3,700, and each such pair an opt-out that is silently not made.) The salt is random and
new for every table: a digest cannot be turned back, and two addresses of one digest cannot be prepared.
"""

from __future__ import annotations

import secrets
import sqlite3
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import msgspec

from airflow_provider_hubprefs.bulk.source.addresses import addresses_in
from airflow_provider_hubprefs.bulk.source.errors import ContradictionError, UnavailableError
from airflow_provider_hubprefs.bulk.source.row import CONTRADICTED_BY_INVALID_ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_hubprefs.bulk.source.row import Row, Wanted

OnConflict: TypeAlias = Literal["error", "last", "opt_out_wins"]
"""Which of rows that contradict each other counts. ``"error"``: none; ``"last"``: the last row; ``"opt_out_wins"``: the
first that says UNSUBSCRIBED, and where none does it is an error."""

_TAKES_OVER = {"error": "FALSE", "last": "TRUE", "opt_out_wins": "status <> 'U' AND excluded.status = 'U'"}
"""When a row counts instead of the row that counted so far."""

_CACHE = 16_000
"""KiB. Measured with 1,000,000 digests: 5.3 CPU-s; 8.9 with 2,000 KiB, 4.7 with 32,000."""

_SHOWN = 5


def _may_contradict(wanted: Wanted) -> bool:
    """Whether it opts out of everything, or contradicts that."""
    return wanted.everything or wanted.status not in {"UNSUBSCRIBED", None}


class Duplicates:
    """Which row counts for every key: of rows that agree the first, of others what ``on_conflict`` says.

    A context manager. Several threads may use it, but not at the same time. Its methods raise
    :class:`~.errors.SourceError` where the temporary file cannot be written.

    :param on_conflict: see :data:`OnConflict`.
    :param place_of: returns where the row of a number is, for error texts.
    :param everything: whether rows may want an opt-out from everything beside those of single subscriptions.
    """

    def __init__(
        self, on_conflict: OnConflict, place_of: Callable[[int], str], *, everything: bool = False
    ) -> None:
        self._on_conflict = on_conflict
        self._everything = everything
        self._opts_out = False
        """Whether an opt-out from everything may count instead of a row about one subscription."""
        self._place_of = place_of
        self._unreadable = False
        self._salt = secrets.token_bytes(blake2b.SALT_SIZE)

    def __enter__(self) -> Self:
        # "" is SQLite's private temporary database. The threads of a run take turns at reading one source.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_CACHE}",
            # number: of the row that counts so far; status: its first letter; other: of the first that contradicts it
            "CREATE TABLE keys (digest BLOB PRIMARY KEY, number INTEGER, status TEXT, other INTEGER) WITHOUT ROWID",
            "CREATE TABLE unreadable (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID",
            # of a subscriber, the last row that opts out of everything, and the last that wants another status of one
            "CREATE TABLE wide (digest BLOB PRIMARY KEY, everything INTEGER, one INTEGER) WITHOUT ROWID",
            "BEGIN",  # never committed: nothing of it has to last
        ):
            self._execute(statement)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, rows: Sequence[Row]) -> bool:
        """Take rows in the order of the source; return whether any of them repeats another.

        :param rows: at most 200; those that have a problem already do not count.
        """
        values: list[Any] = []
        if self._everything:
            self._add_wide(rows)
        for row in rows:
            if row.problem is None:
                status = (row.wanted and row.wanted.status) or ""
                values += (self._digest(row), row.number, status[:1])
            elif row.may_opt_out:
                self._unreadable = True
                for subscriber in {row.subscriber, row.suggestion, *addresses_in(row.subscriber)}:
                    self._execute(
                        "INSERT INTO unreadable VALUES (?, ?) ON CONFLICT DO NOTHING",
                        (self._digest_of(subscriber), row.number),
                    )
        if not values:
            return False
        added = len(values) // 3
        # One statement: SQLite releases the interpreter for each, and the threads that send would take it in between.
        inserted = self._execute(
            f"INSERT INTO keys VALUES {', '.join(['(?, ?, ?, NULL)'] * added)} "  # noqa: S608
            "ON CONFLICT DO UPDATE SET other = coalesce(other, excluded.number), "
            f"number = CASE WHEN {_TAKES_OVER[self._on_conflict]} THEN excluded.number ELSE number END, "
            f"status = CASE WHEN {_TAKES_OVER[self._on_conflict]} THEN excluded.status ELSE status END "
            "WHERE other IS NOT NULL OR status <> excluded.status",
            values,
        )
        return inserted.rowcount < added

    def _add_wide(self, rows: Sequence[Row]) -> None:
        values: list[Any] = []
        for row in rows:
            if row.problem is None and row.wanted is not None and _may_contradict(row.wanted):
                self._opts_out = self._opts_out or row.wanted.everything
                number = (row.number, None) if row.wanted.everything else (None, row.number)
                values += (self._digest_of(row.subscriber), *number)
        if values:
            self._execute(
                f"INSERT INTO wide VALUES {', '.join(['(?, ?, ?)'] * (len(values) // 3))} "  # noqa: S608
                "ON CONFLICT DO UPDATE SET everything = coalesce(excluded.everything, everything), "
                "one = coalesce(excluded.one, one)",
                values,
            )

    def check(self) -> None:
        """Stop where it is undecided which row counts, once all rows were added.

        An opt-out from everything says more than a later row about one subscription can take back: ``"last"`` does
        not decide between them.

        :raises ContradictionError: says for how many keys, and where some of the rows are.
        """
        if self._opts_out:  # flagged() asks about each row then
            both = "SELECT 1 FROM wide WHERE everything IS NOT NULL AND one IS NOT NULL LIMIT 1"
            self._opts_out = self._execute(both).fetchone() is not None
        if self._on_conflict != "opt_out_wins":
            later = " AND one > everything" if self._on_conflict == "last" else ""
            self._stop_at(
                "SELECT everything, one, count(*) OVER () FROM wide "  # noqa: S608
                f"WHERE everything IS NOT NULL AND one IS NOT NULL{later} ORDER BY everything LIMIT {_SHOWN}",
                "an opt-out from everything, and another status of one subscription of the same subscriber",
                "Fix the source, or set on_conflict='opt_out_wins'",
            )
        if self._on_conflict == "last":
            return
        also, advice = "", "Fix the source, or set on_conflict='last' or 'opt_out_wins'"
        if self._on_conflict == "opt_out_wins":
            also = "AND status <> 'U' "
            advice = (
                "None of them unsubscribes, so on_conflict='opt_out_wins' cannot decide. Fix the source, or set "
                "on_conflict='last'"
            )
        self._stop_at(
            f"SELECT number, other, count(*) OVER () FROM keys WHERE other IS NOT NULL {also}"  # noqa: S608
            f"ORDER BY number LIMIT {_SHOWN}",
            "the same subscriber and subscription with another status",
            advice,
        )

    def _stop_at(self, query: str, how: str, advice: str) -> None:
        undecided = self._execute(query).fetchall()
        if undecided:
            count = undecided[0][2]
            rows = "; ".join(
                f"{self._place_of(one)} and {self._place_of(other)}" for one, other, _ in undecided
            )
            raise ContradictionError(
                f"{count} times rows contradict each other: {how}: "
                f"{rows}{'; ...' if count > _SHOWN else ''}. {advice}. Nothing was written."
            )

    def flagged(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Yield rows that were added before; those that do not count as duplicates."""
        digests = {row.number: self._digest(row) for row in rows if row.problem is None}
        found = self._execute(
            "SELECT digest, number, other IS NOT NULL FROM keys "  # noqa: S608
            f"WHERE digest IN ({', '.join('?' * len(digests))})",
            list(digests.values()),
        )
        counting = {digest: (number, contradicted) for digest, number, contradicted in found}
        for row in rows:
            if row.problem is not None:
                yield row
                continue
            number, contradicted = counting[digests[row.number]]
            wider = self._wider(row) if number == row.number else None
            if wider is not None:
                detail = f"{self._place_of(wider)} opts out of everything and counts"
                yield msgspec.structs.replace(row, problem="duplicate", detail=detail)
            elif number == row.number:
                yield self._unless_contradicted(row)
            else:
                place = self._place_of(number)
                detail = f"{place} counts" if contradicted else f"first in {place}"
                yield msgspec.structs.replace(row, problem="duplicate", detail=detail)

    def _unless_contradicted(self, row: Row) -> Row:
        if not self._unreadable or row.wanted is None or row.wanted.status == "UNSUBSCRIBED":
            return row
        found = self._execute(
            "SELECT number FROM unreadable WHERE digest = ?", (self._digest_of(row.subscriber),)
        ).fetchone()
        if found is None:
            return row
        why = f"{self._place_of(found[0])} is about the same subscriber, cannot be read and may be an opt-out"
        return msgspec.structs.replace(
            row, problem="invalid", category=CONTRADICTED_BY_INVALID_ROW, detail=why, wanted=None
        )

    def _wider(self, row: Row) -> int | None:
        """The row that counts instead of one about one subscription, because it opts out of everything."""
        wanted = row.wanted
        if not self._opts_out or wanted is None or wanted.everything or not _may_contradict(wanted):
            return None
        key = (self._digest_of(row.subscriber),)
        found: tuple[int | None] | None = self._execute(
            "SELECT everything FROM wide WHERE digest = ?", key
        ).fetchone()
        return None if found is None else found[0]

    def _digest(self, row: Row) -> bytes:
        # No address has a line break in it.
        return self._digest_of(
            f"{row.subscriber}\n{row.wanted.subscription_id}" if row.wanted else row.subscriber
        )

    def _digest_of(self, key: str) -> bytes:
        return blake2b(key.encode(), digest_size=11, salt=self._salt).digest()

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise UnavailableError(
                "The temporary file for finding duplicates cannot be written. It takes about 30 MB for a million rows: "
                "free disk space, or set TMPDIR to a directory that has it."
            ) from error
