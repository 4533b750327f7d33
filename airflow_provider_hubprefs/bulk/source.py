"""Rows of a source: normalised, validated, de-duplicated, in order, and every one of them.

A source is a file anywhere (CSV, one address a line, JSON Lines, these plain, gzip or zstd; Parquet), or an
iterable of addresses or of mappings. It is read as a stream: memory does not depend on its length.

**Nothing is dropped.** A row that cannot be used comes out as well, flagged, and so does every repetition; only a
blank line is no row. One bad row never stops the others: :class:`SourceError` is for a file that cannot be
read, or not any further.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias, TypeGuard, get_args

import msgspec

from airflow_provider_hubprefs.bulk.addresses import AddressError, normalise
from airflow_provider_hubprefs.bulk.columns import INVALID_ADDRESS, CellError, Columns, Wanted
from airflow_provider_hubprefs.bulk.conflicts import ON_CONFLICT, OnConflict, Verdicts
from airflow_provider_hubprefs.bulk.csv_records import DELIMITERS, find_header, folded, header_of, records_of
from airflow_provider_hubprefs.bulk.dedupe import Seen
from airflow_provider_hubprefs.bulk.lines import (
    LONGEST_LINE,
    TOO_LONG,
    WHY_TOO_LONG,
    File,
    Lines,
    ParquetError,
    Raw,
    SourceError,
    ends_of,
    lines_of,
    name_of,
    state_of,
    version_of,
)
from airflow_provider_hubprefs.bulk.parquet import cells_of, is_parquet
from airflow_provider_hubprefs.hubspot.privacy import fingerprint, mask

__all__ = [
    "Columns",
    "File",
    "Format",
    "Row",
    "Source",
    "SourceError",
    "Wanted",
    "fingerprint_of",
    "read_rows",
    "reader_of",
]

Format: TypeAlias = Literal["csv", "lines", "jsonl", "parquet"]
"""``lines``: one address a line, without a header."""

Source: TypeAlias = File | Iterable[str] | Iterable[Mapping[str, Any]]

_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_SHOWN = 254
_AT_ONCE = 100
"""So many rows are asked for repetitions together, as many as a batch has."""
_MISSING = object()
_ONLY_ADDRESS = Columns()


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of a source.

    :param number: where a person finds it: physical line of the file (the header is line 1; the first line of a
        CSV record that spans lines), or position in an iterable, from 1.
    :param subscriber: normalised; what was given, cut to 254 characters, when the problem is ``invalid``.
    :param problem: None, ``invalid`` or ``duplicate``.
    :param detail: why it is invalid, without repeating it; ``first in row N`` for a duplicate.
    :param category: why it is invalid, in one word.
    :param wanted: what its other columns say; None where there are none.
    """

    number: int
    subscriber: str
    problem: Literal["invalid", "duplicate"] | None = None
    detail: str = ""
    category: str | None = None
    wanted: Wanted | None = None

    def __repr__(self) -> str:
        """Masked: a row may end in a log or a traceback."""
        return f"Row({self.number}, {mask(self.subscriber)!r}, {self.problem!r}, {self.detail!r})"


def read_rows(
    source: Source,
    *,
    columns: Columns = _ONLY_ADDRESS,
    delimiter: str | None = None,
    encoding: str | None = None,
    format: Format | None = None,  # noqa: A002 - the word users know
    check: Callable[[Wanted], None] | None = None,
    on_conflict: OnConflict = "error",
) -> Iterator[Row]:
    """Yield every row of a source in order, flagged.

    A repetition names the same subscriber, and the same subscription where there is a column of them; the first row
    counts. With a column of statuses repetitions may contradict each other. Then all of the source is read before
    the first row is given, and once more for the rows; of those that agree in status the first counts also where
    they differ in their legal basis.

    :param source: a path with ``open`` and ``name``, or an iterable of addresses or of mappings.
    :param columns: names of the columns, fields or keys that are read.
    :param delimiter: of a CSV file; found out from its header (``,`` ``;`` tab ``|``) when None.
    :param encoding: of a file; when None UTF-8, or what its byte order mark says.
    :param format: of a file; when None told from the ending of its name and its first line.
    :param check: looks at what each row wants; a row for which it raises :class:`~.columns.CellError` is invalid.
    :param on_conflict: what to do about rows that contradict each other, see :class:`~.conflicts.Verdicts`.
    :raises SourceError: the source is no source (at once), cannot be read, or changes meanwhile (while reading).
    """
    if on_conflict not in ON_CONFLICT:
        raise SourceError(f"on_conflict: expected one of {', '.join(ON_CONFLICT)}.")

    def rows() -> Iterator[Row]:
        return _judged(_raw_rows(source, columns, delimiter, encoding, format), columns, check)

    first = rows()
    if columns.status is None:
        return _without_repetitions(first, by_subscription=columns.subscription is not None)
    if isinstance(source, Iterator):
        raise SourceError(
            "A source with a status_column is read twice, to find rows that contradict each other, and this one can "
            "be read only once. Give a list or a file."
        )
    return _without_contradictions(first, rows, on_conflict, source)


