"""Many waits in a real triggerer that is killed in between, some of them disturbed; and nothing blocks its loop."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import ROOT
from tests.system.airflow_parts import Airflow, airflow, free_port
from tests.system.leaks import dump, leaks, leaks_in_files
from tests.system.processes import none_is_left, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

WAITS = int(os.environ.get("HUBPREFS_TEST_WAITS", "200"))
PATIENCE = 120 + 4 * WAITS
BATCH_READ = "batch_read_unsubscribe_all"
MANY, DISTURBED, BRANCHING = "hubprefs_many_waits", "hubprefs_disturbed_waits", "hubprefs_wait_and_branch"
HERE = Path(__file__).parent
DAG_FILES = [
    HERE / "dags" / f"{MANY}.py",
    HERE / "dags" / f"{DISTURBED}.py",
    ROOT / "dags" / f"{BRANCHING}.py",
]
SECRETS = ["quokkawombat", "numbatbilby"]
ADDRESS = "quokkawombat+{}@numbatbilby.example"
ADDRESSES = [ADDRESS.format(number) for number in range(WAITS)]
BRANCHES = {"COMPLETE": "jane@example.com", "CANCELED": "canceled@example.com"}
PORTAL = {"operations": {"seconds": [5, 20], "outcomes": {BRANCHES["CANCELED"]: "CANCELED"}}}


@dataclass
class Done:
    """What there is when all is over and Airflow has ended."""

    home: Path
    guard: Path
    hubspots: dict[str, Simulator]
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, dict[str, str]] = field(default_factory=dict)
    stored: bytes = b""
    over_before: int = 0

    def log(self, name: str, task_id: str) -> str:
        """All of a task's log, also what its trigger says."""
        dag_id, run_id = self.runs[name]
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "".join(path.read_text() for path in sorted(folder.rglob("*.log")))

    def rows(self, query: str, *values: object) -> list[Any]:
        """Ask Airflow's database."""
        with sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=ro", uri=True) as db:
            return db.execute(query, values).fetchall()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """One Airflow has run all of it side by side: starting one is what takes the time."""
    home, files = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("files")
    (home / "config").mkdir()
    (home / "config" / "airflow_local_settings.py").symlink_to(HERE / "triggerer_guard.py")
    with ExitStack() as stack:
        hubspots = {
            "hubprefs_default": stack.enter_context(Simulator(portal=PORTAL)),
            "revoked": stack.enter_context(Simulator()),
            "away": stack.enter_context(Simulator(port=free_port())),
        }
        env = {
            "AIRFLOW_DISABLE_GREENBACK_PORTAL": "true",  # synchronous look-ups in the loop are errors then
            "AIRFLOW__CORE__PARALLELISM": "6",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "3",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
            "TEST_ADDRESS": ADDRESS,
            "TEST_GUARD": str(files / "guard.jsonl"),
            "TEST_WAITS": str(WAITS),
        }
        with airflow(home, dags=DAG_FILES, env=env, triggerer=True) as running:
            running.login()
            for name, hubspot in {**hubspots, "removed": hubspots["hubprefs_default"]}.items():
                running.connect(name, hubspot, budget_store=f"file://{files / 'budget'}", retry_total=2)
            over = Done(home, files / "guard.jsonl", hubspots)
            happen(running, over)
        yield over


def happen(running: Airflow, over: Done) -> None:
    """All wait; HubSpot begins to opt them out; in the middle of that everything goes wrong."""
    hubspot, revoked, away = over.hubspots.values()
    for name, dag_id in {"many": MANY, "disturbed": DISTURBED}.items():
        over.runs[name] = (dag_id, running.trigger(dag_id))
    wait_for("the waits", lambda: deferred(over) == len(trigger_logs(over)) == WAITS + 3, timeout=PATIENCE)
    over.stored = dump(over.home / "airflow.db")
    for ends, subscriber in BRANCHES.items():
        over.runs[ends] = (BRANCHING, running.trigger(BRANCHING, subscriber=subscriber))
    for address in ADDRESSES:
        hubspot.portal.unsubscribe_all(address, None)
    away.stop()
    away.opt_out(ADDRESS.format("away"))  # which nobody can see before it is back
    revoked.fault("status", status=401, times=None)

    wait_for("a third", lambda: opted_out(hubspot) >= WAITS / 3, timeout=60, every=0.1)
    running.kill("triggerer")
    over.over_before = opted_out(hubspot)
    before = trigger_logs(over)
    running.disconnect("removed")
    running.start("triggerer")
    wait_for("HubSpot missed once more", lambda: missed(trigger_logs(over) - before), timeout=PATIENCE)
    away.start()
    for name, (dag_id, run_id) in over.runs.items():
        over.states[name] = running.wait(dag_id, run_id, timeout=PATIENCE)
        over.tasks[name] = running.states(dag_id, run_id)


