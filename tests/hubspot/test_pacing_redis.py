"""One budget for many machines, in a Redis of the tests' own; skipped where there is none to start."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.pacing.fallback import FallbackPacer
from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, Ticket
from airflow_provider_hubprefs.hubspot.pacing.slots import Budget, Slots
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Clock
from .pacing_workers import Workers, free_now, headers, learned, send, violations

SERVER = shutil.which("redis-server")
CLIENT = True
try:
    from airflow_provider_hubprefs.hubspot.pacing.redis import RedisPacer
except ModuleNotFoundError:
    CLIENT = False

needs_redis = pytest.mark.skipif(
    not (SERVER and CLIENT), reason="needs redis-server and the package redis: nothing was tested with Redis"
)


class Redis:
    """A server that can be killed, and started again in the same place with nothing in it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder
        self.start()

    def start(self, *options: str) -> None:
        places = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self.process = subprocess.Popen(
            [str(SERVER), *places, "--save", "", "--appendonly", "no", *options], stdout=subprocess.DEVNULL
        )
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @cached_property
    def client(self) -> Any:
        import redis  # type: ignore[import-not-found,unused-ignore]

        return redis.Redis.from_url(self.url, decode_responses=True)

    def command(self, *words: str) -> Any:
        return self.client.execute_command(*words)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def server(module_server: Redis) -> Redis:
    module_server.command("FLUSHALL")
    return module_server


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.kill()


@needs_redis
def test_processes_and_their_threads_share_one_budget(busy_hubspot: Simulator, server: Redis) -> None:
    results = Workers(busy_hubspot, server.url, 4).results()

    assert [result["requests"] for result in results] == [24] * 4
    assert violations(busy_hubspot) == 0


@needs_redis
def test_a_killed_process_takes_no_budget_with_it(busy_hubspot: Simulator, server: Redis) -> None:
    workers = Workers(busy_hubspot, server.url, 3, calls=8)
    workers.have_sent(30)
    killed = workers.running.pop()
    killed.kill()

    assert [result["requests"] for result in workers.results()] == [32] * 2
    assert killed.wait() < 0
    assert violations(busy_hubspot) == 0


@needs_redis
def test_without_redis_each_goes_on_with_its_share_and_comes_back(
    busy_hubspot: Simulator, mortal: Redis
) -> None:
    workers = Workers(busy_hubspot, mortal.url, 2, threads=4, calls=30)
    workers.have_sent(40)
    mortal.kill()
    workers.have_sent(80)
    mortal.start()

    results = workers.results()

    assert [result["requests"] - result["throttled"] for result in results] == [120] * 2
    assert sum(result["throttled"] for result in results) <= 5
    assert int(mortal.command("HGET", "{hubprefs:key}:figures", "said_burst")) == 20


@needs_redis
def test_what_one_learns_all_know(server: Redis) -> None:
    one, other = (RedisPacer(server.url, "key") for _ in range(2))
    ticket = Ticket()
    assert one.wait(ticket) == 0
    one.done(ticket, headers(10, daily=1000, daily_remaining=7, remaining=9))

    assert other.budget == Budget(10, 9, 10.0, 1000, 7)
    assert free_now(other) == 9
    one.pause(4)
    assert 3 < one.wait(Ticket()) <= 4.1
    assert 3 < RedisPacer(server.url, "key").wait(Ticket()) <= 4.1


@needs_redis
def test_an_event_loop_always_asks_in_a_thread(server: Redis) -> None:
    pacer = RedisPacer(server.url, "key")

    for ask in (lambda: pacer.wait(Ticket(), blocking=False), lambda: pacer.pause(blocking=False)):
        with pytest.raises(BusyError):
            ask()

    assert server.command("KEYS", "*") == []


@needs_redis
def test_before_the_first_answer_nothing_is_known(server: Redis) -> None:
    assert RedisPacer(server.url, "key").budget == Budget()


@needs_redis
def test_two_credentials_share_nothing(server: Redis) -> None:
    one, other = (learned(RedisPacer(server.url, key)) for key in ("one", "other"))

    assert free_now(one) == 9
    assert free_now(other) == 9


@needs_redis
def test_a_slot_costs_one_round_trip(server: Redis) -> None:
    pacer = learned(RedisPacer(server.url, "key"))
    server.command("CONFIG", "RESETSTAT")

    assert free_now(pacer) == 9
    asked = pacer_calls(server)

    assert asked == {"cmdstat_evalsha": 10}


def pacer_calls(server: Redis) -> dict[str, int]:
    inside = {"hmget", "hset", "llen", "zcard", "lindex", "lpop", "lpush", "ltrim", "rpush", "zrange", "zadd"}
    inside |= {"zrem", "zremrangebyscore", "expire", "time"}
    own = {"config", "config|resetstat", "info", "hello", "client|setinfo", "client", "select", "auth"}
    stats = server.command("INFO", "commandstats")
    return {
        name: values["calls"]
        for name, values in stats.items()
        if name.removeprefix("cmdstat_") not in inside | own
    }


