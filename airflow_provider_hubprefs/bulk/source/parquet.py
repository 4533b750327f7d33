"""Rows of a Parquet file: only the columns that are read, a thousand rows at a time.

Measured with pyarrow 22 and files of one single row group: 36 MB beside what importing pyarrow takes, whether it has
300,000 rows or 10,000,000; without ``buffer_size`` the whole column is held (98 MB for 10,000,000 rows).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.columns import position, quoted
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions
    from airflow_provider_hubprefs.bulk.source.stored import StoredFile

_SUFFIXES = (".parquet", ".pq")
_ROWS = 1024
_BUFFER = 1 << 16
_TEXT = ("string", "binary", "null")
"""Types of text, also those of larger columns. Some engines write text without saying that it is: as ``binary``."""


def is_parquet(file: StoredFile) -> bool:
    """Whether a file is named as Parquet."""
    return file.path.name.lower().endswith(_SUFFIXES)


def rows_of(file: StoredFile) -> int:
    """Return how many rows a file has; only its end is read.

    :raises SourceError: it cannot be read, or pyarrow is not installed.
    """
    with _opened(file) as parquet:
        return int(parquet.metadata.num_rows)


def cells_of(file: StoredFile, columns: Columns, options: ReadOptions) -> Iterator[tuple[Any, ...]]:
    """Yield the address of every row, or None, and the cells of the other columns that are read.

    :raises SourceError: it cannot be read, or not to its end; there is no such column, or one of another type;
        pyarrow is not installed.
    """
    with _opened(file) as parquet:
        schema = parquet.schema_arrow
        wanted = [("email", columns.email), *columns.more(), *(("where", name) for name, _ in options.where)]
        names = [schema.names[position(schema.names, *one, label=file.label)] for one in wanted]
        for (what, _), name in zip(wanted, names, strict=True):
            scalar = what == "where" or (what == "status" and bool(options.status_values))
            _check_type(schema.field(name), file.label, what, any_scalar=scalar)
        batches = parquet.iter_batches(_ROWS, columns=list(dict.fromkeys(names)), use_threads=False)
        for batch in batches:
            yield from zip(*(_cells(batch.column(name)) for name in names), strict=True)


@contextmanager
def _opened(file: StoredFile) -> Iterator[Any]:
    try:
        import pyarrow  # noqa: PLC0415 - an extra, and 20 MB
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            f"{file.label}: is a Parquet file, which needs the extra 'parquet': "
            "pip install 'airflow-provider-hubprefs[parquet]'. Or save it as CSV."
        ) from error
    with file.open() as stream:
        try:
            yield parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER)
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError(
                f"{file.label}: cannot be read as Parquet ({type(error).__name__}): it is another format, damaged "
                "or cut short. Upload it again."
            ) from error


def _check_type(column: Any, label: str, what: str, *, any_scalar: bool) -> None:
    from pyarrow import types  # noqa: PLC0415

    kind = column.type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if str(kind).removeprefix("large_").removesuffix("_view") in _TEXT:
        return
    if types.is_integer(kind) and what not in {"email", "effective_at"}:
        return
    if what == "subscription" and (types.is_float64(kind) or types.is_decimal(kind)):
        return  # what a gap makes of whole numbers, and what warehouses have; shorter floats hold another number
    if what == "effective_at" and (types.is_timestamp(kind) or types.is_date(kind)):
        return
    if any_scalar and not (types.is_nested(kind) or types.is_fixed_size_binary(kind)):
        return
    expected = {"email": "text", "effective_at": "text, dates or times"}.get(what, "text or whole numbers")
    raise SourceError(
        f"{label}: column {quoted(column.name)} is of type {scrub(str(column.type))[:40]}. Expected {expected}: "
        "convert it, or name another column."
    )


def _cells(column: Any) -> list[Any]:
    """Return the cells of a batch. Bytes that are not UTF-8 become lone surrogates, as they do in text files."""
    import pyarrow  # noqa: PLC0415

    if (
        pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns"
    ):  # Python's times have no nanoseconds
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    try:
        cells: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        plain = column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
        cells = plain.cast(pyarrow.large_binary()).to_pylist()
    return [cell.decode(errors="surrogateescape") if isinstance(cell, bytes) else cell for cell in cells]
