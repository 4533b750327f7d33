"""Rows of a source: normalised, validated, de-duplicated, in order, and every one of them.

A source is a file anywhere (CSV, one address a line, JSON Lines; plain, gzip or zstd) or an iterable of addresses or
of mappings. It is read as a stream: memory does not depend on its length.

**Nothing is dropped.** A row that cannot be used comes out as well, flagged, and so does every repetition; only a
blank line is no row. One bad row never stops the others: :class:`SourceError` is for a file that cannot be
read, or not any further.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from airflow_provider_hubprefs.bulk.addresses import AddressError, normalise
from airflow_provider_hubprefs.bulk.dedupe import Seen
from airflow_provider_hubprefs.bulk.lines import (
    LONGEST_LINE,
    TOO_LONG,
    File,
    Lines,
    SourceError,
    lines_of,
)
from airflow_provider_hubprefs.hubspot.privacy import mask

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["File", "Format", "Row", "Source", "SourceError", "read_rows", "subscriber_at"]

Format: TypeAlias = Literal["csv", "lines", "jsonl"]
"""``lines``: one address a line, without a header."""

Source: TypeAlias = File | Iterable[str] | Iterable[Mapping[str, Any]]

_DELIMITERS = ",;\t|"
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_MOST_LINES = 1000
"""Lines of one CSV record. More is taken for a quote that was never closed."""

_TOO_LONG_SAID = f"the line is longer than {LONGEST_LINE:,} characters"
_SHOWN = 254
_AT_SIGNS = ("@", "%40", "\uff20", "\ufe6b")
_MISSING = object()


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of a source.

    :param number: where a person finds it: physical line of the file (the header is line 1; the first line of a
        CSV record that spans lines), or position in an iterable, from 1.
    :param subscriber: normalised; what was given, cut to 254 characters, when the problem is ``invalid``.
    :param problem: None, ``invalid`` or ``duplicate``.
    :param detail: why it is invalid, without repeating it; ``first in row N`` for a duplicate.
    """

    number: int
    subscriber: str
    problem: Literal["invalid", "duplicate"] | None = None
    detail: str = ""

    def __repr__(self) -> str:
        """Masked: a row may end in a log or a traceback."""
        return f"Row({self.number}, {mask(self.subscriber)!r}, {self.problem!r}, {self.detail!r})"


class _Raw(msgspec.Struct, frozen=True, gc=False):
    """A row as it was found: the text under the address column, or why there is none."""

    number: int
    given: str = ""
    why_not: str = ""


def read_rows(
    source: Source,
    *,
    email_column: str = "email",
    delimiter: str | None = None,
    encoding: str | None = None,
    format: Format | None = None,  # noqa: A002 - the word users know
) -> Iterator[Row]:
    """Yield every row of a source in order, flagged.

    :param source: a path with ``open`` and ``name``, or an iterable of addresses or of mappings.
    :param email_column: name of the column, field or key that holds the address; case and spaces around do not
        matter.
    :param delimiter: of a CSV file; found out from its header (``,`` ``;`` tab ``|``) when None.
    :param encoding: of a file; when None UTF-8, or what its byte order mark says.
    :param format: of a file; when None told from the ending of its name and its first line.
    :raises SourceError: the source is no source (at once), or cannot be read (while reading).
    """
    raw_rows = _raw_rows(source, email_column, delimiter, encoding, format)
    return _without_repetitions(raw_rows)


def subscriber_at(
    source: Source,
    number: int,
    *,
    email_column: str = "email",
    delimiter: str | None = None,
    encoding: str | None = None,
    format: Format | None = None,  # noqa: A002
) -> str:
    """Return the subscriber of one row, reading the source up to it.

    :param number: as :attr:`Row.number` has it.
    :raises SourceError: there is no such row, or the source cannot be read that far.
    """
    for raw in _raw_rows(source, email_column, delimiter, encoding, format):
        if raw.number == number:
            return _row(raw).subscriber
        if raw.number > number:
            break
    raise SourceError(f"The source has no row {number}. Has it changed since it was read?")


def _without_repetitions(raw_rows: Iterator[_Raw]) -> Iterator[Row]:
    with Seen() as seen:
        for raw in raw_rows:
            row = _row(raw)
            if row.problem is None:
                try:
                    first = seen.first(row.subscriber, row.number)
                except sqlite3.Error as error:
                    raise SourceError(
                        f"Row {row.number}: the temporary file for finding duplicates cannot be written (about "
                        "26 bytes a subscriber). Make room, or let TMPDIR name a directory that has some."
                    ) from error
                if first is not None:
                    row = Row(row.number, row.subscriber, "duplicate", f"first in row {first}")
            yield row


