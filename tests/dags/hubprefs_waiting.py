"""The sensor in both of its modes, and branching on CANCELED."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

with DAG(
    dag_id="hubprefs_waiting",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"subscriber": "", "mode_failures": 2},
):

    @task
    def opt_out(**context: Any) -> None:
        """Begin it, and do not wait."""
        HubPrefsHook().unsubscribe_all(context["params"]["subscriber"])

    waits = [
        HubPrefsOperationSensor(
            task_id=mode,
            subscriber="{{ params.subscriber }}",
            mode=mode,
            fail_on_canceled=False,
            max_transient_failures=2,
            poke_interval=0.2,
            timeout=60,
        )
        for mode in ("poke", "reschedule")
    ]

    @task.branch
    def branch(**context: object) -> str:
        """Go on by what HubSpot made of the operation."""
        result = context["ti"].xcom_pull(task_ids="poke")  # type: ignore[attr-defined]
        return "done" if result["operation"] == "COMPLETE" else "undone"

    @task
    def done() -> None:
        """HubSpot completed it."""

    @task
    def undone() -> None:
        """HubSpot canceled it."""

    opt_out() >> waits
    waits[0] >> branch() >> [done(), undone()]
