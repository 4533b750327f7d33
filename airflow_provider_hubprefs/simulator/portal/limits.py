"""HubSpot's burst, daily and search limits: exact windows, their headers, and a count of every violation."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator.portal.settings import LimitSettings
    from airflow_provider_hubprefs.simulator.portal.tokens import AccessToken

TIME_ZONE = "US/Eastern"


@dataclass(slots=True)
class RollingWindow:
    """The requests of the last interval.

    :ivar highest: the most requests, refused ones too, that ever arrived within one interval.
    """

    accepted: deque[float] = field(default_factory=deque)
    arrived: deque[float] = field(default_factory=deque)
    highest: int = 0
    violations: int = 0

    def admit(self, now: float, *, seconds: float, most: int, count_refused: bool = False) -> bool:
        """Count a request; return whether it is accepted."""
        for times in (self.accepted, self.arrived):
            while times and times[0] <= now - seconds:
                times.popleft()
        self.arrived.append(now)
        self.highest = max(self.highest, len(self.arrived))
        accepted = len(self.accepted) < most
        if not accepted:
            self.violations += 1
        if accepted or count_refused:
            self.accepted.append(now)
        return accepted


class AccountLimits:
    """Which requests are accepted, and what the headers say about the rest of the budget.

    Each app has a rolling window of its own. The account's private apps share the daily limit, which starts anew
    at midnight in the account's time zone (HubSpot's usage guidelines).
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._zone = ZoneInfo(TIME_ZONE)
        self.windows: dict[str, RollingWindow] = {}
        self.searches = RollingWindow()
        self.day = ""
        self.used_today = 0

    def broken_by_search(self, now: float) -> str | None:
        """Count a CRM search, whose limit is the whole account's; return ``search`` when it breaks that."""
        return None if self.searches.admit(now, seconds=1, most=self._limits.search) else "search"

    def broken_by(self, token: AccessToken, now: float) -> str | None:
        """Count a request; return the limit it breaks: ``burst``, ``daily`` or ``None``."""
        if token.daily is not None and self._used(now) >= token.daily:
            return "daily"
        window = self.windows.setdefault(token.app, RollingWindow())
        seconds, count_refused = self._limits.interval_ms / 1000, self._limits.count_refused
        if not window.admit(now, seconds=seconds, most=token.burst, count_refused=count_refused):
            return "burst"
        if token.daily is not None:
            self.used_today += 1
        return None

    def headers(self, token: AccessToken, now: float) -> dict[str, str]:
        """Return the rate limit headers of an answer; an OAuth app gets no daily ones."""
        used = len(self.windows.get(token.app, RollingWindow()).accepted)
        headers = {
            "X-HubSpot-RateLimit-Max": str(token.burst),
            "X-HubSpot-RateLimit-Remaining": str(max(0, token.burst - used)),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(self._limits.interval_ms),
        }
        if token.daily is not None:
            headers["X-HubSpot-RateLimit-Daily"] = str(token.daily)
            headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(max(0, token.daily - self._used(now)))
        return headers

    def stats(self) -> dict[str, Any]:
        """Return the violations and peaks, per app and for searches, and what is used of the day."""
        return {
            "used_today": self.used_today,
            "search": {"violations": self.searches.violations, "highest_in_second": self.searches.highest},
            "apps": {
                app: {"violations": window.violations, "highest_in_window": window.highest}
                for app, window in list(self.windows.items())
            },
        }

    def _used(self, now: float) -> int:
        today = f"{datetime.fromtimestamp(now, UTC).astimezone(self._zone):%Y-%m-%d}"
        if today != self.day:
            self.day, self.used_today = today, 0
        return self.used_today
