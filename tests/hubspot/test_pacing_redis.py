"""One budget for many machines, in a Redis of the tests' own; skipped where there is none to start."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError, Ticket
from airflow_provider_hubprefs.hubspot.pacing.shared import SharedPacer
from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import Clock
from .pacing_workers import Workers, free_now, headers, learned, send, violations

SERVER = shutil.which("redis-server")
CLIENT = True
try:
    from airflow_provider_hubprefs.hubspot.pacing.redis import RedisStore
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


def redis_pacer(server: Redis, key: str = "key") -> SharedPacer:
    """A process' pacer of a budget in Redis."""
    return SharedPacer(RedisStore(server.url, key))


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
    results = Workers(busy_hubspot, server.url, 3).results()

    assert [result["requests"] for result in results] == [24] * 3
    assert violations(busy_hubspot) == 0


@needs_redis
def test_without_redis_each_goes_on_with_its_share_and_comes_back(
    busy_hubspot: Simulator, mortal: Redis
) -> None:
    workers = Workers(busy_hubspot, mortal.url, 2, calls=16)
    workers.have_sent(30)
    mortal.kill()
    workers.have_sent(60)
    mortal.start()

    results = workers.results()

    assert [result["requests"] - result["throttled"] for result in results] == [64] * 2
    assert sum(result["throttled"] for result in results) <= 5
    assert redis_pacer(mortal).budget.burst == 20


@needs_redis
def test_what_one_learns_all_know(server: Redis) -> None:
    one, other = (redis_pacer(server) for _ in range(2))
    ticket = Ticket()
    assert one.wait(ticket) == 0
    one.done(ticket, headers(10, daily=1000, daily_remaining=7, remaining=9))

    assert other.budget == Budget(10, 9, 10.0, 1000, 7)
    assert free_now(other) == 9
    one.pause(4)
    assert 3 < one.wait(Ticket()) <= 4.1
    assert 3 < redis_pacer(server).wait(Ticket()) <= 4.1


@needs_redis
def test_an_event_loop_always_asks_in_a_thread(server: Redis) -> None:
    pacer = redis_pacer(server)

    for ask in (lambda: pacer.wait(Ticket(), blocking=False), lambda: pacer.pause(blocking=False)):
        with pytest.raises(BusyError):
            ask()

    assert server.command("KEYS", "*") == []


@needs_redis
def test_before_the_first_answer_nothing_is_known(server: Redis) -> None:
    assert redis_pacer(server).budget == Budget()


@needs_redis
def test_two_credentials_share_nothing(server: Redis) -> None:
    one, other = (learned(redis_pacer(server, key)) for key in ("one", "other"))

    assert free_now(one) == 9
    assert free_now(other) == 9


@needs_redis
def test_of_threads_that_change_it_at_the_same_time_each_gets_a_slot_of_its_own(server: Redis) -> None:
    pacers = [learned(redis_pacer(server), 40) for _ in range(4)]
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda pacer=pacer: found.append(free_now(pacer))) for pacer in pacers * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(found) == 36  # four have been answered


@needs_redis
def test_a_script_that_redis_forgot_is_given_again(server: Redis) -> None:
    pacer = learned(redis_pacer(server))
    server.command("SCRIPT", "FLUSH")

    assert free_now(pacer) == 9


@needs_redis
def test_an_unused_budget_is_dropped(server: Redis) -> None:
    learned(redis_pacer(server)).wait(Ticket())

    assert server.command("KEYS", "*") == ["hubprefs:key"]
    assert 0 < int(server.command("TTL", "hubprefs:key")) <= 86_400


@needs_redis
def test_a_budget_that_redis_dropped_begins_anew(server: Redis) -> None:
    pacer = learned(redis_pacer(server))
    server.command("FLUSHALL")

    assert free_now(pacer) == 0  # its own request counts; the other slots are for those who come
    assert free_now(redis_pacer(server)) == 0


@needs_redis
def test_a_fork_shares_the_budget(server: Redis) -> None:
    pacer = learned(redis_pacer(server))
    held = Ticket()
    assert pacer.wait(held) == 0

    if (child := os.fork()) == 0:
        pacer.done(held, {})
        os._exit(free_now(pacer))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8
    assert free_now(pacer) == 0


@needs_redis
def test_a_redis_that_refuses_is_named_without_its_password(
    mortal: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    mortal.command("CONFIG", "SET", "requirepass", "right")
    pacer = pacer_for(mortal.url.replace("//", "//:wr0ngsecret@"), "key")

    assert free_now(learned(pacer, 80)) == 9
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert f"Redis at 127.0.0.1:{mortal.port}" in caplog.text
    assert "wr0ngsecret" not in caplog.text


@needs_redis
def test_the_share_is_that_of_one_user_among_the_last_known(
    mortal: Redis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pacers = [SharedPacer(RedisStore(mortal.url, "key"), clock=clock) for _ in range(4)]
    learned(pacers[0], 100)
    for pacer in pacers:
        send(pacer)
    mortal.kill()

    assert pacers[3].wait(Ticket()) > 0
    clock.sleep(14)

    assert free_now(pacers[3]) == 20 - 1  # one is in flight
    assert "uses 1/5 of it (4 used it)" in caplog.text
    pacers[3].pause(0.0)
    assert pacers[3].budget.burst == 100


@needs_redis
@pytest.mark.parametrize("url", ["redis://host:port", "redis://:s3cret@host:99999/0"])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="budget_store: expected redis://") as caught:
        pacer_for(url, "key")
    assert "s3cret" not in str(caught.value)


@needs_redis
def test_redis_lost_emptied_and_stopped_in_a_burst_costs_no_429(
    busy_hubspot: Simulator, mortal: Redis
) -> None:
    workers = Workers(busy_hubspot, mortal.url, 4, calls=20)
    workers.have_sent(30)
    mortal.kill()
    workers.have_sent(50)
    mortal.start()
    workers.have_sent(90)
    mortal.command("FLUSHALL")
    workers.have_sent(130)
    mortal.process.send_signal(signal.SIGSTOP)
    workers.have_sent(140)
    mortal.process.send_signal(signal.SIGCONT)

    results = workers.results()

    assert [result["throttled"] for result in results] == [0] * 4
    assert violations(busy_hubspot) == 0


@needs_redis
def test_processes_that_begin_without_redis_cost_no_429(busy_hubspot: Simulator, mortal: Redis) -> None:
    mortal.kill()
    workers = Workers(busy_hubspot, mortal.url, 4, calls=6)
    workers.have_sent(40)
    mortal.start()

    assert [result["throttled"] for result in workers.results()] == [0] * 4
    assert violations(busy_hubspot) == 0
