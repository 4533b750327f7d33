"""Waits that begin in the triggerer, and waits of tasks that write, to one subscriber and to many.

For whom the former wait is known from the run's conf, an earlier task, or a mapped parameter.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.sdk import task

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

ARGUMENTS: dict[str, Any] = {
    "expect": "opted_out",
    "deferrable": True,
    "start_from_trigger": True,
    "poke_interval": 1,
    "timeout": 300,
}


@task
def who() -> str:
    """For whom, as an earlier task may find out."""
    return "numbat@example.com"


with DAG(
    dag_id="hubprefs_begun_waits",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):
    HubPrefsOperationSensor(task_id="of_conf", subscriber="{{ dag_run.conf['subscriber'] }}", **ARGUMENTS)
    HubPrefsOperationSensor(task_id="of_result", subscriber=who(), **ARGUMENTS)
    HubPrefsOperationSensor(
        task_id="too_late",
        subscriber="{{ dag_run.conf['nobody'] }}",
        **{**ARGUMENTS, "timeout": 600, "execution_timeout": pendulum.duration(seconds=5)},
    )
    HubPrefsOperationSensor.partial(
        task_id="mapped", subscriber="{{ dag_run.conf['subscriber'] }}", **ARGUMENTS
    ).expand(params=[{"row": 1}])
    for deferrable in (False, True):
        how = "deferred" if deferrable else "poked"
        waiting: dict[str, Any] = {
            "wait_for_completion": True,
            "deferrable": deferrable,
            "poke_interval": 1,
            "timeout": 300,
        }
        HubPrefsUnsubscribeAllOperator(
            task_id=f"written_and_{how}",
            subscriber=f"{'wombat' if deferrable else 'quokka'}@example.com",
            **waiting,
        )
        HubPrefsBatchUnsubscribeOperator(
            task_id=f"sent_and_{how}",
            subscribers=[f"{how}-{number}@example.com" for number in range(250)],
            **waiting,
        )
