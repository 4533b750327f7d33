"""The hook in a task of one's own."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

with DAG(
    dag_id="hubprefs_hook_in_task",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):

    @task
    def count_subscriptions() -> int:
        """Everything HubSpot offers is a method of the hook."""
        return len(HubPrefsHook().get_definitions().results)

    @task
    def answers() -> list[object]:
        """An answer is plain data in XCom, and so are its rows."""
        hook = HubPrefsHook()
        return [
            hook.unsubscribe_all("jane@example.com"),
            hook.get_unsubscribe_all("jane@example.com").results,
        ]

    count_subscriptions()
    answers()
