"""The main job: opt out everyone in a file in HubSpot, and account for every row.

file -> batch unsubscribe, wait for HubSpot, read back -> summary

Run it with ``{"contacts": "s3://bucket/suppression.csv"}``: any path or URL that Airflow's ObjectStoragePath
reads. The same DAG runs against a real portal and against the simulator: only the connection differs.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowException, Param, task

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

with DAG(
    dag_id="hubprefs_suppression",
    description="Opt everyone in a file out of all marketing e-mail in HubSpot",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "contacts": Param("contacts.csv", type="string", title="File of addresses (path or URL)"),
        "email_column": Param("email", type="string", title="Column of the address"),
        "output": Param(
            None,
            type=["null", "string"],
            title="Folder for the report and the rows that were not applied (path or URL)",
            description="By default [hubprefs] output of Airflow's configuration",
        ),
        "hubprefs_conn_id": Param("hubprefs_default", type="string", title="Connection"),
    },
    doc_md=__doc__,
) as dag:
    opt_out = HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        source="{{ params.contacts }}",
        email_column="{{ params.email_column }}",
        poke_interval=10,
        timeout=3600,
        verify=True,
        output="{{ params.output or '' }}",
        on_rejected="report",
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
        retries=2,
    )

    @task(multiple_outputs=False)  # one result, not one more for each of its fields
    def summarise(outcomes: dict[str, Any]) -> dict[str, Any]:
        """Accept rows that HubSpot refused, but none that it did not confirm."""
        if not outcomes["complete"] or outcomes["unconfirmed"]:
            raise AirflowException(
                f"HubSpot did not confirm {outcomes['unconfirmed']} of {outcomes['read']} rows: expected every "
                f"opt-out to be read back. Run it again; the rows are in {outcomes['dead_letters']}"
            )
        return outcomes

    summarise(opt_out.output)