def _row(raw: _Raw) -> Row:
    if raw.why_not:
        return Row(raw.number, _shown(raw.given), "invalid", raw.why_not)
    try:
        return Row(raw.number, normalise(raw.given))
    except AddressError as error:
        why = _undecodable(raw.given) or str(error)
        return Row(raw.number, _shown(raw.given), "invalid", why)


def _shown(given: str) -> str:
    """Cut, and with lone surrogates spelt out: they cannot be written to any file."""
    return given.strip()[:_SHOWN].encode(errors="backslashreplace").decode()


def _undecodable(given: str) -> str:
    escaped = next((at for at, char in enumerate(given) if "\udc80" <= char <= "\udcff"), None)
    if escaped is None:
        return ""
    byte = len(given[:escaped].encode(errors="surrogateescape")) + 1
    return f"byte {byte} of the address is not in the file's encoding: declare the right one (encoding=...)"


def _raw_rows(
    source: Any, email_column: str, delimiter: str | None, encoding: str | None, format_: Format | None
) -> Iterator[_Raw]:
    """Refuse at once what is no source; read the others later, row by row."""
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise SourceError("The delimiter must be one character, and neither a quote nor a line break.")
    if format_ not in (None, "csv", "lines", "jsonl"):
        raise SourceError("The format must be csv, lines, jsonl or None (found out).")
    if hasattr(source, "open") and hasattr(source, "name"):
        return _of_file(source, email_column, delimiter, encoding, format_)
    if isinstance(source, str | bytes | bytearray | memoryview):
        raise SourceError(
            "A source cannot be a bare text: it would be read character by character. "
            "Give a list with the address in it, or a path object (ObjectStoragePath, pathlib.Path) for a file."
        )
    if isinstance(source, Mapping) or hasattr(source, "read") or not hasattr(source, "__iter__"):
        raise SourceError(
            f"A source cannot be of type {type(source).__name__}. Give an iterable of addresses or of mappings, or "
            "a path object (ObjectStoragePath, pathlib.Path)."
        )
    return _of_items(source, email_column)


def _of_items(items: Iterable[Any], email_column: str) -> Iterator[_Raw]:
    for number, item in enumerate(items, start=1):
        yield _of_item(number, item, email_column)


def _of_item(number: int, item: Any, email_column: str) -> _Raw:
    if isinstance(item, str):
        return _Raw(number, item)
    if not isinstance(item, Mapping):
        return _Raw(number, why_not=f"neither text nor a mapping, but {type(item).__name__}")
    value = item.get(email_column, _MISSING)
    if value is _MISSING:
        wanted = _folded(email_column)
        value = next((item[key] for key in item if isinstance(key, str) and _folded(key) == wanted), _MISSING)
    if value is _MISSING:
        return _Raw(number, why_not="has no field of the address column's name")
    if value is None:
        return _Raw(number, why_not="the address is empty")
    if not isinstance(value, str):
        return _Raw(number, why_not=f"the address is not text, but {type(value).__name__}")
    return _Raw(number, value)


def _of_file(
    file: File, email_column: str, delimiter: str | None, encoding: str | None, format_: Format | None
) -> Iterator[_Raw]:
    with lines_of(file, encoding=encoding) as lines:
        first = _first_line(lines)
        named = _named_format(file)
        delimiters = delimiter or _DELIMITERS
        if format_ is None:
            format_ = _told_format(first, named, email_column, delimiters)
        if format_ == "jsonl":
            yield from _of_json_lines(lines, email_column)
        elif format_ == "lines":
            yield from _of_plain_lines(lines)
        else:
            yield from _of_csv(lines, email_column, delimiters)


def _named_format(file: File) -> Format | None:
    name = PurePosixPath(file.name.lower())
    if name.suffix in (".gz", ".zst"):
        name = name.with_suffix("")
    return _SUFFIXES.get(name.suffix)


def _told_format(first: str, named: Format | None, email_column: str, delimiters: str) -> Format:
    if named == "jsonl" or (named is None and first.lstrip().startswith("{")):
        return "jsonl"
    if _header(first, email_column, delimiters) is not None:
        return "csv"
    if named == "lines" or (not any(mark in first for mark in delimiters) and _is_address(first)):
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
    raise SourceError(f"{lines.name}: has only blank lines. Was it written to its end?")


def _of_plain_lines(lines: Lines) -> Iterator[_Raw]:
    for line in lines:
        if line is TOO_LONG:
            yield _Raw(lines.number, why_not=_TOO_LONG_SAID)
        elif not line.isspace():
            yield _Raw(lines.number, line)


def _of_json_lines(lines: Lines, email_column: str) -> Iterator[_Raw]:
    decode = msgspec.json.Decoder().decode
    for line in lines:
        if line is TOO_LONG:
            yield _Raw(lines.number, why_not=_TOO_LONG_SAID)
        elif not line.isspace():
            try:
                item = decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                yield _Raw(lines.number, why_not="the line is no JSON")
            else:
                yield _of_item(lines.number, item, email_column)


