"""Watchers with short pauses."""

from __future__ import annotations

import pytest

from airflow_provider_hubprefs.triggers import opt_out


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opt_out, "SHORTEST_INTERVAL", 0.01)
    monkeypatch.setattr(opt_out, "STORED_WITHIN", 0.01)
