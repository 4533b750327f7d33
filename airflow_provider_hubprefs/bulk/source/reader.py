"""Rows of a source: normalised, validated, de-duplicated, in order, and every one of them.

A source is a file anywhere, or several (CSV, one address a line, JSON Lines, each plain, gzip or zstd; Parquet), or an
iterable of addresses or of mappings. It is read as a stream: memory does not depend on its length.

**Nothing is dropped.** A row that cannot be used comes out too, flagged, and so does every repetition; only a blank
line is no row. One bad row never stops the others: :class:`SourceError` is for a source that cannot be read, or not any
further.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from airflow_provider_hubprefs.bulk.source.addresses import AddressError, normalise
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.conflicts import ON_CONFLICT, OnConflict, Verdicts
from airflow_provider_hubprefs.bulk.source.duplicates import SeenKeys
from airflow_provider_hubprefs.bulk.source.errors import EmptyFileError, SourceError
from airflow_provider_hubprefs.bulk.source.files import Files, is_file
from airflow_provider_hubprefs.bulk.source.formats import Format, Reading, rows_of_file, rows_of_items
from airflow_provider_hubprefs.bulk.source.row import INVALID_ADDRESS, CellError, Row, Wanted
from airflow_provider_hubprefs.bulk.source.stored import File, shown

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.text import Raw

Source: TypeAlias = Files | File | Iterable[str] | Iterable[Mapping[str, Any]]

_SHOWN = 254
_AT_ONCE = 100
"""So many rows are looked up together, as many as a batch has."""
_ONLY_ADDRESS = Columns()
_log = logging.getLogger(__name__)


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
    counts. With a column of statuses repetitions may contradict each other. Then the whole source is read before the
    first row is yielded, and once more for the rows. Of rows that agree in status the first counts, also where they
    differ in their legal basis. Repetitions and contradictions are found across all files of a source.

    :param source: :class:`~.files.Files`, a path, or an iterable of addresses or of mappings.
    :param columns: see :class:`~.formats.Reading`, as for ``delimiter``, ``encoding`` and ``format``.
    :param check: looks at what each row wants; a row for which it raises :class:`~.row.CellError` is invalid.
    :param on_conflict: what to do about rows that contradict each other, see :class:`~.conflicts.Verdicts`.
    :raises SourceError: the source is no source (at once), cannot be read, or changes meanwhile (while reading).
    """
    if on_conflict not in ON_CONFLICT:
        raise SourceError(f"on_conflict: expected one of {', '.join(ON_CONFLICT)}.")
    reading = Reading(columns, delimiter, encoding, format)
    given = _checked(source)
    places = _Places()
    if columns.status is None:
        rows = _all_rows(given, reading, check, places)
        return _without_repetitions(rows, places, by_subscription=columns.subscription is not None)
    if isinstance(given, Iterator):
        raise SourceError(
            "A source with a status_column is read twice, to find rows that contradict each other, and this one can "
            "be read only once. Give a list or a file."
        )
    return _without_contradictions(lambda: _all_rows(given, reading, check, places), places, on_conflict)


def reader_of(source: Source, **reading: Any) -> Callable[[], Iterator[Row]]:
    """Return a function that reads a source from its beginning, as often as it is called.

    :param reading: see :func:`read_rows`.
    :return: its rows raise SourceError where the source is another one than the first time.
    """
    given = Files(source) if is_file(source) else source
    return lambda: read_rows(given, **reading)


def _checked(source: Any) -> Files | Iterable[Any]:
    """Refuse at once what is no source.

    :raises SourceError: its type cannot hold rows.
    """
    if isinstance(source, Files):
        return source
    if is_file(source):
        return Files(source)
    if isinstance(source, str | bytes | bytearray | memoryview):
        raise SourceError(
            "A source cannot be a bare text: it would be read character by character. "
            "Give a list with the address in it, or a path object (ObjectStoragePath, pathlib.Path) for a file."
        )
    if isinstance(source, Mapping) or hasattr(source, "read") or not isinstance(source, Iterable):
        raise SourceError(
            f"A source cannot be of type {type(source).__name__}. Give an iterable of addresses or of mappings, or "
            "a path object (ObjectStoragePath, pathlib.Path)."
        )
    return source


class _Places:
    """Where the rows of a source are, for error texts: row 7, or row 7 of 'part-2.csv'."""

    def __init__(self) -> None:
        self._before: list[int] = []
        self._names: dict[int, str] = {}

    def begin(self, name: str, before: int) -> None:
        """Note that the rows after a number are those of a file."""
        if before not in self._names:
            self._before.append(before)
        self._names[before] = name

    def __call__(self, number: int) -> str:
        """Return the place of a row by its number."""
        if not self._before:
            return f"row {number}"
        before = self._before[bisect_left(self._before, number) - 1]
        return f"row {number - before} of {shown(self._names[before])}"


