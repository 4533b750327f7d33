"""The hook in a task of one's own."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.api.models import StatusChange

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

    @task(multiple_outputs=False)
    def every_method() -> dict[str, object]:
        """What each method returns can be returned by a task."""
        hook, jane = HubPrefsHook(), "jane@example.com"
        newsletter = hook.get_definitions().results[0].id
        change = StatusChange(subscriber=jane, subscription_id=newsletter, status="UNSUBSCRIBED")
        return {
            "get_definitions": hook.get_definitions(include_translations=True),
            "generate_links": hook.generate_links(jane),
            "set_status": hook.set_status(jane, newsletter, "UNSUBSCRIBED"),
            "get_statuses": hook.get_statuses(jane),
            "unsubscribe_all": hook.unsubscribe_all(jane),
            "get_unsubscribe_all": hook.get_unsubscribe_all(jane),
            "batch_get_statuses": hook.batch_get_statuses([jane]),
            "batch_set_statuses": hook.batch_set_statuses([change]),
            "batch_unsubscribe_all": hook.batch_unsubscribe_all([jane]),
            "batch_get_unsubscribe_all": hook.batch_get_unsubscribe_all([jane]),
            "find_opt_outs": hook.find_opt_outs(pendulum.datetime(2026, 1, 1)),
            "encrypt_address": hook.encrypt_address(jane),
            "test_connection": list(hook.test_connection()),
        }

    every_method()
    count_subscriptions()
    answers()
