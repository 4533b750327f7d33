"""Opt-outs that wait in the triggerer, all at once, each by a connection of its own. Runs once, by itself.

So do those of a decorated function, whose result is a data set of HubSpot's.
"""

from __future__ import annotations

import os

import pendulum
from airflow import DAG
from airflow.providers.common.compat.sdk import Asset, task

from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

with DAG(
    dag_id="hubprefs_compat_waits",
    schedule="@once",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    is_paused_upon_creation=False,
):
    for name in os.environ["COMPAT_CONNECTIONS"].split():
        opt_out = HubPrefsUnsubscribeAllOperator(
            task_id=f"write_{name}",
            subscriber=f"{name}@example.com",
            wait_for_completion=True,
            deferrable=True,
            poke_interval=1,
            timeout=600,
            hubprefs_conn_id=name,
        )
        wait = HubPrefsOperationSensor(
            task_id=f"wait_{name}",
            subscriber=f"{name}.too@example.com",
            expect="opted_out",
            deferrable=True,
            poke_interval=1,
            timeout=600,
            hubprefs_conn_id=name,
        )

    @task.hubprefs_unsubscribe(
        deferrable=True,
        poke_interval=1,
        timeout=600,
        hubprefs_conn_id="token",
        outlets=[Asset(uri="hubspot://4711/opt-outs")],
    )
    def write_decorated() -> list[str]:
        return ["decorated.1@example.com", "decorated.2@example.com"]

    write_decorated()
