"""DAGs in a whole Airflow whose triggerer is killed: how they end, and that Airflow stores no address."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers import OUTCOMES, reported
from tests.system.all_runs import (
    BRANCHES,
    DAG_FILES,
    FAILURES,
    MANY,
    OF_THE_MACRO,
    REFUSED,
    ROWS,
    SECRETS,
    STOPPED_ROWS,
    TEXT,
    WAIT_LIMIT,
    WAITS,
    Done,
    addresses,
    all_runs,
)
from tests.system.leaks import leaks, leaks_in_files
from tests.system.processes import none_is_left

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("airflow.triggers.shared_stream", reason="shared streams came with Airflow 3.3")
pytestmark = [pytest.mark.system, pytest.mark.timeout(300 + 4 * WAIT_LIMIT)]


@pytest.fixture(scope="module")
def done(airflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    home, files = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("files")
    with all_runs(home, files, database=airflow_db) as done:
        yield done


class TestWaits:
    def test_all_of_them_succeed_each_once(self, done: Done) -> None:
        assert done.states["many"] == "success"
        assert 0 < done.over_before_the_kill < WAITS
        waits = done.airflow.rows("select state, try_number from task_instance where dag_id = ?", MANY)
        assert waits == [("success", 1)] * WAITS
        assert done.airflow.rows("select * from task_instance_history where dag_id = ?", MANY) == []
        results = done.airflow.xcoms(*done.runs["many"], "wait")
        assert len(results) == WAITS
        assert {(one["operation"], one["opted_out"]) for one in results} == {("COMPLETE", True)}

    def test_hubspot_is_asked_far_less_than_once_for_every_wait_and_poll(self, done: Done) -> None:
        hubspot = done.hubspots["many"]
        assert {code for answers in hubspot.stats["answers"].values() for code in answers} <= {"200", "207"}
        batch = "batch_read_unsubscribe_all"
        reads = [each for each in hubspot.requests if each.endpoint in {"get_unsubscribe_all", batch}]
        together = [len(each.json()["inputs"]) for each in reads if each.endpoint == batch]
        by_tasks = WAITS + len(BRANCHES) + 1  # every task asks once before it defers
        alone = len(reads) - len(together) - by_tasks
        assert 4 * (len(together) + alone) <= sum(together) + alone

    def test_the_example_goes_on_by_how_its_operation_ends(self, done: Done) -> None:
        assert {ends: done.states[ends] for ends in BRANCHES} == {
            "COMPLETE": "success",
            "CANCELED": "success",
        }
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
    def test_one_that_is_disturbed_says_so(self, done: Done, task_id: str, state: str, says: str) -> None:
        assert done.tasks["disturbed"][task_id] == state
        assert says in done.log("disturbed", task_id)

    def test_nothing_of_ours_blocks_the_loop(self, done: Done) -> None:
        notes = [json.loads(line) for line in (done.files / "guard.jsonl").read_text().splitlines()]
        assert sum(note["what"] == "watching" for note in notes) == 2
        assert [note for note in notes if note["ours"]] == []


class TestWritesThatWait:
    """To one subscriber and to many, in a worker and in the triggerer."""

    TASKS = ("one_poked", "one_deferred", "many_poked", "many_deferred")

    def test_they_write_once_and_succeed_when_hubspot_is_done(self, done: Done) -> None:
        assert done.tasks["writing"] == dict.fromkeys(self.TASKS, "success")
        dag_id, _ = done.runs["writing"]
        tries = done.airflow.rows("select distinct try_number from task_instance where dag_id = ?", dag_id)
        assert tries == [(1,)]
        one, deferred, *many = (done.result("writing", task_id) for task_id in self.TASKS)
        assert one["outcome"] == deferred["outcome"] == "changed"
        assert [summary["changed"] for summary in many] == [250, 250]
        sent = Counter(request.endpoint for request in done.hubspots["writing"].requests)
        assert (sent["unsubscribe_all"], sent["batch_unsubscribe_all"]) == (2, 6)

    def test_only_those_that_are_deferrable_defer(self, done: Done) -> None:
        deferring = [
            task_id for task_id in self.TASKS if "Pausing task as DEFERRED" in done.log("writing", task_id)
        ]
        assert deferring == ["one_deferred", "many_deferred"]


class TestTheExample:
    def test_opts_all_out_but_one_that_is_refused(self, done: Done) -> None:
        assert done.states["example"] == "success"
        assert set(done.tasks["example"].values()) == {"success"}
        hubspot = done.hubspots["example"]
        assert [one for one in addresses(ROWS) if not hubspot.is_opted_out(one)] == [REFUSED]

    def test_its_summary_says_what_became_of_every_row(self, done: Done) -> None:
        summary = done.result("example", "opt_out")
        assert {name: summary[name] for name in ("read", *OUTCOMES)} == {
            "read": ROWS,
            "changed": ROWS - 2,
            "unchanged": 1,
            "rejected": 1,
            "invalid": 0,
            "duplicate": 0,
            "unconfirmed": 0,
        }
        path = Path(done.result("example", "opt_out")["dead_letters"])
        letters = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(letter["row"], letter["subscriber"], letter["outcome"]) for letter in letters] == [
            (addresses(ROWS).index(REFUSED) + 2, REFUSED, "rejected")
        ]

    def test_waits_for_operations_that_take_a_while(self, done: Done) -> None:
        assert done.states["slow"] == "success"
        summary = done.result("slow", "opt_out")
        assert (summary["changed"], summary["unconfirmed"]) == (ROWS, 0)
        assert reported(summary)["operations"]["PENDING"] >= 3
        assert all(done.hubspots["slow"].is_opted_out(one) for one in addresses(ROWS))


def test_private_arguments_reach_hubspot(done: Done) -> None:
    assert done.states["private"] == "success"
    hubspot = done.hubspots["hubprefs_default"]
    one, two, three, four, nine = OF_THE_MACRO
    assert [hubspot.is_opted_out(each) for each in (one, three, four, nine)] == [True, True, True, False]
    assert hubspot.status_of(two, hubspot.subscription_ids[0]) == "UNSUBSCRIBED"


@pytest.mark.parametrize("kind", FAILURES)
def test_failing_tasks_say_why(done: Done, kind: str) -> None:
    assert done.states["failures"] == "failed"
    for task_id in (f"many_{kind}", f"one_{kind}", f"status_{kind}", f"wait_{kind}"):
        assert done.tasks["failures"][task_id] == "failed"
        assert FAILURES[kind][2] in done.log("failures", task_id)


class TestATaskMarkedFailed:
    def test_stops_in_time_and_accounts_for_what_hubspot_did(self, done: Done) -> None:
        report = done.report_of_the_stopped
        assert (report["complete"], report["incomplete_because"]) == (False, "StoppedError")
        assert report["changed"] == done.opted_out_by_the_stopped
        assert 0 < report["changed"] < STOPPED_ROWS
        # Airflow logs this when a task has not ended five seconds after its first signal.
        assert "did not terminate in time" not in done.scheduler_said

    def test_goes_on_when_it_is_cleared_and_sends_no_row_twice(self, done: Done) -> None:
        assert done.states["stopped"] == "success"
        summary = done.result("stopped", "opt_out")
        assert (summary["read"], summary["changed"]) == (STOPPED_ROWS, STOPPED_ROWS)
        assert reported(summary)["tries"] == 2
        requests = done.hubspots["stopped"].requests
        bodies = [each.json()["inputs"] for each in requests if each.endpoint == "batch_unsubscribe_all"]
        assert Counter(one for inputs in bodies for one in inputs) == Counter(addresses(STOPPED_ROWS))


def test_opt_outs_in_hubspot_start_the_dag_that_mirrors_them_each_once(done: Done) -> None:
    mirrored = Counter(row["subscriber"] for row in done.mirror)
    # Another run opts these out, before or after the first search.
    assert Counter({each: n for each, n in mirrored.items() if each not in OF_THE_MACRO}) == Counter(
        addresses(302, start=1)
    )
    assert "success" in done.runs_of_the_watcher


class TestNothingNamesASubscriber:
    """Logs of tasks and processes at DEBUG level, XComs, rendered templates, every table of the database."""

    def test_in_the_database_while_tasks_wait(self, done: Done) -> None:
        assert leaks(done.database_while_waiting, [*SECRETS, *OF_THE_MACRO]) == []

    def test_in_what_airflow_has_written_down_in_the_end(self, done: Done) -> None:
        with sqlite3.connect(done.home / "airflow.db") as db:
            db.execute("vacuum")  # rows that are deleted may still be in the file
        written = {path.relative_to(done.home).as_posix() for path in done.home.rglob("*")}
        parts = {"api-server.log", "scheduler.log", "dag-processor.log", "triggerer.log"}
        assert {"airflow.db", *parts} <= written
        assert leaks_in_files(done.home, [*SECRETS, *OF_THE_MACRO]) == []
        assert leaks((done.files / "guard.jsonl").read_bytes(), SECRETS) == []

    def test_of_all_tasks_at_debug_level(self, done: Done) -> None:
        for dag_id in (file.stem for file in DAG_FILES):
            logs = list((done.home / "logs" / f"dag_id={dag_id}").rglob("attempt=[0-9].log"))
            assert logs
            assert [path for path in logs if '"level":"debug"' not in path.read_text()] == []

    def test_and_one_word_in_one_log_would_have_been_found(self, done: Done, tmp_path: Path) -> None:
        shutil.copytree(done.home / "logs", tmp_path / "logs")
        log = next(path for path in (tmp_path / "logs").rglob("*.log") if "task_id=one_failing" in str(path))
        log.write_text(f"{log.read_text()}\n{TEXT}")
        assert len(leaks_in_files(tmp_path, SECRETS)) == len(SECRETS)


def test_nothing_is_left_running(done: Done) -> None:
    assert none_is_left(str(done.home))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", done.airflow.port)) != 0
