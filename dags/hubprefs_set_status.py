"""One subscriber, one subscription: set a status from the form of "Trigger DAG", and wait until HubSpot has done it.

set status -> wait until the operation is COMPLETE; CANCELED fails the run

Airflow keeps what is typed into the form with the DAG run and in its audit log. Where addresses must not stay there,
let an earlier task fetch the address instead, and pass its result.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_hubprefs.operators.preferences import HubPrefsSetStatusOperator

LEGAL_BASES = [
    None,
    "CONSENT_WITH_NOTICE",
    "LEGITIMATE_INTEREST_CLIENT",
    "LEGITIMATE_INTEREST_OTHER",
    "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR",
    "PERFORMANCE_OF_CONTRACT",
    "PROCESS_AND_STORE",
]

with DAG(
    dag_id="hubprefs_set_status",
    description="Set one subscriber's status for one subscription in HubSpot",
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
        "subscription_id": Param(
            None,
            type="integer",
            minimum=1,
            title="Subscription id",
            description="The DAG hubprefs_subscriptions lists the ids",
        ),
        "status": Param(
            "UNSUBSCRIBED",
            type="string",
            enum=["SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"],
            title="Status",
            description="What the subscriber wants of this subscription",
        ),
        "legal_basis": Param(
            None,
            type=["null", "string"],
            enum=LEGAL_BASES,
            values_display={"null": "not given"},
            title="Legal basis",
            description="Needed to subscribe a subscriber who has unsubscribed, and where the portal's data privacy "
            "settings ask for it",
        ),
        "legal_basis_explanation": Param(
            None,
            type=["null", "string"],
            title="Explanation of the legal basis",
            description="In words, for HubSpot's record: where and when the subscriber has consented",
        ),
        "allow_resubscribe": Param(
            False,
            type="boolean",
            title="Allow to resubscribe",
            description="Only for a subscriber who has unsubscribed, and has consented anew since",
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
    # [START howto_operator_hubprefs_set_status]
    HubPrefsSetStatusOperator(
        task_id="set_status",
        subscriber="{{ params.subscriber }}",
        subscription_id="{{ params.subscription_id }}",
        status="{{ params.status }}",
        legal_basis="{{ params.legal_basis }}",
        legal_basis_explanation="{{ params.legal_basis_explanation }}",
        allow_resubscribe="{{ params.allow_resubscribe }}",
        poke_interval=2,
        timeout=3600,
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
    )
    # [END howto_operator_hubprefs_set_status]
