"""A list of opt-outs must be applied within 24 hours: if it is not, a notifier says how far it is (Airflow 3.1).

The deadline counts from the moment when the DAG run is queued, and Airflow's scheduler looks at it, so that it holds
whatever keeps the run: no worker, a pause, HubSpot's daily limit, a run that is merely long. The run itself goes on.
``HubPrefsNotifier`` reads the report that the run writes while it goes on, logs a sentence such as
``hubprefs_deadline/opt_out: Still running as of 2026-11-26T02:45:44+00:00, 11% of the source read: 4,700 of 4,700
opted out``, and gives it to another notifier (here to none: name Slack's or SMTP's by its import path).

What it takes: a running triggerer, where the callback (``AsyncCallback``) runs and logs; a folder for the reports that
the triggerer can read, named by ``HUBPREFS_REPORTS`` in Airflow's environment, a URL such as ``s3://aws@bucket/hubprefs``
where it is on another machine. ``HUBPREFS_APPLIED_WITHIN`` (seconds) shortens the deadline, to try it. The sentence is
in the triggerer's own log, because a deadline belongs to no task.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_hubprefs.notifications.hubprefs import HubPrefsNotifier
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

REPORTS = os.environ.get("HUBPREFS_REPORTS", "file:///tmp/hubprefs-reports")
WITHIN = timedelta(seconds=float(os.environ.get("HUBPREFS_APPLIED_WITHIN", "86400")))


def deadline() -> dict[str, Any]:
    """Arguments of the DAG; Airflow before 3.1 has no deadlines."""
    if not AIRFLOW_V_3_1_PLUS:
        return {}
    from airflow.sdk.definitions import deadline as airflow  # where 3.1 has all of them

    # [START howto_notifier_hubprefs]
    async_callback: Any = airflow.AsyncCallback  # type: ignore[attr-defined]
    alert = airflow.DeadlineAlert(
        reference=airflow.DeadlineReference.DAGRUN_QUEUED_AT,
        interval=WITHIN,
        callback=async_callback(HubPrefsNotifier, kwargs={"output": REPORTS}),
    )
    # [END howto_notifier_hubprefs]
    return {"deadline": alert}


with DAG(
    dag_id="hubprefs_deadline",
    description="Opt everyone in a file out, and say so if that is not done within 24 hours",
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
        "hubprefs_conn_id": Param(
            "hubprefs_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Id of an Airflow connection of the type hubprefs",
        ),
    },
    doc_md=__doc__,
    **deadline(),
) as dag:
    HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        source="{{ params.contacts }}",
        output=REPORTS,
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
        retries=4,
        retry_delay=timedelta(hours=1),
    )
