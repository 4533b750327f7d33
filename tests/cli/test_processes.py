"""What the command line loads and leaves: nothing of Airflow with a token, little in Airflow; and ``simulate``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.helpers import LONG

from .conftest import SCRIPT

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

OWN = "airflow_provider_hubprefs"
MODULES = """
import atexit, sys
atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr))
"""
DEFINITION = f"""
import json, sys, time
import airflow.cli.cli_config
before, took = set(sys.modules), []
for _ in range(5):  # the best of them: others share this machine
    for name in set(sys.modules) - before:
        del sys.modules[name]
    begin = time.process_time()
    from {OWN}.cli.definition import get_cli_commands
    (group,) = get_cli_commands()
    took.append(time.process_time() - begin)
seconds = min(took)
commands = sorted(command.name for command in group.subcommands)
print(json.dumps([group.name, commands, seconds, sorted(set(sys.modules) - before)]))
"""
COMMANDS = ["audit", "check", "definitions", "get", "report", "set", "simulate", "status", "unsubscribe"]


def test_what_runs_on_every_airflow_command_takes_no_5_ms_and_loads_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", DEFINITION], capture_output=True, text=True, check=True)
    name, commands, seconds, loaded = json.loads(done.stdout.splitlines()[-1])
    assert (name, commands) == ("hubprefs", COMMANDS)
    assert set(loaded) <= {OWN, f"{OWN}.cli", f"{OWN}.cli.definition"}
    assert seconds < 0.005


@pytest.mark.parametrize("credentials", ["token", "connection"] if LONG else ["token"])
def test_no_home_is_made_and_no_database_opened(
    hubspot: Simulator, environment: dict[str, str], tmp_path: Path, credentials: str
) -> None:
    members = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
    added = {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path / "user"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://nowhere:1/none",
        "AIRFLOW_CONN_OTHER": json.dumps({**members, "extra": '{"budget_store": "process"}'}),
    }
    options = ["--conn-id", "other"] if credentials == "connection" else []
    command = [sys.executable, "-c", MODULES + SCRIPT, "get", "jane@example.com", *options]
    done = subprocess.run(command, env={**environment, **added}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Monthly newsletter" in done.stdout
    assert list(tmp_path.iterdir()) == []
    if credentials == "token":
        assert "'airflow" not in done.stderr.replace(f"'{OWN}", "")


def test_the_local_hubspot_is_served_until_ctrl_c(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", SCRIPT, "simulate", "--burst-limit", "7", "--seed", "3"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            url = f"{ready['url']}/communication-preferences/2026-09/definitions"
            answer = requests.get(url, headers={"Authorization": f"Bearer {ready['token']}"}, timeout=10)
            process.send_signal(signal.SIGINT)
            process.wait(20)
        finally:
            process.kill()
    assert answer.headers["X-HubSpot-RateLimit-Max"] == "7"
    assert (process.returncode, set(ready)) == (0, {"url", "token", "subscription_ids"})


@pytest.mark.system
@pytest.mark.skipif(
    not LONG, reason="a whole airflow command takes 6 s; the commands themselves are tested in this process"
)
def test_airflow_hubprefs_finds_a_connection_in_airflows_database(
    hubspot: Simulator, environment: dict[str, str], airflow_db: Path, tmp_path: Path
) -> None:
    shutil.copy(airflow_db, tmp_path / "airflow.db")
    columns = "conn_id, conn_type, host, password, extra, is_encrypted, is_extra_encrypted"
    values = ("stored", "hubprefs", hubspot.url, hubspot.token, '{"budget_store": "process"}', False, False)
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as db:
        db.execute(f"insert into connection ({columns}) values (?, ?, ?, ?, ?, ?, ?)", values)
        db.commit()
    home = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
    }
    airflow = [str(Path(sys.executable).with_name("airflow")), "hubprefs"]
    env = {**os.environ, **environment, **home}

    command = [*airflow, "check", "--conn-id", "stored", "-o", "json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["credentials"] == "the connection 'stored'"
