"""A run against the local HubSpot as it is shipped, without Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from airflow_provider_hubprefs.bulk.send.run import run_bulk
from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll, Write
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from airflow_provider_hubprefs.hubspot.api.calls import Calls
from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client
from airflow_provider_hubprefs.hubspot.transport.settings import Settings
from airflow_provider_hubprefs.storage import ObjectPlace

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

MakeWrite = Callable[[Calls], Write]
SHORT_RETRIES = Settings(retry_total=1.5, retry_first_wait=0.02, retry_max_wait=0.1)


class SameRun(Identity):
    """Of a run that nothing may keep from being resumed; HubSpot is not asked which portal it is."""

    portal = None


@dataclass
class Done:
    """A run that is over.

    :param summary: empty where the run did not begin.
    """

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
            settings=SHORT_RETRIES,
            pacer=ProcessPacer(),
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def run(client_for: Callable[..., Client], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """Carry a write out as the operators do: each call is a run of its own, with its own files."""

    def run_it(
        source: Any,
        write: MakeWrite = UnsubscribeAll,
        *,
        token: str = "all",
        version: str = "2026-09",
        batch_size: int = 100,
        concurrency: int = 4,
        verify: bool = False,
        max_changes: int | None = None,
        stop_when_refused_alike: bool = True,
        **reading: Any,
    ) -> Done:
        client = client_for(token=token, version=version)
        folder = tmp_path_factory.mktemp("run")
        files = RunFolder(folder)
        source_size = SourceSize(source)
        error: Exception | None = None
        try:
            wanted = write(client.calls)
            run_bulk(
                client,
                wanted,
                reader_of(source_size.source, check=wanted.row_check, **reading),
                source_size=source_size,
                batch_size=batch_size,
                concurrency=concurrency,
                verify=verify,
                max_changes=max_changes,
                stop_when_refused_alike=stop_when_refused_alike,
                folder=files,
                checkpoint=Checkpoint(ObjectPlace(files.checkpoint), SameRun(client, None, arguments={})),
            )
        except Exception as raised:  # noqa: BLE001 - what it was is for the test to say
            error = raised
        return Done(
            json.loads(lines) if (lines := "".join(lines_of(folder / "report.json"))) else {},
            [json.loads(line) for line in lines_of(folder / "dead_letters.jsonl")],
            error,
        )

    return run_it


def lines_of(path: Path) -> list[str]:
    """The lines of a file; none where it was not written."""
    return path.read_text().splitlines() if path.exists() else []


def sent(hubspot: Simulator, begin: int = 0) -> set[str]:
    """All addresses in the requests from some number on."""
    return {one for request in hubspot.requests[begin:] for one in request.json().get("inputs", [])}
