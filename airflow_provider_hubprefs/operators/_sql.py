"""A query as a source: its rows are read before the first request, and kept encrypted.

A run at HubSpot's pace takes hours. No cursor stays open for so long, and a run reads its source more than once.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from importlib import import_module
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.operators._database import connected, failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.kept import KeptRows
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions


def rows_of_query(
    sql: str, parameters: Any, *, conn_id: str, columns: Columns, options: ReadOptions
) -> KeptRows:
    """Run a query, and keep of its rows the columns that are read. Nothing is committed.

    :param sql: one statement, see :func:`~._sql_text.query_of`.
    :param parameters: the driver binds them; None: there are none.
    :param conn_id: of a database that has a ``DbApiHook``.
    :raises SourceError: there is no such connection, the query fails, or a column is missing.
    """
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.bulk.source.items import places_in
    from airflow_provider_hubprefs.bulk.source.kept import KeptRows

    with connected(conn_id) as connection:
        result = _Result()
        try:
            result.run(connection, sql, parameters)
            places = sorted(set(places_in(result.header, columns, options)))
            names = [result.header[at] for at in places]
            return KeptRows.table(names, result.blocks(places), name=f"sql of {conn_id}")
        except SourceError:
            raise
        except Exception as error:  # noqa: BLE001 - of any driver
            raise failure_of(error, conn_id, result.read) from None


class _Result:
    """What a query gives, some rows at a time; :attr:`read` is how many there were until now."""

    read = 0
    header: Sequence[str]

    def run(self, connection: Any, sql: str, parameters: Any) -> None:
        """Execute the query, and read its first rows: of some drivers only then the columns are known.

        :raises SourceError: it gives no rows.
        """
        from airflow_provider_hubprefs.bulk.source.errors import SourceError

        self._cursor = cursor = _cursor(connection)
        cursor.execute(sql, *([] if parameters is None else [parameters]))
        self._rows = self._fetched() if cursor.description or getattr(cursor, "name", None) else []
        if not cursor.description:
            raise SourceError("sql: expected a query that returns rows, got one without columns")
        self.header = [str(column[0]) for column in cursor.description]

    def blocks(self, places: list[int]) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield the rows, of each the values of some columns."""
        rows = self._rows
        if rows and isinstance(rows[0], tuple) and places == [*range(len(self.header))]:
            while rows:
                yield rows
                rows = self._fetched()
        named = bool(rows) and isinstance(rows[0], Mapping)
        pick = itemgetter(*([self.header[at] for at in places] if named else places))
        while rows:
            picked = map(pick, rows)
            yield [*picked] if len(places) > 1 else [*zip(picked, strict=True)]
            rows = self._fetched()

    def _fetched(self) -> Sequence[Any]:
        from airflow_provider_hubprefs.bulk.source.kept import AT_ONCE

        rows: Sequence[Any] = self._cursor.fetchmany(AT_ONCE)
        self.read += len(rows)
        return rows


def _cursor(connection: Any) -> Any:
    """Return a cursor whose rows stay at the server until they are fetched, where the driver has one."""
    driver = type(connection).__module__.partition(".")[0]
    name = f"hubprefs_{secrets.token_hex(8)}"
    if driver == "psycopg":
        connection.read_only = True
        return connection.cursor(name, row_factory=import_module("psycopg.rows").tuple_row)
    if driver == "psycopg2":
        connection.readonly = True
        return connection.cursor(name, cursor_factory=import_module("psycopg2.extensions").cursor)
    if driver in {"MySQLdb", "pymysql"}:
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()
