"""HubSpot's burst and daily limits: exact windows, their headers, and a count of every violation."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator.oauth import Token
    from airflow_provider_hubprefs.simulator.settings import Settings


@dataclass(slots=True)
class Window:
    """One app's requests of the last interval.

    :ivar highest: the most requests, refused ones too, that ever arrived within one interval.
    """

    accepted: deque[float] = field(default_factory=deque)
    arrived: deque[float] = field(default_factory=deque)
    highest: int = 0
    violations: int = 0


class Limits:
    """Who may still ask, and what the headers say about it.

    The burst limit is a rolling window per app. The daily one is the account's, shared by its private apps
    and service keys, and starts anew at midnight in the account's time zone (HubSpot's usage guidelines).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._zone = ZoneInfo(settings.time_zone)
        self.windows: dict[str, Window] = {}
        self.day = ""
        self.used_today = 0
        self.daily_violations = 0
        self.searches = Window()

    def ask_search(self, now: float) -> bool:
        """Count a CRM search, which has a limit of its own, the whole account's: so many in any second."""
        window = self.searches
        for times in (window.accepted, window.arrived):
            while times and times[0] <= now - 1:
                times.popleft()
        window.arrived.append(now)
        window.highest = max(window.highest, len(window.arrived))
        if len(window.accepted) >= self._settings.limits.search:
            window.violations += 1
            return False
        window.accepted.append(now)
        return True

    def ask(self, token: Token, now: float) -> str | None:
        """Count a request.

        :returns: ``None`` when it is accepted, else the limit it broke: ``burst`` or ``daily``.
        """
        limits = self._settings.limits
        window = self.windows.setdefault(token.app, Window())
        start = now - limits.interval_ms / 1000
        for times in (window.accepted, window.arrived):
            while times and times[0] <= start:
                times.popleft()
        window.arrived.append(now)
        window.highest = max(window.highest, len(window.arrived))
        if token.daily is not None and self._used(now) >= token.daily:
            self.daily_violations += 1
            return "daily"
        if len(window.accepted) >= token.burst:
            window.violations += 1
            if limits.count_refused:
                window.accepted.append(now)
            return "burst"
        window.accepted.append(now)
        if token.daily is not None:
            self.used_today += 1
        return None

    def headers(self, token: Token, now: float) -> dict[str, str]:
        """Return the rate limit headers of an answer; an OAuth app's have no daily ones."""
        window = self.windows.get(token.app, Window())
        used = len(window.accepted)
        a_second = token.burst // 10
        headers = {
            "X-HubSpot-RateLimit-Max": str(token.burst),
            "X-HubSpot-RateLimit-Remaining": str(max(0, token.burst - used)),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(self._settings.limits.interval_ms),
            # Deprecated, still sent, not enforced.
            "X-HubSpot-RateLimit-Secondly": str(a_second),
            "X-HubSpot-RateLimit-Secondly-Remaining": str(max(0, a_second - 1)),
        }
        if token.daily is not None:
            headers["X-HubSpot-RateLimit-Daily"] = str(token.daily)
            headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(max(0, token.daily - self._used(now)))
        return headers

    def retry_after(self, token: Token, now: float) -> int:
        """Return the whole seconds until the oldest request leaves the window."""
        window = self.windows.get(token.app)
        if window is None or not window.accepted:
            return 1
        return max(1, int(window.accepted[0] + self._settings.limits.interval_ms / 1000 - now) + 1)

    def stats(self) -> dict[str, Any]:
        """Return the violations and peaks, per app and for the day."""
        return {
            "used_today": self.used_today,
            "daily_violations": self.daily_violations,
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
