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
        "subscriber": Param("name@example.com", type="string", title="E-mail address", minLength=3),
        "subscription_id": Param(
            1,
            type="integer",
            title="Subscription",
            description="Id of the definition; a run with an unknown id lists those there are",
        ),
        "status": Param("UNSUBSCRIBED", enum=["SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"], title="Status"),
        "legal_basis": Param(None, enum=LEGAL_BASES, title="Legal basis"),
        "legal_basis_explanation": Param(None, type=["null", "string"], title="Why, in words"),
        "allow_resubscribe": Param(
            False, type="boolean", title="The subscriber unsubscribed before and has consented anew"
        ),
        "hubprefs_conn_id": Param("hubprefs_default", type="string", title="Connection"),
    },
    doc_md=__doc__,
) as dag:
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
