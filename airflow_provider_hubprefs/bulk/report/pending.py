"""Which rows of a source are pending: ranges of places, which need little room and hold no address."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_hubprefs.bulk.source.row import Row


class PendingRows(NamedTuple):
    """Adjoining rows that are pending for the same reason.

    A row's place is its number, from 0, among the rows of the source that can be sent; invalid and duplicate rows
    have none.

    :param first: place of the first row.
    :param end: place after the last row.
    :param category: why they have no outcome, in one word.
    """

    first: int
    end: int
    category: str


def with_replaced(
    ranges: Sequence[PendingRows], first: int, end: int, still: Iterable[tuple[int, str]]
) -> tuple[PendingRows, ...]:
    """Return the ranges after all places from ``first`` to before ``end`` were looked at again.

    :param still: those of these places that are pending, in order, each with its category.
    """
    before = [
        PendingRows(one.first, min(one.end, first), one.category) for one in ranges if one.first < first
    ]
    after = [PendingRows(max(one.first, end), one.end, one.category) for one in ranges if one.end > end]
    found = before
    for one in (*(PendingRows(place, place + 1, category) for place, category in still), *after):
        if found and (found[-1].end, found[-1].category) == (one.first, one.category):
            found[-1] = found[-1]._replace(end=one.end)
        else:
            found.append(one)
    return tuple(found)


def with_added(ranges: Sequence[PendingRows], more: Iterable[tuple[int, str]]) -> tuple[PendingRows, ...]:
    """Return the ranges and more places, which are in none of them, each with its category."""
    found: list[PendingRows] = []
    for one in sorted([*ranges, *(PendingRows(place, place + 1, category) for place, category in more)]):
        if found and (found[-1].end, found[-1].category) == (one.first, one.category):
            found[-1] = found[-1]._replace(end=one.end)
        else:
            found.append(one)
    return tuple(found)


def rows_at(ranges: Sequence[PendingRows], rows: Iterable[Row]) -> Iterator[tuple[int, str, Row]]:
    """Yield place, category and row of all pending rows.

    :param rows: all rows of the source, the same as when they were sent.
    """
    sendable = enumerate(row for row in rows if row.problem is None)
    for one in ranges:
        for place, row in sendable:
            if place >= one.first:
                yield place, one.category, row
            if place == one.end - 1:
                break
