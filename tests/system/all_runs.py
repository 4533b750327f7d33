"""All DAG runs that need a whole Airflow, side by side in one: each start of an Airflow takes half a minute.

Some runs end soon. The others wait for HubSpot, in the triggerer and in workers. While they wait, the test marks a
running task failed and clears it. Then HubSpot ends the operations, and in the middle of that the triggerer is killed.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import ROOT
from tests.helpers import LONG
from tests.system.airflow_parts import Airflow, airflow, free_port
from tests.system.leaks import dump
from tests.system.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
WAITS = 200 if LONG else 30
WAIT_LIMIT = 120 + 4 * WAITS
"""Seconds until all waits must have begun, and until all must have ended."""

MANY, DISTURBED, WRITING = "hubprefs_many_waits", "hubprefs_disturbed_waits", "hubprefs_waiting_writes"
BRANCHING, WATCHING = "hubprefs_wait_and_branch", "hubprefs_on_opt_out"
EXAMPLE, PRIVATE = "hubprefs_suppression", "hubprefs_private_arguments"
FAILING, STOPPED = "hubprefs_failures", "hubprefs_stopped"
DAG_FILES = [
    *(ROOT / "dags" / f"{name}.py" for name in (BRANCHING, WATCHING, EXAMPLE)),
    ROOT / "tests" / "dags" / f"{PRIVATE}.py",
    *(HERE / "dags" / f"{name}.py" for name in (MANY, DISTURBED, WRITING, FAILING, STOPPED)),
]

# Every address has these parts, and nothing else has: a part of an address is a leak as well.
SECRETS = ["quokkawombat", "numbatbilby"]
ADDRESS = "quokkawombat+{}@numbatbilby.example"
# A macro makes these; its source names the domain, so they are searched for as a whole.
OF_THE_MACRO = [f"macro-{number}@private.example.com" for number in (1, 2, 3, 4, 9)]
# From the form of "Trigger DAG", which Airflow stores: they are not secret.
BRANCHES = {"COMPLETE": "jane@example.com", "CANCELED": "canceled@example.com"}


def addresses(count: int, *, start: int = 0) -> list[str]:
    return [ADDRESS.format(number) for number in range(start, start + count)]


ROWS, STOPPED_ROWS = 230, 2000
REFUSED, OPTED_OUT_BEFORE = ADDRESS.format(7), ADDRESS.format(11)
TEXT = f"Sorry, {ADDRESS.format(1)} and {ADDRESS.format(2)} cannot be served"

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
    "not_found": ({}, ("status", {"status": 404, "category": "RESOURCE_NOT_FOUND", "message": TEXT}), "404"),
    "failing": ({}, ("status", {"status": 500, "message": TEXT}), "500"),
    "not_json": ({}, ("text", {"text": TEXT}), "no JSON"),
    "cloudflare": ({}, ("cloudflare", {}), "502"),
    "dropping": ({}, ("drop", {}), "broke"),
    "wrong_token": ({}, None, "401"),
}
"""By connection: the portal, the fault on every call, and a part of the errors in the tasks' logs."""

PORTALS: Mapping[str, dict[str, Any]] = {
    "hubprefs_default": {
        "indexing_seconds": [0.5, 3],
        "subscribers": {ADDRESS.format("before"): {"opted_out": True}},
    },
    # Operations end when the clock of the portal is moved.
    "many": {"operations": {"seconds": [1000, 3000], "outcomes": {BRANCHES["CANCELED"]: "CANCELED"}}},
    "writing": {"operations": {"seconds": 1000}},
    "revoked": {},
    "example": {
        "rejected": {REFUSED: {"category": "VALIDATION_ERROR", "message": "{address} cannot receive this"}},
        "subscribers": {OPTED_OUT_BEFORE: {"opted_out": True}},
    },
    "slow": {"operations": {"seconds": 6}},
    "stopped": {},
    **{name: portal for name, (portal, _, _) in FAILURES.items()},
}
EXTRAS: Mapping[str, dict[str, Any]] = {
    "many": {"retry_total": 2},
    "revoked": {"retry_total": 2},
    "away": {"retry_total": 2},
    **{
        name: {"retry_total": 0.3, "retry_first_wait": 0.1, "connect_timeout": 2, "read_timeout": 5}
        for name in FAILURES
    },
}