def deferred(over: Done) -> int:
    ((number,),) = over.rows("select count(*) from task_instance where state = 'deferred'")
    return int(number)


def opted_out(hubspot: Simulator) -> int:
    return sum(1 for address in ADDRESSES if hubspot.portal.operation_status(address) == "COMPLETE")


def trigger_logs(over: Done) -> set[Path]:
    """A file for each trigger and triggerer that has run it."""
    return set((over.home / "logs").rglob("*.trigger.*.log"))


def missed(logs: set[Path]) -> bool:
    return any("task_id=away" in str(path) and "in a row" in path.read_text() for path in logs)


def guarded(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.guard.read_text().splitlines()]


def test_all_waits_succeed_each_once(done: Done) -> None:
    assert done.states["many"] == "success"
    assert 0 < done.over_before < WAITS
    waits = done.rows("select state, try_number from task_instance where dag_id = ?", MANY)
    assert waits == [("success", 1)] * WAITS
    assert done.rows("select count(*) from task_instance_history") == [(0,)]
    xcoms = done.rows(
        "select map_index, value from xcom where dag_id = ? and key = 'return_value' order by map_index", MANY
    )
    assert [index for index, _ in xcoms] == list(range(WAITS))
    stored = [json.loads(value) for _, value in xcoms]
    results = [json.loads(one) if isinstance(one, str) else one for one in stored]
    assert {(one["operation"], one["opted_out"]) for one in results} == {("COMPLETE", True)}


def test_hubspot_was_asked_far_less_than_once_for_every_wait_and_poll(done: Done) -> None:
    hubspot = done.hubspots["hubprefs_default"]
    assert {status for answers in hubspot.stats["answers"].values() for status in answers} <= {"200", "207"}
    reads = [each for each in hubspot.requests if each.endpoint in {"get_unsubscribe_all", BATCH_READ}]
    together = [len(each.json()["inputs"]) for each in reads if each.endpoint == BATCH_READ]
    by_tasks = WAITS + len(BRANCHES) + 1  # every task asks once before it defers
    alone = len(reads) - len(together) - by_tasks
    assert 4 * (len(together) + alone) <= sum(together) + alone


def test_the_example_goes_on_by_how_its_operation_ends(done: Done) -> None:
    assert {ends: done.states[ends] for ends in BRANCHES} == {"COMPLETE": "success", "CANCELED": "success"}
    assert [done.tasks[ends]["confirm"] for ends in BRANCHES] == ["success", "skipped"]
    assert [done.tasks[ends]["report"] for ends in BRANCHES] == ["skipped", "success"]


@pytest.mark.parametrize(
    ("task_id", "state", "says"),
    [
        ("removed", "failed", "The conn_id `removed` isn't defined"),
        ("revoked", "failed", "401"),
        ("away", "success", "in a row"),
    ],
)
def test_a_wait_that_is_disturbed_says_so(done: Done, task_id: str, state: str, says: str) -> None:
    assert done.tasks["disturbed"][task_id] == state
    assert says in done.log("disturbed", task_id)


def test_nothing_of_ours_blocks_the_loop(done: Done) -> None:
    notes = guarded(done)
    assert sum(note["what"] == "watching" for note in notes) == 2
    assert [note for note in notes if note["ours"]] == []


def test_no_address_is_in_the_database_while_they_wait(done: Done) -> None:
    assert leaks(done.stored, SECRETS) == []


def test_nothing_airflow_has_written_down_names_anybody_when_they_have_waited(done: Done) -> None:
    with sqlite3.connect(done.home / "airflow.db") as db:
        db.execute("vacuum")  # rows that are deleted may still be in the file
    assert '"level":"debug"' in done.log("disturbed", "away")
    assert leaks_in_files(done.home, SECRETS) == []
    assert leaks_in_files(done.guard.parent, SECRETS) == []


def test_nothing_is_left_running(done: Done) -> None:
    assert none_is_left(str(done.home))