@needs_redis
def test_a_script_that_redis_forgot_is_given_again(server: Redis) -> None:
    pacer = learned(RedisPacer(server.url, "key"))
    server.command("SCRIPT", "FLUSH")

    assert free_now(pacer) == 9


@needs_redis
def test_an_unused_budget_is_dropped(server: Redis) -> None:
    learned(RedisPacer(server.url, "key")).wait(Ticket())

    keys = server.command("KEYS", "*")
    assert sorted(keys) == [f"{{hubprefs:key}}:{part}" for part in ("figures", "free", "held", "users")]
    assert all(0 < int(server.command("TTL", key)) <= 86_400 for key in keys)


@needs_redis
def test_a_part_of_it_that_redis_dropped_does_no_harm(server: Redis) -> None:
    pacer = learned(RedisPacer(server.url, "key"))
    server.command("DEL", "{hubprefs:key}:free")
    assert free_now(pacer) == 10
    server.command("DEL", "{hubprefs:key}:figures")

    assert RedisPacer(server.url, "key").wait(Ticket()) == 0


@needs_redis
def test_a_fork_shares_the_budget(server: Redis) -> None:
    pacer = learned(RedisPacer(server.url, "key"))
    held = Ticket()
    assert pacer.wait(held) == 0

    if (child := os.fork()) == 0:
        pacer.done(held, {})
        os._exit(free_now(pacer))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8
    assert free_now(pacer) == 0


@needs_redis
@pytest.mark.parametrize("back", [0.5, 100])
def test_a_clock_that_is_put_back_stops_no_process(server: Redis, back: float) -> None:
    pacer = RedisPacer(server.url, "key")
    pacer._now = "2000000000"
    learned(pacer)
    pacer._now = str(int(2_000_000_000 - back * 1e6))

    assert pacer.wait(Ticket()) == 0


@needs_redis
def test_a_redis_that_refuses_is_named_without_its_password(
    mortal: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    mortal.command("CONFIG", "SET", "requirepass", "right")
    pacer = pacer_for(mortal.url.replace("//", "//:wr0ngsecret@"), "key")

    assert free_now(learned(pacer)) == 9
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert f"Redis at 127.0.0.1:{mortal.port}" in caplog.text
    assert "wr0ngsecret" not in caplog.text


@needs_redis
def test_the_share_is_that_of_one_user_among_the_last_known(
    mortal: Redis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    stores = [RedisPacer(mortal.url, "key", clock=clock) for _ in range(4)]
    pacers = [FallbackPacer(store, "Redis", clock=clock) for store in stores]
    learned(pacers[0], 100)
    for pacer in pacers:
        send(pacer)
    mortal.kill()

    learned(pacers[3], 100, clock.sleep)

    assert free_now(pacers[3]) == 24
    assert "uses 1/4 of it" in caplog.text
    pacers[3].pause(0.0)
    assert pacers[3].budget.burst == 100


@needs_redis
@pytest.mark.parametrize("url", ["redis://host:port", "redis://:s3cret@host:99999/0"])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="budget_store: expected redis://") as caught:
        pacer_for(url, "key")
    assert "s3cret" not in str(caught.value)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "give", "give", "pause"]),
        st.integers(0, 40),  # eighths of a second that pass before
        st.integers(0, 5),  # which of those held
        st.sampled_from([None, (8, 7), (8, 3), (8, 0), (5, 4), (12, 9), (12, 2)]),  # what HubSpot says
        st.booleans(),
    ),
    max_size=60,
)


@needs_redis
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_the_script_does_what_slots_do(server: Redis, steps: list[tuple[Any, ...]]) -> None:
    server.command("FLUSHALL")
    now = 1000.0
    pacer = RedisPacer(server.url, "key", clock=lambda: now)
    slots = Slots()
    held: list[tuple[int, float]] = []
    for number, (step, eighths, which, said, sent) in enumerate(steps):
        now += eighths / 8
        pacer._now = str(round(now * 1e6))
        if step == "take":
            expected = slots.take(now, number)
            promised, at = pacer._take(number, blocking=True)
            assert (at if promised else None) == expected
            if expected is not None:
                held.append((number, max(now, expected)))
        elif step == "pause":
            assert pacer._hold(eighths / 4, blocking=True) == slots.pause(now, eighths / 4)
        elif held:
            slot, at = held.pop(which % len(held))
            budget = Budget() if said is None else Budget(said[0], said[1], 4.0, 100, 50)
            slots.give(now, slot, at if sent and at <= now else None, budget)
            pacer._give(slot, at if sent and at <= now else None, budget, blocking=True)
        with server.client.pipeline(transaction=False) as pipeline:
            pipeline.hgetall("{hubprefs:key}:figures")
            pipeline.lrange("{hubprefs:key}:free", 0, -1)
            pipeline.zcard("{hubprefs:key}:held")
            figures, free, held_there = pipeline.execute()
        if figures:
            assert (int(figures["others"]), int(figures["others_before"])) == slots.others
            assert [max(0.0, each) for each in slots.free] == [int(each) / 1e6 for each in free]
            assert held_there == len(slots.held)
    if steps:
        assert pacer.budget == slots.budget
