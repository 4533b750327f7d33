"""Databases that Airflow knows as the connection ``warehouse``: PostgreSQL, SQLite and DuckDB, as they are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Warehouse:
    """One database.

    :param run: executes a statement and returns its rows.
    """

    kind: str
    run: Callable[..., list[tuple[Any, ...]]]

    @property
    def hook(self) -> Any:
        from airflow_provider_hubprefs.compat import BaseHook

        connection: Any = BaseHook.get_connection("warehouse")
        return connection.get_hook()

    def texts(self, query: str) -> list[tuple[str | None, ...]]:
        """All rows of a query, in order, each cell as text."""
        return sorted(tuple(None if cell is None else str(cell) for cell in row) for row in self.run(query))


@pytest.fixture(params=["postgres", "sqlite", "duckdb"])
def any_warehouse(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Warehouse:
    """Each of the three, empty."""
    if request.param == "postgres":
        return Warehouse("postgres", request.getfixturevalue("warehouse").run)
    path = tmp_path / f"warehouse.{request.param}"
    connection = {"conn_type": request.param, "host": str(path)}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))

    def run(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        connect: Any = sqlite3.connect
        if request.param == "duckdb":
            connect = pytest.importorskip("duckdb").connect
        with closing(connect(str(path))) as connection:
            found = connection.execute(statement, *parameters).fetchall()
            connection.commit()
            return list(found)

    return Warehouse(request.param, run)
