"""A real Airflow for the tests: API server, scheduler, DAG processor, and a triggerer if asked for, on SQLite."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.system.processes import Processes, signal_group, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

AIRFLOW = [sys.executable, "-m", "airflow"]


@contextmanager
def airflow(
    home: Path, *, dags: list[Path], env: Mapping[str, str], triggerer: bool = False
) -> Iterator[Airflow]:
    """Start Airflow with these DAG files; when the block is left, nothing of it runs any more.

    :param home: folder for everything it writes.
    :param dags: files of DAGs.
    :param env: connections, and what else it is to find in its environment.
    :param triggerer: whether to start one, too; tests can kill it and start it again.
    """
    folder = home / "dags"
    folder.mkdir(parents=True)
    for file in dags:
        (folder / file.name).symlink_to(file)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    settings = {**clean, **_settings(home, url=url, port=port), **env}
    with (home / "migrate.log").open("wb") as log:
        migrate = [*AIRFLOW, "db", "migrate"]
        subprocess.run(migrate, env=settings, stdout=log, stderr=log, check=True, timeout=120)
    with Processes() as processes, httpx.Client(base_url=url, timeout=90) as client:
        running = Airflow(home, port, client, processes, settings)
        for part in ("api-server", "scheduler", "dag-processor", *["triggerer"] * triggerer):
            running.start(part)
        yield running


class Airflow:
    """Airflow's REST API, as far as the tests need it."""

    def __init__(
        self, home: Path, port: int, client: httpx.Client, processes: Processes, env: Mapping[str, str]
    ) -> None:
        self.home = home
        self.port = port
        self._client = client
        self._processes = processes
        self._env = env

    def start(self, part: str) -> None:
        """Start a part, such as ``triggerer``; what it says is in ``<part>.log``, after what it said before."""
        arguments = {"api-server": ["--port", str(self.port)], "dag-processor": []}
        command = [*AIRFLOW, part, *arguments.get(part, ["--skip-serve-logs"])]
        self._processes.start(part, command, env=self._env, log=self.home / f"{part}.log")

    def kill(self, part: str) -> None:
        """SIGKILL a part and all it has started, as a machine that goes down does."""
        process = self._processes.running.pop(part)
        signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def login(self) -> None:
        """Wait for the API server, and get a token of it."""
        reply = wait_for("the API server", lambda: self.ask("GET", "/auth/token"), timeout=90)
        self._client.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Switch a DAG on as soon as it is there, and run it; returns the run's id."""
        self.unpause(dag_id)
        body = {"conf": conf, "logical_date": None}
        reply = self._insist("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        return str(reply.json()["dag_run_id"])

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on as soon as it is there."""
        wait_for(
            f"the DAG {dag_id}",
            lambda: self.ask("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False}),
            timeout=90,
        )

    def connect(self, conn_id: str, hubspot: Simulator, **extra: Any) -> None:
        """Store a connection to a local HubSpot in Airflow's database."""
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        body = {"connection_id": conn_id, **connection, "extra": json.dumps(extra)}
        self._insist("POST", "/api/v2/connections", json=body)

    def disconnect(self, conn_id: str) -> None:
        """Remove a connection."""
        where = f"/api/v2/connections/{conn_id}"
        self.ask("DELETE", where)  # the answer may come too late, where SQLite is locked
        wait_for(f"the end of {conn_id}", lambda: self._client.get(where).status_code == 404, timeout=90)

    def wait(self, dag_id: str, run_id: str, *, timeout: float = 120) -> str:
        """Wait until a run has ended, and return its state."""

        def ended() -> str | None:
            reply = self.ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
            state = reply.json()["state"] if reply else None
            return state if state in {"success", "failed"} else None

        return str(wait_for(f"the end of {dag_id}", ended, timeout=timeout))

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """States of a run's tasks."""
        where = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        reply = self._insist("GET", where, params={"limit": 100})
        return {one["task_id"]: one["state"] for one in reply.json()["task_instances"]}

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned; None where it is no single task, or returned nothing."""
        where = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        reply = self.ask("GET", where)
        value = reply.json().get("value") if reply else None
        return json.loads(value) if isinstance(value, str) else value

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """All a task has logged, as it is in the file."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "".join(path.read_text() for path in sorted(folder.rglob("*.log")))

    def _insist(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask until there is an answer: SQLite may be locked by all that writes at the same time."""
        what = f"an answer to {method} {path}"
        reply: httpx.Response = wait_for(what, lambda: self.ask(method, path, **more), timeout=90)
        return reply

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Ask the REST API; None while it does not answer, or refuses."""
        self._processes.check()
        try:
            reply = self._client.request(method, path, **more)
        except httpx.TransportError:
            return None
        return reply if reply.is_success else None


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True",
    }
