"""Fixtures of the tests of ``airflow_provider_hubprefs.hooks``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make ``hubprefs_default`` a connection given by a URI, or by JSON with these members."""

    def make(uri: str | None = None, **members: Any) -> None:
        given = uri or json.dumps({"conn_type": "hubprefs", **members})
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", given)

    return make
