"""What a bulk task reads: subscribers, files or a query; and the columns of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import (
    PrivateArgument,
    PrivateParameters,
    column,
    optional,
    paths,
    text,
    value_of,
)
from airflow_provider_hubprefs.operators._waiting import WaitingBase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions

_ORDER = (
    "A retry, or the task after a wait in the triggerer, reads the query again and resumes by the number of a row. Add "
    "an order, or set resume=False and, where it waits, deferrable=False"
)


def _read_options(_: str, value: object) -> ReadOptions:
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions

    return ReadOptions.of(value)


class ReadsSource(WaitingBase):
    """Base of the operators that read many rows: exactly one of ``subscribers``, ``source`` and ``sql``."""

    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **WaitingBase.ARGUMENTS,
        "source": optional(paths),
        "sql": optional(text),
        "sql_conn_id": optional(text),
        "email_column": optional(column, default="email"),
        "read_options": optional(_read_options),
    }
    subscribers = PrivateArgument()
    source: Any
    sql: str | None
    sql_conn_id: str | None
    sql_parameters = PrivateParameters()
    email_column: str
    read_options: ReadOptions | None
    resume: bool

    def _source(self) -> Any:
        from airflow_provider_hubprefs.bulk.source.items import flattened
        from airflow_provider_hubprefs.bulk.source.options import ReadOptions
        from airflow_provider_hubprefs.operators._files import files_at
        from airflow_provider_hubprefs.operators._sql import rows_of_query

        if self.source is not None:
            return files_at(self.source)
        if self.sql is not None:
            reading = self._reading()
            return rows_of_query(
                self._query(),
                value_of(self.sql_parameters),
                conn_id=str(self.sql_conn_id),
                columns=reading["columns"],
                options=reading["options"],
            )
        return flattened(value_of(self.subscribers), ReadOptions.of(self.read_options))

    def lineage_inputs(self) -> Iterable[tuple[str, str]]:
        """The source's files, or the tables of its query."""
        from airflow_provider_hubprefs.operators._database import tables_of

        return tables_of(self.sql, str(self.sql_conn_id)) if self.sql else super().lineage_inputs()

    def _reading(self) -> dict[str, Any]:
        """How the source is read.

        :raises ValidationError: an option is unknown, of the wrong type, or makes no sense with another argument.
        """
        from airflow_provider_hubprefs.bulk.source.options import ReadOptions

        columns, options = self._columns(), ReadOptions.of(self.read_options)
        options.check(columns, of_files=self.source is not None)
        return {"columns": columns, "options": options}

    def _columns(self) -> Columns:
        from airflow_provider_hubprefs.bulk.source.columns import Columns

        return Columns(email=str(self.email_column))

    def _check_arguments(self) -> None:
        from airflow_provider_hubprefs.hubspot.errors import ValidationError

        sources = {"subscribers": value_of(self.subscribers), "source": self.source, "sql": self.sql}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise ValidationError(f"expected one of subscribers, source and sql, got {got}")
        self._query()
        self._reading()

    def _query(self) -> str:
        """The query, checked; nothing where another source is given.

        :raises ValidationError: it cannot work, or something belongs to it that is missing or given without it.
        """
        from airflow_provider_hubprefs.operators._sql_text import query_of

        needs_order = self.resume or (self.wait_for_completion and self.deferrable)
        return query_of(
            self.sql,
            conn_id=self.sql_conn_id,
            parameters=value_of(self.sql_parameters),
            ordered_because=_ORDER if needs_order else "",
        )
