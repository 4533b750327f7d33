"""The main job: opt out everyone in a file in HubSpot, and account for every row.

file -> batch unsubscribe, wait for HubSpot, read back

Rows that HubSpot refuses, and rows without an address, stay behind in ``dead_letters.jsonl``; the result counts them.
A row that HubSpot did not confirm fails the task.

Run it with ``{"contacts": "s3://bucket/suppression.csv"}``: any path or URL that Airflow's ObjectStoragePath
reads; ``HUBPREFS_CONTACTS`` in Airflow's environment fills the form in. The same DAG runs against a real portal and
against the simulator: only the connection differs.
"""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

with DAG(
    dag_id="hubprefs_suppression",
    description="Opt everyone in a file out of all marketing e-mail in HubSpot",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "contacts": Param(
            os.environ.get("HUBPREFS_CONTACTS", ""),
            type="string",
            minLength=1,
            title="File of addresses",
            description="Path or URL of a CSV, JSON Lines or Parquet file, of a folder or a glob, such as "
            "/data/suppression.csv or s3://bucket/unload/part-*.csv",
        ),
        "email_column": Param(
            "email",
            type="string",
            minLength=1,
            title="Column of the address",
            description="Its name in the file, in upper or lower case",
        ),
        "output": Param(
            None,
            type=["null", "string"],
            title="Folder for the report",
            description="Path or URL. The run makes a folder of its own in it, with its report and the rows that were "
            "not applied. Empty: [hubprefs] output of Airflow's configuration",
        ),
        "hubprefs_conn_id": Param(
            "hubprefs_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Id of an Airflow connection of the type hubprefs",
        ),
    },
    doc_md=__doc__,
) as dag:
    # [START howto_operator_hubprefs_unsubscribe]
    HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        source="{{ params.contacts }}",
        email_column="{{ params.email_column }}",
        output="{{ params.output }}",
        verify=True,
        on_rejected="report",  # "fail", the default, fails the task for rows that are rejected or invalid, too
        poke_interval=10,
        timeout=3600,
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
        retries=2,
    )
    # [END howto_operator_hubprefs_unsubscribe]
