"""What differs between the versions of Airflow, as far as one of them can show it; ``compat/run.py`` tries them all."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import redact

from airflow_provider_hubprefs import compat
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.watch.opt_outs import OptOutLists
from tests.conftest import ROOT
from tests.helpers import outcomes

OWN = "airflow_provider_hubprefs"
OAUTH = {
    "client_id": "client-of-a-loop",
    "client_secret": "secret-of-a-loop",
    "refresh_token": "refresh-of-a-loop",
}


class Supervisor:
    """Stands where Airflow keeps the connection to a task's or a triggerer's supervisor: notes what it gets."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def send(self, message: Any) -> None:
        self.got.append(type(message).__name__)

    async def asend(self, message: Any) -> None:
        self.send(message)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    found = Supervisor()
    monkeypatch.setattr("airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS", found, raising=False)
    return found


@pytest.mark.parametrize("in_loop", [True, False], ids=["event loop", "task"])
def test_in_an_event_loop_secrets_are_masked_without_a_message(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, *, in_loop: bool
) -> None:
    """A message that another thread sends ends the triggerer of Airflow before 3.2.2 (apache/airflow#64620)."""
    seed = 64620 + in_loop  # a seed of its own makes tokens that no other test has had masked
    with Simulator(portal={"oauth": {**OAUTH, "rotate": True}}, seed=seed) as hubspot:
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "extra": json.dumps(OAUTH)}
        monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
        hook = HubPrefsHook()
        if not in_loop:
            hook.get_definitions()
        else:

            async def read() -> None:
                client = await hook.aget_client()
                supervisor.got.clear()  # Airflow's own: of the look-up
                async with client:
                    await client.send(client.calls.get_definitions())
                await asyncio.get_running_loop().shutdown_default_executor()

            asyncio.run(read())
        fresh = [token for name, token in hubspot.tokens.items() if name.startswith("oauth-")]
        secrets = [*fresh, *hubspot.state.tokens.refresh_tokens, OAUTH["client_secret"]]
    assert len(fresh) == 1
    assert [redact(f"with {secret}") for secret in secrets] == ["with ***"] * len(secrets)
    assert ("MaskSecret" in supervisor.got) is not in_loop