def _of_csv(lines: Lines, email_column: str, delimiters: str) -> Iterator[_Raw]:
    header = next(line for line in lines if not line.isspace())
    spans_lines = header.count('"') % 2 == 1
    while header.count('"') % 2 and len(header) <= LONGEST_LINE:  # a name with a line break in it
        header += next(lines, '"')
    found = _header(header, email_column, delimiters)
    if found is None or (spans_lines and "@" in header):  # a quote that is never closed swallows rows
        raise _no_column(header, email_column, delimiters, name=lines.name)
    delimiter, columns = found
    if len(columns) > 1:
        raise SourceError(
            f"{lines.name}: {len(columns)} columns are called {_quoted(email_column)}. Which one holds the address? "
            "Rename the others."
        )
    yield from _records(lines, delimiter, columns[0])


def _header(header: str, email_column: str, delimiters: str) -> tuple[str, Sequence[int]] | None:
    """Find the delimiter, and where the address column is: in exactly this spelling or else in another case.

    The delimiter is the one that makes a column of that name; of several, the one that makes most columns.
    """
    wanted = _folded(email_column)
    best: tuple[int, str, Sequence[int]] | None = None
    for delimiter in delimiters:
        cells = _cells(header, delimiter)
        columns = [at for at, cell in enumerate(cells) if cell.strip() == email_column.strip()]
        columns = columns or [at for at, cell in enumerate(cells) if _folded(cell) == wanted]
        if columns and (best is None or len(cells) > best[0]):
            best = len(cells), delimiter, columns
    return best and best[1:]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return []


def _folded(name: str) -> str:
    return name.strip("\ufeff\xa0 \t\r\n").casefold()


def _no_column(header: str, email_column: str, delimiters: str, *, name: str) -> SourceError:
    """Say which columns there are, unless the header looks like data: that is for nobody's log."""
    text = f"{name}: no column is called {_quoted(email_column)}. "
    if any(mark in header for mark in _AT_SIGNS):
        return SourceError(
            f"{text}The first line looks like data. Expected a header: add one, or close the quote that is open in it."
        )
    names = max((_cells(header, delimiter) for delimiter in delimiters), key=len)
    if not names or not header.strip().replace("\t", " ").isprintable():
        return SourceError(f"{text}The first line is no CSV header. Expected one, in UTF-8 or as declared.")
    listed = ", ".join(_quoted(cell) for cell in names[:20]) + (", ..." if len(names) > 20 else "")
    return SourceError(f"{text}There are: {listed}. Name the right one (email_column=...).")


def _quoted(name: str) -> str:
    return '"***"' if any(mark in name for mark in _AT_SIGNS) else json.dumps(name.strip()[:40])


def _records(lines: Lines, delimiter: str, column: int) -> Iterator[_Raw]:
    """Yield the address cell of every record.

    Without a quote in it, a line is a record and splitting it is all there is to do, at a third of the time.
    """
    taken = _Taken(lines)
    reader = csv.reader(taken, delimiter=delimiter, strict=True)
    for line in lines:
        number = lines.number
        if line is TOO_LONG:
            yield _Raw(number, why_not=_TOO_LONG_SAID)
            continue
        if '"' not in line:
            if line.isspace():
                continue
            cells = line.rstrip("\r\n").split(delimiter, column + 1)
        else:
            lines.put_back([line])
            try:
                cells = taken.record(reader, column)
            except csv.Error:
                # Whatever a stray quote swallowed is read again, line by line: it is only this row that is bad.
                lines.put_back(taken.lines[1:])
                yield _Raw(number, why_not="a quote is not closed, or text follows a closing quote")
                continue
        if column < len(cells):
            yield _Raw(number, cells[column])
        else:
            yield _Raw(number, why_not=f"the address is in column {column + 1}; the row ends at {len(cells)}")


class _Taken:
    """Feeds ``csv`` with the lines of one record and remembers them, in case they turn out to be none."""

    def __init__(self, lines: Lines) -> None:
        self.lines: list[str] = []
        self._source = lines
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._source)
        self.lines.append(line)
        self._size += len(line)
        if line is TOO_LONG or self._size > LONGEST_LINE or len(self.lines) > _MOST_LINES:
            raise csv.Error
        return line

    def record(self, reader: Iterator[list[str]], column: int) -> list[str]:
        """Read the next record.

        :raises csv.Error: it is none; also when its address spans lines, which a missing quote makes it do.
        """
        self.lines.clear()
        self._size = 0
        cells = next(reader)
        if len(self.lines) > 1 and column < len(cells) and len(cells[column].strip().splitlines()) > 1:
            raise csv.Error
        return cells
