"""An opt-out in HubSpot starts DAGs: real scheduler, DAG processor and triggerer, which is killed in between."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import ROOT
from tests.system.airflow_parts import Airflow, airflow
from tests.system.leaks import leaks_in_files
from tests.system.processes import none_is_left, wait_for

pytest.importorskip("airflow.triggers.shared_stream", reason="shared streams came with Airflow 3.3")
pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]

DAG_ID = "hubprefs_on_opt_out"
SECRETS = ["quokkawombat", "numbatbilby"]


def address(number: int) -> str:
    return f"quokkawombat+{number}@numbatbilby.example"


def rows(mirror: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in mirror.read_text().splitlines()] if mirror.exists() else []


def runs(running: Airflow) -> list[str]:
    reply = running.ask("GET", f"/api/v2/dags/{DAG_ID}/dagRuns", params={"limit": 100})
    return [one["state"] for one in reply.json()["dag_runs"]] if reply else []


def test_opt_outs_are_in_the_mirror_soon_and_once(tmp_path: Path) -> None:
    home, lists = tmp_path / "home", tmp_path / "lists"
    home.mkdir()
    mirror = lists / "mirror.jsonl"
    with Simulator(portal={"indexing_seconds": [0.5, 3]}) as hubspot:
        hubspot.opt_out("before@x.example")
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        env = {
            "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(connection),
            "HUBPREFS_OPT_OUTS": f"file://{lists}",
            "HUBPREFS_OPT_OUTS_EVERY": "1",
        }
        with airflow(home, dags=[ROOT / "dags" / f"{DAG_ID}.py"], env=env, triggerer=True) as running:
            running.login()
            running.unpause(DAG_ID)

            def mirrored(wanted: int) -> bool:
                return len(rows(mirror)) >= wanted

            wait_for("the first search", lambda: any(lists.glob("cursor.*")), timeout=300)
            hubspot.opt_out(address(1), address(2))
            wait_for("two in the mirror", lambda: mirrored(2), timeout=300)
            hubspot.opt_out(*(address(number) for number in range(3, 103)))
            running.kill("triggerer")
            hubspot.opt_out(*(address(number) for number in range(103, 303)))
            running.start("triggerer")
            wait_for("all in the mirror", lambda: mirrored(302), timeout=400)
            started = wait_for(
                "the end of all runs",
                lambda: (found := runs(running)) and set(found) <= {"success", "failed"} and found,
                timeout=180,
            )
    assert Counter(row["subscriber"] for row in rows(mirror)) == Counter(
        address(number) for number in range(1, 303)
    )
    assert "success" in started
    assert leaks_in_files(home, SECRETS) == []
    assert none_is_left(str(home))
