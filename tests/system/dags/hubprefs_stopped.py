"""A bulk opt-out long enough to be stopped in the middle."""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

FOLDER = Path(os.environ["TEST_FOLDER"])

with DAG(
    dag_id="hubprefs_stopped",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):
    HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        source=str(FOLDER / "people.csv"),
        output=str(FOLDER / "runs"),
        batch_size=10,
        hubprefs_conn_id="stopped",
    )
