"""A run against the local HubSpot, without Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk import dead_letters
from airflow_provider_hubprefs.bulk.dead_letters import DeadLetters
from airflow_provider_hubprefs.bulk.exchange import Exchange
from airflow_provider_hubprefs.bulk.outcome import OUTCOMES
from airflow_provider_hubprefs.bulk.runner import Runner
from airflow_provider_hubprefs.bulk.source import read_rows
from airflow_provider_hubprefs.bulk.state import RunState
from airflow_provider_hubprefs.bulk.summary import details_of, summary_of
from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll, Write
from airflow_provider_hubprefs.hubspot.auth import StaticToken
from airflow_provider_hubprefs.hubspot.calls import Calls
from airflow_provider_hubprefs.hubspot.client import Client
from airflow_provider_hubprefs.hubspot.pacing import ProcessPacer
from airflow_provider_hubprefs.hubspot.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

MakeWrite = Callable[[Calls], Write]
IMPATIENT = Settings(retry_total=1.5, retry_first_wait=0.02, retry_max_wait=0.1)


class Letters(DeadLetters):
    """Dead letters that stay in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, letters: dead_letters.Letters) -> dead_letters.Letters:
        self.lines += letters.held
        return dead_letters.Letters(letters.parts + 1)


@dataclass
class Done:
    """A run that is over."""

    summary: dict[str, Any]
    letters: list[dict[str, Any]]
    error: Exception | None

    @property
    def outcomes(self) -> dict[str, int]:
        return {name: self.summary[name] for name in OUTCOMES if self.summary[name]}

    def of(self, outcome: str) -> dict[str, str | None]:
        """Subscriber -> category, of the dead letters with this outcome."""
        return {one["subscriber"]: one["category"] for one in self.letters if one["outcome"] == outcome}


@pytest.fixture
def client_for(hubspot: Simulator) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(*, token: str = "all", version: str = "2026-09") -> Client:
        client = Client(
            StaticToken(hubspot.tokens[token] if token != "all" else hubspot.token),
            version=version,
            host=hubspot.url,
            settings=IMPATIENT,
            pacer=ProcessPacer(),
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def run(client_for: Callable[..., Client]) -> Callable[..., Done]:
    def run_it(
        source: Any,
        write: MakeWrite = UnsubscribeAll,
        *,
        token: str = "all",
        version: str = "2026-09",
        batch_size: int = 100,
        concurrency: int = 4,
        verify: bool = False,
        **reading: Any,
    ) -> Done:
        client = client_for(token=token, version=version)
        wanted = write(client.calls)
        letters = Letters()
        report = RunState(letters)
        exchange = Exchange(client, report.operations)
        runner = Runner(
            exchange,
            wanted,
            report,
            batch_size=batch_size,
            concurrency=concurrency,
            verify=verify,
        )
        error: Exception | None = None
        try:
            runner.run(read_rows(source, check=wanted.check_row, **reading))
        except Exception as raised:  # noqa: BLE001 - what it was is for the test to say
            error = raised
        report.flush()
        return Done(summary_of(details_of(report)), [json.loads(line) for line in letters.lines], error)

    return run_it
