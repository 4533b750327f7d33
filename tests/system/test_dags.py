"""The example DAGs: Airflow parses them without the network, and they do what was typed into their form."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator
    from tests.conftest import Run

pytestmark = [pytest.mark.system]

JANE = "jane.doe@example.com"
READ_THEM = """
import socket, sys
def refuse(*arguments):
    raise AssertionError(f"a DAG file asked the network: {arguments}")
from airflow.dag_processing.dagbag import DagBag
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
print("read:", *sorted(bag.dag_ids))
"""


def test_the_dag_files_are_read_without_a_network_or_a_connection(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if "AIRFLOW" not in name}
    done = subprocess.run(
        [sys.executable, "-c", READ_THEM, str(ROOT / "dags")],
        env={**clean, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == [
        "read:",
        *sorted(file.stem for file in (ROOT / "dags").glob("*.py")),
    ]


def test_the_form_sets_a_status(run_dag: Callable[..., Run], hubspot: Simulator) -> None:
    subscription = hubspot.subscription_ids[0]
    run = run_dag("hubprefs_set_status", subscriber=" Jane.Doe@Example.com", subscription_id=subscription)
    assert run.state == "success"
    assert hubspot.status_of(JANE, subscription) == "UNSUBSCRIBED"
    assert run.xcom("set_status")["outcome"] == "changed"
    assert run.xcom("set_status")["subscriber"] == "j***@e***.com"
    assert JANE not in str(run.rendered("set_status"))


def test_a_status_that_takes_a_while_is_waited_for(run_dag: Callable[..., Run], hubspot: Simulator) -> None:
    hubspot.load({"operations": {"seconds": 1.5}})
    subscription = hubspot.subscription_ids[0]
    run = run_dag("hubprefs_set_status", subscriber=JANE, subscription_id=subscription)
    assert run.state == "success"
    assert run.xcom("set_status")["operation"] == "COMPLETE"
    assert hubspot.status_of(JANE, subscription) == "UNSUBSCRIBED"


def test_an_unsubscribed_subscriber_is_not_subscribed_by_accident(
    run_dag: Callable[..., Run], hubspot: Simulator
) -> None:
    subscription = hubspot.subscription_ids[0]
    hubspot.load({"subscribers": {JANE: {"statuses": {str(subscription): "UNSUBSCRIBED"}}}})
    wanted = {"subscriber": JANE, "subscription_id": subscription, "status": "SUBSCRIBED"}
    assert run_dag("hubprefs_set_status", **wanted).state == "failed"
    # Saying that it is allowed is not enough: it takes a legal basis.
    assert run_dag("hubprefs_set_status", allow_resubscribe=True, **wanted).state == "failed"
    assert hubspot.status_of(JANE, subscription) == "UNSUBSCRIBED"
    assert {request.method for request in hubspot.requests} <= {"GET"}


def test_with_a_new_consent_and_its_legal_basis_they_are(
    run_dag: Callable[..., Run], hubspot: Simulator
) -> None:
    subscription = hubspot.subscription_ids[0]
    hubspot.load({"subscribers": {JANE: {"statuses": {str(subscription): "UNSUBSCRIBED"}}}})
    run = run_dag(
        "hubprefs_set_status",
        subscriber=JANE,
        subscription_id=subscription,
        status="SUBSCRIBED",
        allow_resubscribe=True,
        legal_basis="CONSENT_WITH_NOTICE",
        legal_basis_explanation="asked for it on the phone",
    )
    assert run.state == "success"
    assert hubspot.status_of(JANE, subscription) == "SUBSCRIBED"


def test_the_error_for_an_unknown_subscription_names_those_of_the_portal(
    run_dag: Callable[..., Run], hubspot: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_dag("hubprefs_set_status", subscriber=JANE, subscription_id=1).state == "failed"
    output = "".join(capfd.readouterr())
    assert "subscription_id: 1 " in output
    assert all(str(number) in output for number in hubspot.subscription_ids)
    assert JANE not in output


def test_the_subscriptions_are_listed_with_their_ids(run_dag: Callable[..., Run], hubspot: Simulator) -> None:
    listed = run_dag("hubprefs_subscriptions").xcom("list_subscriptions")
    assert [one["id"] for one in listed if one["active"]] == hubspot.subscription_ids
    assert {"name", "active", "purpose"} <= set(listed[0])
    assert False in {one["active"] for one in listed}


@pytest.mark.parametrize(
    ("ends", "goes_on", "says"),
    [
        ("COMPLETE", "confirm", "j***@e***.com is opted out since 20"),
        ("CANCELED", "report", "HubSpot canceled the opt-out of j***@e***.com: "),
    ],
)
def test_a_wait_in_the_triggerer_goes_on_by_how_the_operation_ends(
    run_dag: Callable[..., Run], hubspot: Simulator, ends: str, goes_on: str, says: str
) -> None:
    hubspot.load({"operations": {"seconds": 1.5, "outcomes": {JANE: ends}}})
    run = run_dag("hubprefs_wait_and_branch", subscriber=JANE)
    assert run.state == "success"
    assert run.xcom("opt_out")["operation"] == "PENDING"
    assert run.xcom("wait")["operation"] == ends
    branches = {"confirm": "skipped", "report": "skipped", goes_on: "success"}
    assert {task_id: run.tasks[task_id] for task_id in branches} == branches
    assert says in run.xcom(goes_on)
    assert hubspot.is_opted_out(JANE) == (ends == "COMPLETE")
    assert "jane" not in str([run.rendered(task_id) for task_id in run.tasks])
