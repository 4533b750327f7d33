"""A database of which Airflow has a connection: its hook, and what its driver's errors mean.

No text of a driver is in an error: it may quote the query, a value of it, or a password.
"""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.compat import AirflowException, AirflowNotFoundException, BaseHook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.bulk.source.errors import SourceError

NOT_INSTALLED = (
    "sql: the package apache-airflow-providers-common-sql is not installed. Install 'airflow-provider-hubprefs[sql]' "
    "and the Airflow provider of the database"
)
_PERMANENT = (
    "0A",
    "21",
    "22",
    "25",
    "28",
    "2F",
    "34",
    "3D",
    "3F",
    "42",
    "44",
    "SQLITE_ERROR",
    "SQLITE_SCHEMA",
)
"""Classes of SQLSTATE that no retry mends: the statement, its values, the login, what the database does not have."""
_PERMANENT_TYPES = {
    "ProgrammingError",
    "NotSupportedError",
    "DataError",
    "TypeError",
    "ValueError",
    "LookupError",
}
"""The same, of drivers that give no SQLSTATE."""
_NAMED = re.compile(
    r"\b(table|relation|view|column|schema|database)(?: with name| named)?[ :]+"
    r"""["'`]?([\w.$]{1,80})""",
    re.IGNORECASE,
)
_REFUSED_LOGIN = re.compile("password|authentication|access denied|role .* does not exist", re.IGNORECASE)


def hook_of(conn_id: str) -> Any:
    """Return the hook of a database's connection.

    :raises SourceError: there is no such connection, it is not one to a database, or a provider is missing.
    """
    from airflow_provider_hubprefs.bulk.source.errors import SourceError

    try:
        from airflow.providers.common.sql.hooks.sql import DbApiHook
    except ImportError:
        raise SourceError(NOT_INSTALLED) from None
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SourceError(
            f"sql_conn_id: Airflow has no connection {conn_id!r}. Create it, or name another one"
        ) from None
    kind = f"connection {conn_id!r} of type {connection.conn_type!r}"
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]
    except (AirflowException, ImportError):
        raise SourceError(
            f"sql_conn_id: the provider of {kind} is not installed. Install the Airflow provider of this database"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise SourceError(
            f"sql_conn_id: expected a connection to a database, got {kind}. Its hook runs no SQL"
        )
    return hook


@contextmanager
def connected(conn_id: str) -> Iterator[Any]:
    """Connect, and close the connection in the end, which undoes whatever the query did."""
    from airflow_provider_hubprefs.bulk.source.errors import SourceError, UnavailableError

    hook = hook_of(conn_id)
    try:
        connection = hook.get_conn()
    except Exception as error:  # noqa: BLE001 - of any driver; its text may have a password in it
        login = _REFUSED_LOGIN.search(str(error))
        kind, why = (SourceError, ": login or password refused") if login else (UnavailableError, "")
        raise kind(
            f"sql: connection {conn_id!r} cannot be opened ({type(error).__name__}{why}). Check its host, port, "
            "database, login and password, and that the database accepts connections from the worker. Nothing was sent"
        ) from None
    try:
        yield connection
    finally:
        with suppress(Exception):  # it may be lost
            connection.close()


def failure_of(error: Exception, conn_id: str, rows: int) -> SourceError:
    """Return the error for a query that fails: none of a driver's text, which quotes the query and its values."""
    from airflow_provider_hubprefs.bulk.source.errors import SourceError, UnavailableError

    codes = [getattr(error, name, None) for name in ("sqlstate", "pgcode", "sqlite_errorname")]
    codes += error.args[:1]  # pyodbc
    code = next(
        (one for one in codes if isinstance(one, str) and re.fullmatch("[0-9A-Z]{5}|SQLITE_[A-Z_]+", one)), ""
    )
    types = {each.__name__ for each in type(error).__mro__}
    permanent = code.startswith(_PERMANENT) if code else bool(types & _PERMANENT_TYPES)
    named = _NAMED.search(str(error)) if permanent else None
    about = f"{named[1].lower()} {named[2]}" if named else ""
    what = ", ".join(filter(None, [type(error).__name__, code, about]))
    after = f" after {rows:,} rows" if rows else ""
    if permanent:
        return SourceError(
            f"sql: the query fails{after} ({what}). Correct sql or sql_parameters, or what connection {conn_id!r} may "
            "read. Nothing was sent"
        )
    return UnavailableError(
        f"sql: the query was interrupted{after} ({what}). Nothing was sent; a retry begins it again. Does the database "
        f"of connection {conn_id!r} answer, and may a query take this long?"
    )


def tables_of(sql: str, conn_id: str) -> list[tuple[str, str]]:
    """Return namespace and name of each table that a query reads, as OpenLineage's provider has them.

    None where it is not installed or does not know the database. It asks PostgreSQL for the schema that is meant by a
    name without one, and nothing else.
    """
    with suppress(Exception):  # what is wrong with the connection or the query is the task's to say
        from airflow.providers.openlineage.sqlparser import SQLParser

        hook = hook_of(conn_id)
        connection = hook.get_connection(conn_id)
        database = hook.get_openlineage_database_info(connection)
        dialect = hook.get_openlineage_database_dialect(connection)
        parser = SQLParser(dialect=dialect, default_schema=hook.get_openlineage_default_schema())
        namespace = parser.create_namespace(database)
        tables: Any = parser.parse(sql)
        found, _ = parser.get_metadata_from_parser(tables.in_tables, [], database, namespace)
        return [(each.namespace, each.name) for each in found]
    return []
