"""How much of the account's budget is used, and what that costs: this project's pacers beside pyrate-limiter.

``python benchmarks/pacing.py`` runs everything (about ten minutes); ``--help`` says how to run less. The local
HubSpot is a process of its own that counts exactly: 190 requests per rolling 10 s, 120 ms latency.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIMIT, INTERVAL, LATENCY_MS, THREADS = 190, 10.0, 120, 8
UNPACED_RATE = 5.7
HAMMERED_FOR = 2.0


class Pyrate:
    """pyrate-limiter as a pacer: what it grants is sent, and it learns nothing from the answers."""

    budget = Budget()

    def __init__(self, store: str, limit: int = LIMIT, interval: float = INTERVAL) -> None:
        from pyrate_limiter import Limiter, Rate, SQLiteBucket

        rates = [Rate(limit, int(interval * 1000))]
        path = store.partition(":")[2]
        self._limiter = Limiter(SQLiteBucket.init_from_file(rates, db_path=path, use_file_lock=True))

    def wait(self, ticket: Ticket, *, blocking: bool = True) -> float:
        """Wait here, as its users do."""
        self._limiter.try_acquire("budget", blocking=True)
        return 0.0

    def done(self, ticket: Ticket, headers: Mapping[str, str], *, blocking: bool = True) -> None:
        """Nothing."""

    def pause(self, seconds: float | None = None, *, blocking: bool = True) -> None:
        """Nothing."""


def pacer_of(store: str) -> Pacer:
    """Return the pacer that a worker is to use."""
    return Pyrate(store) if store.startswith("pyrate:") else pacer_for(store, "benchmark")


# What runs in processes of its own ------------------------------------------------------------------------


def work(url: str, token: str, store: str, end: float) -> None:
    """Send without a rest; print when each answer came, and how many 429s."""
    pacer = pacer_of(store)
    answered: list[float] = []

    def send() -> None:
        while time.time() < end:
            with suppress(HubSpotError):
                client.send(client.calls.get_unsubscribe_all("jane@example.com"))
                answered.append(time.time())

    with Client(StaticToken(token), host=url, pacer=pacer, settings=Settings(retry_total=3600)) as client:
        threads = [threading.Thread(target=send, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, end - time.time()))
        result = {"answered": list(answered), "throttled": client.usage.throttled}
        say(json.dumps(result))
        sys.stdout.flush()
        os._exit(0)  # those that wait for a slot need not come to an end


def hammer(store: str, begin: float) -> None:
    """Take slots that are always free, and give them back; print how long taking took, in microseconds."""
    said = {"x-hubspot-ratelimit-max": str(LIMIT), "x-hubspot-ratelimit-interval-milliseconds": "1"}
    pacer = Pyrate(store, 10_000_000) if store.startswith("pyrate:") else pacer_for(store, "hammered")
    time.sleep(max(0.0, begin - time.time()))
    took = []
    while time.time() < begin + HAMMERED_FOR:
        ticket = Ticket()
        started = time.perf_counter()
        pacer.wait(ticket)
        took.append((time.perf_counter() - started) * 1e6)
        pacer.done(ticket, said)
    say(json.dumps(sorted(took)[:: max(1, len(took) // 2000)]))


# What runs them -------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start this file again, as a worker."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextmanager
def hubspot(limit: int = LIMIT) -> Iterator[dict[str, Any]]:
    """Run a local HubSpot."""
    module = "airflow_provider_hubprefs.simulator"
    options = ["--burst-limit", str(limit), "--latency-ms", str(LATENCY_MS), "--record", "10"]
    command = [sys.executable, "-m", module, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline() if process.stdout else "")
        finally:
            process.terminate()


@contextmanager
def redis_server(folder: str) -> Iterator[str | None]:
    """Run a Redis, if there is one."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield f"redis://127.0.0.1:{port}/"
        finally:
            process.terminate()


class UnpacedClient(threading.Thread):
    """A client of the same app that knows nothing of the budget, and never tries again."""

    def __init__(self, portal: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.portal, self.over = portal, False
        self.answers: list[tuple[float, int]] = []

    def run(self) -> None:
        """Send at a steady rate; one thread per request, for they overlap."""
        while not self.over:
            threading.Thread(target=self.ask, daemon=True).start()
            time.sleep(1 / UNPACED_RATE)

    def ask(self) -> None:
        """Send one request."""
        path = "/communication-preferences/2026-09/definitions"
        headers = {"Authorization": f"Bearer {self.portal['token']}"}
        request = urllib.request.Request(self.portal["url"] + path, headers=headers)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request) as response:  # noqa: S310 - loopback
                self.answers.append((time.time(), response.status))
        except urllib.error.HTTPError as error:
            self.answers.append((time.time(), error.code))