@dataclass
class Done:
    """What there is to look at when all runs and Airflow have ended."""

    airflow: Airflow
    files: Path
    hubspots: dict[str, Simulator]
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, dict[str, str]] = field(default_factory=dict)
    database_while_waiting: bytes = b""
    over_before_the_kill: int = 0
    report_of_the_stopped: dict[str, Any] = field(default_factory=dict)
    opted_out_by_the_stopped: int = 0
    scheduler_said: str = ""
    runs_of_the_watcher: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.airflow.home

    @property
    def mirror(self) -> list[dict[str, Any]]:
        """Rows of the folder to which the watcher's runs copy opt-outs."""
        copies = sorted((self.files / "lists" / "mirror").glob("*.jsonl"))
        return [json.loads(line) for path in copies for line in path.read_text().splitlines()]

    def begin(self, name: str, dag_id: str, **conf: Any) -> None:
        """Trigger a DAG; its run is called ``name`` here."""
        self.runs[name] = (dag_id, self.airflow.trigger(dag_id, **conf))

    def end(self, *names: str, timeout: float = 180) -> None:
        """Wait until these runs have ended."""
        for name in names:
            self.states[name] = self.airflow.wait(*self.runs[name], timeout=timeout)
            self.tasks[name] = self.airflow.states(*self.runs[name])

    def log(self, name: str, task_id: str) -> str:
        """All that a task of a run and its trigger have logged."""
        return self.airflow.log(*self.runs[name], task_id)

    def result(self, name: str, task_id: str) -> Any:
        """What a task of a run returned."""
        return self.airflow.xcom(*self.runs[name], task_id)


@contextmanager
def all_runs(home: Path, files: Path, *, database: Path) -> Iterator[Done]:
    """Run all of it; in the block Airflow has ended, and the local HubSpots still answer."""
    (home / "config").mkdir()
    (home / "config" / "airflow_local_settings.py").symlink_to(HERE / "triggerer_guard.py")
    (files / "contacts.csv").write_text("\n".join(["email", *addresses(ROWS)]))
    (files / "people.csv").write_text("\n".join(["email", *addresses(STOPPED_ROWS)]))
    with ExitStack() as stack:
        hubspots = {name: stack.enter_context(Simulator(portal=one)) for name, one in PORTALS.items()}
        hubspots["away"] = stack.enter_context(Simulator(port=free_port()))
        for name, (_, fault, _) in FAILURES.items():
            if fault:
                hubspots[name].fault(fault[0], times=None, **fault[1])
        hubspots["stopped"].fault("latency", ms=[1000, 1000], times=None)
        env = _environment(files, hubspots)
        with airflow(home, database=database, dags=DAG_FILES, env=env) as running:
            running.login()
            running.connect("removed", hubspots["many"], retry_total=2)
            done = Done(running, files, hubspots)
            _begin(done)
            _stop_and_clear(done)
            _end_under_a_killed_triggerer(done)
        yield done


