"""Airflow for the tests: each process that runs tests has its own AIRFLOW_HOME, set before Airflow is imported."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.helpers import LONG

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(tempfile.mkdtemp(prefix="hubprefs-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
DAGS = HOME / "dags"
DAGS.mkdir()
for folder in (ROOT / "dags", ROOT / "tests" / "dags"):
    for file in folder.glob("*.py"):
        (DAGS / file.name).symlink_to(file)

os.environ.update(
    {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__FERNET_KEY": "aHVicHJlZnMgdGVzdHMuLi4uLi4uLi4uLi4uLi4uLi4=",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    }
)
for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
    del os.environ[name]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell started pytest in the background: the processes that tests start would ignore Ctrl-C, too.
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.default_int_handler)

if LONG:
    settings.register_profile("long", max_examples=1000)
    settings.load_profile("long")

pytest_plugins = ["airflow_provider_hubprefs.testing", "tests.postgres", "tests.warehouses"]

if TYPE_CHECKING:
    from collections.abc import Callable


LONG_FILES = (
    "system/test_airflow.py",
    "system/test_browser.py",
    "system/test_demo.py",
    "watch/test_opt_outs.py",
    "sensors/test_modes.py",
    "operators/test_batch_waiting.py",
    "operators/test_waiting.py",
    "bulk/test_stopping.py",
    "system/test_dags.py",
    "system/test_round_trip_kills.py",
    "system/test_round_trip.py",
)
"""The files that take longest: they come first, so that no worker is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; ``--no-loadscope-reorder`` has xdist keep this order."""
    ranks = {Path(ROOT, "tests", name): rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """Airflow's metadata database; returns a copy of it that stays as it was made."""
    from airflow.utils.db import initdb

    initdb()
    fresh = HOME / "fresh.db"
    with closing(sqlite3.connect(HOME / "airflow.db")) as db, closing(sqlite3.connect(fresh)) as copy:
        db.backup(copy)
    return fresh


class Run:
    """A DAG run that has ended: its tasks' states, and what Airflow has stored of them."""

    def __init__(self, dag_run: Any) -> None:
        self.state = str(dag_run.state)
        self.tasks = {
            (ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"): str(ti.state)
            for ti in dag_run.get_task_instances()
        }
        self._dag_run = dag_run

    @property
    def mapped(self) -> dict[str, int]:
        """Mapped tasks, and how many of each there were."""
        indexes = [ti for ti in self._dag_run.get_task_instances() if ti.map_index >= 0]
        return dict(Counter(ti.task_id for ti in indexes))

    def xcom(self, task_id: str, *, key: str = "return_value", map_index: int = -1) -> Any:
        """What a task pushed."""
        where = "dag_id = ? and run_id = ? and task_id = ? and map_index = ? and key = ?"
        return self._stored(f"select value from xcom where {where}", task_id, map_index, key)

    def rendered(self, task_id: str, *, map_index: int = -1) -> Any:
        """What Airflow shows as "Rendered Template" of a task."""
        where = "dag_id = ? and run_id = ? and task_id = ? and map_index = ?"
        query = f"select rendered_fields from rendered_task_instance_fields where {where}"
        return self._stored(query, task_id, map_index)

    def _stored(self, query: str, *values: object) -> Any:
        with sqlite3.connect(HOME / "airflow.db") as db:
            row = db.execute(query, (self._dag_run.dag_id, self._dag_run.run_id, *values)).fetchone()
        found = row[0] if row else None
        while isinstance(found, str):
            try:
                found = json.loads(found)
            except ValueError:
                return found
        return found


@pytest.fixture
def run_dag(airflow_db: Path, hubprefs_default: str) -> Callable[..., Run]:
    """Run a DAG of ``dags/`` or ``tests/dags/`` in real Airflow, against the local HubSpot.

    A DAG's file has the name of the DAG, or is named where it has another.
    """
    from airflow.dag_processing.dagbag import DagBag

    def run(dag_id: str, *, file: Path | None = None, **conf: Any) -> Run:
        bag = DagBag(file or DAGS / f"{dag_id}.py")
        assert not bag.import_errors, bag.import_errors
        return Run(bag.dags[dag_id].test(run_conf=conf))

    return run


class RecordingTaskInstance:
    """The task instance for an operator that is executed without Airflow's database."""

    dag_id, run_id, map_index = "dag", "run", -1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def context() -> dict[str, Any]:
    """The part of Airflow's context that operators read."""
    return {"ti": RecordingTaskInstance(), "params": {}}
