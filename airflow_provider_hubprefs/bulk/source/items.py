"""Items that are rows: addresses, mappings, named rows of a database, and rows by position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.columns import folded, is_missing, position, positions
from airflow_provider_hubprefs.bulk.source.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions
    from airflow_provider_hubprefs.bulk.source.row import Counts
    from airflow_provider_hubprefs.bulk.source.text import Raw

LOOKED_AT = 20
"""So many of the first rows say whether a source is of the form that is expected."""

_MISSING = object()
_BY_POSITION = (
    "Rows of several values need read_options={'header': False} and columns by number (email_column=1), or names: give "
    "mappings such as {'email': ...}"
)


class ItemReader:
    """Reads one item after another.

    :param columns: names of the fields that are read.
    :param counts: takes which columns of ``where`` there are.
    :param label: of the source, for error texts.
    """

    def __init__(self, columns: Columns, options: ReadOptions, counts: Counts, *, label: str) -> None:
        self._columns = columns
        self._label = label
        self._by_position = not options.header
        self._email = columns.email
        self._where = [name for name, _ in options.where]
        self._more = [*(called for _, called in columns.more()), *self._where]
        self._optional = bool(options.where) or "" in dict(options.status_values)
        self._seen = counts.where_seen

    def read(self, number: int, item: Any) -> Raw:
        """Return what an item says: an address, or several values."""
        if isinstance(item, str):
            if self._where:
                return (number, item, "has no columns, and where names one", ())
            return (number, item, "", [None] * len(self._more))
        values = named_values(item)
        if values is None and isinstance(item, list | tuple) and self._by_position:
            values = {str(at): value for at, value in enumerate(item, start=1)}
        if values is None:
            nested = f". {_BY_POSITION}" if isinstance(item, list | tuple) else ""
            return (number, "", f"neither text nor a mapping, but {type(item).__name__}{nested}", ())
        if len(self._seen) < len(self._where):
            self._seen.update(name for name in self._where if _value(values, name) is not _MISSING)
        cells = [None if (cell := _value(values, called)) is _MISSING else cell for called in self._more]
        value = _value(values, self._email)
        if value is _MISSING:
            return (number, "", "has no field of the address column's name", cells)
        return (number, *_address(value), cells)

    def check_first(self, items: Sequence[Any]) -> None:
        """Look at the first items: where none of them has a field that every row needs, its name is wrong.

        :raises SourceError: names it, and the fields there are.
        """
        if self._by_position:
            return
        found = [item if isinstance(item, Mapping) else named_values(item) for item in items]
        names = list(dict.fromkeys(key for item in found for key in item or () if isinstance(key, str)))
        if not items or None in found:
            return
        needed = [("email", self._email)]
        if not self._optional:
            needed += [one for one in self._columns.more() if one[0] in _NEEDED]
        for what, called in needed:
            if not positions(names, called):
                position(names, what, called, label=self._label)


_NEEDED = ("status", "subscription")


def rows_of_items(
    items: Iterable[Any], columns: Columns, options: ReadOptions, counts: Counts
) -> Iterator[Raw]:
    """Yield what each item of an iterable says.

    :raises SourceError: the items have no field of a name that every row needs.
    """
    reader = ItemReader(columns, options, counts, label="subscribers")
    left = iter(items)
    first = list(islice(left, LOOKED_AT))
    reader.check_first(first)
    for number, item in enumerate(chain(first, left), start=1):
        yield reader.read(number, item)


def rows_of_table(table: Any, columns: Columns, options: ReadOptions, counts: Counts) -> Iterator[Raw]:
    """Yield what each row of a database says.

    :param table: iterable of tuples; its ``header`` has the names of their values.
    :raises SourceError: there is no column of a name, or more than one.
    """
    email, *more = places_in(table.header, columns, options)
    counts.where_seen.update(name for name, _ in options.where)
    for number, row in enumerate(table, start=1):
        yield (number, *_address(row[email]), [row[at] for at in more])


def places_in(header: Sequence[str], columns: Columns, options: ReadOptions) -> list[int]:
    """Return where the columns are that are read: the address first, then those of a row's cells.

    :raises SourceError: there is no column of a name, or more than one.
    """
    called = [("email", columns.email), *columns.more(), *(("where", name) for name, _ in options.where)]
    return [position(header, what, name, label="sql") for what, name in called]


def _address(value: Any) -> tuple[str, str]:
    if is_missing(value):
        return "", "the address is empty"
    if not isinstance(value, str):
        return str(value), f"the address is not text, but {type(value).__name__}"
    return value, ""


def flattened(items: Any, options: ReadOptions) -> Any:
    """Return the rows of items that are lists of rows, as mapped tasks return them; other items as they are.

    Lists and tuples may be rows by position as well. They are lists of rows where they hold addresses and mappings
    only; where one column of them has no address in it, they are rows.

    :param items: an iterable.
    :raises SourceError: the items are rows by position, and ``header`` of the options does not say so.
    """
    no_rows = isinstance(items, Iterator | str | bytes | Mapping) or not isinstance(items, Iterable)
    if no_rows or not options.header:
        return items
    first = items[:1] if isinstance(items, list | tuple) else islice(iter(items), 1)
    if not any(map(_is_nested, first)):
        return items
    parts = list(items)
    nested = [part for part in parts if _is_nested(part)]
    widths = {len(part) for part in nested}
    values = [value for part in nested for value in part]
    plain = all(isinstance(value, str) or named_values(value) is not None for value in values)
    table = (
        len(widths) == 1
        and widths != {1}
        and any(
            not any(isinstance(value, Mapping) or "@" in str(value) for value in column)
            for column in zip(*nested, strict=True)
        )
    )
    if not plain or table:
        raise SourceError(
            f"subscribers: a list of {type(parts[0]).__name__}s, not of addresses. {_BY_POSITION}."
        )
    return [row for part in parts for row in (part if _is_nested(part) else [part])]


def named_values(item: Any) -> Mapping[Any, Any] | None:
    """Return the values of a database's row by their names; None for what has no names."""
    if isinstance(item, str | bytes) or item is None:
        return None
    if isinstance(item, Mapping):
        return item
    mapping = getattr(item, "_mapping", None)  # SQLAlchemy
    if isinstance(mapping, Mapping):
        return mapping
    if hasattr(item, "_asdict"):  # namedtuple
        return dict(item._asdict())
    if hasattr(item, "keys") and hasattr(item, "__getitem__"):  # sqlite3
        return {key: item[key] for key in item.keys()}  # noqa: SIM118 - no mapping
    return None


def _is_nested(item: Any) -> bool:
    return isinstance(item, list | tuple | set | frozenset) and named_values(item) is None


def _value(item: Mapping[Any, Any], called: str) -> Any:
    value = item.get(called, _MISSING)
    if value is _MISSING:
        wanted = folded(called)
        value = next((item[key] for key in item if isinstance(key, str) and folded(key) == wanted), _MISSING)
    return value
