"""CSV: the header, and records that stay apart even where quotes are broken."""

from __future__ import annotations

import csv
from itertools import chain
from typing import TYPE_CHECKING

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


def records_of(lines: Lines, columns: Columns, delimiters: str) -> Iterator[Raw]:
    """Yield the address of every record and the other cells that are read; missing cells are empty.

    A line without a quote is a record: splitting it takes a third of the time that ``csv`` takes.

    :param delimiters: those to choose from.
    :raises SourceError: a column is missing, or there is more than one of its name.
    """
    delimiter, column, more, one_line = _header(lines, columns, delimiters)
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
            cells = _quoted_record(line, lines, delimiter, one_line)
        if not cells:
            yield number, "", "a quote is not closed, or text follows a closing quote", ()
        elif column < len(cells):
            if more:
                rest = [cells[at] if at < len(cells) else "" for at in more]
            yield number, cells[column], "", rest
        else:
            yield number, "", f"the address is in column {column + 1}; the row ends at {len(cells)}", ()


def _header(lines: Lines, columns: Columns, delimiters: str) -> tuple[str, int, Sequence[int], Sequence[int]]:
    """Read the header.

    :return: the delimiter; the positions of the address, of the other columns that are read, and of those whose cells
        hold no line break.
    """
    header = next(line for line in lines if not line.isspace())
    spans_lines = header.count('"') % 2 == 1
    while header.count('"') % 2 and len(header) <= LONGEST_LINE:  # a name with a line break in it
        header += next(lines, '"')
    delimiter, cells = split_header(header, columns.email, delimiters)
    has_address = bool(positions(cells, columns.email))
    looks_like_data = could_be_address(header) and (
        spans_lines or not has_address
    )  # a quote would swallow rows
    printable = header.strip().replace("\t", " ").isprintable()
    if looks_like_data or not cells or not (has_address or printable):
        raise SourceError(
            f"{lines.name}: no column is called {quoted(columns.email)}. The first line looks like data, not like a "
            "header. Expected one in UTF-8 or the declared encoding: add it, or close the quote that is open in it."
        )
    address = position(cells, "email", columns.email, label=lines.name)
    more = [(what, position(cells, what, called, label=lines.name)) for what, called in columns.more()]
    # Only an explanation may contain a line break; elsewhere one means that a quote was never closed.
    one_line = [at for what, at in more if what != "legal_basis_explanation"]
    return delimiter, address, [at for _, at in more], [address, *one_line]


def split_header(header: str, email_column: str, delimiters: str) -> tuple[str, Sequence[str]]:
    """Return the delimiter that yields most columns, preferably the address among them; and the columns' names."""
    splits = [(delimiter, _cells(header, delimiter)) for delimiter in delimiters]
    return max(splits, key=lambda split: (bool(positions(split[1], email_column)), len(split[1])))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return []


def _quoted_record(first: str, lines: Lines, delimiter: str, one_line: Sequence[int]) -> list[str]:
    """Read a record with quotes in it, which may span lines.

    :param first: its first line, which was taken already.
    :param one_line: positions of the cells that hold no line break: one in them is of a quote that was never closed.
    :return: nothing where a quote is missing. The lines that the stray quote swallowed are then read again.
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
        cells = next(csv.reader(take(), delimiter=delimiter, strict=True))
    except csv.Error:
        cells = []
    if len(taken) > 1 and any(len(cells[at].strip().splitlines()) > 1 for at in one_line if at < len(cells)):
        cells = []
    if not cells:
        lines.put_back(taken[1:])
    return cells
