"""OpenLineage's events of real tasks, as its own client writes them to a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.leaks import leaks

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

pytestmark = [pytest.mark.system]

DAG = Path(__file__).parent / "dags" / "hubprefs_lineage.py"
ADDRESS = "quokkawombat+{}@numbatbilby.example"
REFUSED = ADDRESS.format(3)
RUN = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
bag.dags["hubprefs_lineage"].test()
"""
CONNECTION = "hubspot://hubprefs_default"
"""The connection stands for its portal, where no number is known."""
PORTAL = "hubspot://48120091"
"""The simulator's, which a bulk run asks for."""


class Emitted:
    """The events of a DAG run, and what they say of its tasks."""

    def __init__(self, home: Path, subscription: str) -> None:
        self.home = home
        self.subscription = subscription
        self.text = (home / "events.jsonl").read_bytes()
        self._events = [json.loads(line) for line in self.text.splitlines()]

    def last(self, task_id: str, kind: str) -> dict[str, Any]:
        """The last event of a kind of a task."""
        name = f"hubprefs_lineage.{task_id}"
        found: list[dict[str, Any]] = [
            one for one in self._events if one["job"]["name"] == name and one["eventType"] == kind
        ]
        return found[-1]

    def names(self) -> set[str]:
        """Every data set that is named anywhere."""
        return {each["name"] for one in self._events for each in [*one["inputs"], *one["outputs"]]}


def places(datasets: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["namespace"], each["name"]) for each in datasets}


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory, airflow_db: Path, hubspot_server: Simulator) -> Emitted:
    """Run the DAG in an Airflow of its own."""
    home = tmp_path_factory.mktemp("lineage")
    (home / "dags").mkdir()
    (home / "parts").mkdir()
    shutil.copy(airflow_db, home / "airflow.db")
    shutil.copy(DAG, home / "dags")
    rows = [ADDRESS.format(number) for number in range(1, 6)]
    (home / "list.csv").write_text("\n".join(["email", *rows]))
    for number in range(2):
        (home / "parts" / f"part-{number}.csv").write_text(f"email\n{ADDRESS.format(10 + number)}\n")
    hubspot_server.reset()
    refusal = {"category": "VALIDATION_ERROR", "message": "{address} is refused"}
    hubspot_server.load({"rejected": {REFUSED: refusal}, "operations": {"seconds": 1.0}})
    connection = {"conn_type": "hubprefs", "host": hubspot_server.url, "password": hubspot_server.token}
    clean = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    transport = {"type": "file", "log_file_path": str(home / "events.jsonl"), "append": True}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(home / "dags" / DAG.name)],
        env={
            **clean,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(
                {**connection, "extra": json.dumps({"budget_store": "process"})}
            ),
            "HUBPREFS_LINEAGE": str(home),
            "HUBPREFS_SUBSCRIPTION": str(hubspot_server.subscription_ids[0]),
        },
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return Emitted(home, f"subscriptions/{hubspot_server.subscription_ids[0]}")


def test_a_run_reads_its_file_and_writes_the_opt_outs_of_its_brand(emitted: Emitted) -> None:
    event = emitted.last("refused", "FAIL")
    assert places(event["inputs"]) == {("file", str(emitted.home / "list.csv"))}
    assert places(event["outputs"]) == {(PORTAL, "opt-outs/0")}
    assert event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 5
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 4


def test_a_run_that_fails_says_how_many_rows_and_why(emitted: Emitted) -> None:
    facets = emitted.last("refused", "FAIL")["run"]["facets"]
    found = facets["hubprefs_run"]
    assert found["outcomes"] == {
        "changed": 4,
        "unchanged": 0,
        "rejected": 1,
        "invalid": 0,
        "duplicate": 0,
        "unconfirmed": 0,
    }
    assert found["reasons"] == {"rejected: VALIDATION_ERROR": 1}
    assert found["report"].endswith("/refused/report.json")
    assert "1 rejected" in facets["errorMessage"]["message"]


def test_a_run_that_began_says_what_it_reads(emitted: Emitted) -> None:
    event = emitted.last("unreadable", "START")
    assert places(event["inputs"]) == {("file", "/nowhere/list.csv")}


def test_a_run_that_did_not_come_to_its_first_row_says_what_it_was_to_write(emitted: Emitted) -> None:
    event = emitted.last("unreadable", "FAIL")
    assert places(event["outputs"]) == {(CONNECTION, "subscriptions")}
    assert "there is no such file" in event["run"]["facets"]["errorMessage"]["message"]


def test_a_run_that_was_deferred_says_the_same(emitted: Emitted) -> None:
    event = emitted.last("deferred", "COMPLETE")
    assert places(event["inputs"]) == {("file", str(emitted.home / "parts"))}
    assert places(event["outputs"]) == {(PORTAL, emitted.subscription)}
    assert event["run"]["facets"]["hubprefs_run"]["outcomes"]["changed"] == 2


@pytest.mark.parametrize("task_id", ["one", "one_deferred"])
def test_one_subscriber_is_an_outcome_as_well(emitted: Emitted, task_id: str) -> None:
    event = emitted.last(task_id, "COMPLETE")
    name = emitted.subscription if task_id == "one" else "opt-outs"
    assert places(event["outputs"]) == {(CONNECTION, name)}
    assert event["run"]["facets"]["hubprefs_run"]["outcomes"] == {"changed": 1}


def test_a_sensor_reads_and_writes_nothing(emitted: Emitted) -> None:
    event = emitted.last("sensor", "COMPLETE")
    assert places(event["inputs"]) == {(CONNECTION, emitted.subscription)}
    assert event["outputs"] == []


def test_a_task_of_ones_own_has_the_lineage_of_its_hook(emitted: Emitted) -> None:
    written = places(emitted.last("plain", "COMPLETE")["outputs"])
    assert {(CONNECTION, emitted.subscription), (CONNECTION, "opt-outs")} <= written


def test_what_a_run_leaves_behind_is_no_data_set(emitted: Emitted) -> None:
    assert [name for name in emitted.names() if "/output/" in name] == []


def test_no_address_is_emitted(emitted: Emitted) -> None:
    assert not leaks(emitted.text, ["quokkawombat", "numbatbilby"])
    assert not leaks(emitted.text, [REFUSED])
