"""The example DAGs under a real scheduler, and what Airflow has written down when they are done: no address."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.outcome import OUTCOMES
from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import ROOT
from tests.system.airflow_parts import Airflow, airflow
from tests.system.leaks import leaks_in_files
from tests.system.processes import none_is_left

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DAG_FILES = [
    ROOT / "dags" / "hubprefs_suppression.py",
    ROOT / "tests" / "dags" / "hubprefs_private_arguments.py",
    ROOT / "tests" / "system" / "dags" / "hubprefs_failures.py",
]
# What every address of the files has, and nothing else: a part of an address would be a leak as well.
SECRETS = ["quokkawombat", "numbatbilby"]
ROWS = 230
ADDRESSES = [f"quokkawombat+{number}@numbatbilby.example" for number in range(ROWS)]
REFUSED = ADDRESSES[7]
OPTED_OUT = ADDRESSES[11]
# Made by a macro of the DAG, by a name that stands in its source: these are looked for as a whole.
OF_THE_MACRO = [f"macro-{number}@private.example.com" for number in (1, 2, 3, 4, 9)]

PORTAL: dict[str, Any] = {
    "rejected": {REFUSED: {"category": "VALIDATION_ERROR", "message": "{address} cannot receive this"}},
    "subscribers": {OPTED_OUT: {"opted_out": True}},
}
IMPATIENT = {"retry_total": 0.3, "retry_first_wait": 0.1, "connect_timeout": 2, "read_timeout": 5}
TEXT = f"Sorry, {ADDRESSES[1]} and {ADDRESSES[2]} cannot be served"

FAILURES: Mapping[str, tuple[dict[str, Any], tuple[str, dict[str, Any]] | None, str]] = {
    "refusing": (
        {"rejected": {"quokkawombat*": {"category": "VALIDATION_ERROR", "message": "{address} is refused"}}},
        None,
        "VALIDATION_ERROR",
    ),
    "refusing_batches": (
        {
            "batch_errors": "whole",
            "rejected": {"*@numbatbilby*": {"category": "INVALID_EMAIL", "message": "no: {address}"}},
        },
        None,
        "400 INVALID_EMAIL",
    ),
    "not_found": ({}, ("status", {"status": 404, "category": "OBJECT_NOT_FOUND", "message": TEXT}), "404"),
    "failing": ({}, ("status", {"status": 500, "message": TEXT}), "500"),
    "not_json": ({}, ("text", {"text": TEXT}), "no JSON"),
    "cloudflare": ({}, ("cloudflare", {}), "502"),
    "dropping": ({}, ("drop", {}), "broke"),
    "wrong_token": ({}, None, "401"),
}
"""By connection: the portal, the fault on every call, and what the failing tasks' logs must say."""


@dataclass
class Everything:
    """What there is when all runs are over and Airflow has ended."""

    home: Path
    files: Path
    port: int
    hubspots: dict[str, Simulator]
    states: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, dict[str, str]] = field(default_factory=dict)
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    logs: dict[tuple[str, str], str] = field(default_factory=dict)

    def gather(self, running: Airflow, name: str, dag_id: str, run_id: str) -> None:
        self.states[name] = running.wait(dag_id, run_id)
        self.tasks[name] = running.states(dag_id, run_id)
        for task_id, state in self.tasks[name].items():
            self.logs[name, task_id] = running.log(dag_id, run_id, task_id)
            if state == "success":
                self.xcoms[name, task_id] = running.xcom(dag_id, run_id, task_id)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """One Airflow has run all of it side by side: starting one is what takes the time."""
    files = tmp_path_factory.mktemp("files")
    home = tmp_path_factory.mktemp("home")
    contacts = files / "contacts.csv"
    contacts.write_text("\n".join(["email", *ADDRESSES]), encoding="utf-8")
    portals = {
        "hubprefs_default": PORTAL,
        "slow": {"operations": {"seconds": 6}},
        **{name: portal for name, (portal, _, _) in FAILURES.items()},
    }
    with ExitStack() as stack:
        hubspots = {name: stack.enter_context(Simulator(portal=one)) for name, one in portals.items()}
        for name, (_, fault, _) in FAILURES.items():
            if fault:
                hubspots[name].fault(fault[0], times=None, **fault[1])
        subscription_id = hubspots["hubprefs_default"].subscription_ids[0]
        env = {
            **{f"AIRFLOW_CONN_{name.upper()}": connection(name, one) for name, one in hubspots.items()},
            "TEST_CONTACTS": str(contacts),
            "TEST_FAILURES": " ".join(FAILURES),
            "TEST_SUBSCRIPTION": str(subscription_id),
        }
        with airflow(home, dags=DAG_FILES, env=env) as running:
            running.login()
            runs: list[tuple[str, str, dict[str, Any]]] = [
                ("private", "hubprefs_private_arguments", {"subscription_id": subscription_id})
            ]
            runs += [
                (
                    name,
                    "hubprefs_suppression",
                    {
                        "contacts": str(contacts),
                        "dead_letters": str(files / f"{name}.jsonl"),
                        "hubprefs_conn_id": name,
                    },
                )
                for name in ("slow", "hubprefs_default")
            ]
            runs += [("failures", "hubprefs_failures", {})]
            started = [(name, dag_id, running.trigger(dag_id, **conf)) for name, dag_id, conf in runs]
            done = Everything(home, files, running.port, hubspots)
            for run in started:
                done.gather(running, *run)
        yield done


