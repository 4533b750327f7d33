"""What the tests of budgets share: processes that spend one, and shorthands for what one request does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.pacing.file import FileStore
from airflow_provider_hubprefs.hubspot.pacing.pacers import Ticket
from airflow_provider_hubprefs.hubspot.pacing.shared import SharedPacer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer
    from airflow_provider_hubprefs.simulator import Simulator

BURST, INTERVAL_MS = 20, 250

_WORKER = """
import json, sys, threading
from airflow_provider_hubprefs.hubspot.pacing import shared
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for

url, token, store, key, threads, calls = json.loads(sys.argv[1])
shared._RETRY = 0.3
with Client(StaticToken(token), host=url, pacer=pacer_for(store, key)) as client:
    print("ready", flush=True)
    sys.stdin.readline()

    def work():
        for _ in range(calls):
            client.send(client.calls.get_unsubscribe_all("jane@example.com"))

    running = [threading.Thread(target=work) for _ in range(threads)]
    [each.start() for each in running]
    [each.join() for each in running]
    print(json.dumps({"requests": client.usage.requests, "throttled": client.usage.throttled}))
"""


class Workers:
    """Processes of their own that send so many calls from so many threads each; they begin together."""

    def __init__(
        self, hubspot: Simulator, store: str, count: int, *, threads: int = 4, calls: int = 6
    ) -> None:
        self.hubspot = hubspot
        argument = json.dumps([hubspot.url, hubspot.token, store, "key", threads, calls])
        self.running = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER, argument],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for each in self.running:
            assert each.stdout and each.stdout.readline() == "ready\n"
        for each in self.running:
            assert each.stdin
            each.stdin.write("\n")
            each.stdin.flush()

    def have_sent(self, count: int) -> None:
        """Return when so many requests have arrived."""
        while self.hubspot.state.recorder.total < count:
            time.sleep(0.002)

    def results(self) -> list[dict[str, int]]:
        found = []
        for each in self.running:
            output, error = each.communicate(timeout=120)
            assert (each.returncode, bool(output)) == (0, True), f"ended with {each.returncode}: {error}"
            found.append(json.loads(output))
        return found


def file_pacer(
    folder: Path | None = None, key: str = "key", clock: Callable[[], float] = time.monotonic
) -> SharedPacer:
    """A process' pacer of a budget in a file."""
    return SharedPacer(FileStore(key, folder=folder, clock=clock), clock=clock)


def violations(hubspot: Simulator) -> int:
    return sum(app["violations"] for app in hubspot.stats["limits"]["apps"].values())


def headers(limit: object, interval: object = 10_000, **more: object) -> dict[str, str]:
    said = {"max": limit, "interval-milliseconds": interval, **more}
    return {f"x-hubspot-ratelimit-{name.replace('_', '-')}": str(value) for name, value in said.items()}


def send(pacer: Pacer) -> Ticket:
    """Send a request that may go at once."""
    ticket = Ticket()
    assert pacer.wait(ticket) == 0
    return ticket


def learned(pacer: Any, limit: int = 10, sleep: Callable[[float], None] = time.sleep) -> Any:
    """A pacer whose first request has been answered."""
    ticket = Ticket()
    while (wait := pacer.wait(ticket)) > 0:
        sleep(wait)
    pacer.done(ticket, headers(limit))
    return pacer


def free_now(pacer: Pacer) -> int:
    """How many requests could be sent at once. It takes their slots."""
    count = 0
    while pacer.wait(Ticket()) == 0:
        count += 1
    return count
