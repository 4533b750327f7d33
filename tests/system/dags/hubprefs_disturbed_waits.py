"""Waits whose connection is removed, whose token is revoked, and whose HubSpot is away for a while."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor


def address(name: str) -> str:
    """An address that stands neither in this source nor in an argument."""
    return os.environ["TEST_ADDRESS"].format(name)


with DAG(
    dag_id="hubprefs_disturbed_waits",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    user_defined_macros={"address": address},
):
    for name in ("removed", "revoked", "away"):
        HubPrefsOperationSensor(
            task_id=name,
            subscriber="{{ address(task.task_id) }}",
            expect="opted_out",
            deferrable=True,
            poke_interval=2,
            timeout=900,
            max_transient_failures=1000,
            hubprefs_conn_id=name,
        )