def reader_of(source: Source, **reading: Any) -> Callable[[], Iterator[Row]]:
    """Reads a source as often as it is called, each time from its beginning.

    :param reading: see :func:`read_rows`.
    :return: raises SourceError where the source is another one than the first time.
    """
    known: str | None = None

    def read() -> Iterator[Row]:
        nonlocal known
        now = state_of(source) if _is_file(source) else ""
        if known not in {None, now}:
            raise _changed(source)
        known = now
        return read_rows(source, **reading)

    return read


def fingerprint_of(source: Source, *, key: str | bytes) -> str | None:
    """Fingerprint of a file, by which a changed one is noticed: cheap, whatever its size.

    Made of its size, its time or ETag, and its first and last 64 KiB.

    :param key: see :func:`~airflow_provider_hubprefs.hubspot.privacy.fingerprint`; a file may be one address long.
    :return: None for what is no file.
    :raises SourceError: it cannot be opened or read.
    """
    if not _is_file(source):
        return None
    head, tail, size = ends_of(source, length=1 << 16)
    ends = hashlib.blake2b(head + tail).hexdigest()
    return fingerprint(f"{size} {version_of(source)} {ends}", key=key)


def _changed(source: Source) -> SourceError:
    name = name_of(source) if _is_file(source) else "The source"
    return SourceError(
        f"{name}: changed while it was read. What was sent until then was in it; run it again, when nobody writes to "
        "it any more."
    )


def _is_file(source: Any) -> TypeGuard[File]:
    return hasattr(source, "open") and hasattr(source, "name")


def _without_repetitions(rows: Iterator[Row], *, by_subscription: bool) -> Iterator[Row]:
    with Seen() as seen:
        for some in _at_once(rows):
            named = [
                (_key(row) if by_subscription else row.subscriber, row.number)
                for row in some
                if row.problem is None
            ]
            try:
                firsts = seen.repeated(named)
            except sqlite3.Error as error:
                raise _no_room(some[0]) from error
            if not firsts:
                yield from some
                continue
            for row in some:
                if row.problem is None and (first := firsts.get(row.number)) is not None:
                    yield Row(
                        row.number, row.subscriber, "duplicate", f"first in row {first}", None, row.wanted
                    )
                else:
                    yield row


