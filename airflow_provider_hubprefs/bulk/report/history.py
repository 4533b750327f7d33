"""How a run went over time: a few points, for the charts of its report."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from airflow_provider_hubprefs.storage import Path

MOST = 240
"""Points, at most; some 10 KB of JSON."""


class Point(NamedTuple):
    """A run at one moment.

    :param seconds: since the run began, with the time between its tries.
    :param rows: read.
    :param requests: sent.
    :param left_of_day: requests that the account has left today; None: not known.
    :param burst_used: requests of the account's budget for 10 seconds that are used; None: not known.
    """

    seconds: float
    rows: int
    requests: int
    left_of_day: int | None = None
    burst_used: int | None = None


class _Reported(msgspec.Struct):
    started_at: str
    history: list[Point]


class History:
    """The points of a run, over all its tries. Neither time nor counts ever fall from one to the next."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def add(self, point: Point) -> None:
        """Add one. Points of a try that counted more than its checkpoint had are forgotten, like what they counted."""
        points = self.points
        while points and (points[-1].rows > point.rows or points[-1].requests > point.requests):
            points.pop()
        points.append(point._replace(seconds=max([point.seconds, *(one.seconds for one in points[-1:])])))
        if len(points) > MOST:  # the one goes that is missed least: they stay evenly apart
            del points[min(range(1, MOST), key=lambda at: points[at + 1].seconds - points[at - 1].seconds)]

    def resume(self, report: Path, *, started_at: str) -> None:
        """Take over the points of an earlier try from the report that it left; none where it left none.

        :param started_at: of the run; the report of another run does not count.
        """
        with suppress(Exception):  # whatever a store raises: the run does not depend on its charts
            with report.open("rb") as file:
                found = msgspec.json.decode(file.read(), type=_Reported)
            if found.started_at == started_at:
                self.points = found.history[:MOST]
