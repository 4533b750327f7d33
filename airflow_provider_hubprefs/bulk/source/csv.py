"""CSV: records that stay apart even where quotes are broken."""

from __future__ import annotations

import csv
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.source.addresses import is_address
from airflow_provider_hubprefs.bulk.source.formulas import unescaped
from airflow_provider_hubprefs.bulk.source.header import (
    cells_in,
    first_row,
    header_row,
    without_spaces_around,
)
from airflow_provider_hubprefs.bulk.source.text import LONGEST_LINE, TOO_LONG, WHY_TOO_LONG, Lines, Raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions
    from airflow_provider_hubprefs.bulk.source.row import Counts

_MOST_LINES = 1000
"""Lines of one record. A longer record is a quote that was never closed."""

_IN_QUOTES = "the whole line is within one pair of quotes, so it is one cell"
_NOT_CLOSED = "a quote is not closed, or text follows a closing quote"


class _Table(NamedTuple):
    """Where the cells are.

    :param delimiter: between cells.
    :param width: how many cells a record has.
    :param address: position of the address.
    :param more: positions of the other columns that are read.
    :param one_line: positions of the cells that hold no line break: one in them is of a quote that was never closed.
    :param spaced: whether spaces follow delimiters.
    """

    delimiter: str
    width: int
    address: int
    more: Sequence[int]
    one_line: Sequence[int]
    spaced: bool

    def is_record(self, line: str) -> bool:
        """Whether a line is a record by itself, not a part of a note: as many cells, an address where addresses are.

        Running text has a space after a comma.
        """
        for cells in (line.rstrip("\r\n").split(self.delimiter), cells_in(line, self.delimiter, spaces=True)):
            if len(cells) == self.width and (
                self.spaced or not any(cell.startswith(" ") and cell.strip() for cell in cells)
            ):
                return is_address(unescaped(cells[self.address].strip().strip('"')))
        return False

    def alone(self, line: str) -> list[str]:
        """Return the cells of a line with a stray quote, where the quote is in none of the cells that are read."""
        cells = line.rstrip("\r\n").split(self.delimiter)
        read = {self.address, *self.more}
        if len(cells) == self.width and not any('"' in cells[at] for at in read):
            return cells if self.is_record(line) else []
        cells = cells_in(line, self.delimiter)  # the quote that is open swallows the rest of the line only
        open_at_last = line.count('"') % 2 == 1 and len(cells) - 1 not in read
        return cells if open_at_last and len(cells) == self.width and self.is_record(line) else []


def records_of(
    lines: Lines, columns: Columns, options: ReadOptions, delimiters: str, counts: Counts
) -> Iterator[Raw]:
    """Yield the address of every record and the other cells that are read; missing cells are empty.

    A line without a quote is a record: splitting it takes a third of the time that ``csv`` takes.

    :param delimiters: those to choose from.
    :raises SourceError: a column is missing, or there is more than one of its name.
    """
    table = _table(lines, columns, options, delimiters)
    counts.where_seen.update(name for name, _ in options.where)
    delimiter, column, more = table.delimiter, table.address, table.more
    splits = max(column, *more) + 1 if more else column + 1
    rest: Sequence[str] = ()
    swallowed: Sequence[tuple[int, str]] = ()
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
            cells, swallowed = _quoted_record(line, lines, table, counts)
        if not cells:
            yield number, line, _NOT_CLOSED, ()
        elif len(cells) == 1 and table.width > 1 and delimiter in cells[0]:
            yield number, cells[0], _IN_QUOTES, ()
        else:
            if more:
                rest = [unescaped(cells[at]) if at < len(cells) else "" for at in more]
            if column < len(cells):
                yield number, unescaped(cells[column]), "", rest
            else:
                yield number, "", f"the address is in column {column + 1}; the row ends at {len(cells)}", rest
        for at, text in swallowed:
            why = f"stands in a quoted cell that begins in line {number}, and looks like a row: is a quote missing?"
            yield at, text, why, ()
        swallowed = ()


def _table(lines: Lines, columns: Columns, options: ReadOptions, delimiters: str) -> _Table:
    more = [*columns.more(), *(("where", name) for name, _ in options.where)]
    found = (header_row if options.header else first_row)(
        lines, [("email", columns.email), *more], delimiters
    )
    address, *others = found.positions
    # Only an explanation may contain a line break; elsewhere one means that a quote was never closed.
    one_line = [at for at, (what, _) in zip(others, more, strict=True) if what not in _SEVERAL_LINES]
    return _Table(found.delimiter, found.width, address, others, [address, *one_line], found.spaced)


_SEVERAL_LINES = ("legal_basis_explanation", "where")


def _quoted_record(
    first: str, lines: Lines, table: _Table, counts: Counts
) -> tuple[list[str], Sequence[tuple[int, str]]]:
    """Read a record with quotes in it, which may span lines.

    Two stray quotes make one cell of all rows between them. Where most of the lines that a cell swallowed are records
    by themselves, the cell is none, and all of them are read again. Where only some of them are, nothing says which
    is right: the cell is read as one, and they are invalid rows.

    :param first: its first line, which was taken already.
    :return: its cells, none where a quote is missing; and the lines in it that look like rows, with their
        numbers.
    """
    taken: list[str] = []

    def take() -> Iterator[str]:
        size = 0
        for line in chain([first], lines):
            taken.append(line)
            size += len(line)
            if line is TOO_LONG or size > LONGEST_LINE or len(taken) > _MOST_LINES:
                raise csv.Error
            yield line

    try:
        cells = next(_reader(take(), table.delimiter))
    except csv.Error:
        cells = _with_spaces_after_quotes(first, table.delimiter) if len(taken) == 1 else []
    if len(taken) == 1:
        return cells or table.alone(first), ()
    one_line = not any(len(cells[at].strip().splitlines()) > 1 for at in table.one_line if at < len(cells))
    if cells and one_line:
        rows, others = _rows_in(taken, cells, table)
        if len(rows) <= others:
            counts.multiline_records += 1
            begin = lines.number - len(taken) + 1
            return cells, [(begin + at, taken[at]) for at in rows]
    lines.put_back(taken[1:])
    return table.alone(first), ()


def _rows_in(taken: Sequence[str], cells: Sequence[str], table: _Table) -> tuple[list[int], int]:
    """Find the lines that a cell swallowed and that are records by themselves.

    Where the address comes after that cell, it stands in the last line, which is a record's end then: unless the first
    line is a record, too.

    :return: their positions, and how many other lines there are.
    """
    swallowed = [at for at in range(1, len(taken)) if not taken[at].isspace()]
    last = len(taken) - 1
    ends = table.address < len(cells) and cells[table.address].strip() in taken[last]
    if ends and not table.is_record(taken[0]):
        swallowed = [at for at in swallowed if at != last]
    rows = [at for at in swallowed if table.is_record(taken[at])]
    return rows, len(swallowed) - len(rows)


def _reader(lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=delimiter != " ")


def _with_spaces_after_quotes(line: str, delimiter: str) -> list[str]:
    try:
        return next(_reader(iter([without_spaces_around(line, delimiter)]), delimiter))
    except csv.Error:
        return []
