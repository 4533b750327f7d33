"""Mapped tasks with one output folder, which run at the same time."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

with DAG(
    dag_id="hubprefs_mapped_output",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"output": ""},
):

    @task
    def lists() -> list[list[str]]:
        """One for each mapped task."""
        return [["a@example.com", "nobody-0"], ["b@example.com", "nobody-1"]]

    HubPrefsBatchUnsubscribeOperator.partial(
        task_id="opt_out", output="{{ params.output }}", on_rejected="report"
    ).expand(subscribers=lists())
