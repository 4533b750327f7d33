"""The scenario table, run by both clients: the same results, the same requests on the wire."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from airflow_provider_hubprefs.hubspot.api.endpoints import ENDPOINTS, VERSIONS
from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

from .conftest import TOKEN, Clock
from .scenarios import SCENARIOS, SUBSCRIBER, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_hubprefs.hubspot.transport.client import Client

    from .server import Server

    Ending = tuple[object, HubSpotError | None]
    Run = Callable[[Scenario], Ending]


def run(scenario: Scenario, client: Client) -> Ending:
    try:
        return client.send(scenario.call(client.calls)), None
    except HubSpotError as error:
        return None, error


@pytest.fixture
def run_on(server: Server, client_of: Callable[..., Client]) -> Run:
    def on(scenario: Scenario) -> Ending:
        server.script[:] = scenario.answers
        server.requests.clear()
        settings = Settings(**dict[str, Any](scenario.settings))
        return run(scenario, client_of(server, version=scenario.version, settings=settings))

    return on


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_client_does_what_the_table_says(
    scenario: Scenario,
    server: Server,
    clock: Clock,
    run_on: Run,
) -> None:
    began = clock.now
    result, error = run_on(scenario)

    if scenario.error is None:
        assert error is None
        assert result == scenario.result
    else:
        assert type(error) is scenario.error
        assert {name: getattr(error, name) for name in scenario.details} == scenario.details
    assert all(part in str(error) for part in scenario.says)
    assert not any(part in str(error) for part in scenario.says_not)
    assert server.lines == list(scenario.lines)
    assert not server.script
    assert [request.json if request.body else None for request in server.requests][
        : len(scenario.bodies)
    ] == list(scenario.bodies)
    shortest, longest = scenario.waited
    assert shortest <= clock.now - began <= longest + 0.01


def test_the_table_names_every_endpoint_of_every_version() -> None:
    seen = {(scenario.version, line.split("?")[0]) for scenario in SCENARIOS for line in scenario.lines}

    for version in VERSIONS:
        for endpoint in ENDPOINTS.values():
            path = f"/communication-preferences/{version}/{endpoint.path}"
            before, _, after = path.partition("{")
            behind = after.partition("}")[2]
            assert any(
                known == version
                and line.startswith(f"{endpoint.method} {before}")
                and line.endswith(behind)
                and line.count("/") == path.count("/")
                for known, line in seen
            ), (version, endpoint.name)


def test_scenarios_have_names_of_their_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.fixture
def everything_logged(tmp_path: Path) -> Iterator[Path]:
    """All records of all libraries, formatted to the last detail."""
    path = tmp_path / "log"
    handler = logging.FileHandler(path)
    root = logging.getLogger()
    chatty = (root, logging.getLogger("httpx"))  # which Airflow silences
    levels = [logger.level for logger in chatty]
    root.addHandler(handler)
    for logger in chatty:
        logger.setLevel(logging.DEBUG)
    yield path
    for logger, level in zip(chatty, levels, strict=True):
        logger.setLevel(level)
    root.removeHandler(handler)
    handler.close()


SAID_BY_LIBRARY = {
    "requests": ['"GET /***@E***.com?channel=EMAIL HTTP/1.1" 200', "Failed to parse headers"],
    "httpx": ["send_request_headers.started request=<Request [b'GET']>", "receive_response_headers.complete"],
}
"""What shows that the libraries' own logs were looked at, masked."""


@pytest.mark.parametrize(("client_of", "said_by_library"), SAID_BY_LIBRARY.items(), indirect=["client_of"])
def test_no_address_and_no_token_is_in_any_error_or_log(
    everything_logged: Path, run_on: Run, said_by_library: list[str]
) -> None:
    said = []
    for scenario in SCENARIOS:
        result, error = run_on(scenario)
        said.append(repr(result))
        chain: BaseException | None = error
        while chain is not None:
            said += [str(chain), repr(chain), *traceback.format_exception(chain), repr(vars(chain))]
            chain = chain.__cause__ or chain.__context__
    said.append(everything_logged.read_text())
    text = "\n".join(said)

    assert [line for line in said_by_library if line not in text] == []
    for form in (SUBSCRIBER, SUBSCRIBER.partition("@")[0], "Exämple", "bob@example.org", TOKEN):
        for shape in (form, form.lower(), quote(form, safe=""), quote(form, safe="").lower(), quote(form)):
            assert shape not in text
    assert text.count("***@") > len(SCENARIOS) / 2
