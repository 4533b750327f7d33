"""What a client may be told: how long to wait, how much to read. Shared by the sync and the async client."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from airflow_provider_hubprefs.hubspot.errors import SettingsError

_LONGEST = 86_400.0
"""Seconds; a day, as long as HubSpot may ask to wait. What is longer was meant in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times are in seconds, at most a day.

    :param connect_timeout: to reach HubSpot and agree on TLS.
    :param read_timeout: between two pieces of an answer, and for the whole of its body. HubSpot itself gives
        up after 100 s and says 524 (HubSpot's guide "Error handling"), so the default is a little above.
    :param retry_total: no attempt of one call starts later than this after its first.
    :param migrating_max_wait: the longest ``Retry-After`` of a 477 (the account moves between data centres,
        up to 24 h) that is waited for; a longer one is an error at once.
    :param retry_first_wait: about how long after the first failure the second attempt comes.
    :param retry_max_wait: the wait doubles up to this.
    :param max_answer_bytes: a longer answer is refused while it is read; memory stays bounded.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 110.0
    retry_total: float = 300.0
    migrating_max_wait: float = 900.0
    retry_first_wait: float = 1.0
    retry_max_wait: float = 60.0
    max_answer_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = math.inf if field.name == "max_answer_bytes" else _LONGEST
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and 0 <= value <= most):
                raise SettingsError(
                    f"{field.name}: expected a number of at least 0"
                    f"{'' if most == math.inf else ' and at most 86400 seconds'}, got {value!r}"
                )
        for name in ("connect_timeout", "read_timeout", "max_answer_bytes"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}: expected more than 0; a call without a limit can hang forever")
