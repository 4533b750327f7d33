"""Times in HubSpot's answers become aware ``pendulum`` times."""

from __future__ import annotations

import datetime
import functools

import pendulum
from pendulum import DateTime


def decode_time(_kind: type, value: object) -> DateTime:
    """Read a time: ISO text, or epoch milliseconds as inside translations; these may be text as well.

    :raises ValueError: it is none; the text does not show it.
    """
    if isinstance(value, str):
        if not (value.isdecimal() and len(value) > _LONGEST_DATE):
            return _iso_time(value)
        value = int(value[:_LONGEST_NUMBER])
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return pendulum.from_timestamp(value / 1000)
        except (ValueError, OverflowError, OSError):
            raise ValueError("expected epoch milliseconds") from None
    raise ValueError("expected an ISO 8601 time or epoch milliseconds")


_LONGEST_DATE, _LONGEST_NUMBER = 8, 30
"""Digits: of a date without separators, and of more milliseconds than there can be."""


def text_of(moment: datetime.datetime) -> str:
    """Return a time in UTC as text: ISO 8601, in HubSpot's precision."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@functools.lru_cache(maxsize=4096)
def _iso_time(text: str) -> DateTime:
    """Read ISO text; without a zone it is UTC.

    An opt-out writes one time on every subscription, so times are kept. They are made by hand: ``pendulum.instance``
    takes five times as long, which is 9 s for a million opt-outs.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
        utc = moment.astimezone(datetime.UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise ValueError("expected an ISO 8601 time") from None
    date = (utc.year, utc.month, utc.day)
    return DateTime(*date, utc.hour, utc.minute, utc.second, utc.microsecond, tzinfo=pendulum.UTC)
