"""Each snippet and command of the README is run here, or named with the test that runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.simulator import Simulator

from .conftest import DAGS, HOME, ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SNIPPETS = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
DAG_SNIPPETS = {re.search(r'DAG\("(\w+)"', code)[1]: code for code in SNIPPETS if "with DAG(" in code}  # type: ignore[index]

REPOSITORY = "https://github.com/airflow-provider-hubprefs/airflow-provider-hubprefs"
RUN_ELSEWHERE = {
    "make demo": (ROOT / "tests" / "system" / "test_demo.py", "run.py"),
    "make ui": (ROOT / "tests" / "system" / "test_browser.py", "ui.py"),
    "make test": (ROOT / ".ci" / "run", "make test"),
}


@pytest.fixture
def run_snippet(
    run_dag: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def run(dag_id: str, **conf: Any) -> Any:
        file = DAGS / f"readme_{dag_id}.py"
        file.write_text(DAG_SNIPPETS[dag_id])
        try:
            return run_dag(dag_id, file=file, **conf)
        finally:
            file.unlink()

    return run


def test_the_first_dag_opts_a_file_out(
    hubspot: Simulator, run_snippet: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "suppression.csv").write_text("email\njane@example.com\nbob@example.com\n")
    run = run_snippet("suppression")
    assert run.state == "success"
    assert hubspot.is_opted_out("jane@example.com")
    shown = json.loads(next(code for language, code in BLOCKS if language == "json"))
    assert shown.items() <= {**run.xcom("opt_out"), **shown}.items()
    assert set(shown) <= set(run.xcom("opt_out"))


def test_the_second_sets_a_status_and_waits_for_it(
    hubspot: Simulator, run_snippet: Callable[..., Any]
) -> None:
    newsletter = hubspot.subscription_ids[3]
    assert f'"newsletter": {newsletter}' in DAG_SNIPPETS["consent"]
    assert run_snippet("consent").tasks == {"set_status": "success", "wait": "success"}
    assert hubspot.status_of("jane@example.com", newsletter) == "SUBSCRIBED"


def test_a_file_says_what_is_wanted_of_each_row(
    hubspot: Simulator, run_snippet: Callable[..., Any], tmp_path: Path
) -> None:
    shown = next(code for language, code in BLOCKS if language == "csv")
    (tmp_path / "preferences.csv").write_text(shown)
    assert run_snippet("preferences").xcom("set_statuses")["changed"] == 2
    newsletter = hubspot.subscription_ids[3]
    assert hubspot.status_of("jane@example.com", newsletter) == "UNSUBSCRIBED"
    assert hubspot.status_of("bob@example.com", newsletter) == "SUBSCRIBED"


def test_the_watcher_in_the_readme_writes_where_it_says() -> None:
    snippet: dict[str, Any] = {}
    exec(DAG_SNIPPETS["on_opt_out"], snippet)
    (watcher,) = snippet["opt_outs"].watchers
    assert watcher.trigger.serialize()[1]["output"] == "s3://bucket/opt-outs"


def test_the_snippet_of_a_test_passes(tmp_path: Path) -> None:
    code = next(code for code in SNIPPETS if "def test_" in code)
    plugins, test = code.split("\n", 1)
    (tmp_path / "conftest.py").write_text(plugins)
    (tmp_path / "test_it.py").write_text(test)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env=airflow_env(), cwd=tmp_path, check=False
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_every_snippet_is_run_by_one_of_these() -> None:
    assert set(DAG_SNIPPETS) == {
        "consent",
        "on_opt_out",
        "preferences",
        "suppression",
    }
    assert len(SNIPPETS) == len(DAG_SNIPPETS) + 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works(command: str, airflow_db: Path, hubspot: Simulator) -> None:
    if command in RUN_ELSEWHERE:
        file, what = RUN_ELSEWHERE[command]
        assert what in file.read_text()
    elif command.startswith("airflow connections add"):
        connection_is_added(command)
    elif command.startswith("export AIRFLOW_CONN_"):
        connection_is_understood(command)
    elif command.startswith("python -m airflow_provider_hubprefs.simulator"):
        simulator_says_where_it_is(command)
    else:
        pytest.fail(f"nothing runs this command of the README: {command}")


def airflow_env(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


def connection_is_added(command: str) -> None:
    env = airflow_env(HUBPREFS_TOKEN="pat-na1-example")
    subprocess.run(["bash", "-c", command], env=env, check=True, capture_output=True)
    with sqlite3.connect(HOME / "airflow.db") as db:
        found = db.execute("delete from connection returning conn_id, conn_type").fetchall()
    assert found == [("hubprefs_default", "hubprefs")]


def connection_is_understood(command: str) -> None:
    name, _, value = shlex.split(command)[1].partition("=")
    code = (
        "from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook as H; c = H().client;"
        "print(c.calls.version, c.url, c.auth.identity())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=airflow_env(**{name: value}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-3:] == ["2026-09", "https://api.hubapi.com", "pat-na1-..."]


def simulator_says_where_it_is(command: str) -> None:
    with subprocess.Popen(
        shlex.split(command), env=airflow_env(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        process.terminate()
    assert set(printed) == {"url", "token", "subscription_ids"}


def test_the_readme_names_all_methods_and_fields() -> None:
    from airflow_provider_hubprefs.get_provider_info import CONNECTION_FIELDS
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
    from airflow_provider_hubprefs.hubspot.api.endpoints import ENDPOINTS

    assert HOME.exists()
    for name in ENDPOINTS:
        assert f"`{name}`" in README
        assert hasattr(HubPrefsHook, name)
    for field in CONNECTION_FIELDS:
        assert f"`{field}`" in README
    for module, name in re.findall(r"`((?:hooks|operators|sensors)\.\w+)\.(HubPrefs\w+)`", README):
        found = __import__(f"airflow_provider_hubprefs.{module}", fromlist=[name])
        assert hasattr(found, name)


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
            here = target.removeprefix(f"{REPOSITORY}/blob/main/")
            assert here.startswith("https://") or (ROOT / here).exists(), target
    assert re.findall(r"\]\((?!https://)", README) == [], "a relative link is dead on PyPI"
