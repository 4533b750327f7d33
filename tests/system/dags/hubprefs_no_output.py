"""A run for whose report neither the task nor Airflow's configuration names a folder."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

os.environ["AIRFLOW__HUBPREFS__OUTPUT"] = ""  # of this file's processes alone

with DAG(
    dag_id="hubprefs_no_output",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):
    HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        subscribers=["kim@example.com", "lee@example.com", "no address"],
        on_rejected="report",
    )
