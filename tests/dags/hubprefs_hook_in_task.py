"""The hook in a task of one's own."""

from __future__ import annotations

from typing import Any

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
    def answer() -> object:
        """An answer is plain data in XCom."""
        return HubPrefsHook().unsubscribe_all("jane@example.com")

    @task
    def rows(answered: Any) -> object:
        """So are its rows; an earlier task's answer is a dict."""
        assert answered["status"] == "COMPLETE"
        return [HubPrefsHook().get_unsubscribe_all("jane@example.com").results, {"done": answered["status"]}]

    count_subscriptions()
    rows(answer())
