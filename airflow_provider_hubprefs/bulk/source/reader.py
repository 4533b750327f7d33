"""Rows of a source: normalised, validated, de-duplicated, in order, and every one of them.

A source is read as a stream: memory does not depend on its length. **Nothing is dropped**: a row that cannot be used
comes out flagged, and so does every repetition; only a blank line is no row, and those that ``where`` leaves out are
counted. One bad row never stops the others:
:class:`SourceError` is for a source that cannot be read, or not any further.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast, get_args

from airflow_provider_hubprefs.bulk.source.addresses import AddressError, normalise
from airflow_provider_hubprefs.bulk.source.columns import Columns, folded_cell, quoted
from airflow_provider_hubprefs.bulk.source.duplicates import Duplicates, OnConflict
from airflow_provider_hubprefs.bulk.source.errors import EmptyFileError, SourceError
from airflow_provider_hubprefs.bulk.source.files import Files, files_of
from airflow_provider_hubprefs.bulk.source.formats import rows_of_file
from airflow_provider_hubprefs.bulk.source.items import flattened, rows_of_items, rows_of_table
from airflow_provider_hubprefs.bulk.source.kept import KeptRows
from airflow_provider_hubprefs.bulk.source.options import ReadOptions
from airflow_provider_hubprefs.bulk.source.passed import CHANGED_WHILE_READ, PassedRows, SourceChangedError
from airflow_provider_hubprefs.bulk.source.row import INVALID_ADDRESS, CellError, Counts, Row, Wanted
from airflow_provider_hubprefs.storage import Path

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.text import Raw

Source: TypeAlias = Files | Path | Iterable[Any]

_SHOWN = 254
_DIGEST = 8
"""Bytes kept for so many rows as are looked up together, to see that a second reading finds the same."""
_AT_ONCE = 100
"""So many rows are looked up together, as many as a batch has."""
_ONLY_ADDRESS = Columns()
_DEFAULTS = ReadOptions()
_log = logging.getLogger(__name__)


def read_rows(
    source: Source,
    *,
    columns: Columns = _ONLY_ADDRESS,
    options: ReadOptions = _DEFAULTS,
    check: Callable[[Wanted], None] | None = None,
    on_conflict: OnConflict = "error",
    counts: Counts | None = None,
) -> Iterator[Row]:
    """Yield every row of a source in order, flagged.

    Repetitions and contradictions (:mod:`~.duplicates`) are found across all files of a source. With a column of
    statuses the whole source is read before the first row is yielded, and once more for the rows.

    :param source: :class:`~.files.Files` or a path (CSV, one address a line, JSON Lines, each plain, gzip or zstd;
        Parquet), or an iterable of addresses, mappings, rows of a database, or lists of them (:mod:`.items`).
    :param columns: names of the columns, fields or keys that are read.
    :param options: how it is read.
    :param check: looks at what each row wants; a row for which it raises :class:`~.row.CellError` is invalid.
    :param on_conflict: what to do about rows that contradict each other, see :data:`~.duplicates.OnConflict`.
    :param counts: takes what is counted besides the rows.
    :raises ValidationError: the options make no sense with the columns or the source (at once).
    :raises SourceError: the source is no source (at once), cannot be read, or changes meanwhile (while reading).
    """
    if on_conflict not in get_args(OnConflict):
        raise SourceError(f"on_conflict: expected one of {', '.join(get_args(OnConflict))}.")
    given = _checked(source, options)
    options.check(columns, of_files=isinstance(given, Files))
    twice = columns.status is not None
    if twice and isinstance(given, Iterator):
        raise SourceError(
            "A source with a status_column is read twice, to find rows that contradict each other, and this one can "
            "be read only once. Give a list or a file."
        )
    duplicates = Duplicates(
        on_conflict,
        given.place_of if isinstance(given, Files) else "row {}".format,
        everything=twice and columns.everything_allowed,
    )
    read = partial(_all_rows, given, columns, options, check, counts or Counts())
    return _flagged(read, duplicates, twice=twice)


def reader_of(source: Source, **reading: Any) -> Reader:
    """Return what reads a source from its beginning.

    :param reading: see :func:`read_rows`.
    """
    return Reader(source, reading)


class Reader:
    """Reads a source from its beginning, as often as it is called.

    Its rows raise SourceError where the source is another one than the first time.

    :param reading: see :func:`read_rows`.
    """

    def __init__(self, source: Source, reading: Mapping[str, Any]) -> None:
        self._source = files_of(source)
        self._reading = reading
        self.counts = Counts()
        """What the reading that came furthest has counted."""

    def __call__(self) -> Iterator[Row]:
        """Yield all rows."""
        return read_rows(self._source, **self._reading, counts=self.counts)


def _checked(source: Any, options: ReadOptions) -> Files | Iterable[Any]:
    """Refuse at once what is no source.

    :raises SourceError: its type cannot hold rows.
    """
    source = files_of(source)
    if isinstance(source, Files) or _is_table(source):
        return cast("Files | Iterable[Any]", source)
    not_rows = isinstance(source, str | bytes | bytearray | memoryview | Mapping)
    table = hasattr(source, "columns")  # iterating over a data frame gives the names of its columns
    if not_rows or table or hasattr(source, "read") or not isinstance(source, Iterable):
        raise SourceError(
            "subscribers: expected a list of addresses or of mappings"
            f"{' (to_dict of a data frame makes them)' if table else ''}, got a {type(source).__name__}. A template "
            "gives text, unless the DAG renders native objects: give the earlier task's output instead."
        )
    return cast("Iterable[Any]", flattened(source, options))


def _is_table(source: Any) -> bool:
    return isinstance(source, KeptRows) and bool(source.header)


def _all_rows(
    source: Files | Iterable[Any],
    columns: Columns,
    options: ReadOptions,
    check: Callable[[Wanted], None] | None,
    counts: Counts,
) -> Iterator[Row]:
    """Yield the rows of all files one after the other, numbered throughout."""
    counted = Counts()
    validated = partial(
        _validated, columns=columns, options=options, check=check, counts=counted, most=counts
    )
    try:
        if not isinstance(source, Files):
            rows = rows_of_table if _is_table(source) else rows_of_items
            yield from validated(rows(source, columns, options, counted))
            _check_where(options, counted)
            return
        number, only_empty = 0, True
        for file in source:
            file.before = number
            try:
                raw_rows = rows_of_file(file, columns, options, counted)
                for row in validated(raw_rows, file=file.name, before=number):
                    number = row.number
                    yield row
                only_empty = False
            except EmptyFileError as error:
                if file.name is None:
                    raise
                _log.warning("%s", error)  # some warehouses write an empty file where a worker had no rows
        if not only_empty:
            _check_where(options, counted)
        else:
            raise EmptyFileError(
                "All files of the source are empty. Expected at least one line; were they written?"
            )
    finally:
        counts.keep_most(counted)


def _check_where(options: ReadOptions, counts: Counts) -> None:
    """Look back at rows that have fields of their own: where none of them had a field, its name is wrong.

    :raises SourceError: names the field; rows were left out because of it.
    """
    unseen = [quoted(name) for name, _ in options.where if name not in counts.where_seen]
    if unseen and counts.skipped:
        raise SourceError(
            f"read_options: where: no row has a field {', '.join(unseen)}. Expected one in at least one row: check "
            "its spelling."
        )


def _validated(
    raw_rows: Iterator[Raw],
    *,
    columns: Columns,
    options: ReadOptions,
    check: Callable[[Wanted], None] | None,
    counts: Counts,
    most: Counts,
    file: str | None = None,
    before: int = 0,
) -> Iterator[Row]:
    """Make rows of what was found: addresses normalised, other cells read, or invalid and why."""
    wanted_of = columns.reader(dict(options.status_values))
    read = len(columns.more())
    where = [frozenset(values) for _, values in options.where]
    for position, given, why_not, all_cells in raw_rows:
        cells = all_cells
        if where and cells:
            if not all(folded_cell(cell) in values for cell, values in zip(cells[read:], where, strict=True)):
                counts.skipped += 1
                most.keep_most(counts)
                continue
            cells = cells[:read]
        number, subscriber, wanted, error = before + position, "", None, None
        try:
            subscriber = _subscriber(given, why_not)
        except CellError as bad_address:
            error = bad_address
        try:
            wanted = wanted_of(cells) if cells else None
            if check is not None and error is None:
                check(wanted or Wanted())
        except CellError as bad_cell:
            error = error or bad_cell
        if error is None:
            yield Row(number, subscriber, None, "", None, wanted, file, before)
        else:
            yield Row(
                number,
                subscriber or _shown(given),
                "invalid",
                str(error),
                error.category,
                wanted,
                file,
                before,
                error.suggestion,
                columns.status is not None and (wanted is None or wanted.status == "UNSUBSCRIBED"),
            )


def _subscriber(given: str, why_not: str) -> str:
    if why_not:
        raise CellError(INVALID_ADDRESS, why_not)
    try:
        return normalise(given)
    except AddressError as error:
        why = _undecodable(given) or str(error)
        raise CellError(INVALID_ADDRESS, why, suggestion=error.suggestion) from None


def _shown(given: str) -> str:
    """Cut, and with lone surrogates spelt out: they cannot be written to any file."""
    return given.strip()[:_SHOWN].encode(errors="backslashreplace").decode()


def _undecodable(given: str) -> str:
    escaped = next((at for at, char in enumerate(given) if "\udc80" <= char <= "\udcff"), None)
    if escaped is None:
        return ""
    byte = len(given[:escaped].encode(errors="surrogateescape")) + 1
    return (
        f"byte {byte} of the address is not in the file's encoding: declare the right one "
        "(read_options={'encoding': ...})"
    )


def _flagged(read: Callable[[], Iterator[Row]], duplicates: Duplicates, *, twice: bool) -> Iterator[Row]:
    """Yield all rows; those that do not count as duplicates.

    :param twice: find out which rows count before the first is yielded, because a later one may.
    """
    with duplicates:
        if not twice:
            for rows in _at_once(read()):
                yield from duplicates.flagged(rows) if duplicates.add(rows) else rows
            return
        _log.info(
            "All of the source is read before its first row is sent, to find rows that contradict each other"
        )
        passed, digests, now = PassedRows(secrets.token_hex(32)), bytearray(), ""
        for rows in _at_once(read()):
            duplicates.add(rows)
            now = passed.after(now, rows)
            digests += bytes.fromhex(now)[:_DIGEST]
        duplicates.check()
        begin, now = 0, ""
        for rows in _at_once(read()):
            now = passed.after(now, rows)
            if bytes.fromhex(now)[:_DIGEST] != digests[begin : begin + _DIGEST]:
                raise SourceChangedError(CHANGED_WHILE_READ)
            begin += _DIGEST
            yield from duplicates.flagged(rows)
        if begin != len(digests):
            raise SourceChangedError(CHANGED_WHILE_READ)


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
