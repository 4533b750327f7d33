"""Opt one subscriber out, wait in the triggerer, and go on by how HubSpot's operation ended.

opt-out -> wait in the triggerer -> COMPLETE: confirmed | CANCELED: reported

Airflow keeps what is typed into the form with the DAG run and in its audit log. Where addresses must not stay there,
let an earlier task fetch the address instead, and pass its result.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

with DAG(
    dag_id="hubprefs_wait_and_branch",
    description="Opt one subscriber out in HubSpot, wait, and go on by how it ended",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "subscriber": Param(
            "",
            type="string",
            minLength=3,
            title="E-mail address",
            description="Airflow keeps what is typed here with the run, and in its audit log",
        ),
        "hubprefs_conn_id": Param(
            "hubprefs_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Id of an Airflow connection of the type hubprefs",
        ),
    },
    doc_md=__doc__,
) as dag:

    @task(retries=2, multiple_outputs=False)
    def opt_out(**context: Any) -> dict[str, str]:
        """Begin the opt-out: unlike the operator, which waits and fails where HubSpot cancels, the hook only writes."""
        params = context["params"]
        operation = HubPrefsHook(params["hubprefs_conn_id"]).unsubscribe_all(params["subscriber"])
        return {"operation": operation.status}

    # [START howto_sensor_hubprefs_operation]
    wait = HubPrefsOperationSensor(
        task_id="wait",
        subscriber="{{ params.subscriber }}",
        fail_on_canceled=False,
        deferrable=True,
        poke_interval=10,
        timeout=3600,
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
    )
    # [END howto_sensor_hubprefs_operation]

    @task.branch
    def branch(waited: dict[str, Any]) -> str:
        """Choose by the operation's status; only COMPLETE and CANCELED end a wait."""
        return "confirm" if waited["operation"] == "COMPLETE" else "report"

    @task
    def confirm(waited: dict[str, Any]) -> str:
        """Go on: the opt-out is in HubSpot."""
        return f"{waited['subscriber']} is opted out since {waited['completed_at']}"

    @task
    def report(waited: dict[str, Any]) -> str:
        """Report that HubSpot changed nothing; to try again, run the DAG again."""
        reasons = "; ".join(error["message"] for error in waited["errors"]) or "it gave no reason"
        return f"HubSpot canceled the opt-out of {waited['subscriber']}: {reasons}"

    opt_out() >> wait
    branch(wait.output) >> [confirm(wait.output), report(wait.output)]