def _at_once(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows some at a time; those before an error, too."""
    some: list[Row] = []
    try:
        for row in rows:
            some.append(row)
            if len(some) == _AT_ONCE:
                yield some
                some = []
    except SourceError:
        if some:
            yield some
        raise
    if some:
        yield some


def _without_contradictions(
    rows: Iterator[Row], again: Callable[[], Iterator[Row]], on_conflict: OnConflict, source: Source
) -> Iterator[Row]:
    before = state_of(source) if _is_file(source) else ""
    with Verdicts(on_conflict) as verdicts:
        for row in rows:
            if row.problem is None and row.wanted is not None:
                try:
                    verdicts.add(_key(row), row.number, row.wanted.status or "")
                except sqlite3.Error as error:
                    raise _no_room(row) from error
        verdicts.check()
        for row in again():
            if row.problem is not None:
                yield row
                continue
            found = verdicts.of(_key(row))
            if found is None:
                raise _changed(source)
            counting, contradicted = found
            if counting == row.number:
                yield row
            else:
                why = f"row {counting} counts" if contradicted else f"first in row {counting}"
                yield Row(row.number, row.subscriber, "duplicate", why, None, row.wanted)
    if _is_file(source) and state_of(source) != before:
        raise _changed(source)


def _no_room(row: Row) -> SourceError:
    return SourceError(
        f"Row {row.number}: the temporary file for finding duplicates cannot be written (about "
        "22 bytes a subscriber beyond a million). Make room, or let TMPDIR name a directory that has some."
    )


def _key(row: Row) -> str:
    """What a row is about: no two rows of one key are sent. No address has a line break in it."""
    return f"{row.subscriber}\n{row.wanted.subscription_id}" if row.wanted else row.subscriber


def _judged(
    raw_rows: Iterator[Raw], columns: Columns, check: Callable[[Wanted], None] | None = None
) -> Iterator[Row]:
    """Make rows of what was found: addresses normalised, other cells read, or invalid and why."""
    wanted_of = columns.reader()
    for number, given, why_not, cells in raw_rows:
        if why_not:
            yield Row(number, _shown(given), "invalid", why_not, INVALID_ADDRESS)
            continue
        try:
            subscriber = normalise(given)
        except AddressError as error:
            detail = _undecodable(given) or str(error)
            yield Row(number, _shown(given), "invalid", detail, INVALID_ADDRESS)
            continue
        if not cells and check is None:
            yield Row(number, subscriber)
            continue
        try:
            wanted = wanted_of(cells)
            if check is not None:
                check(wanted)
        except CellError as error:
            yield Row(number, subscriber, "invalid", str(error), error.category)
        else:
            yield Row(number, subscriber, wanted=wanted if cells else None)


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
    source: Any, columns: Columns, delimiter: str | None, encoding: str | None, format_: Format | None
) -> Iterator[Raw]:
    """Refuse at once what is no source; read the others later, row by row."""
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise SourceError("The delimiter must be one character, and neither a quote nor a line break.")
    if format_ not in (None, *get_args(Format)):
        raise SourceError(f"The format must be {', '.join(get_args(Format))} or None (found out).")
    if _is_file(source):
        return _of_file(source, columns, delimiter, encoding, format_)
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
    return _of_items(source, columns)


def _of_items(items: Iterable[Any], columns: Columns) -> Iterator[Raw]:
    more = [called for _, called in columns.more()]
    for number, item in enumerate(items, start=1):
        yield _of_item(number, item, columns.email, more)


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


def _of_file(
    file: File, columns: Columns, delimiter: str | None, encoding: str | None, format_: Format | None
) -> Iterator[Raw]:
    before = state_of(file)
    if format_ == "parquet" or (format_ is None and is_parquet(file)):
        yield from _of_parquet(file, columns)
    else:
        yield from _of_text(file, columns, delimiter, encoding, format_)
    if state_of(file) != before:
        raise _changed(file)


def _of_text(
    file: File, columns: Columns, delimiter: str | None, encoding: str | None, format_: Format | None
) -> Iterator[Raw]:
    try:
        with lines_of(file, encoding=encoding) as lines:
            yield from _of_lines(file, lines, columns, delimiter or DELIMITERS, format_)
    except ParquetError:
        if format_ is not None:
            raise
        yield from _of_parquet(file, columns)


def _of_lines(
    file: File, lines: Lines, columns: Columns, delimiters: str, format_: Format | None
) -> Iterator[Raw]:
    first = _first_line(lines)
    if format_ is None:
        format_ = _told_format(first, _named_format(file), columns.email, delimiters)
    if format_ == "csv":
        yield from records_of(lines, header_of(lines, columns, delimiters))
        return
    if format_ == "jsonl" and first.lstrip().startswith("["):
        raise SourceError(f"{lines.name}: is a JSON array. Write one object a line (JSON Lines) instead.")
    if format_ == "lines" and (more := columns.more()):
        raise SourceError(
            f"{lines.name}: has one address a line and no columns, and {more[0][0]}_column names one. Expected "
            "CSV with a header, or JSON Lines."
        )
    yield from _of_json_lines(lines, columns) if format_ == "jsonl" else _of_plain_lines(lines)


def _of_parquet(file: File, columns: Columns) -> Iterator[Raw]:
    for number, (given, *more) in enumerate(cells_of(file, columns), start=1):
        yield (number, "", "the address is empty", ()) if given is None else (number, given, "", more)


def _named_format(file: File) -> Format | None:
    name = PurePosixPath(file.name.lower())
    if name.suffix in (".gz", ".zst"):
        name = name.with_suffix("")
    return _SUFFIXES.get(name.suffix)


def _told_format(first: str, named: Format | None, email_column: str, delimiters: str) -> Format:
    if named == "jsonl" or (named is None and first.lstrip().startswith("{")):
        return "jsonl"
    if find_header(first, email_column, delimiters) is not None:
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


def _of_plain_lines(lines: Lines) -> Iterator[Raw]:
    for line in lines:
        if line is TOO_LONG:
            yield (lines.number, "", WHY_TOO_LONG, ())
        elif not line.isspace():
            yield (lines.number, line, "", ())


def _of_json_lines(lines: Lines, columns: Columns) -> Iterator[Raw]:
    decode = msgspec.json.Decoder().decode
    more = [called for _, called in columns.more()]
    for line in lines:
        if line is TOO_LONG:
            yield (lines.number, "", WHY_TOO_LONG, ())
        elif not line.isspace():
            try:
                item = decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                yield (lines.number, "", "the line is no JSON", ())
            else:
                yield _of_item(lines.number, item, columns.email, more)
