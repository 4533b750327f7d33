"""The header of a CSV file: which line it is, what divides its cells, and where the columns are that are read."""

from __future__ import annotations

import csv
import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.source.addresses import INVISIBLE, is_address
from airflow_provider_hubprefs.bulk.source.columns import (
    column_number,
    could_be_address,
    listed,
    position,
    positions,
    quoted,
)
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.residue import several_in
from airflow_provider_hubprefs.bulk.source.text import LONGEST_LINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.source.text import Lines

DELIMITERS = ",;\t|"
"""Those that are detected in a header."""

_AHEAD = 20
"""So many lines are looked at for a header that comes later."""

_SEPARATOR = re.compile(rf'[{INVISIBLE}]*"?sep=([^"\r\n])"?[,;\t|]*\s*', re.IGNORECASE)


class TableShape(NamedTuple):
    """How a table is built, as its header or its first row says.

    :param positions: of the columns asked for.
    """

    delimiter: str
    width: int
    positions: Sequence[int]
    spaced: bool


def separator_in(line: str) -> str | None:
    """Return the delimiter that a first line ``sep=;`` declares, for Excel; None for any other line."""
    found = _SEPARATOR.fullmatch(line)
    return found[1] if found else None


def header_row(lines: Lines, wanted: Sequence[tuple[str, str]], delimiters: str) -> TableShape:
    """Read the header.

    :param wanted: columns: what each is for, and its name; the address first.
    :raises SourceError: a column is missing, or there is more than one of its name.
    """
    header = next(line for line in lines if not line.isspace())
    number, called = lines.number, wanted[0][1]
    spans_lines = header.count('"') % 2 == 1
    while header.count('"') % 2 and len(header) <= LONGEST_LINE:  # a name with a line break in it
        header += next(lines, '"')
    delimiter, cells = split_header(header, called, delimiters)
    if not positions(cells, called) or (spans_lines and could_be_address(header)):
        _explain(lines, header, number, called, delimiters)
    return TableShape(
        delimiter,
        len(cells),
        [position(cells, what, name, label=lines.name) for what, name in wanted],
        f"{delimiter} " in header,
    )


def first_row(lines: Lines, wanted: Sequence[tuple[str, str]], delimiters: str) -> TableShape:
    """Look at the first row of a file without a header, where columns are numbers; it is given again.

    :raises SourceError: the row ends before a column.
    """
    row = next(line for line in lines if not line.isspace())
    lines.put_back([row])
    at = [(column_number(name) or 1) - 1 for _, name in wanted]
    splits = [(delimiter, cells_in(row, delimiter)) for delimiter in delimiters]

    def fits(split: tuple[str, list[str]]) -> tuple[bool, int]:
        cells = split[1]
        return at[0] < len(cells) and is_address(cells[at[0]]), len(cells)

    delimiter, cells = max(splits, key=fits)
    for (what, name), where in zip(wanted, at, strict=True):
        if where >= len(cells):
            raise SourceError(
                f"{lines.name}: there is no column {name} ({what}). Line {lines.number + 1} has {len(cells)}, counted "
                "from 1; if the delimiter is another one, set read_options={'delimiter': ...}."
            )
    return TableShape(delimiter, len(cells), at, f"{delimiter} " in row)


def split_header(header: str, email_column: str, delimiters: str) -> tuple[str, Sequence[str]]:
    """Return the delimiter that yields most columns, preferably the address among them; and the columns' names."""
    splits = [(delimiter, cells_in(header, delimiter)) for delimiter in delimiters]
    return max(splits, key=lambda split: (bool(positions(split[1], email_column)), len(split[1])))


def cells_in(line: str, delimiter: str, *, spaces: bool = False) -> list[str]:
    """Split one line, as well as its quotes allow.

    :param spaces: keep those before a cell.
    """
    skip = delimiter != " " and not spaces
    try:
        line = without_spaces_around(line, delimiter)
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=skip), [])
    except csv.Error:
        return []
    return [cell.rstrip("\r\n") for cell in cells]


def without_spaces_around(line: str, delimiter: str) -> str:
    """Return a line without the spaces between a closing quote and the delimiter."""
    if '" ' not in line or delimiter == " ":
        return line
    return re.sub(rf'" +(?={re.escape(delimiter)}|[\r\n]|$)', '"', line)


def _explain(lines: Lines, header: str, number: int, called: str, delimiters: str) -> None:
    """Say why a line is no header, and what to do; otherwise a column is missing in it.

    :raises SourceError: shows no line that could be an address.
    """
    cells = split_header(header, called, delimiters)[1]
    begin = f"{lines.name}: no column is called {quoted(called)}"
    if len(cells) == 1 and (inner := split_header(cells[0], called, delimiters)[1]) and len(inner) > 1:
        raise SourceError(
            f"{begin}: the whole line {number} is within one pair of quotes, so it is one column. Export the file "
            "again, with quotes around cells only."
        )
    ahead = [*enumerate(header.splitlines()[1:], start=number + 1)]
    ahead += [(lines.number, line) for line in islice(lines, _AHEAD)]
    shown = "" if could_be_address(header) else f" Line {number} has: {listed(cells)}."
    for later, line in ahead:
        if positions(split_header(line, called, delimiters)[1], called):
            raise SourceError(
                f"{begin} in line {number}. Line {later} has it: if that is the header, set "
                f"read_options={{'skip_lines': {later - 1}}}.{shown}"
            )
    if could_be_address(header):
        only = " Of each row only one address is read." if several_in(header) else ""
        raise SourceError(
            f"{begin}. Line {number} looks like data, not like a header. Expected one: add it, close the quote that is "
            "open in it, or set read_options={'header': False} and name columns by number (email_column='1')."
            f"{only}"
        )