def _environment(files: Path, hubspots: Mapping[str, Simulator]) -> dict[str, str]:
    connections = {}
    for name, hubspot in hubspots.items():
        password = "pat-na1-unknown" if name == "wrong_token" else hubspot.token
        extra = {"budget_store": f"file://{files / 'budget'}", **EXTRAS.get(name, {})}
        one = {"conn_type": "hubprefs", "host": hubspot.url, "password": password, "extra": extra}
        connections[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(one)
    return {
        **connections,
        "AIRFLOW_DISABLE_GREENBACK_PORTAL": "true",  # makes synchronous look-ups in the loop fail
        "HUBPREFS_OPT_OUTS": f"file://{files / 'lists'}",
        "HUBPREFS_OPT_OUTS_EVERY": "1",
        "TEST_ADDRESS": ADDRESS,
        "TEST_CONTACTS": str(files / "contacts.csv"),
        "TEST_FAILURES": " ".join(FAILURES),
        "TEST_FOLDER": str(files),
        "TEST_GUARD": str(files / "guard.jsonl"),
        "TEST_SUBSCRIPTION": str(hubspots["hubprefs_default"].subscription_ids[0]),
        "TEST_WAITS": str(WAITS),
    }


def _begin(done: Done) -> None:
    """Trigger all runs; return when the short ones have ended and the others wait."""
    done.airflow.unpause(WATCHING)
    for name, dag_id in {"many": MANY, "disturbed": DISTURBED, "writing": WRITING}.items():
        done.begin(name, dag_id)
    for ends, subscriber in BRANCHES.items():
        done.begin(ends, BRANCHING, subscriber=subscriber, hubprefs_conn_id="many")
    for name in ("slow", "example"):
        done.begin(
            name,
            EXAMPLE,
            contacts=str(done.files / "contacts.csv"),
            output=str(done.files / "runs"),
            hubprefs_conn_id=name,
        )
    done.begin("private", PRIVATE, subscription_id=done.hubspots["hubprefs_default"].subscription_ids[0])
    done.begin("failures", FAILING)
    waits = WAITS + len(BRANCHES) + 3 + 2
    wait_for("the waits", lambda: deferred(done) == len(trigger_logs(done)) == waits, timeout=WAIT_LIMIT)
    done.end("slow", "example", "private", "failures")
    wait_for("the first search", lambda: any((done.files / "lists").glob("*")), timeout=WAIT_LIMIT)
    done.database_while_waiting = dump(done.home / "airflow.db")


def _stop_and_clear(done: Done) -> None:
    """Mark a task failed while it sends, and clear it when it has stopped."""
    running, hubspot = done.airflow, done.hubspots["stopped"]
    done.begin("stopped", STOPPED)
    dag_id, run_id = done.runs["stopped"]
    wait_for("requests", lambda: hubspot.stats["requests"] > 10, timeout=90)
    task = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/opt_out"
    running.insist("PATCH", task, json={"new_state": "failed"})
    assert running.wait(dag_id, run_id) == "failed"
    wait_for("the end", lambda: "Task killed!" in running.log(dag_id, run_id, "opt_out"), timeout=30)
    (report,) = (done.files / "runs" / dag_id).rglob("report.json")
    done.report_of_the_stopped = json.loads(report.read_text())
    done.opted_out_by_the_stopped = sum(map(hubspot.is_opted_out, addresses(STOPPED_ROWS)))
    done.scheduler_said = (done.home / "scheduler.log").read_text()

    hubspot.clear_faults()
    again = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["opt_out"], "reset_dag_runs": True}
    running.insist("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json=again)
    done.end("stopped")


def _end_under_a_killed_triggerer(done: Done) -> None:
    """HubSpot ends the operations; meanwhile the triggerer is killed, a connection removed, a token revoked."""
    running = done.airflow
    watched, many, revoked, away, writing = (
        done.hubspots[name] for name in ("hubprefs_default", "many", "revoked", "away", "writing")
    )
    watched.opt_out(*addresses(2, start=1))
    wait_for("two in the mirror", lambda: mirrored(done) >= 2, timeout=WAIT_LIMIT)
    for address in addresses(WAITS):
        many.portal.unsubscribe_all(address, None)
    away.stop()
    away.opt_out(ADDRESS.format("away"))  # which shows when it is back
    revoked.fault("status", status=401, times=None)
    watched.opt_out(*addresses(100, start=3))
    many.advance(2000)

    wait_for("the first end", lambda: deferred(done, MANY) < WAITS, timeout=WAIT_LIMIT, every=0.05)
    running.kill("triggerer")
    done.over_before_the_kill = opted_out(done)
    before = trigger_logs(done)
    running.disconnect("removed")
    watched.opt_out(*addresses(200, start=103))
    running.start("triggerer")
    many.advance(2000)
    writing.advance(2000)
    wait_for(
        "HubSpot missed once more", lambda: misses_hubspot(trigger_logs(done) - before), timeout=WAIT_LIMIT
    )
    away.start()
    done.end("many", "disturbed", "writing", *BRANCHES, timeout=WAIT_LIMIT)
    wait_for("all in the mirror", lambda: mirrored(done) >= 302, timeout=WAIT_LIMIT)
    wait_for(
        "the end of the watcher's runs",
        lambda: set(running.runs(WATCHING)) <= {"success", "failed"},
        timeout=WAIT_LIMIT,
    )
    done.runs_of_the_watcher = running.runs(WATCHING)


def deferred(done: Done, *dag_ids: str) -> int:
    """How many tasks wait in the triggerer."""
    waiting = dag_ids or (MANY, DISTURBED, WRITING, BRANCHING)
    marks = ", ".join("?" * len(waiting))
    query = f"select count(*) from task_instance where state = 'deferred' and dag_id in ({marks})"
    ((number,),) = done.airflow.rows(query, *waiting)
    return int(number)


def trigger_logs(done: Done) -> set[Path]:
    """A file for each trigger of a task and each triggerer that has run it."""
    found = set()
    for dag_id in (MANY, DISTURBED, WRITING, BRANCHING):
        found |= set((done.home / "logs" / f"dag_id={dag_id}").rglob("*.trigger.*.log"))
    return found


def opted_out(done: Done) -> int:
    """For how many of the many waits HubSpot has ended the operation."""
    portal = done.hubspots["many"].portal
    return sum(portal.operation_status(address) == "COMPLETE" for address in addresses(WAITS))


def misses_hubspot(logs: set[Path]) -> bool:
    """Whether a trigger has logged that HubSpot does not answer."""
    return any("task_id=away" in str(path) and "in a row" in path.read_text() for path in logs)


def mirrored(done: Done) -> int:
    """How many of the addresses that were opted out are in the mirror."""
    return sum(SECRETS[0] in row["subscriber"] for row in done.mirror)
