"""The store of a budget for many machines: one key in Redis, by Redis' clock.

A process reads the key, and replaces it if no other process did meanwhile: two round trips, and two more for each that
came first. All processes together change a budget some 40 times a second.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError
from airflow_provider_hubprefs.hubspot.pacing.shared import StoreError

try:
    import redis  # type: ignore[import-not-found,unused-ignore]
    from redis.backoff import NoBackoff  # type: ignore[import-not-found,unused-ignore]
    from redis.retry import Retry  # type: ignore[import-not-found,unused-ignore]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "budget_store: Redis needs its client: pip install 'airflow-provider-hubprefs[redis]'",
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT = 1.0
"""Seconds that a round trip may take; after it Redis counts as unreachable."""

_LONGEST = 2.0
"""Seconds for which a process tries while others are always first."""

_KEPT = 24 * 3600
"""Seconds until Redis drops an unused budget."""

_REPLACE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class RedisStore:
    """A key that all processes share which name the same Redis.

    :param url: ``redis://[[user]:password@]host[:port][/db]`` or ``rediss://...``, as redis-py reads it.
    :param key: fingerprint of the credential.
    :raises ValueError: the URL cannot be read.
    """

    def __init__(self, url: str, key: str) -> None:
        place = urlsplit(url)
        self.name = f"Redis at {place.hostname or 'localhost'}:{place.port or 6379}"
        self._redis: Any = redis.Redis.from_url(
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            # Once, without waiting: an idle connection may have been dropped.
            retry=Retry(NoBackoff(), 1),
        )
        self._replace: Any = self._redis.register_script(_REPLACE)
        self._key = f"hubprefs:{key}"

    def begin(self) -> None:
        """See :class:`~.shared.Store`. A forked child gets new connections from redis-py."""

    def change(self, edit: Callable[[bytes, float], bytes], *, blocking: bool) -> None:
        """See :class:`~.shared.Store`. A network is too slow for an event loop."""
        if not blocking:
            raise BusyError
        until = time.monotonic() + _LONGEST
        try:
            while time.monotonic() < until:
                with self._redis.pipeline(transaction=False) as both:
                    (seconds, microseconds), known = both.time().get(self._key).execute()
                old = known or b""
                new = edit(old, seconds + microseconds / 1e6)
                if self._replace([self._key], [old, new, _KEPT]):
                    return
        except redis.RedisError as error:
            # In one line; redis-py's texts name hosts and commands, not passwords.
            raise StoreError(re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]) from error
        raise StoreError("other processes change it all the time")
