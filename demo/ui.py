"""Airflow's UI with the example DAGs and a local HubSpot, to look at and to click through.

It starts the four parts of Airflow on this machine's loopback address, with a stored connection to the local HubSpot,
prints the address, and ends all of it with Ctrl-C. ``PORT=...`` names a port; otherwise it is 8080, or a free one.

Airflow and all it writes are in ``.ui``, which is emptied at the next start; an Airflow of your own, its settings and
its ports are not touched.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from rich.markup import escape
from shared import (
    HERE,
    ROOT,
    DemoError,
    airflow,
    command,
    console,
    own_airflow,
    signal_all,
    simulator,
    the_only_one,
)

HOME = ROOT / ".ui"
PARTS = {
    "api-server": [],
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}
"""The parts of Airflow. Their logs are files of this machine: no server for them takes a port."""
STARTS_WITHIN = 400
"""Seconds that Airflow gets until it answers: a small machine may be busy."""
USUAL_PORT = 8080
LARGE = 20_000
SLOW = {"batch_unsubscribe_all": [2000, 4000], "batch_read_unsubscribe_all": [1000, 2000]}
"""Milliseconds that the local HubSpot takes for these, so that a person can watch a run of 1,000 rows."""


def main() -> int:
    """Run until a signal comes.

    :raises DemoError: Airflow did not start, or a part of it has ended.
    """
    with the_only_one(Path(__file__), "another `make ui`"), ExitStack() as stack:
        port = free_port(os.environ.get("PORT", "").strip())
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir(mode=0o700)  # it will hold addresses
        process, hubspot = stack.enter_context(simulator())
        console.print(f"A local HubSpot answers at {hubspot['url']}")
        console.print(f"Airflow starts, which takes half a minute (logs: {HOME}) ...")
        env = environment(port)
        with airflow(["db", "migrate"], env=env, log=HOME / "migrate.log") as migration:
            if migration.wait():
                raise DemoError(f"Airflow has made no database; its log: {HOME / 'migrate.log'}")
        with closing(sqlite3.connect(HOME / "airflow.db")) as db:
            # Else a page that is being read keeps all parts from writing.
            db.execute("pragma journal_mode = wal")
        parts = {"local HubSpot": process, **stack.enter_context(all_parts(env))}
        url = f"http://127.0.0.1:{port}"
        connection = connection_to(hubspot)
        prepare(url, hubspot["url"], connection, parts)
        console.print(WELCOME.format(url=url, large=escape(str(large_file())), **connection))
        while True:
            check(parts)
            time.sleep(1)


def free_port(wanted: str) -> int:
    """Return the port that was asked for, or the usual one, or, where that is taken, a free one.

    :raises DemoError: the port that was asked for is taken, or is none.
    """
    if wanted and not (wanted.isdecimal() and 0 < int(wanted) < 65_536):
        raise DemoError(f"PORT={wanted}: expected a number from 1 to 65535")
    for port in [int(wanted)] if wanted else [USUAL_PORT, 0]:
        with socket.socket() as probe:
            # As a server does: what is left of connections of the last `make ui` does not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError(
        f"port {wanted} cannot be used: another program has it, or it needs more rights; name another"
    )


def environment(port: int) -> dict[str, str]:
    """Return the environment of Airflow's parts."""
    url = f"http://127.0.0.1:{port}"
    contacts = HOME / "contacts.csv"
    shutil.copy(HERE / "contacts.csv", contacts)
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1")))
    return {
        **own_airflow(
            HOME,
            AIRFLOW__API__BASE_URL=url,
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=str(port),
            AIRFLOW__API_AUTH__JWT_SECRET=secrets.token_hex(64),
            AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
            AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY="15",
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{url}/execution/",
            AIRFLOW__CORE__EXECUTOR="LocalExecutor",
            AIRFLOW__CORE__PARALLELISM="4",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
            AIRFLOW__HUBPREFS__OUTPUT=str(HOME / "output"),
            AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK="False",
        ),
        "HUBPREFS_CONTACTS": str(contacts),
        "HUBPREFS_OPT_OUTS": f"file://{HOME / 'opt-outs'}",
        "HUBPREFS_OPT_OUTS_EVERY": "20",
        "HUBPREFS_REPORTS": str(HOME / "output"),
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def large_file() -> Path:
    """Return the path of a file of many contacts, made up; make it where it is absent."""
    path = HOME / f"contacts-{LARGE}.csv"
    if not path.exists():
        rows = [f"person-{number}@example.com" for number in range(LARGE)]
        rows[999::1000] = rows[::1000]  # some stand there twice
        rows[500::4000] = ["no address"] * len(rows[500::4000])
        rows[700::2500] = [f"rejected-{number}@hubspot-rejects.example" for number in range(700, LARGE, 2500)]
        path.write_text("Email\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@contextmanager
def all_parts(env: dict[str, str]) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start the parts of Airflow; when the block ends, end all of them at the same time."""
    with ExitStack() as stack:
        parts = {
            part: stack.enter_context(airflow([part, *options], env=env, log=HOME / f"{part}.log"))
            for part, options in PARTS.items()
        }
        try:
            yield parts
        finally:
            signal_all(parts.values())


def check(parts: dict[str, subprocess.Popen[str]]) -> None:
    """Look whether all parts run.

    :raises DemoError: one has ended.
    """
    for part, process in parts.items():
        if (code := process.poll()) is not None:
            log = HOME / f"{part}.log"
            where = f"; its log: {log}" if log.exists() else ""
            raise DemoError(f"the {part} has ended (exit code {code}), and so all else{where}")


def connection_to(hubspot: dict[str, Any]) -> dict[str, str]:
    """Return host, port and token of Airflow's connection. Airflow 3.3.1 and 3.3.2 test only one that has a port."""
    host, _, port = hubspot["url"].rpartition(":")
    return {"host": host, "port": port, "token": hubspot["token"]}


def prepare(url: str, hubspot: str, to: dict[str, str], parts: dict[str, subprocess.Popen[str]]) -> None:
    """Wait until Airflow answers and has read the DAGs, and store its connection to the local HubSpot.

    :raises DemoError: a part has ended, or it takes too long.
    """
    connection = {
        "connection_id": "hubprefs_default",
        "conn_type": "hubprefs",
        "description": "The local HubSpot of `make ui`",
        "host": to["host"],
        "port": int(to["port"]),
        "password": to["token"],
    }
    expected = len(list((ROOT / "dags").glob("*.py")))
    deadline = time.monotonic() + STARTS_WITHIN
    with httpx.Client(trust_env=False, timeout=30) as client:
        for endpoint, ms in SLOW.items():
            slow = {"match": {"endpoint": endpoint}, "times": None, "fault": {"kind": "latency", "ms": ms}}
            client.post(f"{hubspot}/_simulator/faults", json=slow).raise_for_status()
        while True:
            check(parts)
            with suppress(httpx.HTTPError):
                token = client.get(f"{url}/auth/token").raise_for_status().json()["access_token"]
                client.headers["Authorization"] = f"Bearer {token}"
                found = client.get(f"{url}/api/v2/dags").raise_for_status().json()["total_entries"]
                if found >= expected:
                    # Airflow makes its interface for tasks at the first request, which takes seconds of CPU: now.
                    client.get(f"{url}/execution/health", timeout=STARTS_WITHIN).raise_for_status()
                    stored = client.post(f"{url}/api/v2/connections", json=connection)
                    if stored.status_code in {201, 409}:  # 409: it was stored, and the answer came too late
                        return
            if time.monotonic() > deadline:
                raise DemoError(f"Airflow was not ready within {STARTS_WITHIN} s; its logs: {HOME}")
            time.sleep(0.5)


WELCOME = """
Airflow is at [bold]{url}[/bold]
It asks for no password: it listens on this machine alone, and knows nothing but a local HubSpot.

1. {url}/dags/hubprefs_suppression
   Trigger, Trigger: opts the 1,000 contacts of the file in the form out. A longer list, of 20,000:
   {large}
2. Click the run, then its task [bold]opt_out[/bold]: the tab HubSpot shows what becomes of every row.
3. {url}/dags/hubprefs_subscriptions
   Trigger: lists the subscriptions whose ids [bold]hubprefs_set_status[/bold] asks for.
4. {url}/connections
   The connection [bold]hubprefs_default[/bold]: Edit shows its form, Test what it can do.
   To make one yourself: Host {host}, Port {port}, Token {token}

Ctrl-C ends all of it."""

if __name__ == "__main__":
    command(main)
