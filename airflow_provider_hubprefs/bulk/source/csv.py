"""CSV: the header, and records that stay apart even where quotes are broken."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.source.columns import could_be_address, position, positions, quoted
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.text import LONGEST_LINE, TOO_LONG, WHY_TOO_LONG, Lines, Raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_hubprefs.bulk.source.columns import Columns

DELIMITERS = ",;\t|"
"""Those that are detected in a header."""

_MOST_LINES = 1000
"""Lines of one record. A longer record is a quote that was never closed."""


class Header(NamedTuple):
    """What the header of a CSV file says.

    :param column: index of the address.
    :param more: indexes of the other columns that are read.
    :param one_line: indexes of the columns whose cells hold no line break.
    """

    delimiter: str
    column: int
    more: Sequence[int]
    one_line: Sequence[int]


def header_of(lines: Lines, columns: Columns, delimiters: str) -> Header:
    """Read the header.

    :param delimiters: those to choose from.
    :raises SourceError: a column is missing, or there is more than one of its name.
    """
    header = next(line for line in lines if not line.isspace())
    spans_lines = header.count('"') % 2 == 1
    while header.count('"') % 2 and len(header) <= LONGEST_LINE:  # a name with a line break in it
        header += next(lines, '"')
    delimiter, cells = split_header(header, columns.email, delimiters)
    has_address = bool(positions(cells, columns.email))
    if could_be_address(header) and (spans_lines or not has_address):  # an open quote would swallow rows
        raise SourceError(
            f"{lines.name}: no column is called {quoted(columns.email)}. The first line looks like data. Expected a "
            "header: add one, or close the quote that is open in it."
        )
    if not cells or not (has_address or header.strip().replace("\t", " ").isprintable()):
        raise SourceError(
            f"{lines.name}: no column is called {quoted(columns.email)}. The first line is not a CSV header. Expected "
            "one, in UTF-8 or the declared encoding."
        )
    address = position(cells, "email", columns.email, label=lines.name)
    more = [(what, position(cells, what, called, label=lines.name)) for what, called in columns.more()]
    # Only an explanation may contain a line break; elsewhere one means that a quote was never closed.
    one_line = [at for what, at in more if what != "legal_basis_explanation"]
    return Header(delimiter, address, [at for _, at in more], [address, *one_line])


def split_header(header: str, email_column: str, delimiters: str) -> tuple[str, Sequence[str]]:
    """Return the delimiter that yields most columns, preferably the address among them; and the columns' names."""
    splits = [(delimiter, _cells(header, delimiter)) for delimiter in delimiters]
    return max(splits, key=lambda split: (bool(positions(split[1], email_column)), len(split[1])))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return []


def records_of(lines: Lines, header: Header) -> Iterator[Raw]:
    """Yield the address of every record and the other cells that are read; missing cells are empty.

    A line without a quote is a record: splitting it takes a third of the time that ``csv`` takes.
    """
    delimiter, column, more, one_line = header
    taken = _Taken(lines)
    reader = csv.reader(taken, delimiter=delimiter, strict=True)
    splits = max(column, *more) + 1 if more else column + 1
    rest: Sequence[str] = ()
    for line in lines:
        number = lines.number
        if line is TOO_LONG:
            yield number, "", WHY_TOO_LONG, ()
            continue
        if '"' not in line:
            if line.isspace():
                continue
            cells = line.rstrip("\r\n").split(delimiter, splits)
        else:
            lines.put_back([line])
            try:
                cells = taken.record(reader, one_line)
            except csv.Error:
                # The lines that a stray quote swallowed are read again: only this row is invalid.
                lines.put_back(taken.lines[1:])
                yield number, "", "a quote is not closed, or text follows a closing quote", ()
                continue
        if column < len(cells):
            if more:
                rest = [cells[at] if at < len(cells) else "" for at in more]
            yield number, cells[column], "", rest
        else:
            yield number, "", f"the address is in column {column + 1}; the row ends at {len(cells)}", ()


class _Taken:
    """Feeds ``csv`` with the lines of one record and keeps them, in case they are not one."""

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

    def record(self, reader: Iterator[list[str]], one_line: Sequence[int]) -> list[str]:
        """Read the next record.

        :param one_line: see :class:`Header`.
        :raises csv.Error: the lines are no record, or one of those cells spans lines: a quote is missing.
        """
        self.lines.clear()
        self._size = 0
        cells = next(reader)
        if len(self.lines) > 1 and any(
            at < len(cells) and len(cells[at].strip().splitlines()) > 1 for at in one_line
        ):
            raise csv.Error
        return cells
