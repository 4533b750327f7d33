"""Rows of a Parquet file: only the columns that are read, a thousand rows at a time.

Measured with pyarrow 22 and files of one single row group: 36 MB beside what importing pyarrow takes, whether it has
300,000 rows or 10,000,000; without ``buffer_size`` the whole column is held (98 MB for 10,000,000 rows).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.csv import folded, quoted
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.stored import name_of, open_bytes
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.stored import File

MAGIC = b"PAR1"
"""First and last bytes of a Parquet file."""

SUFFIXES = (".parquet", ".pq")

_ROWS = 1024
_BUFFER = 1 << 16


def is_parquet(file: File, head: bytes = b"") -> bool:
    """Whether a file is Parquet, by its name or its first bytes."""
    return file.name.lower().endswith(SUFFIXES) or head.startswith(MAGIC)


def rows_of(file: File) -> int:
    """Return how many rows a file has; only its end is read.

    :raises SourceError: it cannot be read, or pyarrow is not installed.
    """
    with _opened(file) as parquet:
        return int(parquet.metadata.num_rows)


def cells_of(file: File, columns: Columns) -> Iterator[tuple[Any, ...]]:
    """Yield the address of every row, or None, and the cells of the other columns that are read.

    :raises SourceError: it cannot be read, or not to its end; there is no such column, or one of another type;
        pyarrow is not installed.
    """
    name = name_of(file)
    with _opened(file) as parquet:
        schema = parquet.schema_arrow
        found = [
            _column(schema, what, called, name)
            for what, called in [("email", columns.email), *columns.more()]
        ]
        for at, column in enumerate(found):
            _check_type(schema, column, name, text_only=at == 0)
        batches = parquet.iter_batches(
            batch_size=_ROWS,
            columns=list(dict.fromkeys(found)),
            use_threads=False,
        )
        for batch in batches:
            yield from zip(*(_cells(batch.column(column)) for column in found), strict=True)


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    name = name_of(file)
    try:
        import pyarrow  # noqa: PLC0415 - an extra, and 20 MB
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            f"{name}: is a Parquet file, which needs the extra 'parquet': "
            "pip install 'airflow-provider-hubprefs[parquet]'. Or save it as CSV."
        ) from error
    with open_bytes(file) as stream:
        try:
            yield parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER)
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError(
                f"{name}: cannot be read as Parquet ({type(error).__name__}): it is another format, damaged or cut "
                "short, or its store stopped answering. Upload it again, or try again."
            ) from error


def _column(schema: Any, what: str, called: str, name: str) -> str:
    """Find a column: of exactly this spelling, or else in another case."""
    found = [column for column in schema.names if column == called]
    found = found or [column for column in schema.names if folded(column) == folded(called)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise SourceError(
            f"{name}: {len(found)} columns are called {quoted(called)}. Which one is meant? Rename the others."
        )
    listed = ", ".join(quoted(column) for column in schema.names[:20])
    more = ", ..." if len(schema.names) > 20 else ""
    raise SourceError(
        f"{name}: no column is called {quoted(called)}. There are: {listed}{more}. Name the right one "
        f"({what}_column=...)."
    )


def _check_type(schema: Any, column: str, name: str, *, text_only: bool) -> None:
    from pyarrow import types  # noqa: PLC0415

    declared = kind = schema.field(column).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind):
        return
    if types.is_integer(kind) and not text_only:
        return
    expected = "text" if text_only else "text or whole numbers"
    raise SourceError(
        f"{name}: column {quoted(column)} is of type {scrub(str(declared))[:40]}. Expected {expected}: convert it, or "
        "name another column."
    )


def _cells(column: Any) -> list[Any]:
    """Return the cells of a batch. Bytes that are not UTF-8 become lone surrogates, as they do in text files."""
    import pyarrow  # noqa: PLC0415

    try:
        cells: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        plain = column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
        raw = plain.cast(pyarrow.large_binary()).to_pylist()
        cells = [cell if cell is None else cell.decode(errors="surrogateescape") for cell in raw]
    return cells
