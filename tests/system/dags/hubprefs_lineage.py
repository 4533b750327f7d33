"""Every kind of task that reads or writes preferences, for the events that Airflow emits about them."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

FOLDER = os.environ["HUBPREFS_LINEAGE"]
SUBSCRIPTION = int(os.environ["HUBPREFS_SUBSCRIPTION"])
ONE, SECOND, THIRD = (f"quokkawombat+{number}@numbatbilby.example" for number in (21, 22, 23))

with DAG(
    dag_id="hubprefs_lineage",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"output": f"file://{FOLDER}/output", "poke_interval": 0.2},
):
    HubPrefsBatchUnsubscribeOperator(task_id="refused", source=f"{FOLDER}/list.csv", business_unit_id=0)
    HubPrefsBatchSetStatusOperator(
        task_id="deferred",
        source=f"file://{FOLDER}/parts/part-*.csv",
        subscription_id=SUBSCRIPTION,
        status="UNSUBSCRIBED",
        deferrable=True,
    )
    HubPrefsBatchSetStatusOperator(
        task_id="unreadable", source="/nowhere/list.csv", subscription_column="list", status="UNSUBSCRIBED"
    )
    HubPrefsUnsubscribeAllOperator(task_id="one_deferred", subscriber=ONE, deferrable=True)
    HubPrefsSetStatusOperator(
        task_id="one", subscriber=SECOND, subscription_id=f"{{{{ {SUBSCRIPTION} }}}}", status="UNSUBSCRIBED"
    )
    HubPrefsOperationSensor(task_id="sensor", subscriber=ONE, subscription_id=SUBSCRIPTION)

    @task
    def plain() -> None:
        """A task of one's own."""
        hook = HubPrefsHook()
        hook.set_status(THIRD, SUBSCRIPTION, "UNSUBSCRIBED")
        hook.batch_unsubscribe_all([THIRD])
        hook.get_statuses(THIRD)

    plain()
