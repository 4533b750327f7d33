"""The portal's subscriptions, with their ids: what `hubprefs_set_status` and the operators ask for.

list -> a table in the task's log; the same as its result

It reads, and changes nothing.
"""

from __future__ import annotations

import logging
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

log = logging.getLogger(__name__)

with DAG(
    dag_id="hubprefs_subscriptions",
    description="List the portal's subscriptions in HubSpot, with their ids",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "hubprefs_conn_id": Param(
            "hubprefs_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Id of an Airflow connection of the type hubprefs",
        ),
    },
    doc_md=__doc__,
) as dag:

    @task
    def list_subscriptions(**context: Any) -> list[dict[str, Any]]:
        """Return id, name, purpose and whether it is active, of each."""
        # [START howto_hook_hubprefs]
        hook = HubPrefsHook(context["params"]["hubprefs_conn_id"])
        found = [
            {"id": one.id, "name": one.name, "active": one.is_active, "purpose": one.purpose}
            for one in hook.get_definitions().results
        ]
        # [END howto_hook_hubprefs]
        for one in found:
            log.info("%s  %s%s", one["id"], one["name"], "" if one["active"] else " (not active)")
        return found

    list_subscriptions()
