"""The formats of a source: CSV, one address a line, JSON Lines and Parquet files, and iterables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from airflow_provider_hubprefs.bulk.source.addresses import AddressError, normalise
from airflow_provider_hubprefs.bulk.source.columns import folded, positions
from airflow_provider_hubprefs.bulk.source.csv import DELIMITERS, records_of, split_header
from airflow_provider_hubprefs.bulk.source.errors import EmptyFileError, ParquetError, SourceError
from airflow_provider_hubprefs.bulk.source.parquet import cells_of, is_parquet
from airflow_provider_hubprefs.bulk.source.text import (
    LONGEST_LINE,
    TOO_LONG,
    WHY_TOO_LONG,
    Lines,
    Raw,
    lines_of,
)

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.stored import StoredFile

_TextFormat: TypeAlias = Literal["csv", "lines", "jsonl"]
"""``lines``: one address a line, without a header."""

_SUFFIXES: dict[str, _TextFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_MISSING = object()


def rows_of_items(items: Iterable[Any], columns: Columns) -> Iterator[Raw]:
    """Yield what each item of an iterable says: an address, or a mapping."""
    more = [called for _, called in columns.more()]
    for number, item in enumerate(items, start=1):
        yield _of_item(number, item, columns.email, more)


def rows_of_file(
    file: StoredFile, columns: Columns, *, delimiter: str | None, encoding: str | None
) -> Iterator[Raw]:
    """Yield every row of a file. The ending of its name, its first bytes and its first line say its format.

    :param columns: see :func:`~.reader.read_rows`, as for the others.
    :raises SourceError: it cannot be read, or not to its end.
    """
    if is_parquet(file):
        yield from _of_parquet(file, columns)
        return
    try:
        with lines_of(file, encoding=encoding) as lines:
            yield from _of_lines(lines, columns, delimiter or DELIMITERS, named=_named_format(file.path.name))
    except ParquetError:
        yield from _of_parquet(file, columns)


def _of_lines(lines: Lines, columns: Columns, delimiters: str, *, named: _TextFormat | None) -> Iterator[Raw]:
    first = _first_line(lines)
    format_ = _format_of(first, named, columns.email, delimiters)
    if format_ == "csv":
        yield from records_of(lines, columns, delimiters)
        return
    if format_ == "jsonl" and first.lstrip().startswith("["):
        raise SourceError(f"{lines.name}: is a JSON array. Write one object a line (JSON Lines) instead.")
    if format_ == "lines" and (more := columns.more()):
        raise SourceError(
            f"{lines.name}: has one address a line and no columns, and {more[0][0]}_column names one. Expected "
            "CSV with a header, or JSON Lines."
        )
    yield from _of_each(lines, _of_json(columns) if format_ == "jsonl" else _of_address)


def _of_parquet(file: StoredFile, columns: Columns) -> Iterator[Raw]:
    for number, (given, *more) in enumerate(cells_of(file, columns), start=1):
        yield (number, "", "the address is empty", ()) if given is None else (number, given, "", more)


def _named_format(name: str) -> _TextFormat | None:
    path = PurePosixPath(name.lower())
    if path.suffix in (".gz", ".zst"):
        path = path.with_suffix("")
    return _SUFFIXES.get(path.suffix)


def _format_of(first: str, named: _TextFormat | None, email_column: str, delimiters: str) -> _TextFormat:
    if named == "jsonl" or (named is None and first.lstrip().startswith("{")):
        return "jsonl"
    if positions(split_header(first, email_column, delimiters)[1], email_column):
        return "csv"
    if named == "lines" or (not any(delimiter in first for delimiter in delimiters) and _is_address(first)):
        return "lines"
    return "csv"


def _is_address(text: str) -> bool:
    try:
        normalise(text)
    except AddressError:
        return False
    return True


def _first_line(lines: Lines) -> str:
    """Look at the first line that is not blank; it is given again."""
    for line in lines:
        if line.isspace():
            continue
        if line is TOO_LONG:
            raise SourceError(
                f"{lines.name}: line {lines.number} is longer than {LONGEST_LINE:,} characters. Expected a header or "
                "one address a line; are the line breaks missing?"
            )
        if "\0" in line:
            raise SourceError(
                f"{lines.name}: line {lines.number} has NUL bytes: it is no text, or in an encoding such as UTF-16 "
                "without a byte order mark. Declare it (encoding=...) or save the file as UTF-8."
            )
        lines.put_back([line])
        return line
    raise EmptyFileError(f"{lines.name}: has only blank lines. Was it written to its end?")


def _of_each(lines: Lines, read: Callable[[int, str], Raw]) -> Iterator[Raw]:
    for line in lines:
        if line is TOO_LONG:
            yield (lines.number, "", WHY_TOO_LONG, ())
        elif not line.isspace():
            yield read(lines.number, line)


def _of_address(number: int, line: str) -> Raw:
    return (number, line, "", ())


def _of_json(columns: Columns) -> Callable[[int, str], Raw]:
    decode = msgspec.json.Decoder().decode
    more = [called for _, called in columns.more()]

    def read(number: int, line: str) -> Raw:
        try:
            item = decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return (number, "", "the line is no JSON", ())
        return _of_item(number, item, columns.email, more)

    return read


def _of_item(number: int, item: Any, email: str, more: Sequence[str]) -> Raw:
    if isinstance(item, str):
        return (number, item, "", [None] * len(more))
    if not isinstance(item, Mapping):
        return (number, "", f"neither text nor a mapping, but {type(item).__name__}", ())
    value = _value(item, email)
    if value is _MISSING:
        return (number, "", "has no field of the address column's name", ())
    if value is None:
        return (number, "", "the address is empty", ())
    if not isinstance(value, str):
        return (number, "", f"the address is not text, but {type(value).__name__}", ())
    cells = [None if (cell := _value(item, called)) is _MISSING else cell for called in more]
    return (number, value, "", cells)


def _value(item: Mapping[Any, Any], called: str) -> Any:
    value = item.get(called, _MISSING)
    if value is _MISSING:
        wanted = folded(called)
        value = next((item[key] for key in item if isinstance(key, str) and folded(key) == wanted), _MISSING)
    return value
