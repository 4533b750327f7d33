"""Rows of a query, from a file that is a template, with parameters of all kinds that Airflow renders."""

from __future__ import annotations

from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

FOLDER = str(Path(__file__).resolve().parent)
QUERY = "SELECT email FROM consent WHERE email = ? ORDER BY email"

with DAG("hubprefs_sql", schedule=None, params={"team": "all", "least": 2}, template_searchpath=[FOLDER]):

    @task
    def address() -> str:
        return "person-4@example.com"

    HubPrefsBatchUnsubscribeOperator(
        task_id="file",
        sql="hubprefs_sql.sql",
        sql_conn_id="{{ 'warehouse' }}",
        sql_parameters={"least": "{{ params.least }}", "but": address()},
    )
    HubPrefsBatchUnsubscribeOperator.partial(task_id="mapped", sql=QUERY, sql_conn_id="warehouse").expand(
        sql_parameters=[["{{ 'person-%s@example.com' % (params.least - 2) }}"], ["nobody"]]
    )
