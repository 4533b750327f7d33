"""How a source is read: one mapping with names, the same for operators, decorators and a command line."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_provider_hubprefs.bulk.source.columns import column_number, folded, folded_cell, status_of
from airflow_provider_hubprefs.hubspot.api.models import STATUSES
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.columns import Columns

Format = Literal["csv", "lines", "jsonl", "parquet"]
"""``lines``: one address a line, without a header."""

_OF_FILES = ("format", "encoding", "delimiter", "skip_lines")
_NOT_OF = {  # format -> the options that it has no use for
    "lines": ("delimiter", "header", "where", "status_values"),
    "jsonl": ("delimiter", "header"),
    "parquet": ("encoding", "delimiter", "header", "skip_lines"),
}
_SCALARS = (str, int, float, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a source is read. :meth:`of` makes it from what a DAG author wrote.

    :param format: of a file; None: the ending of its name, its first bytes and its first lines say it.
    :param encoding: of text files without a byte order mark, as Python names it; None: UTF-8.
    :param delimiter: of a CSV file, one character; None: ``sep=`` in its first line or its header says it.
    :param header: whether a CSV file has one. Without it, columns are numbers from 1, also for ``subscribers`` whose
        items are lists or tuples.
    :param skip_lines: how many lines of a text file come before the header or the first row.
    :param where: column -> values, as :func:`~.columns.folded_cell` gives them: only rows that have one of the values
        in every one of these columns are rows of the source.
    :param status_values: word of the source, folded as well -> status.
    """

    format: Format | None = None
    encoding: str | None = None
    delimiter: str | None = None
    header: bool = True
    skip_lines: int = 0
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    status_values: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, given: object) -> ReadOptions:
        """Read options from a mapping, its text in JSON or Python, others, or nothing.

        Jinja makes text of everything: ``"3"`` and ``"False"`` are understood, and an option that is empty or "None"
        is left out.

        :raises ValidationError: an option is unknown, of the wrong type, or makes no sense with another.
        """
        if isinstance(given, cls):
            return given
        if _is_empty(given):
            return cls()
        if isinstance(given, str):
            text: str = given
            for read in (json.loads, ast.literal_eval):  # Jinja writes a mapping as Python does
                with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                    given = read(text)
                    break
        if not isinstance(given, Mapping):
            raise ValidationError(
                f"read_options: expected a mapping such as {{'delimiter': ';'}}, got {_shown(given)}"
            )
        for name in given:
            if name not in _CHECKS:
                raise ValidationError(f"read_options: expected {', '.join(_CHECKS)}, got {_shown(name)}")
        options: dict[str, Any] = {
            name: check(given[name]) for name, check in _CHECKS.items() if not _is_empty(given.get(name))
        }
        made = cls(**options)
        for name in _NOT_OF.get(made.format or "", ()):
            if getattr(made, name) != getattr(_DEFAULT, name):
                raise ValidationError(
                    f"read_options: expected no {name} with format={made.format!r}, got both"
                )
        return made

    def check(self, columns: Columns, *, of_files: bool = True) -> None:
        """Find what makes no sense with these columns, or with ``subscribers`` instead of files.

        :raises ValidationError: names the argument, what was expected, and what was given.
        """
        if not of_files:
            for name in _OF_FILES:
                if getattr(self, name) != getattr(_DEFAULT, name):
                    raise ValidationError(
                        f"read_options: expected {name} only with source (files), got it without"
                    )
        if self.status_values and columns.status is None:
            raise ValidationError(
                "read_options: expected status_values only with status_column, got no column"
            )
        named = [("email", columns.email), *columns.more(), *(("where", name) for name, _ in self.where)]
        for what, name in named:
            argument = "read_options: where" if what == "where" else f"{what}_column"
            if not self.header and column_number(name) is None:
                raise ValidationError(
                    f"{argument}: expected a column's number from 1, because read_options says header=False, got "
                    f"{_shown(name)}"
                )
            if self.format == "lines" and (what != "email" or folded(name) != "email"):
                raise ValidationError(f"{argument}: expected none with format='lines', got {_shown(name)}")


def _is_empty(given: object) -> bool:
    return given is None or (isinstance(given, str) and given in {"", "None"})


def _shown(given: object) -> str:
    return scrub(repr(given))[:80]


def _refused(name: str, expected: str, given: object) -> ValidationError:
    return ValidationError(f"read_options: {name}: expected {expected}, got {_shown(given)}")


def _format(given: object) -> object:
    if given not in get_args(Format):
        raise _refused("format", ", ".join(get_args(Format)), given)
    return given


def _encoding(given: object) -> object:
    try:
        "".encode(str(given) if isinstance(given, str) else "")
    except (LookupError, ValueError):
        raise _refused("encoding", "one that is known to Python, such as cp1252", given) from None
    return given


def _delimiter(given: object) -> object:
    given = "\t" if given == r"\t" else given
    if not isinstance(given, str) or len(given) != 1 or given in '"\r\n\0':
        raise _refused("delimiter", "one character, and neither a quote nor a line break", given)
    return given


def _header(given: object) -> bool:
    said = {"true": True, "false": False}.get(str(given).strip().lower())
    if said is None:
        raise _refused("header", "True or False", given)
    return said


def _skip_lines(given: object) -> int:
    text = str(given).strip()
    if isinstance(given, bool) or not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise _refused("skip_lines", "a whole number of lines", given)
    return int(text)


def _where(given: object) -> object:
    example = "columns and values such as {'Opted Out': ['TRUE', '1', 'yes']}"
    if not isinstance(given, Mapping):
        raise _refused("where", example, given)
    where = []
    for name, values in given.items():
        several = values if isinstance(values, list | tuple | set | frozenset) else [values]
        plain = all(value is None or isinstance(value, _SCALARS) for value in several)
        if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
            raise _refused("where", example, name)
        if not several or not plain:
            raise _refused(f"where: {scrub(str(name))[:40]}", "a text, a number, or a list of them", values)
        where.append((str(name), tuple(sorted(set(map(folded_cell, several))))))
    return tuple(where)


def _status_values(given: object) -> object:
    if not isinstance(given, Mapping) or not given:
        raise _refused("status_values", "words and statuses such as {'TRUE': 'UNSUBSCRIBED'}", given)
    said: dict[str, str] = {}
    for word, status in given.items():
        folded_word, means = folded_cell(word), status.strip().upper() if isinstance(status, str) else ""
        if means not in STATUSES:
            raise _refused(f"status_values: {scrub(str(word))[:40]}", ", ".join(STATUSES), status)
        known = said.get(folded_word) or status_of(folded_word)
        if known not in {None, means}:
            raise _refused(f"status_values: {scrub(str(word))[:40]}", f"{known}, as it says", status)
        if not folded_word and means == "SUBSCRIBED":
            raise _refused("status_values", "no SUBSCRIBED for an empty cell", status)
        said[folded_word] = means
    return tuple(sorted(said.items()))


_CHECKS = {
    "format": _format,
    "encoding": _encoding,
    "delimiter": _delimiter,
    "header": _header,
    "skip_lines": _skip_lines,
    "where": _where,
    "status_values": _status_values,
}
_DEFAULT = ReadOptions()
