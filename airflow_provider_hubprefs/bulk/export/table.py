"""Exports as a table of a database of which Airflow has a ``DbApiHook``.

All rows go to a temporary table first, and from there to the author's in the same transaction: a task that is killed
leaves what was there before, and one that is repeated leaves the same rows. The hook's own ``insert_rows`` is not used,
because it commits in between, and logs rows that the database refuses.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from itertools import chain
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.export.fields import TargetError, in_parts
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.hubspot.privacy import scrub, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_hubprefs.bulk.export.fields import Cell, Column

_NAME = re.compile(r"""(?:[^\W\d][\w$#-]*|"[^"]+"|`[^`]+`|\[[^\]]+\])(?:\.(?!$)|$)""")
_TYPES = {"text": "TEXT", "whole": "BIGINT", "flag": "BOOLEAN", "time": "TIMESTAMP WITH TIME ZONE"}
_KEY = "VARCHAR(320)"
_PERMANENT = {"ProgrammingError", "IntegrityError", "DataError", "NotSupportedError"}
"""Errors of Python's database API (PEP 249) that another attempt does not mend."""
_PARAMETERS = 900
"""Of one statement; SQLite took 999 at most, once, and others take some 2,000."""


class TableTarget:
    """A table that gets the rows of an export: those with the key of one that is there replace it.

    :param hook: a ``DbApiHook``.
    :param table: its name, also with its schema; as it stands in a statement.
    :param columns: that it has; others keep what they have, where the database can update rows by their key (ON
        CONFLICT, and a unique index of the key's columns), and otherwise get their defaults.
    :param only: whether rows that are not in the export are deleted.
    :param create: whether the table is made where there is none.
    :raises ValidationError: it is no name.
    """

    def __init__(
        self, hook: Any, table: str, columns: Sequence[Column], *, only: bool = False, create: bool = False
    ) -> None:
        if not re.fullmatch(f"(?:{_NAME.pattern}){{1,3}}", table):
            raise ValidationError(f"table: expected a name such as schema.table, got {shown(table)}")
        self._hook, self._table, self._only, self._create = hook, table, only, create
        # Where quotes change nothing else (Airflow knows no reserved words of DuckDB).
        quoted = '"{}"'.format if hook.dialect_name == "duckdb" else hook.dialect.escape_word
        self._columns = columns
        self._names = [quoted(column.name) for column in columns]
        self._keys = [quoted(column.name) for column in columns if column.field.key]
        self._by_key: bool | None = None
        """Whether the database can update rows by their key; None: not known yet."""

    def check(self) -> None:
        """See :class:`~.fields.Target`. All that :meth:`write` does is done once, with no rows, and taken back."""
        self._by_key = True
        try:
            self._load((), undo=True)
        except TargetError as error:
            if not error.permanent and "CONFLICT" not in str(error):
                raise
            self._by_key = False
            self._load((), undo=True)

    def write(self, rows: Iterable[Sequence[Cell]], *, whole: bool = True) -> int:
        """See :class:`~.fields.Target`."""
        if self._by_key is None:
            self.check()
        self._only = self._only and whole
        return self._load(rows)

    def _load(self, rows: Iterable[Sequence[Cell]], *, undo: bool = False) -> int:
        try:
            with closing(self._connection()) as connection, closing(connection.cursor()) as cursor:
                if self._hook.supports_autocommit:
                    self._hook.set_autocommit(connection, autocommit=False)
                # A cursor of DuckDB is a connection of its own, and begins no transaction by itself.
                unit = cursor if hasattr(cursor, "commit") else connection
                if hasattr(unit, "begin"):
                    unit.begin()
                try:
                    count = self._carry_out(cursor, rows, undo=undo)
                    unit.rollback() if undo else unit.commit()
                except BaseException:
                    with suppress(Exception):
                        unit.rollback()
                    raise
                return count
        except Exception as error:
            if isinstance(error, TargetError) or not _of_database(error):
                raise
            raise self._error(error) from None

    def _connection(self) -> Any:
        try:
            return self._hook.get_conn()
        except Exception as error:  # noqa: BLE001 - its text may have a password in it
            raise TargetError(
                f"table {self._table}: its database cannot be reached ({type(error).__name__}). Check target_conn_id, "
                "and that the database accepts connections from the worker"
            ) from None

    def _carry_out(self, cursor: Any, rows: Iterable[Sequence[Cell]], *, undo: bool) -> int:
        names, staging = ", ".join(self._names), f"hubprefs_{token_hex(8)}"
        if self._create:
            cursor.execute(self._create_statement())
        cursor.execute(f"CREATE TEMPORARY TABLE {staging} AS SELECT {names} FROM {self._table} WHERE 1 = 0")
        count = self._fill(cursor, staging, names, rows)
        for statement in self._statements(staging, names, undo=undo):
            cursor.execute(statement)
        cursor.execute(f"DROP TABLE {staging}")
        return count

    def _fill(self, cursor: Any, staging: str, names: str, rows: Iterable[Sequence[Cell]]) -> int:
        """Put all rows into the temporary table, in the fastest way of the database."""
        positions, width, count = [column.at for column in self._columns], len(self._columns), 0
        picked = ([row[at] for at in positions] for row in rows)
        dialect = self._hook.dialect_name
        if dialect == "postgresql" and hasattr(cursor, "copy"):  # psycopg 3
            with cursor.copy(f"COPY {staging} ({names}) FROM STDIN") as copy:
                for row in picked:
                    copy.write_row(row)
                    count += 1
            return count
        cell = self._hook.placeholder
        lists = ", ".join([f"unnest({cell})"] * width)
        one = f"({', '.join([cell] * width)})"
        for some in in_parts(picked, 10_000 if dialect == "duckdb" else max(1, _PARAMETERS // width)):
            count += len(some)
            if dialect == "duckdb":  # takes lists fast, and single values slowly
                cursor.execute(
                    f"INSERT INTO {staging} ({names}) SELECT {lists}",
                    list(map(list, zip(*some, strict=True))),
                )
            else:
                values = ", ".join([one] * len(some))
                cursor.execute(
                    f"INSERT INTO {staging} ({names}) VALUES {values}", list(chain.from_iterable(some))
                )
        return count

    def _statements(self, staging: str, names: str, *, undo: bool) -> list[str]:
        """Move the rows to the table. To try it, nothing is deleted: not every database can take that back."""
        table = self._table.rpartition(".")[2]
        same = " AND ".join(f"{staging}.{key} = {table}.{key}" for key in self._keys)
        there = f"EXISTS (SELECT 1 FROM {staging} WHERE {same})"
        insert = f"INSERT INTO {self._table} ({names}) SELECT {names} FROM {staging} WHERE 1 = 1"
        delete = f"DELETE FROM {self._table} WHERE {'1 = 0 AND ' if undo else ''}"
        statements = [f"{delete}NOT {there}"] if self._only else []
        if not self._by_key:
            return [*statements, f"{delete}{there}", insert]
        others = [f"{name} = excluded.{name}" for name in self._names if name not in self._keys]
        update = f"UPDATE SET {', '.join(others)}" if others else "NOTHING"
        return [*statements, f"{insert} ON CONFLICT ({', '.join(self._keys)}) DO {update}"]

    def _create_statement(self) -> str:
        columns = [
            f"{name} {_KEY if kind == 'text' and key else _TYPES[kind]}"
            for name, (_, _, (_, kind, key)) in zip(self._names, self._columns, strict=True)
        ]
        return (
            f"CREATE TABLE IF NOT EXISTS {self._table} "
            f"({', '.join(columns)}, PRIMARY KEY ({', '.join(self._keys)}))"
        )

    def _error(self, error: Exception) -> TargetError:
        # DuckDB quotes the whole list of values after that.
        first = str(error).partition("\n")[0].partition(" when casting")[0]
        said = scrub(first)[:160] or type(error).__name__
        return TargetError(
            f"{said.rstrip('.')}. Expected a table {self._table} that this connection may write, with the columns "
            f"{', '.join(self._names)}; create_table=True makes one. No row of it was changed",
            permanent=bool(_PERMANENT & {kind.__name__ for kind in type(error).__mro__}),
        )


def _of_database(error: Exception) -> bool:
    return any(kind.__name__ in {"Error", "DatabaseError"} for kind in type(error).__mro__)
