"""Preferences of many subscribers: columns of a file say which status each one wants for which subscription.

file -> batch of statuses; rows that contradict each other count as an opt-out

Such as this file (the legal basis may be empty where the portal's data privacy settings do not ask for one):

    email,status,subscription,basis
    jane@example.com,unsubscribed,348211907,
    bob@example.com,subscribed,348211907,CONSENT_WITH_NOTICE
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchSetStatusOperator

with DAG(
    dag_id="hubprefs_preferences",
    description="Set the statuses in HubSpot that the columns of a file say",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "preferences": Param(
            "",
            type="string",
            minLength=1,
            title="File of preferences",
            description="Path or URL of a file with the columns email, status, subscription and basis",
        ),
        "most": Param(
            10_000,
            type="integer",
            minimum=1,
            title="At most so many rows",
            description="A file with more is probably the wrong one: nothing is written then",
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
    # [START howto_operator_hubprefs_batch_set_status]
    HubPrefsBatchSetStatusOperator(
        task_id="set_statuses",
        source="{{ params.preferences }}",
        status_column="status",  # or status= for all rows; the same goes for the others
        subscription_column="subscription",
        legal_basis_column="basis",
        read_options={"status_values": {"yes": "SUBSCRIBED", "no": "UNSUBSCRIBED"}},
        on_conflict="opt_out_wins",
        max_changes="{{ params.most }}",
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
        retries=2,
    )
    # [END howto_operator_hubprefs_batch_set_status]
