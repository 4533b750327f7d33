"""Where exports go: a file of any store, or a table of any database that Airflow knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import choice, optional, path, text, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.export.fields import Field, Target

FILE: Mapping[str, Reader] = {
    "target": optional(path),
    "format": optional(choice("csv", "jsonl", "parquet")),
    "columns": lambda _, given: given or None,
}
TARGET: Mapping[str, Reader] = {
    **FILE,
    "table": optional(text),
    "target_conn_id": optional(text),
    "on_missing": choice("keep", "delete"),
    "create_table": yes_or_no,
}


def places_of(given: Any) -> list[Any]:
    """The paths of a source; of one with wildcards, the folder that it looks in."""
    from airflow_provider_hubprefs.bulk.source.files import pattern_in

    found = [(one, pattern_in(one)) for one in getattr(given, "given", ())]
    return [one if pattern is None else pattern[0] for one, pattern in found]


def _dataset_of(hook: Any, table: str) -> list[tuple[str, str]]:
    """Namespace and name of a table, where its hook says how OpenLineage names its database."""
    try:
        info = hook.get_openlineage_database_info(hook.connection)
        schema = None if "." in table else hook.get_openlineage_default_schema()
        name = ".".join(filter(None, (info.database, schema, table)))
    except Exception:  # noqa: BLE001 - lineage must not fail an export
        return []
    return [(f"{info.scheme}://{info.authority}" if info.authority else info.scheme, name)]


class WritesTarget:
    """Where an operator writes to.

    :param target: path or URL of a file in any store of ``ObjectStoragePath``, which is replaced as a whole. Either
        this or ``table``. In CSV, cells that a spreadsheet would run as formulas get an apostrophe in front, which this
        package's own sources take away again. (templated)
    :param format: of the file: ``"csv"``, ``"jsonl"`` or ``"parquet"``; by default the ending of its name says it.
    :param columns: which fields are written, a list of their names; or a mapping of them to the names of columns.
        (templated)
    :param table: name of a table, also with its schema. Its rows with the same key are updated, and new ones inserted,
        all in one transaction. The table needs a unique index of the key, where other columns of it shall stay as they
        are (PostgreSQL, SQLite, DuckDB and all others with ``ON CONFLICT``). (templated)
    :param target_conn_id: connection of the table's database, any with a ``DbApiHook``. (templated)
    :param on_missing: what happens to rows of the table that the export does not have: ``"keep"``, or ``"delete"``
        where all was read.
    :param create_table: whether the table is made where there is none.
    """

    TARGET_FIELDS: ClassVar[Sequence[str]] = ("target", "columns", "table", "target_conn_id")
    FILE_FIELDS: ClassVar[Sequence[str]] = ("target", "columns")
    target: Any = None
    format: str | None = None
    columns: Any = None
    table: str | None = None
    target_conn_id: str | None = None
    on_missing: Literal["keep", "delete"] = "keep"
    create_table: bool = False
    _written_to: Sequence[tuple[str, str]]

    def _check_target(self) -> None:
        from airflow_provider_hubprefs.hubspot.errors import ValidationError

        if (self.target is None) == (self.table is None):
            got = "neither" if self.target is None else "both"
            raise ValidationError(f"expected either target or table, got {got}")
        if (self.table is None) != (self.target_conn_id is None):
            raise ValidationError("expected table and target_conn_id together, got one of them")

    def _target(self, fields: Sequence[Field], *, apart_from: Sequence[Any] = ()) -> Target:
        """Return where it goes, once it is known that it can be written."""
        from airflow_provider_hubprefs.bulk.export.fields import columns_of
        from airflow_provider_hubprefs.bulk.export.files import FileTarget
        from airflow_provider_hubprefs.bulk.export.table import TableTarget
        from airflow_provider_hubprefs.lineage import datasets_of
        from airflow_provider_hubprefs.operators._database import hook_of
        from airflow_provider_hubprefs.operators._files import path_at

        columns = columns_of(fields, self.columns, keys=self.table is not None)
        found: FileTarget | TableTarget
        if self.table is None:
            self._written_to = list(datasets_of(self.target))
            found = FileTarget(path_at(self.target), columns, self.format)
            found.check_apart_from(apart_from)
        else:
            hook = hook_of(str(self.target_conn_id), "target_conn_id")
            self._written_to = _dataset_of(hook, self.table)
            only = self.on_missing == "delete"
            found = TableTarget(hook, self.table, columns, only=only, create=self.create_table)
        found.check()
        return found

    def _name(self) -> str:
        """The target's, for results and reports."""
        from airflow_provider_hubprefs.hubspot.privacy import scrub
        from airflow_provider_hubprefs.storage import without_connection

        return self.table or "/".join(map(scrub, without_connection(str(self.target)).split("/")))
