"""Cells of CSV files that a spreadsheet would take for formulas: how they are written, and how they are read again.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``; an apostrophe before it says that it is text.
Nothing is lost: a cell that has such an apostrophe already gets another one, and reading takes one away.
"""

from __future__ import annotations

import re

_SIGNS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""What begins a formula, in wide characters too, and what programs drop before one (OWASP, "CSV Injection")."""
_FORMULA = re.compile(f"'*[{_SIGNS}]")
_ESCAPED = re.compile(f"'+[{_SIGNS}]")


def escaped(cell: str) -> str:
    """Return a cell as a file for people has it."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescaped(cell: str) -> str:
    """Return what :func:`escaped` was given; a cell without an apostrophe before a formula stays as it is."""
    return cell[1:] if cell[:1] == "'" and _ESCAPED.match(cell) else cell
