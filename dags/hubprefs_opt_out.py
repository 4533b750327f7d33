"""One subscriber out of everything, or of one brand, from the form of "Trigger DAG".

opt out -> wait in the triggerer until HubSpot has done it

Airflow keeps what is typed into the form with the DAG run and in its audit log. Where addresses must not stay there,
let an earlier task fetch the address instead, and pass its result.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator

with DAG(
    dag_id="hubprefs_opt_out",
    description="Opt one subscriber out of everything, or of one brand, in HubSpot",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "subscriber": Param(
            "",
            type="string",
            minLength=3,
            title="E-mail address",
            description="Airflow keeps what is typed here with the run, and in its audit log",
        ),
        "brand": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Brand (businessUnitId)",
            description="Only for accounts with the Brands add-on; 0 is the account's own brand",
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
    # [START howto_operator_hubprefs_unsubscribe_all]
    HubPrefsUnsubscribeAllOperator(
        task_id="opt_out",
        subscriber="{{ params.subscriber }}",
        business_unit_id="{{ params.brand }}",  # empty: the connection's
        deferrable=True,
        poke_interval=timedelta(seconds=10),
        timeout=timedelta(hours=1),
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
    )
    # [END howto_operator_hubprefs_unsubscribe_all]