def connection(name: str, hubspot: Simulator) -> str:
    """Airflow's connection to one of the local HubSpots; with those that fail it is soon out of patience."""
    return json.dumps(
        {
            "conn_type": "hubprefs",
            "host": hubspot.url,
            "password": "pat-na1-of-nobody" if name == "wrong_token" else hubspot.token,
            "extra": IMPATIENT if name in FAILURES else {},
        }
    )


def test_the_example_dag_opts_everybody_out(everything: Everything) -> None:
    assert everything.states["hubprefs_default"] == "success"
    assert set(everything.tasks["hubprefs_default"].values()) == {"success"}
    hubspot = everything.hubspots["hubprefs_default"]
    assert [one for one in ADDRESSES if not hubspot.is_opted_out(one)] == [REFUSED]


def test_its_summary_says_what_became_of_every_row(everything: Everything) -> None:
    summary = everything.xcoms["hubprefs_default", "summarise"]
    assert {name: summary[name] for name in ("read", *OUTCOMES)} == {
        "read": ROWS,
        "changed": ROWS - 2,
        "unchanged": 1,
        "rejected": 1,
        "invalid": 0,
        "duplicate": 0,
        "unconfirmed": 0,
    }
    letters = [json.loads(line) for line in (everything.files / "hubprefs_default.jsonl").open()]
    assert [(letter["row"], letter["subscriber"], letter["outcome"]) for letter in letters] == [
        (ADDRESSES.index(REFUSED) + 2, REFUSED, "rejected")
    ]


def test_operations_that_take_a_while_are_waited_for(everything: Everything) -> None:
    assert everything.states["slow"] == "success"
    summary = everything.xcoms["slow", "summarise"]
    assert (summary["changed"], summary["unconfirmed"]) == (ROWS, 0)
    assert summary["operations"]["PENDING"] >= 3
    assert all(everything.hubspots["slow"].is_opted_out(one) for one in ADDRESSES)


def test_private_arguments_reach_hubspot(everything: Everything) -> None:
    assert everything.states["private"] == "success"
    hubspot = everything.hubspots["hubprefs_default"]
    one, two, three, four, nine = OF_THE_MACRO
    assert [hubspot.is_opted_out(each) for each in (one, three, four, nine)] == [True, True, True, False]
    assert hubspot.status_of(two, hubspot.subscription_ids[0]) == "UNSUBSCRIBED"


@pytest.mark.parametrize("kind", FAILURES)
def test_failing_tasks_say_why(everything: Everything, kind: str) -> None:
    assert everything.states["failures"] == "failed"
    for task_id in (f"many_{kind}", f"one_{kind}", f"status_{kind}", f"wait_{kind}"):
        assert everything.tasks["failures"][task_id] == "failed"
        assert FAILURES[kind][2] in everything.logs["failures", task_id]


def test_nothing_airflow_has_written_down_names_anybody(everything: Everything) -> None:
    # Logs of tasks and processes at DEBUG level, XComs, rendered templates, every table of the database.
    written = {path.relative_to(everything.home).as_posix() for path in everything.home.rglob("*")}
    assert {"airflow.db", "api-server.log", "scheduler.log", "dag-processor.log"} <= written
    assert all('"level":"debug"' in log for log in everything.logs.values())
    assert leaks_in_files(everything.home, [*SECRETS, *OF_THE_MACRO]) == []


def test_one_word_in_one_log_would_have_been_found(everything: Everything, tmp_path: Path) -> None:
    shutil.copytree(everything.home / "logs", tmp_path / "logs")
    log = next(path for path in (tmp_path / "logs").rglob("*.log") if "task_id=one_failing" in str(path))
    log.write_text(f"{log.read_text()}\n{TEXT}")
    assert len(leaks_in_files(tmp_path, SECRETS)) == len(SECRETS)


def test_nothing_is_left_running(everything: Everything) -> None:
    assert none_is_left(str(everything.home))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", everything.port)) != 0
