"""The formats of files: CSV, one address a line, JSON Lines and Parquet; and which of them a file has."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_hubprefs.bulk.source.addresses import is_address
from airflow_provider_hubprefs.bulk.source.columns import folded, positions
from airflow_provider_hubprefs.bulk.source.csv import records_of
from airflow_provider_hubprefs.bulk.source.errors import EmptyFileError, ParquetError, SourceError
from airflow_provider_hubprefs.bulk.source.header import DELIMITERS, separator_in, split_header
from airflow_provider_hubprefs.bulk.source.items import LOOKED_AT, ItemReader
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
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.options import Format, ReadOptions
    from airflow_provider_hubprefs.bulk.source.row import Counts
    from airflow_provider_hubprefs.bulk.source.stored import StoredFile

_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_NO_JSON = object()
_decode = msgspec.json.Decoder().decode


def rows_of_file(file: StoredFile, columns: Columns, options: ReadOptions, counts: Counts) -> Iterator[Raw]:
    """Yield every row of a file. The ending of its name, its first bytes and its first lines say its format.

    :param columns: see :func:`~.reader.read_rows`, as for the others.
    :raises SourceError: it cannot be read, or not to its end.
    """
    if options.format == "parquet" or (options.format is None and is_parquet(file)):
        yield from _of_parquet(file, columns, options, counts)
        return
    try:
        with lines_of(file, encoding=options.encoding) as lines:
            yield from _of_lines(lines, columns, options, counts, named=_named_format(file.path.name))
    except ParquetError:
        if options.format is not None:
            raise
        yield from _of_parquet(file, columns, options, counts)


def _of_lines(
    lines: Lines, columns: Columns, options: ReadOptions, counts: Counts, *, named: Format | None
) -> Iterator[Raw]:
    for _ in islice(lines, options.skip_lines):
        pass
    first = _first_line(lines)
    delimiters = options.delimiter or DELIMITERS
    if separator := separator_in(first):
        next(line for line in lines if line == first)
        delimiters = options.delimiter or separator
        named = "csv"
        first = _first_line(lines)
    sample = lines.peek(LOOKED_AT)
    format_ = options.format or _format_of(sample, named, columns, options, delimiters, label=lines.name)
    if format_ == "csv":
        yield from records_of(lines, columns, options, delimiters, counts)
    elif format_ == "jsonl":
        yield from _of_json_lines(lines, sample, columns, options, counts)
    else:
        _check_addresses(first, columns, options, label=lines.name)
        yield from _a_line_each(lines, lambda number, line: (number, line, "", ()))


def _of_parquet(file: StoredFile, columns: Columns, options: ReadOptions, counts: Counts) -> Iterator[Raw]:
    if not options.header or options.skip_lines:
        raise SourceError(
            f"{file.label}: is a Parquet file, whose columns have names. Expected no header and no skip_lines in "
            "read_options."
        )
    counts.where_seen.update(name for name, _ in options.where)
    for number, (given, *more) in enumerate(cells_of(file, columns, options), start=1):
        yield (number, "", "the address is empty", more) if given is None else (number, given, "", more)


def _named_format(name: str) -> Format | None:
    path = PurePosixPath(name.lower())
    if path.suffix in (".gz", ".zst"):
        path = path.with_suffix("")
    return _SUFFIXES.get(path.suffix)


def _format_of(
    sample: Sequence[str],
    named: Format | None,
    columns: Columns,
    options: ReadOptions,
    delimiters: str,
    *,
    label: str,
) -> Format:
    """Say which format the first lines have. The name of a file does not make a table a list of addresses.

    :raises SourceError: they have none.
    """
    first = sample[0]
    if named == "jsonl" or (named is None and first.lstrip().startswith("{")):
        if not options.header:
            raise SourceError(
                f"{label}: is JSON Lines, whose fields have names. Expected no header in read_options."
            )
        return "jsonl"
    if not options.header or positions(split_header(first, columns.email, delimiters)[1], columns.email):
        return "csv"
    if named != "csv" and first.lstrip().startswith(("{", "[")):
        return "jsonl"
    if named != "lines":
        one = not any(delimiter in first for delimiter in delimiters) and is_address(first)
        return "lines" if one else "csv"
    lines = [line for line in sample if not line.isspace()]
    if any(map(is_address, lines)):
        return "lines"
    if any(sign in line for line in lines for sign in f'{delimiters}"'):
        return "csv"
    if len(lines) > 1:
        raise SourceError(
            f"{label}: none of its first {len(lines)} lines is an address. Expected one address a line, or a table "
            "whose header names the address: its name may end otherwise, or set read_options={'format': ...}."
        )
    return "lines"


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
                "without a byte order mark. Declare it (read_options={'encoding': ...}) or save the file as UTF-8."
            )
        lines.put_back([line])
        return line
    raise EmptyFileError(f"{lines.name}: has only blank lines. Was it written to its end?")


def _check_addresses(first: str, columns: Columns, options: ReadOptions, *, label: str) -> None:
    """Refuse what names a column where there is none; a list of addresses may stand beside tables, in one source."""
    named = [*columns.more(), *(("where", name) for name, _ in options.where)]
    if not named and folded(columns.email) != "email" and not is_address(first):
        named = [("email", columns.email)]
    if named:
        argument = "where" if named[0][0] == "where" else f"{named[0][0]}_column"
        raise SourceError(
            f"{label}: has one address a line and no columns, and {argument} names one. Expected CSV with a header, or "
            "JSON Lines."
        )


def _a_line_each(lines: Lines, read: Callable[[int, str], Raw]) -> Iterator[Raw]:
    for line in lines:
        if line is TOO_LONG:
            yield (lines.number, "", WHY_TOO_LONG, ())
        elif not line.isspace():
            yield read(lines.number, line)


def _of_json_lines(
    lines: Lines, sample: Sequence[str], columns: Columns, options: ReadOptions, counts: Counts
) -> Iterator[Raw]:
    reader = ItemReader(columns, options, counts, label=lines.name)
    found = [_json(line) for line in sample if line is not TOO_LONG and not line.isspace()]
    _check_json(sample[0], found, label=lines.name)
    reader.check_first([item for item in found if item is not _NO_JSON])

    def read(number: int, line: str) -> Raw:
        item = _json(line)
        return (number, line, "the line is no JSON", ()) if item is _NO_JSON else reader.read(number, item)

    yield from _a_line_each(lines, read)


def _check_json(first: str, found: Sequence[Any], *, label: str) -> None:
    """Refuse JSON that is not one object a line, and what is no JSON.

    :param found: what the first lines hold, each by itself.
    """
    if first.lstrip().startswith("["):
        raise SourceError(f"{label}: is a JSON array. Write one object a line (JSON Lines) instead.")
    rows = [isinstance(item, dict | str) for item in found]
    begins = first.lstrip().startswith("{") and not rows[0]
    if begins and (first.rstrip().endswith(("{", "[", ",")) or not any(rows[1:2])):
        raise SourceError(
            f"{label}: its first line is no whole JSON object: one that spans lines, several, or no JSON. Expected one "
            "object a line (JSON Lines), each with the address."
        )
    if not any(rows):
        raise SourceError(
            f"{label}: none of its first {len(found)} lines is JSON. Expected one object a line (JSON Lines): another "
            "ending of the name, or read_options={'format': ...}, says what it is."
        )


def _json(line: str) -> Any:
    for decode in (_decode, json.loads):  # the latter knows NaN and lone surrogates, as Python writes them
        with suppress(ValueError, RecursionError):
            return decode(line)
    return _NO_JSON
