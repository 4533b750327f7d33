"""Tasks that write, to one subscriber and to many, and wait: in the worker, and in the triggerer."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator

with DAG(
    dag_id="hubprefs_writing_waits",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):
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
