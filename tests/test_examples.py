"""The example DAGs: how they look in Airflow, and the mirror of opt-outs, whenever its worker is killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import ROOT, Run

EXAMPLES = sorted((ROOT / "dags").glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_says_what_it_does(file: Path) -> None:
    dag = DagBag(file).dags[file.stem]
    assert dag.description
    assert dag.doc_md
    assert dag.doc_md.strip()
    assert {"hubprefs", "example"} <= set(dag.tags)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_form_of_an_example_explains_every_field_and_names_no_subscriber(file: Path) -> None:
    params = DagBag(file).dags[file.stem].params
    for name in params:
        param = params.get_param(name)
        assert param.description, name
        assert param.schema.get("title"), name
        if param.schema["type"] == "string" and "enum" not in param.schema:
            assert param.schema["minLength"] >= 1, f"{name} may be sent empty"
        assert name not in {"subscriber", "subscription_id"} or not param.value, name


class Mirror:
    """The task of the example, over a folder of the watcher's lists."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUBPREFS_OPT_OUTS", f"file://{folder}")
        self.folder = folder
        spec = importlib.util.spec_from_file_location("example", ROOT / "dags" / "hubprefs_on_opt_out.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._task: Callable[..., Any] = module.dag.task_dict["mirror"].python_callable

    def add(self, number: int, rows: int) -> None:
        lines = "".join(f'{{"subscriber":"p{number}-{row}@example.com"}}\n' for row in range(rows))
        (self.folder / f"opt-outs-{number:08}.jsonl").write_text(lines)

    def run(self, *extras: dict[str, Any]) -> Any:
        class Events(dict[Any, Any]):
            def __missing__(self, key: Any) -> Any:
                return [SimpleNamespace(extra=extra) for extra in extras]

        return self._task(triggering_asset_events=Events(some="asset"))

    def killed(self, number: int, *, after: int) -> None:
        """Run it in a process that is killed when so many bytes are written."""
        if (child := os.fork()) == 0:
            try:
                self._die_in_write(after)
                self.run({"payload": {"number": number}})
            finally:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    def _die_in_write(self, after: int) -> None:
        from airflow.sdk import ObjectStoragePath

        def write_bytes(path: Any, content: bytes) -> None:
            with path.open("wb") as file:
                file.write(content[:after])
            os.kill(os.getpid(), signal.SIGKILL)

        ObjectStoragePath.write_bytes = write_bytes  # type: ignore[method-assign,assignment]

    def rows(self) -> list[int]:
        """How many rows each copy has."""
        return [len(path.read_text().splitlines()) for path in sorted((self.folder / "mirror").iterdir())]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    return Mirror(tmp_path, monkeypatch)


def test_a_kill_at_any_moment_loses_nothing_of_the_mirror(mirror: Mirror) -> None:
    mirror.add(1, 1000)
    mirror.add(2, 500)
    assert mirror.run({"payload": {"number": 2}}) == {"lists": 2, "opt_outs": 1500}
    for number, after in enumerate((0, 100, 10**9), start=3):
        mirror.add(number, 10)
        mirror.killed(number, after=after)
        assert mirror.rows()[:2] == [1000, 500]
        mirror.add(number + 10, 1)  # the next event comes before the retry
        mirror.run({"payload": {"number": number + 10}})
        (mirror.folder / f"opt-outs-{number + 10:08}.jsonl").unlink()
    assert mirror.rows() == [1000, 500, 10, 10, 10, 1, 1, 1]


@pytest.mark.parametrize("extras", [[], [{}], [{"payload": None}], [{"payload": {"number": 1}}]])
def test_an_event_that_names_no_list_copies_what_is_missing_or_skips(
    mirror: Mirror, extras: list[dict[str, Any]]
) -> None:
    from airflow.providers.common.compat.sdk import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        mirror.run(*extras)
    mirror.add(1, 3)
    assert mirror.run(*extras) == {"lists": 1, "opt_outs": 3}
    with pytest.raises(AirflowSkipException, match="has all lists already"):
        mirror.run(*extras)


def test_the_mirror_triggered_by_hand_copies_what_there_is(
    run_dag: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBPREFS_OPT_OUTS", f"file://{tmp_path}")
    (tmp_path / "opt-outs-00000001.jsonl").write_text("{}\n")
    run = run_dag("hubprefs_on_opt_out")
    assert (run.tasks, run.xcom("mirror")) == ({"mirror": "success"}, {"lists": 1, "opt_outs": 1})


def test_one_subscriber_is_opted_out_by_the_form(run_dag: Callable[..., Run], hubspot: Simulator) -> None:
    hubspot.load({"operations": {"seconds": 1.0}, "brands": [7]})
    run = run_dag("hubprefs_opt_out", subscriber="jane@example.com", brand=7)
    assert run.xcom("opt_out") == {
        "subscriber": "j***@e***.com",
        "outcome": "changed",
        "operation": "COMPLETE",
    }
    assert (hubspot.is_opted_out("jane@example.com", 7), hubspot.is_opted_out("jane@example.com")) == (
        True,
        False,
    )


def test_columns_of_a_file_say_what_is_wanted(
    run_dag: Callable[..., Run], hubspot: Simulator, tmp_path: Path
) -> None:
    newsletter = hubspot.subscription_ids[0]
    lines = ["email,status,subscription,basis", f"jane@example.com,no,{newsletter},"]
    lines += [f"jane@example.com,yes,{newsletter},", f"bob@example.com,yes,{newsletter},CONSENT_WITH_NOTICE"]
    (tmp_path / "preferences.csv").write_text("\n".join(lines))
    file = str(tmp_path / "preferences.csv")
    assert run_dag("hubprefs_preferences", preferences=file, most=1).state == "failed"
    run = run_dag("hubprefs_preferences", preferences=file)
    found = run.xcom("set_statuses")
    assert (found["changed"], found["duplicate"]) == (2, 1)
    assert hubspot.status_of("jane@example.com", newsletter) == "UNSUBSCRIBED"
    assert hubspot.status_of("bob@example.com", newsletter) == "SUBSCRIBED"


def test_what_hubspot_has_becomes_tables_that_stay_the_same(
    run_dag: Callable[..., Run], hubspot: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_MINE", f'{{"conn_type": "sqlite", "host": "{database}"}}')
    (tmp_path / "people.csv").write_text("email\njane@example.com\nbob@example.com\n")
    hubspot.opt_out("jane@example.com")
    given = {"contacts": str(tmp_path / "people.csv"), "warehouse": "mine", "output": str(tmp_path / "out")}
    found = []
    for _ in range(2):
        run = run_dag("hubprefs_export", **given)
        assert run.tasks == dict.fromkeys(("subscriptions", "statuses", "opt_outs"), "success")
        with closing(sqlite3.connect(database)) as db:
            tables = ("subscriptions", "statuses", "opt_outs")
            found.append(
                [db.execute(f"SELECT * FROM hubspot_{one} ORDER BY 1, 2").fetchall() for one in tables]
            )
    assert found[0] == found[1]
    _, statuses, opt_outs = found[0]
    assert len(statuses) == 2 * len(hubspot.subscription_ids)
    assert {row[3] for row in statuses if row[0] == "jane@example.com"} == {"UNSUBSCRIBED"}
    assert [row[1] for row in opt_outs] == ["jane@example.com"]


def test_rows_of_a_database_become_runs(
    run_dag: Callable[..., Run], hubspot: Simulator, tmp_path: Path
) -> None:
    newsletter, database = hubspot.subscription_ids[0], tmp_path / "customers.db"
    customers = [("jane@example.com", 1, 0), ("bob@example.com", 0, 0), ("eve@example.com", 0, 1)]
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("CREATE TABLE customers (email, suppressed, newsletter)")
        db.executemany("INSERT INTO customers VALUES (?, ?, ?)", customers)
    run = run_dag("hubprefs_query", database=str(database), newsletter=newsletter)
    assert (run.xcom("suppressed")["changed"], run.xcom("without_newsletter")["changed"]) == (1, 1)
    assert hubspot.is_opted_out("jane@example.com")
    assert hubspot.status_of("bob@example.com", newsletter) == "UNSUBSCRIBED"
    assert hubspot.status_of("eve@example.com", newsletter) == "NOT_SPECIFIED"
