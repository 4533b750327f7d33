"""Watchers in a hurry."""

from __future__ import annotations

import pytest

from airflow_provider_hubprefs.triggers import watching


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for Airflow's database here."""
    monkeypatch.setattr(watching, "SHORTEST_INTERVAL", 0.01)
    monkeypatch.setattr(watching, "ARRIVES_WITHIN", 0.01)
