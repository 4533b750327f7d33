"""Tasks that write and then wait, in a worker and in a triggerer that is killed in between: they write once."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from airflow_provider_hubprefs.simulator import Simulator
from tests.system.airflow_parts import airflow
from tests.system.processes import none_is_left, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

DAG_ID = "hubprefs_writing_waits"
DEFERRED = ("written_and_deferred", "sent_and_deferred")
POKED = ("written_and_poked", "sent_and_poked")


def test_tasks_that_write_and_wait_write_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Simulator(portal={"operations": {"seconds": 20}}) as hubspot:
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        env = {"AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(connection)}
        dag = Path(__file__).parent / "dags" / f"{DAG_ID}.py"
        with airflow(home, dags=[dag], env=env, triggerer=True) as running:
            running.login()
            run_id = running.trigger(DAG_ID)

            def waiting() -> bool:
                states = running.states(DAG_ID, run_id)
                return {states.get(name) for name in DEFERRED} == {"deferred"}

            wait_for("all that wait", waiting, timeout=150)
            asked = len(hubspot.requests)
            wait_for("their questions", lambda: len(hubspot.requests) > asked + 3, timeout=120)
            running.kill("triggerer")
            running.start("triggerer")
            running.wait(DAG_ID, run_id, timeout=150)
            states = running.states(DAG_ID, run_id)
        endpoints = [request.endpoint for request in hubspot.requests]
        written, sent = endpoints.count("unsubscribe_all"), endpoints.count("batch_unsubscribe_all")
    assert states == dict.fromkeys((*DEFERRED, *POKED), "success")
    with sqlite3.connect(home / "airflow.db") as db:
        tries = db.execute(
            "select distinct try_number from task_instance where dag_id = ?", (DAG_ID,)
        ).fetchall()
        results = db.execute("select value from xcom where key = 'return_value'").fetchall()
    assert tries == [(1,)]
    returned = [str(value).replace("\\", "") for (value,) in results]
    assert sum('"outcome": "changed"' in result for result in returned) == 2
    assert sum('"changed": 250' in result for result in returned) == 2
    assert (written, sent) == (2, 6)

    logs = {name: task_log(home, name) for name in (*DEFERRED, *POKED)}
    assert {name: "Pausing task as DEFERRED" in text for name, text in logs.items()} == {
        **dict.fromkeys(POKED, False),
        **dict.fromkeys(DEFERRED, True),
    }
    assert not re.search(r"(deferred|poked)-\d+@", logs["sent_and_deferred"] + logs["sent_and_poked"])
    assert none_is_left(str(home))


def task_log(home: Path, task_id: str) -> str:
    """All of a task's log, also what its trigger says."""
    folders = (home / "logs" / f"dag_id={DAG_ID}").glob(f"run_id=*/task_id={task_id}")
    return "".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.log")))
