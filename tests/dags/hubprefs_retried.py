"""A run that fails in its middle and is retried by Airflow."""

from __future__ import annotations

import datetime

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

with DAG(
    dag_id="hubprefs_retried",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"contacts": "", "output": ""},
):
    HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        source="{{ params.contacts }}",
        output="{{ params.output }}",
        on_rejected="report",
        batch_size=10,
        retries=1,
        retry_delay=datetime.timedelta(seconds=0.1),
    )
