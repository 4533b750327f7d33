"""Many waits at once, each for an opt-out of its own, in the triggerer."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

WAITS = int(os.environ.get("TEST_WAITS", "1"))


def address(row: int) -> str:
    """An address that stands neither in this source nor in an argument."""
    return os.environ["TEST_ADDRESS"].format(row)


with DAG(
    dag_id="hubprefs_many_waits",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_tasks=1000,
    user_defined_macros={"address": address},
):
    HubPrefsOperationSensor.partial(
        task_id="wait",
        subscriber="{{ address(ti.map_index) }}",
        expect="opted_out",
        deferrable=True,
        poke_interval=2,
        timeout=900,
        hubprefs_conn_id="many",
        retries=2,
    ).expand(params=[{"row": row} for row in range(WAITS)])