def test_a_client_for_an_event_loop_is_made_without_a_message_too(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import Connection

    hook = HubPrefsHook()
    fields = {**OAUTH, "budget_store": "process"}
    connection = Connection(conn_id="any", conn_type="hubprefs", extra=json.dumps(fields))
    hook._make_async_client(connection, fields, None)
    assert supervisor.got == []


def test_a_connection_is_looked_up_from_a_thread_where_airflow_blocks_the_loop(
    hubprefs_default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import Connection

    threads: list[int] = []
    look_up = HubPrefsHook.get_connection

    def noted(_: HubPrefsHook, name: str) -> Any:
        threads.append(threading.get_ident())
        return look_up(name)

    monkeypatch.delattr(Connection, "aextra_dejson")  # Airflow before 3.3.2
    monkeypatch.setattr(HubPrefsHook, "get_connection", noted)

    async def read() -> int:
        async with await HubPrefsHook(hubprefs_default).aget_client() as client:
            return len((await client.send(client.calls.get_definitions())).results)

    assert asyncio.run(read()) > 0
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


class TestFilesThatCannotBeIterated:
    """On Airflow 2.11 a file that an ``ObjectStoragePath`` opens has no ``__iter__``."""

    @pytest.fixture(autouse=True)
    def _as_on_2_11(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "any").write_text("a line")
        path: Any = compat.ObjectStoragePath(f"file://{tmp_path}/any")
        with path.open() as file:
            monkeypatch.delattr(type(file), "__iter__", raising=False)
            with pytest.raises(TypeError):
                list(file)

    def test_sources_and_dead_letters(self, hubprefs_default: str, context: Any, tmp_path: Path) -> None:
        for name, content in {
            "a.csv": 'email,note\na@example.com,"over\ntwo lines"\nb@example.com,\nbroken,\n',
            "b.jsonl": '{"email": "c@example.com"}\n{"email": "a@example.com"}\n',
            "c.txt": "d@example.com\nrejected@hubspot-rejects.example\n",
        }.items():
            (tmp_path / name).write_text(content)
        summary: dict[str, Any] = HubPrefsBatchUnsubscribeOperator(
            task_id="opt_out",
            source=[f"file://{tmp_path}/{name}" for name in ("a.csv", "b.jsonl", "c.txt")],
            output=f"file://{tmp_path}/runs",
            on_rejected="report",
        ).execute(context)
        assert outcomes(summary) == {"changed": 4, "rejected": 1, "invalid": 1, "duplicate": 1}
        assert len(Path(summary["dead_letters"]).read_text().splitlines()) == 2

    def test_lists_of_opt_outs(self, tmp_path: Path) -> None:
        from airflow_provider_hubprefs.hubspot.api.contacts import Found, OptOut

        found = Found(
            [OptOut(contact_id=1, subscriber="a@example.com", at=5)], watermark=5, floor=0, seen={1: 5}
        )
        for _ in range(2):  # the second reads what the first has written
            folder = compat.ObjectStoragePath(f"file://{tmp_path}")
            lists = OptOutLists(folder, connection="portal", overlap=60_000, since=0)
            lists.take(found)
            assert [one.count for one in lists.undelivered()] == [1]


def test_what_is_needed_of_airflow_is_there_without_a_provider_or_a_warning() -> None:
    code = f"""
import sys, warnings
warnings.simplefilter("error")
from airflow_provider_hubprefs import compat
names = {sorted(compat._PLACES)}
assert all(getattr(compat, name) for name in names)
assert "airflow.providers.common.compat.sdk" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_one_module_knows_where_airflow_has_what() -> None:
    everywhere = {"airflow.triggers.base"}
    # One place each, in the versions that have it at all; the version that asks for it has it.
    everywhere |= {"airflow.cli.cli_config", "airflow.providers.openlineage.extractors"}
    everywhere |= {"airflow.sdk.definitions.retry_policy", "airflow.providers.common.sql.hooks.sql"}
    everywhere |= {"airflow.providers.openlineage.sqlparser"}
    found = {
        (file.relative_to(ROOT / OWN).as_posix(), module)
        for file in (ROOT / OWN).rglob("*.py")
        for module in re.findall(r"(?:from|import) (airflow(?:\.\w+)*)\b(?!_)", file.read_text())
    }
    of_the_server = ("plugin.py", "ui/")  # a file for each major version: its database and its web framework
    elsewhere = {place for place in found if not place[0].startswith(("compat.py", *of_the_server))}
    assert {place for place in elsewhere if place[1] not in everywhere} == set()


def test_its_names_are_those_of_the_compat_provider() -> None:
    sdk = import_module("airflow.providers.common.compat.sdk")
    errors = [name for name in dir(compat) if name.startswith("Airflow")]
    others = set(compat._PLACES) - {"BaseEventTrigger", "TaskDecoratorBase", "mask_locally"}
    for name in {*others, *errors, "AirflowException", "AirflowFailException", "AirflowTaskTimeout"}:
        assert getattr(compat, name) is getattr(sdk, name), name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = compat.no_such_name


def test_fixtures_without_pytest_say_what_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import airflow_provider_hubprefs.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: the fixtures need pytest: pip install pytest"


class TestExamples:
    @pytest.mark.parametrize("name", sorted(file.name for file in (ROOT / "dags").glob("*.py")))
    def test_no_result_is_split(self, name: str) -> None:
        """``-> dict[...]`` alone makes a second XCom of each field; older Airflows refuse those that are None."""
        from airflow.sdk import DAG

        found = [each for each in runpy.run_path(str(ROOT / "dags" / name)).values() if isinstance(each, DAG)]
        code = (ROOT / "dags" / name).read_text()
        tasks = [task for dag in found for task in dag.tasks]
        assert [task.task_id for task in tasks if getattr(task, "multiple_outputs", False)] == []
        decorated = re.findall(r"@task(\([^\n]*\))?\n    def [^\n]* -> dict\[", code)
        assert [one for one in decorated if "multiple_outputs=False" not in one] == []

    def test_the_one_for_airflow_3_says_on_airflow_2_why_it_does_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow.providers.common.compat.version_compat.AIRFLOW_V_3_0_PLUS", False)
        made: list[Any] = []
        from airflow.sdk import DAG

        enter = DAG.__enter__

        def noted(dag: DAG) -> DAG:
            made.append(dag)
            return enter(dag)

        monkeypatch.setattr(DAG, "__enter__", noted)
        runpy.run_path(str(ROOT / "dags" / "hubprefs_on_opt_out.py"))
        ((dag_id, (task,)),) = [(dag.dag_id, dag.tasks) for dag in made]
        assert dag_id == "hubprefs_on_opt_out"
        with pytest.raises(compat.AirflowFailException, match=r"^Airflow 2 has no asset watchers: "):
            task.python_callable()
