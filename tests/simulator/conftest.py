"""Simulators that end with their test, and a small client."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import pytest
import requests

from airflow_provider_hubprefs.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKETING, NEWSLETTER, ARCHIVED = 348211900, 348211907, 348211919


class Api:
    """Speaks plain HTTP with one version of a simulator's API."""

    def __init__(self, hubspot: Simulator, version: str = "2026-09", token: str | None = None) -> None:
        self.base = f"{hubspot.url}/communication-preferences/{version}"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token or hubspot.token}"

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.session.get(f"{self.base}/{path}", params=query, timeout=10, allow_redirects=False)

    def post(self, path: str, json: Any = None, **query: Any) -> requests.Response:
        return self.session.post(f"{self.base}/{path}", params=query, json=json, timeout=10)

    def set(self, address: str, status: str, subscription: int = MARKETING, **more: Any) -> requests.Response:
        body = {"channel": "EMAIL", "statusState": status, "subscriptionId": subscription, **more}
        return self.post(f"statuses/{quote(address, safe='')}", body)

    def opt_out(self, address: str, **query: Any) -> requests.Response:
        return self.post(f"statuses/{quote(address, safe='')}/unsubscribe-all", channel="EMAIL", **query)

    def statuses(self, address: str, **query: Any) -> requests.Response:
        return self.get(f"statuses/{quote(address, safe='')}", channel="EMAIL", **query)

    def opt_outs(self, address: str, **query: Any) -> requests.Response:
        return self.get(f"statuses/{quote(address, safe='')}/unsubscribe-all", channel="EMAIL", **query)

    def batch(self, path: str, inputs: list[Any], **query: Any) -> requests.Response:
        return self.post(f"statuses/batch/{path}", {"inputs": inputs}, channel="EMAIL", **query)


class Simulate(Protocol):
    """Starts a simulator with a portal of the test's own; it ends with the test."""

    def __call__(self, *, portal: Any = None, clock: Any = time.time, record: int = 100) -> Simulator: ...


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    with ExitStack() as running:
        yield lambda **options: running.enter_context(Simulator(seed=1, **options))


@pytest.fixture
def hubspot(simulate: Simulate) -> Simulator:
    return simulate()


@pytest.fixture
def api(hubspot: Simulator) -> Api:
    return Api(hubspot)
