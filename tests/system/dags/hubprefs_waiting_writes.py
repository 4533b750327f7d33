"""Tasks that write, to one subscriber and to many, and wait for the end of HubSpot's operation."""

from __future__ import annotations

import os
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator

ADDRESS = os.environ.get("TEST_ADDRESS", "person-{}@example.com")

with DAG(
    dag_id="hubprefs_waiting_writes",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):
    for name in ("poked", "deferred"):
        waiting: dict[str, Any] = {
            "deferrable": name == "deferred",
            "poke_interval": 1,
            "timeout": 900,
            "hubprefs_conn_id": "writing",
        }
        HubPrefsUnsubscribeAllOperator(task_id=f"one_{name}", subscriber=ADDRESS.format(name), **waiting)
        HubPrefsBatchUnsubscribeOperator(
            task_id=f"many_{name}",
            subscribers=[ADDRESS.format(f"{name}-{number}") for number in range(250)],
            **waiting,
        )
