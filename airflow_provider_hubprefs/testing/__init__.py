"""For tests of your own DAGs: pytest fixtures over a local HubSpot.

In ``conftest.py``::

    pytest_plugins = ["airflow_provider_hubprefs.testing"]

and then::

    def test_opts_out(hubspot, hubprefs_default):
        dag.test(run_conf={"contacts": "contacts.csv"})
        assert hubspot.is_opted_out("jane@example.com")

They need the ``simulator`` extra and pytest.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the fixtures need pytest: pip install pytest", name=error.name) from error

from airflow_provider_hubprefs.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def hubspot_server() -> Iterator[Simulator]:
    """One local HubSpot for all tests of a session; a test uses ``hubspot``, which is fresh for each test."""
    with Simulator() as server:
        yield server


@pytest.fixture
def hubspot(hubspot_server: Simulator) -> Simulator:
    """A local HubSpot with a realistic portal, as if it had just started."""
    hubspot_server.reset()
    return hubspot_server


@pytest.fixture
def hubprefs_default(hubspot: Simulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Airflow's connection ``hubprefs_default``, to the local HubSpot; returns its id."""
    connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
    connection["extra"] = json.dumps({"budget_store": "process"})  # tests leave nothing on the machine
    monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
    return "hubprefs_default"
