"""Which rows of a source are still under way: a few numbers, however many rows, and never an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.bulk.source_errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_hubprefs.bulk.row import Row


class Span(NamedTuple):
    """Rows under way one after the other, by their place among the rows of the source that can be sent.

    :param first: place, from 0; rows that are invalid or duplicate have none.
    :param end: place after the last.
    :param category: why their outcome is open, in one word.
    """

    first: int
    end: int
    category: str


def replaced(
    spans: Sequence[Span], first: int, end: int, still: Iterable[tuple[int, str]]
) -> tuple[Span, ...]:
    """Say anew which of the rows at some places are under way.

    :param first: of these places; ``end`` is after the last.
    :param still: places of those that are, in order, each with its category.
    """
    made = [Span(one.first, min(one.end, first), one.category) for one in spans if one.first < first]
    after = [Span(max(one.first, end), one.end, one.category) for one in spans if one.end > end]
    for one in (*(Span(place, place + 1, category) for place, category in still), *after):
        if made and (made[-1].end, made[-1].category) == (one.first, one.category):
            made[-1] = made[-1]._replace(end=one.end)
        else:
            made.append(one)
    return tuple(made)


def rows_at(spans: Sequence[Span], rows: Iterable[Row]) -> Iterator[tuple[int, str, Row]]:
    """Yield place, category and row of all that are under way.

    :param rows: all of the source, as they were read before.
    :raises SourceError: they are fewer than then.
    """
    left = iter(spans)
    span = next(left, None)
    sent = (row for row in rows if row.problem is None)
    for place, row in enumerate(sent):
        while span is not None and place >= span.end:
            span = next(left, None)
        if span is None:
            return
        if place >= span.first:
            yield place, span.category, row
            if place == span.end - 1:
                span = next(left, None)
    if span is not None:
        raise SourceError(
            "The source has fewer rows that can be sent than when they were sent: has it changed since? Nothing was "
            "sent again"
        )
