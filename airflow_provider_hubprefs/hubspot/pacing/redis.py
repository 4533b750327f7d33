"""A budget for many machines: in Redis, by Redis' clock, one script and one round trip per step.

The script repeats :class:`~.slots.Slots` in Lua; a property test compares the two step by step.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, SlotPacer, StoreError
from airflow_provider_hubprefs.hubspot.pacing.slots import (
    ASK_AGAIN,
    FIRST_INTERVAL,
    FIRST_LIMIT,
    LEASE,
    PROBE_FOR,
    SERIAL_BITS,
    Budget,
)

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
"""Seconds that a step may take; after it Redis counts as unreachable."""

_KEPT = 24 * 3600
"""Seconds until Redis drops an unused budget."""

_FIGURES = ("burst", "burst_remaining", "interval", "daily", "daily_remaining")

# Times are whole microseconds; 0 is "never". KEYS: figures (hash), free (list of stamps, oldest first), held (sorted
# set of slots by the time they might be used), users (sorted set of processes by when they were here last).
_SCRIPT = """
local FIGURES, FREE, HELD, USERS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local step, now = ARGV[1], tonumber(ARGV[2])
local LIMIT, INTERVAL, LEASE, PROBE, ASK, KEPT = unpack(ARGV, 3, 8)
if not now then
    local t = redis.call('TIME')
    now = t[1] * 1000000 + t[2]
end

local names = {'limit', 'interval', 'not_before', 'last_answer', 'probe_until', 'others', 'others_before',
               'others_since', 'clock'}
local known = redis.call('HMGET', FIGURES, unpack(names))
local s = {}
for i, name in ipairs(names) do s[name] = tonumber(known[i] or 0) end
local free = function() return redis.call('LLEN', FREE) end
local held = function() return redis.call('ZCARD', HELD) end
local whole = function(number) return string.format('%.0f', number) end

local function resize()
    local missing = s.limit - free() - held()
    for _ = 1, missing do redis.call('LPUSH', FREE, '0') end
    if missing < 0 then redis.call('LTRIM', FREE, whole(-missing), -1) end
end

-- A clock that was put back: by up to a second it stands still; by more, the times mean nothing and go.
if s.clock - now > 1000000 then
    redis.call('DEL', FREE, HELD, USERS)
    for name in pairs(s) do if name ~= 'limit' and name ~= 'interval' then s[name] = 0 end end
end
now = math.max(now, s.clock)
s.clock = now
if s.limit == 0 then s.limit, s.interval = tonumber(LIMIT), tonumber(INTERVAL) end
if free() + held() < s.limit then resize() end

local function free_one(number)
    if redis.call('ZREM', HELD, number) == 1 and free() + held() < s.limit then
        redis.call('RPUSH', FREE, whole(now))
    end
end

local function turn_over()
    local past = now - s.others_since
    if past >= s.interval then
        local most = math.max(s.others, math.floor(s.others_before * 3 / 4))
        if past >= 2 * s.interval then
            most = math.floor(most * 0.75 ^ math.min(past / s.interval - 1, 99))
        end
        s.others, s.others_before, s.others_since = 0, most, now
    end
end

local function may_go()
    if s.last_answer >= math.max(s.not_before, now - 2 * s.interval) then return true end
    if s.probe_until < now - s.interval then
        s.probe_until = now + PROBE
        return true
    end
    if now < s.probe_until then return false end
    s.last_answer, s.probe_until = now, 0
    return true
end

local function kept()
    turn_over()
    local others = math.max(s.others, s.others_before)
    if others > 0 then
        local more = math.min(others + math.floor(others / 4) + 2, math.floor(s.limit / 2))
        others = math.min(math.floor(s.limit * 3 / 4), math.max(others, more))
    end
    return free() + held() - math.max(1, s.limit - others)
end

local function take(number)
    while true do
        local first = redis.call('ZRANGE', HELD, 0, 0, 'WITHSCORES')
        if not first[1] or first[2] + LEASE > now then break end
        free_one(first[1])
    end
    if s.not_before > now or not may_go() then return nil end
    local stay = kept()
    if free() <= stay then return nil end
    local at = math.max(now, redis.call('LINDEX', FREE, whole(stay)) + s.interval)
    redis.call('LPOP', FREE)
    redis.call('ZADD', HELD, whole(at), number)
    if s.probe_until > 0 then s.probe_until = at + PROBE end
    return at
end

local function notice(sent, used)
    local low, high = 0, free()
    while low < high do
        local middle = math.floor((low + high) / 2)
        if tonumber(redis.call('LINDEX', FREE, middle)) > sent - s.interval then
            high = middle
        else
            low = middle + 1
        end
    end
    local more = used - held() - (free() - low)
    if more <= 0 then return end
    turn_over()
    s.others = math.max(s.others, more)
    if s.probe_until > 0 then
        for _ = 1, math.min(more, free()) do
            redis.call('LPOP', FREE)
            redis.call('RPUSH', FREE, whole(now))
        end
    end
end