def ceiling(
    name: str, store: str, count: int, seconds: float, *, limit: int = LIMIT, beside: bool = False
) -> None:
    """Measure how much of the budget so many processes use together, and how evenly."""
    with hubspot(limit) as portal:
        other = UnpacedClient(portal) if beside else None
        if other:
            other.start()
            time.sleep(INTERVAL)
        end = time.time() + seconds + INTERVAL + 5.0  # Python starts, and libraries load
        workers = [start("work", portal["url"], portal["token"], store, end) for _ in range(count)]
        results = [json.loads(worker.communicate()[0]) for worker in workers]
        if other:
            other.over = True
            other.join()
    # The first window is a gift and does not count, but beside another client, where the run begins with it.
    begin = min(result["answered"][0] for result in results) + (0.0 if beside else INTERVAL)
    end = begin + seconds
    for result in results:
        result["answered"] = [each for each in result["answered"] if begin <= each < end]
    counts = [len(result["answered"]) for result in results]
    most = limit * seconds / INTERVAL
    shares = [each * count / sum(counts) for each in counts]
    line = (
        f"{name:26} {count:2} x {THREADS}   {sum(counts) / most:6.3f}   {steady(results, limit):6.3f}   "
        f"{sum(result['throttled'] for result in results):4}   {min(shares):5.2f} - {max(shares):4.2f}"
    )
    if other:
        there = [status for at, status in other.answers if begin <= at < end]
        fair = min(len(there), most / 2)
        line += f"   the other: {there.count(200)} of {len(there)}, {there.count(200) / fair:.2f} of its fair share"
    say(line)


def steady(results: list[dict[str, Any]], limit: int) -> float:
    """How fast it goes in the long run: windows that as many requests could have filled / windows they took.

    A count over a minute says it within some percent only: requests come in bursts, one per window, and it
    depends on where in a burst the minute begins and ends.
    """
    at = sorted(each for result in results for each in result["answered"])
    many = (len(at) - 1) // limit * limit
    if not many:
        return 0.0
    took = statistics.median(after - before for before, after in zip(at, at[many:], strict=False))
    return many / limit * INTERVAL / float(took)


def cost(name: str, store: str, count: int) -> None:
    """Measure how long taking a slot takes."""
    begin = time.time() + 8.0  # Python starts, and libraries load: slowly on a busy machine
    workers = [start("hammer", store, begin) for _ in range(count)]
    took = sorted(each for worker in workers for each in json.loads(worker.communicate()[0]))
    say(
        f"{name:26} {count:2}       {statistics.median(took):8.1f} {statistics.fmean(took):8.1f} "
        f"{took[len(took) * 99 // 100]:9.1f} {took[-1]:10.1f}"
    )


def main() -> None:
    """Run what is asked for, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured, per line (%(default)s)")
    parser.add_argument(
        "--stores", default="process,file,redis,pyrate", help="separated by commas (%(default)s)"
    )
    parser.add_argument("--only", choices=["ceiling", "beside", "guess", "cost"], help="one of the tables")
    options = parser.parse_args()
    names = {
        "process": "this process",
        "file": "file",
        "redis": "Redis",
        "pyrate": "pyrate-limiter, SQLite",
    }
    with tempfile.TemporaryDirectory() as folder, redis_server(folder) as redis:
        number = 0

        def store(kind: str) -> str:
            nonlocal number
            number += 1  # each line begins anew
            return {
                "process": "process",
                "file": f"file://{folder}/{number}",
                "redis": f"{redis}{number % 16}",
                "pyrate": f"pyrate:{folder}/{number}.db",
            }[kind]

        kinds = options.stores.split(",")
        absent = {"redis": not (redis and find_spec("redis")), "pyrate": not find_spec("filelock")}
        for kind in [kind for kind in kinds if absent.get(kind)]:
            say(f"{names[kind]} is left out: it needs redis-server and redis, or filelock")
            kinds.remove(kind)
        shared = [kind for kind in kinds if kind != "process"]
        load = os.getloadavg()[0]
        say(f"{LIMIT} requests per {INTERVAL:g} s, {LATENCY_MS} ms latency, {options.seconds:g} s; "
            f"{os.cpu_count()} CPUs, load before {load:.1f}")  # fmt: skip
        head = "budget in                  processes  used   steady    429s   each one's share of the mean"
        if options.only in (None, "ceiling"):
            say(
                "\nThe first window left out; used = requests answered / what the windows allow, "
                f"steady = that in the long run\n{head}"
            )
            for kind in kinds:
                ceiling(names[kind], store(kind), 1, options.seconds)
            for kind in shared:
                ceiling(names[kind], store(kind), 4, options.seconds)
        if options.only in (None, "guess"):
            say(f"\nFrom the first request on, where the account has 100 and not {LIMIT}\n{head}")
            for kind in shared:
                ceiling(names[kind], store(kind), 4, min(options.seconds, 40.0), limit=100)
        if options.only in (None, "beside"):
            say(f"\nBeside a client on the same app, {UNPACED_RATE} requests/s\n{head}")
            for kind in shared:
                ceiling(names[kind], store(kind), 4, min(options.seconds, 40.0), beside=True)
        if options.only in (None, "cost"):
            say("\nTaking a slot that is free, microseconds")
            say("budget in                  processes   median     mean       99 %    longest")
            for count in (1, 4):
                for kind in kinds if count == 1 else shared:
                    cost(names[kind], store(kind), count)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        url, token, its_store, its_end = sys.argv[2:]
        work(url, token, its_store, float(its_end))
    elif sys.argv[1:2] == ["hammer"]:
        hammer(sys.argv[2], float(sys.argv[3]))
    else:
        main()
