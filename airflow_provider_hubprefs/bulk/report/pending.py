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
    before = [one._replace(end=min(one.end, first)) for one in ranges if one.first < first]
    after = [one._replace(first=max(one.first, end)) for one in ranges if one.end > end]
    return _joined([*before, *_ranges(still), *after])


def with_added(ranges: Sequence[PendingRows], more: Iterable[tuple[int, str]]) -> tuple[PendingRows, ...]:
    """Return the ranges and more places, which are in none of them, each with its category."""
    return _joined(sorted([*ranges, *_ranges(more)]))


def _ranges(places: Iterable[tuple[int, str]]) -> Iterator[PendingRows]:
    return (PendingRows(place, place + 1, category) for place, category in places)


def _joined(ranges: Iterable[PendingRows]) -> tuple[PendingRows, ...]:
    found: list[PendingRows] = []
    for one in ranges:
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
