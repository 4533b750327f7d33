"""Charts over the time of a run, as inline SVG that follows the page's colours: no script, style or id of its own."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    Point = tuple[float, float]

_WIDTH, _HEIGHT = 480, 150
_MOST_POINTS = 120
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two labels of the time axis."""
_NOT_DRAWN = re.compile(
    r"<!--.*?-->|<defs>.*?</defs>|<title>.*?</title>|<rect[^>]*/>|<g[^>]*/>|<g[^>]*>(?:<g[^>]*/>)*</g>", re.S
)
"""Of pygal's SVG: comments, its own styles and script, tool tips that need the script, backgrounds, empty groups."""
_AREA = re.compile(r'<path d="M\S+ \S+ L(\S+ \S+.*?) \S+ \S+( Z)?" class="line reactive" ?/>')
"""It begins and ends on the axis; what lies between is the line above it."""


class Chart(NamedTuple):
    """One chart.

    :param title: what is shown.
    :param note: its figures in words, which a screen reader reads instead of the chart.
    :param svg: markup; it is made of numbers only.
    """

    title: str
    note: str
    svg: str


def charts_of(history: object, *, daily: float | None = None, burst: float | None = None) -> list[Chart]:
    """Return the charts that a history has figures for; none of fewer than two points in time, or of zeros.

    :param history: of the report: seconds, rows, requests, requests left of the day, requests of the burst used.
    :param daily: the account's requests a day.
    :param burst: the account's requests in 10 seconds.
    """
    rows, requests, left, used = (_column(history, number) for number in (1, 2, 3, 4))
    found = (
        _chart("Rows a second", _rates(rows), "{last} at last, {most} at most"),
        _chart("Requests a second", _rates(requests), "{last} at last, {most} at most"),
        _chart("Requests in 10 seconds", used, "{last} at last, {limit} allowed", burst),
        _chart("Requests left of the day", left, "{last} left of {limit}", daily),
    )
    return [one for one in found if one is not None]


def number_in(value: object) -> float | None:
    """Return a number that JSON may hold; None: it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    return None


def _column(history: object, number: int) -> list[Point]:
    """What can be read of one column, in the order of time, and not too many."""
    points = [
        (second, value)
        for one in (history if isinstance(history, list | tuple) else ())
        if isinstance(one, list | tuple) and len(one) > number
        if (second := number_in(one[0])) is not None and (value := number_in(one[number])) is not None
    ]
    points.sort()
    return points[: -1 : math.ceil(len(points) / _MOST_POINTS) or 1] + points[-1:]


def _rates(points: Sequence[Point]) -> list[Point]:
    """Growth a second between points in time. A run that begins again grows by nothing."""
    rates = [
        (after[0], max(0.0, after[1] - before[1]) / (after[0] - before[0]))
        for before, after in pairwise(points)
        if after[0] > before[0]
    ]
    return [(points[0][0], rates[0][1]), *rates] if rates else []


def _chart(title: str, points: Sequence[Point], note: str, limit: float | None = None) -> Chart | None:
    if len(points) < 2:
        return None
    last, most = points[-1][1], max(value for _, value in points)
    if not max(most, limit or 0):  # no row is through yet
        return None
    words = note.format(last=_exact(last), most=_exact(most), limit=_exact(most if limit is None else limit))
    return Chart(title, words, _svg(points, max(most, limit or 0)))


def _svg(points: Sequence[Point], highest: float) -> str:
    import pygal  # noqa: PLC0415 - takes a fifth of a second

    top, ticks = _scale(highest)
    begin, end = points[0][0], points[-1][0]
    size, unit = (1, "s") if end < 120 else (60, "min") if end < 7200 else (3600, "h")
    every = next((one for one in _STEPS if (end - begin) / one <= 5), math.ceil((end - begin) / 5))
    chart: Any = pygal.XY(
        js=[], css=[], width=_WIDTH, height=_HEIGHT, margin=4, margin_right=18, show_legend=False, show_dots=False,
        fill=True, no_prefix=True, range=(0, top), xrange=(begin, max(end, begin + 1)), value_formatter=_amount,
        x_value_formatter=lambda value: f"{value / size:.4g} {unit}", style=pygal.style.Style(label_font_size=14),
    )  # fmt: skip
    chart.y_labels = ticks
    chart.x_labels = list(range(math.ceil(begin / every) * every, math.floor(end) + 1, every)) or [begin]
    chart.add("", points)
    drawn = chart.render(is_unicode=True, disable_xml_declaration=True)
    for _ in range(3):  # groups that only had empty ones in them
        drawn = _NOT_DRAWN.sub("", drawn)
    drawn = _AREA.sub(r'\g<0><path d="M\1" class="top" />', re.sub(r"(\d+\.\d)\d+", r"\1", drawn))
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true" focusable="false">'
    return re.sub(r"^<svg[^>]*>", head, drawn)


def _scale(highest: float) -> tuple[float, list[float]]:
    """The end of an axis from 0, and round figures on it: two to five."""
    power = 10.0 ** math.floor(math.log10(highest)) if highest > 0 else 1.0
    step = next(power * each for each in (0.5, 1, 2, 2.5, 5) if highest <= power * each * 4)
    count = max(1, math.ceil(highest / step - 1e-9))
    return step * count, [step * number for number in range(count + 1)]


def _exact(value: float) -> str:
    """999,927 left of the day are not 1,000k."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def _amount(value: float) -> str:
    for least, size, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / size:,.4g}{name}"
    return _exact(value)
