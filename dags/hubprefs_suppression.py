"""The main job: everybody in a file is opted out in HubSpot, and a summary says what became of every row.

file -> batch unsubscribe -> wait for the operation -> read back -> summary

Run it with ``{"contacts": "s3://bucket/suppression.csv"}``: any path or URL that Airflow's ObjectStoragePath
reads. The same DAG runs against a real portal and against the simulator: only the connection differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pendulum
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowSkipException,
    ObjectStoragePath,
    Param,
    task,
)

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

if TYPE_CHECKING:
    from collections.abc import Mapping


def subscriber_to_watch(params: Mapping[str, Any], outcomes: Mapping[str, Any]) -> str:
    """Look up whose operation to wait for: one HubSpot was still at work on, or the last it confirmed.

    What is stored between tasks is a row's number, never an address.
    """
    from airflow_provider_hubprefs.bulk.source import subscriber_at

    row = outcomes["last_pending_row"] or outcomes["last_confirmed_row"]
    if row is None:
        raise AirflowSkipException("no row was applied: there is no operation to wait for")
    return subscriber_at(ObjectStoragePath(params["contacts"]), row, email_column=params["email_column"])


with DAG(
    dag_id="hubprefs_suppression",
    description="Opt everybody in a file out of all marketing e-mail in HubSpot",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "contacts": Param("contacts.csv", type="string", title="File of addresses (path or URL)"),
        "email_column": Param("email", type="string", title="Column of the address"),
        "dead_letters": Param(
            "dead_letters.jsonl", type="string", title="Where rows go that were not applied"
        ),
        "hubprefs_conn_id": Param("hubprefs_default", type="string", title="Connection"),
    },
    user_defined_macros={"subscriber_to_watch": subscriber_to_watch},
    doc_md=__doc__,
) as dag:
    opt_out = HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        source="{{ params.contacts }}",
        email_column="{{ params.email_column }}",
        dead_letters="{{ params.dead_letters }}",
        on_rejected="report",
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
        retries=2,
    )

    wait = HubPrefsOperationSensor(
        task_id="wait",
        subscriber="{{ subscriber_to_watch(params, ti.xcom_pull('opt_out')) }}",
        expect="opted_out",
        poke_interval=10,
        timeout=3600,
        mode="reschedule",
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
    )

    @task(trigger_rule="none_failed")
    def verify(**context: Any) -> dict[str, int]:
        """Ask HubSpot, a hundred subscribers at a time, who is opted out now."""
        from airflow_provider_hubprefs.bulk.source import Columns, read_rows
        from airflow_provider_hubprefs.bulk.verify import verify as count
        from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
        from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

        params = context["params"]
        hook = HubPrefsHook(params["hubprefs_conn_id"])
        wanted = UnsubscribeAll(hook.client.calls, business_unit_id=hook.business_unit_id)
        rows = read_rows(ObjectStoragePath(params["contacts"]), columns=Columns(email=params["email_column"]))
        return count(hook.client, wanted, rows)

    @task
    def summarise(outcomes: dict[str, Any], verified: dict[str, int]) -> dict[str, Any]:
        """Put both together; what was reported as applied has to be what HubSpot shows."""
        applied = outcomes["changed"] + outcomes["unchanged"]
        if verified["as_wanted"] < applied:
            raise AirflowException(
                f"{applied} subscribers were reported as opted out, HubSpot shows {verified['as_wanted']}: "
                "someone may have resubscribed meanwhile; run again"
            )
        return {**outcomes, "verified": verified}

    verified = verify()
    opt_out >> wait >> verified
    summarise(opt_out.output, verified)