def _all_rows(
    source: Files | Iterable[Any],
    reading: Reading,
    check: Callable[[Wanted], None] | None,
    places: _Places,
) -> Iterator[Row]:
    """Yield the rows of all files one after the other, numbered throughout."""
    if not isinstance(source, Files):
        yield from _validated(rows_of_items(source, reading.columns), reading.columns, check)
        return
    before, only_empty = 0, True
    for name, file, *_ in source:
        if name is not None:
            places.begin(name, before)
        number = before
        try:
            for row in _validated(
                rows_of_file(file, reading), reading.columns, check, file=name, before=before
            ):
                number = row.number
                yield row
            only_empty = False
        except EmptyFileError as error:
            if name is None:
                raise
            _log.warning("%s", error)  # some warehouses write an empty file where a worker had no rows
        before = number
    if only_empty:
        raise EmptyFileError(
            "All files of the source are empty. Expected at least one line; were they written?"
        )


def _validated(
    raw_rows: Iterator[Raw],
    columns: Columns,
    check: Callable[[Wanted], None] | None,
    *,
    file: str | None = None,
    before: int = 0,
) -> Iterator[Row]:
    """Make rows of what was found: addresses normalised, other cells read, or invalid and why."""
    wanted_of = columns.reader()
    for position, given, why_not, cells in raw_rows:
        number = before + position
        if why_not:
            yield Row(number, _shown(given), "invalid", why_not, INVALID_ADDRESS, None, file, before)
            continue
        try:
            subscriber = normalise(given)
        except AddressError as error:
            detail = _undecodable(given) or str(error)
            yield Row(number, _shown(given), "invalid", detail, INVALID_ADDRESS, None, file, before)
            continue
        if not cells and check is None:
            yield Row(number, subscriber, None, "", None, None, file, before)
            continue
        try:
            wanted = wanted_of(cells)
            if check is not None:
                check(wanted)
        except CellError as error:
            yield Row(number, subscriber, "invalid", str(error), error.category, None, file, before)
        else:
            yield Row(number, subscriber, None, "", None, wanted if cells else None, file, before)


def _shown(given: str) -> str:
    """Cut, and with lone surrogates spelt out: they cannot be written to any file."""
    return given.strip()[:_SHOWN].encode(errors="backslashreplace").decode()


def _undecodable(given: str) -> str:
    escaped = next((at for at, char in enumerate(given) if "\udc80" <= char <= "\udcff"), None)
    if escaped is None:
        return ""
    byte = len(given[:escaped].encode(errors="surrogateescape")) + 1
    return f"byte {byte} of the address is not in the file's encoding: declare the right one (encoding=...)"


def _without_repetitions(rows: Iterator[Row], places: _Places, *, by_subscription: bool) -> Iterator[Row]:
    with SeenKeys() as seen:
        for some in _at_once(rows):
            firsts = seen.repeated(
                [
                    (_key(row) if by_subscription else row.subscriber, row.number)
                    for row in some
                    if row.problem is None
                ]
            )
            if not firsts:
                yield from some
                continue
            for row in some:
                first = firsts.get(row.number)
                yield row if first is None else _duplicate(row, f"first in {places(first)}")


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
    read: Callable[[], Iterator[Row]], places: _Places, on_conflict: OnConflict
) -> Iterator[Row]:
    with Verdicts(on_conflict) as verdicts:
        for row in read():
            if row.problem is None and row.wanted is not None:
                verdicts.add(_key(row), row.number, row.wanted.status or "")
        verdicts.check(places)
        for row in read():
            if row.problem is not None:
                yield row
                continue
            found = verdicts.of(_key(row))
            if found is None:
                raise SourceError(
                    "The source changed while it was read. Run it again when nothing writes to it."
                )
            counting, contradicted = found
            if counting == row.number:
                yield row
            else:
                place = places(counting)
                yield _duplicate(row, f"{place} counts" if contradicted else f"first in {place}")


def _duplicate(row: Row, why: str) -> Row:
    return msgspec.structs.replace(row, problem="duplicate", detail=why)


def _key(row: Row) -> str:
    """What a row is about: no two rows of one key are sent. No address has a line break in it."""
    return f"{row.subscriber}\n{row.wanted.subscription_id}" if row.wanted else row.subscriber
