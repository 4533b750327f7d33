"""CSV: which column holds the address, and records that stay apart even where quotes are broken."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from airflow_provider_hubprefs.bulk.lines import LONGEST_LINE, TOO_LONG, WHY_TOO_LONG, Lines, Raw, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DELIMITERS = ",;\t|"
"""Those that are found out from a header."""

_MOST_LINES = 1000
"""Lines of one record. More is taken for a quote that was never closed."""

_AT_SIGNS = ("@", "%40", "\uff20", "\ufe6b")


def of_csv(lines: Lines, email_column: str, delimiters: str) -> Iterator[Raw]:
    """Read the header, then yield the address cell of every record.

    :param delimiters: those to choose from.
    :raises SourceError: there is no such column, or more than one.
    """
    header = next(line for line in lines if not line.isspace())
    spans_lines = header.count('"') % 2 == 1
    while header.count('"') % 2 and len(header) <= LONGEST_LINE:  # a name with a line break in it
        header += next(lines, '"')
    found = find_header(header, email_column, delimiters)
    if found is None or (spans_lines and "@" in header):  # a quote that is never closed swallows rows
        raise _no_column(header, email_column, delimiters, name=lines.name)
    delimiter, columns = found
    if len(columns) > 1:
        raise SourceError(
            f"{lines.name}: {len(columns)} columns are called {_quoted(email_column)}. Which one holds the address? "
            "Rename the others."
        )
    yield from _records(lines, delimiter, columns[0])


def find_header(header: str, email_column: str, delimiters: str) -> tuple[str, Sequence[int]] | None:
    """Find the delimiter, and where the address column is: in exactly this spelling or else in another case.

    The delimiter is the one that makes a column of that name; of several, the one that makes most columns.
    """
    wanted = folded(email_column)
    best: tuple[int, str, Sequence[int]] | None = None
    for delimiter in delimiters:
        cells = _cells(header, delimiter)
        columns = [at for at, cell in enumerate(cells) if cell.strip() == email_column.strip()]
        columns = columns or [at for at, cell in enumerate(cells) if folded(cell) == wanted]
        if columns and (best is None or len(cells) > best[0]):
            best = len(cells), delimiter, columns
    return best and best[1:]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return []


def folded(name: str) -> str:
    """Return a column's name as it is compared: without case, and what surrounds it."""
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


def _records(lines: Lines, delimiter: str, column: int) -> Iterator[Raw]:
    """Yield the address cell of every record.

    Without a quote in it, a line is a record and splitting it is all there is to do, at a third of the time.
    """
    taken = _Taken(lines)
    reader = csv.reader(taken, delimiter=delimiter, strict=True)
    for line in lines:
        number = lines.number
        if line is TOO_LONG:
            yield number, "", WHY_TOO_LONG
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
                yield number, "", "a quote is not closed, or text follows a closing quote"
                continue
        if column < len(cells):
            yield number, cells[column], ""
        else:
            yield number, "", f"the address is in column {column + 1}; the row ends at {len(cells)}"


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
