"""Fixtures of the tests of ``airflow_provider_hubprefs.hubspot``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.simulator import Simulator

from .pacing_workers import BURST, INTERVAL_MS
from .server import Server
from .threaded import Loop, Threaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "pat-na1-11111111-2222-3333-4444-555555555555"


class Clock:
    """Time that only passes when a client sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def event_loop_thread() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


FOR_TASKS_ONLY = pytest.mark.parametrize("client_of", ["requests"], indirect=True)
"""For tests about something that only the client for tasks has."""


@pytest.fixture(params=["requests", "httpx"])
def client_of(
    request: pytest.FixtureRequest, clock: Clock, event_loop_thread: Loop, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Client]]:
    """Makes clients whose waits are recorded instead of waited for, with a budget they cannot spend.

    Every test that uses it runs twice: with the client for tasks, and with the one for event loops.
    """
    made: list[Client] = []

    def make(server: Server | str, **settings: Any) -> Client:
        arguments: dict[str, Any] = {
            "auth": StaticToken(TOKEN),
            "host": server if isinstance(server, str) else server.url,
            "pacer": ProcessPacer(limit=1000, clock=clock),
            **settings,
        }
        auth, sleep = arguments.pop("auth"), arguments.pop("sleep", clock.sleep)
        if request.param == "requests":
            client = Client(auth, **arguments)
        else:
            client = cast("Client", Threaded(event_loop_thread, auth, **arguments))

        async def asleep(seconds: float) -> None:
            sleep(seconds)
            if request.param == "httpx":
                await asyncio.sleep(0)

        monkeypatch.setattr(getattr(client, "client", client), "_sleep", asleep)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def busy_hubspot() -> Iterator[Simulator]:
    """HubSpot with a small and short window, which counts whatever was one too many."""
    limits = {"burst": BURST, "interval_ms": INTERVAL_MS, "count_refused": True}
    with Simulator(portal={"limits": limits}, latency_ms=20) as hubspot:
        yield hubspot
