"""Every way a wait can end, in every mode. What HubSpot says is up to the test."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

ARGUMENTS: dict[str, dict[str, Any]] = {
    "complete": {},
    "canceled": {},
    "canceled_branch": {"fail_on_canceled": False},
    "canceled_soft": {"soft_fail": True},
    "canceled_never": {"never_fail": True},
    "timeout": {"timeout": 0.4},
    "timeout_soft": {"timeout": 0.4, "soft_fail": True},
    "tolerated": {},
    "failing": {"max_transient_failures": 1},
    "failing_soft": {"max_transient_failures": 1, "soft_fail": True},
    "failing_never": {"max_transient_failures": 1, "never_fail": True},
    "failing_silent": {"max_transient_failures": 0, "silent_fail": True},
    "revoked": {},
    "revoked_soft": {"soft_fail": True},
    "unknown": {},
    "expected": {"expect": "opted_out"},
    "killed": {"execution_timeout": timedelta(seconds=1.5)},
    "unconnected": {"hubprefs_conn_id": "hubprefs_nowhere"},
}


def note_exception(context: Any) -> None:
    """Write down what a task failed with, where the test asks for it."""
    if where := os.environ.get("HUBPREFS_TEST_EXCEPTIONS"):
        with Path(where).open("a", encoding="utf-8") as file:
            file.write(f"{context['ti'].task_id} {type(context['exception']).__name__}\n")


with DAG(
    dag_id="hubprefs_waiting_modes",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"on_failure_callback": note_exception},
):
    for name, arguments in ARGUMENTS.items():
        for mode in ("poke", "deferred"):
            HubPrefsOperationSensor(
                task_id=f"{name}.{mode}",
                subscriber=f"{name}.{mode}@example.com",
                deferrable=mode == "deferred",
                **{"poke_interval": 0.1, "timeout": 60, **arguments},
            )
