"""Back into the warehouse: what HubSpot has of your subscribers, as three tables of a database.

subscriptions and their names -> `hubspot_subscriptions`
statuses of everyone in a file -> `hubspot_statuses`
contacts that have opted out -> `hubspot_opt_outs`

Tables are made where there are none. Each task fills its table in one transaction, when all is read: a task that is
killed and tried again leaves the same rows. It reads HubSpot, and changes nothing there.
"""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_hubprefs.operators.export import (
    HubPrefsExportDefinitionsOperator,
    HubPrefsExportOptOutsOperator,
    HubPrefsExportStatusesOperator,
)

with DAG(
    dag_id="hubprefs_export",
    description="Write subscriptions, statuses and opt-outs from HubSpot to tables of a database",
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
            description="Path or URL of a file with a column named email, or with one address a line",
        ),
        "warehouse": Param(
            "warehouse",
            type="string",
            minLength=1,
            title="Database",
            description="Id of an Airflow connection to any database, such as Postgres, SQLite or DuckDB",
        ),
        "output": Param(
            None,
            type=["null", "string"],
            title="Folder for the report",
            description="Path or URL; it is needed. Empty: [hubprefs] output of Airflow's configuration",
        ),
        "hubprefs_conn_id": Param(
            "hubprefs_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Id of an Airflow connection of the type hubprefs",
        ),
    },
    default_args={
        "target_conn_id": "{{ params.warehouse }}",
        "create_table": True,
        "hubprefs_conn_id": "{{ params.hubprefs_conn_id }}",
        "retries": 2,
    },
    doc_md=__doc__,
) as dag:
    # [START howto_operator_hubprefs_export_definitions]
    HubPrefsExportDefinitionsOperator(
        task_id="subscriptions", table="hubspot_subscriptions", on_missing="delete"
    )
    # [END howto_operator_hubprefs_export_definitions]

    # [START howto_operator_hubprefs_export_statuses]
    HubPrefsExportStatusesOperator(
        task_id="statuses",
        source="{{ params.contacts }}",
        table="hubspot_statuses",
        on_rejected="report",
        output="{{ params.output }}",
    )
    # [END howto_operator_hubprefs_export_statuses]

    # [START howto_operator_hubprefs_export_opt_outs]
    HubPrefsExportOptOutsOperator(
        task_id="opt_outs",
        mode="all",  # "new": those since the last run
        table="hubspot_opt_outs",
        on_missing="delete",  # who is not opted out any more
    )
    # [END howto_operator_hubprefs_export_opt_outs]
