"""A task that is marked failed while it runs: it stops in time, says how far it came, and goes on when cleared."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import ROOT
from tests.system.airflow_parts import airflow
from tests.system.processes import wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROWS = 1000
DAG_ID = "hubprefs_stopped"


def test_a_task_marked_failed_stops_and_goes_on_when_it_is_cleared(tmp_path: Path) -> None:
    people = [f"person-{number}@example.com" for number in range(ROWS)]
    (tmp_path / "people.csv").write_text("\n".join(["email", *people]))
    report = tmp_path / "report.json"
    with Simulator() as hubspot:
        hubspot.fault("latency", ms=[1000, 1000], times=None)
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        env = {
            "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(connection),
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "TEST_FOLDER": str(tmp_path),
        }
        dags = [ROOT / "tests" / "system" / "dags" / "hubprefs_stopped.py"]
        with airflow(tmp_path / "airflow", dags=dags, env=env) as running:
            running.login()
            run_id = running.trigger(DAG_ID)
            task = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/opt_out"
            wait_for("requests", lambda: hubspot.stats["requests"] > 10, timeout=90)

            assert running.ask("PATCH", task, json={"new_state": "failed"})
            assert running.wait(DAG_ID, run_id) == "failed"
            wait_for("the end", lambda: "Task killed!" in running.log(DAG_ID, run_id, "opt_out"), timeout=30)

            told = json.loads(report.read_text())
            # What was under way when it was stopped is accounted for: nothing that HubSpot did is missing.
            assert (told["complete"], told["incomplete_because"]) == (False, "StoppedError")
            assert told["changed"] == sum(map(hubspot.is_opted_out, people))
            assert 0 < told["changed"] < ROWS
            # Airflow gives five seconds, and then sends more signals.
            assert "did not terminate in time" not in (running.home / "scheduler.log").read_text()

            hubspot.clear_faults()
            again = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["opt_out"], "reset_dag_runs": True}
            assert running.ask("POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", json=again)
            assert running.wait(DAG_ID, run_id) == "success"
            summary = running.xcom(DAG_ID, run_id, "opt_out")
        assert (summary["read"], summary["changed"], summary["tries"]) == (ROWS, ROWS, 2)
        bodies = [
            each.json()["inputs"] for each in hubspot.requests if each.endpoint == "batch_unsubscribe_all"
        ]
        sent = Counter(address for inputs in bodies for address in inputs)
        assert sent == Counter(people)  # nobody twice