local result = {0, 0}
if step == 'take' then
    local number, owner = ARGV[9], ARGV[10]
    redis.call('ZADD', USERS, whole(now), owner)
    redis.call('ZREMRANGEBYSCORE', USERS, '-inf', whole(now - 2 * s.interval))
    local at = take(number)
    if at then
        result = {1, at - now}
    else
        result = {0, math.max(s.not_before - now, tonumber(ASK))}
    end
elseif step == 'give' then
    local number, age = ARGV[9], tonumber(ARGV[10])
    local burst, remaining, interval = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
    local sent = age and now - age
    if burst then
        for i, name in ipairs({'burst', 'burst_remaining', 'interval', 'daily', 'daily_remaining'}) do
            redis.call('HSET', FIGURES, 'said_' .. name, ARGV[10 + i])
        end
        s.limit, s.interval = burst, interval or s.interval
        resize()
        if remaining and sent then notice(sent, burst - remaining) end
    end
    if sent then s.last_answer, s.probe_until = now, 0 end
    free_one(number)
elseif step == 'pause' then
    turn_over()
    s.others = math.max(s.others, math.floor(s.limit / 3))
    s.not_before = math.max(s.not_before, now + (tonumber(ARGV[9]) or s.interval))
    s.probe_until = 0
    result = {0, s.not_before - now}
end

for _, name in ipairs(names) do redis.call('HSET', FIGURES, name, whole(s[name])) end
local ttl = math.max(KEPT, math.ceil((s.not_before - now) / 1000000) + 60)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, whole(ttl)) end
return {result[1], whole(result[2]), s.limit, whole(s.interval), redis.call('ZCARD', USERS)}
"""


class RedisPacer(SlotPacer):
    """A budget shared by all processes that name the same Redis.

    :param url: ``redis://[[user]:password@]host[:port][/db]`` or ``rediss://...``, as redis-py reads it.
    :param key: fingerprint of the credential.
    :param clock: monotonic seconds, of this process; what is shared goes by Redis' clock.
    :raises ValueError: redis-py cannot read the URL.
    """

    def __init__(self, url: str, key: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis: Any = redis.Redis.from_url(
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            # Once, without waiting: an idle connection may have been dropped.
            retry=Retry(NoBackoff(), 1),
        )
        self._script: Any = self._redis.register_script(_SCRIPT)
        # The braces keep all keys of a budget on one node of a cluster.
        self._keys = [f"{{hubprefs:{key}}}:{part}" for part in ("figures", "free", "held", "users")]
        self._now = ""  # Redis' own clock; tests set another
        self._trip = _TIMEOUT / 10  # seconds that a round trip took lately, the longest
        self._last = (FIRST_LIMIT, FIRST_INTERVAL, 1)
        super().__init__(clock)

    @property
    def last_seen(self) -> tuple[int, float, int]:
        """See :class:`SlotPacer`."""
        return self._last

    @property
    def budget(self) -> Budget:
        """What HubSpot said last."""
        try:
            found = self._redis.hmget(self._keys[0], [f"said_{name}" for name in _FIGURES])
        except redis.RedisError as error:
            raise _store_error(error) from error
        burst, remaining, interval, daily, daily_remaining = (int(each) if each else None for each in found)
        seconds = interval / 1e6 if interval else None
        return Budget(burst, remaining, seconds, daily, daily_remaining)

    def _take(self, number: int, *, blocking: bool) -> tuple[bool, float]:
        promised, wait = self._run("take", number, number >> SERIAL_BITS, blocking=blocking)
        return promised, self._clock() + wait

    def _give(self, number: int, sent: float | None, said: Budget, *, blocking: bool) -> None:
        # The message takes time: by Redis' clock the request was sent earlier than its age says, never later.
        age = None if sent is None else self._clock() - sent + (0 if self._now else 2 * self._trip)
        self._run(
            "give",
            number,
            _microseconds(age),
            said.burst,
            said.burst_remaining,
            _microseconds(said.interval),
            said.daily,
            said.daily_remaining,
            blocking=blocking,
        )

    def _hold(self, seconds: float | None, *, blocking: bool) -> float:
        _, wait = self._run("pause", _microseconds(seconds), blocking=blocking)
        return self._clock() + wait

    def _run(self, step: str, *arguments: int | None, blocking: bool) -> tuple[bool, float]:
        if not blocking:
            raise BusyError
        constants = (FIRST_INTERVAL, LEASE, PROBE_FOR, ASK_AGAIN)
        asked = time.monotonic()
        given = ["" if each is None else each for each in arguments]
        try:
            yes, wait, limit, interval, users = self._script(
                self._keys,
                [step, self._now, FIRST_LIMIT, *(_microseconds(each) for each in constants), _KEPT, *given],
            )
        except redis.RedisError as error:
            raise _store_error(error) from error
        self._trip = max(time.monotonic() - asked, 0.8 * self._trip)
        self._last = (int(limit), int(interval) / 1e6, max(1, int(users)))
        return bool(yes), int(wait) / 1e6


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _store_error(error: Exception) -> StoreError:
    """The error in one line; redis-py's texts name hosts and commands, not passwords."""
    return StoreError(re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200])
