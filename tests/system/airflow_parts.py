"""A real Airflow for the tests: API server, scheduler, DAG processor and triggerer, on SQLite."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from cryptography.fernet import Fernet

from tests.system.processes import Processes, signal_group, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

AIRFLOW = [sys.executable, "-m", "airflow"]
PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
ANSWERS_WITHIN = 90
"""Seconds that Airflow gets for an answer: SQLite may be locked by all that write at the same time."""


@contextmanager
def airflow(
    home: Path, *, dags: list[Path], env: Mapping[str, str], database: Path | None = None
) -> Iterator[Airflow]:
    """Start Airflow with these DAG files; when the block is left, all its processes have ended.

    :param home: folder for everything it writes.
    :param dags: files of DAGs.
    :param env: connections, and what else it is to find in its environment.
    :param database: a database of Airflow without DAGs, of which to use a copy; Airflow makes one where it is absent.
    """
    folder = home / "dags"
    folder.mkdir(parents=True)
    for file in dags:
        (folder / file.name).symlink_to(file)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    settings = {**clean, **_settings(home, url=url, port=port), **env}
    if database is not None:
        shutil.copy(database, home / "airflow.db")
    else:
        subprocess.run(
            [*AIRFLOW, "db", "migrate"], env=settings, capture_output=True, check=True, timeout=300
        )
    with Processes() as processes, httpx.Client(base_url=url, timeout=ANSWERS_WITHIN) as client:
        running = Airflow(home, port, client, processes, settings)
        for part in PARTS:
            running.start(part)
        try:
            yield running
        except BaseException:
            running.show_logs()
            raise


class Airflow:
    """A running Airflow: its processes, its REST API and its database, as far as the tests need them."""

    def __init__(
        self, home: Path, port: int, client: httpx.Client, processes: Processes, env: Mapping[str, str]
    ) -> None:
        self.home = home
        self.port = port
        self._client = client
        self._processes = processes
        self._env = env

    # -- processes -------------------------------------------------------------------------------------------

    def start(self, part: str) -> None:
        """Start a part, such as ``triggerer``; its output is added to ``<part>.log``."""
        arguments = {"api-server": ["--port", str(self.port)], "dag-processor": []}
        command = [*AIRFLOW, part, *arguments.get(part, ["--skip-serve-logs"])]
        self._processes.start(part, command, env=self._env, log=self.home / f"{part}.log")

    def kill(self, part: str) -> None:
        """SIGKILL a part and all it has started, as when a machine goes down."""
        process = self._processes.running.pop(part)
        signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def show_logs(self) -> None:
        """Print the end of every part's log, which pytest shows where a test fails."""
        for part in PARTS:
            lines = (self.home / f"{part}.log").read_text(errors="replace").splitlines()
            print(f"--- {part}", *lines[-30:], sep="\n")

    # -- REST API --------------------------------------------------------------------------------------------

    def login(self) -> None:
        """Wait for the API server, and get a token of it."""
        reply = self.insist("GET", "/auth/token")
        self._client.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Unpause a DAG as soon as it is there, and run it; returns the run's id."""
        self.unpause(dag_id)
        run_id = f"test-{uuid.uuid4()}"
        runs = f"/api/v2/dags/{dag_id}/dagRuns"
        body = {"conf": conf, "logical_date": None, "dag_run_id": run_id}
        # A first request may have made the run, and its answer have come too late.
        wait_for(
            f"a run of {dag_id}",
            lambda: self.ask("POST", runs, json=body) or self.ask("GET", f"{runs}/{run_id}"),
            timeout=ANSWERS_WITHIN,
        )
        return run_id

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG as soon as it is there."""
        self.insist("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def connect(self, conn_id: str, hubspot: Simulator, **extra: Any) -> None:
        """Store a connection to a local HubSpot in Airflow's database."""
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        body = {"connection_id": conn_id, **connection, "extra": json.dumps(extra)}
        where = "/api/v2/connections"
        wait_for(
            f"the connection {conn_id}",
            lambda: self.ask("POST", where, json=body) or self.ask("GET", f"{where}/{conn_id}"),
            timeout=ANSWERS_WITHIN,
        )

    def disconnect(self, conn_id: str) -> None:
        """Remove a connection."""
        where = f"/api/v2/connections/{conn_id}"

        def gone() -> bool:
            self.ask("DELETE", where)  # in vain, or its answer comes too late, where SQLite is locked
            return self._client.get(where).status_code == 404

        wait_for(f"the end of {conn_id}", gone, timeout=ANSWERS_WITHIN)

    def runs(self, dag_id: str) -> list[str]:
        """States of a DAG's runs."""
        reply = self.insist("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"limit": 100})
        return [one["state"] for one in reply.json()["dag_runs"]]

    def wait(self, dag_id: str, run_id: str, *, timeout: float = 180) -> str:
        """Wait until a run has ended, and return its state."""

        def ended() -> str | None:
            reply = self.ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
            state = reply.json()["state"] if reply else None
            return state if state in {"success", "failed"} else None

        return str(wait_for(f"the end of {dag_id}", ended, timeout=timeout))

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """States of a run's tasks."""
        where = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        reply = self.insist("GET", where, params={"limit": 100})
        return {one["task_id"]: one["state"] for one in reply.json()["task_instances"]}

    def insist(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask until there is an answer; only for what may be asked twice."""
        what = f"an answer to {method} {path}"
        reply: httpx.Response = wait_for(what, lambda: self.ask(method, path, **more), timeout=ANSWERS_WITHIN)
        return reply

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Ask the REST API; None while it does not answer, or refuses."""
        self._processes.check()
        try:
            reply = self._client.request(method, path, **more)
        except httpx.TransportError:
            return None
        return reply if reply.is_success else None

    # -- what it has written down ----------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[Any]:
        """Ask Airflow's database, also when Airflow has ended."""
        with closing(sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=ro", uri=True, timeout=60)) as db:
            return db.execute(query, values).fetchall()

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned."""
        (value,) = self.xcoms(dag_id, run_id, task_id)
        return value

    def xcoms(self, dag_id: str, run_id: str, task_id: str) -> list[Any]:
        """What the instances of a mapped task returned, in the order of the map index."""
        where = "dag_id = ? and run_id = ? and task_id = ? and key = 'return_value'"
        query = f"select value from xcom where {where} order by map_index"
        stored = [json.loads(value) for (value,) in self.rows(query, dag_id, run_id, task_id)]
        return [json.loads(value) if isinstance(value, str) else value for value in stored]

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """All that a task and its trigger have logged, as it is in the files."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "".join(path.read_text() for path in sorted(folder.rglob("*.log")))


def free_port() -> int:
    """A port that is free, and that the system gives to no outgoing connection or port 0."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def _settings(home: Path, *, url: str, port: int) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API_AUTH__JWT_SECRET": "known to the parts of this Airflow alone",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # Each of the parts would make a key of its own, where they start at the same time.
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "6",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "3",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
