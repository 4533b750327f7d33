"""Desired state in a whole Airflow: a person approves or rejects the plan, in a browser and through Airflow's API.

``HUBPREFS_SCREENSHOTS`` names a folder for pictures of what the person sees.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from airflow_provider_hubprefs.simulator import Simulator
from tests.browser import chromium, needs_browser
from tests.conftest import ROOT
from tests.helpers import LONG, reported, writes
from tests.system.airflow_parts import Airflow, airflow
from tests.system.leaks import dump, leaks, leaks_in_files
from tests.system.person import Person, expect
from tests.system.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Run

pytest.importorskip(
    "airflow.providers.standard.operators.hitl", reason="a person's approval came with Airflow 3.1"
)
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

DAG = "hubprefs_reconcile"
SECRETS = ["quokkawombat", "numbatbilby"]
TASKS = ("plan", "decide", "approve", "apply", "verify", "prove")
needs_time = pytest.mark.skipif(not LONG, reason="a whole Airflow takes a minute: in make test-long")


def table(hubspot: Simulator, path: Path, name: str, count: int) -> list[str]:
    """Write what is wanted of some subscribers, and return these."""
    number = hubspot.subscription_ids[0]
    subscribers = [f"{SECRETS[0]}+{name}-{one}@{SECRETS[1]}.example" for one in range(count)]
    rows = [f"{one},{number},unsubscribed,," for one in subscribers]
    rows[0] = f"{subscribers[0]},everything,unsubscribed,2026-11-02T08:00:00Z,"
    path.write_text("\n".join(["email,subscription,status,since,basis", *rows]) + "\n")
    return subscribers


def states(*, asked: str, apply: str) -> dict[str, str]:
    after = {"verify": apply, "prove": apply}
    return {"plan": "success", "decide": "success", "approve": asked, "apply": apply, **after}


# -- real tasks in one process: in every test run --------------------------------------------------------------


def answer(client: Any, choice: str, *, run_id: str = "~", timeout: float = 60) -> dict[str, Any]:
    """Answer what a DAG run asks a person, as soon as it asks; returns what it asked."""
    where = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/hitlDetails"

    def asked() -> Any:
        reply = client.get(where, params={"response_received": False})
        return reply.json()["hitl_details"] if reply.is_success else None

    (detail,) = wait_for("a question to a person", asked, timeout=timeout)
    of_task = quote(detail["task_instance"]["dag_run_id"], safe="")
    url = f"/api/v2/dags/{DAG}/dagRuns/{of_task}/taskInstances/approve/-1/hitlDetails"
    client.patch(url, json={"chosen_options": [choice], "params_input": {}}).raise_for_status()
    return dict(detail)


def test_real_tasks_plan_apply_and_verify(
    run_dag: Callable[..., Run], hubspot: Simulator, tmp_path: Path
) -> None:
    people = table(hubspot, tmp_path / "wanted.csv", "short", 6)
    run = run_dag(DAG, wanted=str(tmp_path / "wanted.csv"), output=str(tmp_path / "runs"))
    assert (run.state, run.tasks) == ("success", states(asked="skipped", apply="success"))
    assert hubspot.is_opted_out(people[0])
    assert run.xcom("prove") == "6 of 6 rows are as they are wanted"
    kept = [run.xcom(task) for task in TASKS] + [run.rendered(task) for task in TASKS]
    assert leaks(str(kept).encode(), SECRETS) == []


def test_the_question_to_a_person_says_how_much_and_why() -> None:
    from airflow.dag_processing.dagbag import DagBag

    plan = {
        "read": 2_000,
        "changes": 1_500,
        "actions": {"opt_out": 1_500, "unchanged": 500},
        "tripped": {"max_changes": "guard max_changes: 1,500 (allowed: 100)"},
    }

    class Pulled:
        def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
            return plan if key == "return_value" else "dags/it/runs/one/tasks/plan/plugin/hubprefs"

    task: Any = DagBag(ROOT / "dags" / f"{DAG}.py").dags[DAG].task_dict["approve"]
    assert task.render_template(task.subject, {"ti": Pulled()}) == "Change 1500 rows in HubSpot?"
    assert task.render_template(task.body, {"ti": Pulled()}).splitlines() == [
        "Of 2,000 rows, **1,500 would change** in HubSpot.",
        "",
        "| Action | Rows |",
        "| --- | ---: |",
        "| opt_out | 1,500 |",
        "| unchanged | 500 |",
        "",
        "- guard max_changes: 1,500 (allowed: 100)",
        "",
        "[Report of the plan](dags/it/runs/one/tasks/plan/plugin/hubprefs)",
    ]


# -- a whole Airflow -------------------------------------------------------------------------------------------


@dataclass
class Whole:
    """An Airflow with a scheduler, and the local HubSpot that its connection leads to."""

    airflow: Airflow
    hubspot: Simulator
    files: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.airflow.port}"

    @property
    def client(self) -> httpx.Client:
        return self.airflow._client

    def start(self, name: str, count: int, **conf: Any) -> tuple[str, list[str]]:
        people = table(self.hubspot, self.files / f"{name}.csv", name, count)
        return self.airflow.trigger(DAG, wanted=str(self.files / f"{name}.csv"), **conf), people

    def wait_until_asked(self, run_id: str) -> None:
        def asked() -> bool:
            return self.airflow.states(DAG, run_id).get("approve") in {"awaiting_input", "deferred"}

        wait_for("a question to a person", asked, timeout=180)
        time.sleep(2)  # Airflow fails a task that is answered while the process that asked has not ended yet

    def end(self, run_id: str) -> dict[str, str]:
        assert self.airflow.wait(DAG, run_id) == "success"
        return self.airflow.states(DAG, run_id)


@pytest.fixture(scope="module")
def whole(airflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    home, files = tmp_path_factory.mktemp("home") / "airflow", tmp_path_factory.mktemp("files")
    with Simulator() as hubspot:
        connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
        connection["extra"] = json.dumps({"budget_store": "process"})
        env = {
            "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(connection),
            "AIRFLOW__HUBPREFS__OUTPUT": str(files / "runs"),
        }
        with airflow(home, dags=[ROOT / "dags" / f"{DAG}.py"], env=env, database=airflow_db) as running:
            running.login()
            yield Whole(running, hubspot, files)


@needs_time
@needs_browser
def test_a_person_approves_in_the_browser(whole: Whole) -> None:
    before = writes(whole.hubspot)
    run_id, people = whole.start("browser", 30, max_changes=10)
    whole.wait_until_asked(run_id)
    assert writes(whole.hubspot) == before
    with chromium() as browser, browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        person = Person(context.new_page(), whole.url)
        page = person.page
        page.goto(f"{whole.url}/required_actions")
        question = page.get_by_role("link", name="Change 30 rows in HubSpot?")
        question.first.wait_for()
        person.look_at_it_in_every_way("required actions")
        question.first.click()
        body = page.get_by_text("would change in HubSpot")
        body.wait_for()
        expect(page.get_by_role("row").filter(has_text="unsubscribe")).to_contain_text("29")
        expect(page.get_by_text("guard max_changes: rows to change: 30")).to_be_visible()
        person.look_at_it_in_every_way("approval of a plan")
        address = page.url
        page.goto(page.get_by_role("link", name="Report of the plan").evaluate("link => link.href"))
        main = person.tab()
        expect(main).to_contain_text("30")
        person.look_at_it_in_every_way("report of a plan")
        page.goto(address)
        page.get_by_role("button", name="Approve").click()
        assert whole.end(run_id) == states(asked="success", apply="success")
        person.open_task(f"{whole.url}/dags/{DAG}/runs/{run_id}", "apply")
        expect(person.open_tab()).to_contain_text("30")
        person.look_at_it_in_every_way("report of an application")
        assert leaks("\n".join(person.seen).encode(), SECRETS) == []
        assert person.errors == []
    assert whole.hubspot.is_opted_out(people[0])
    applied = whole.airflow.xcom(DAG, run_id, "apply")
    assert applied["changed"] == 30
    assert reported(applied)["plan"]["approved_by"]
    assert whole.airflow.xcom(DAG, run_id, "verify")["changes"] == 0


@needs_time
def test_a_person_approves_through_the_api(whole: Whole) -> None:
    run_id, people = whole.start("api", 30, approve_above=10)
    whole.wait_until_asked(run_id)
    answer(whole.client, "Approve", run_id=run_id)
    assert whole.end(run_id) == states(asked="success", apply="success")
    assert whole.hubspot.is_opted_out(people[0])
    assert whole.airflow.xcom(DAG, run_id, "apply")["changed"] == 30


@needs_time
def test_a_person_rejects_and_nothing_is_applied(whole: Whole) -> None:
    before = writes(whole.hubspot)
    run_id, people = whole.start("rejected", 30, approve_above=10)
    whole.wait_until_asked(run_id)
    answer(whole.client, "Reject", run_id=run_id)
    assert whole.end(run_id) == states(asked="success", apply="skipped")
    assert writes(whole.hubspot) == before
    assert not whole.hubspot.is_opted_out(people[0])


@needs_time
def test_without_anything_unusual_no_person_is_asked(whole: Whole) -> None:
    run_id, people = whole.start("usual", 30)
    assert whole.end(run_id) == states(asked="skipped", apply="success")
    assert whole.hubspot.is_opted_out(people[0])


@needs_time
def test_airflow_keeps_no_address_of_all_this(whole: Whole) -> None:
    assert leaks(dump(whole.airflow.home / "airflow.db"), SECRETS) == []
    assert leaks_in_files(whole.airflow.home, SECRETS) == []
