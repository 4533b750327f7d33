"""Addresses that come through Jinja, an earlier task's result and mapping: none of them may be stored."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor


def secretly(number: int) -> str:
    """Make an address that is in no file, no configuration and no XCom of the DAG's own."""
    return f"macro-{number}@private.example.com"


with DAG(
    dag_id="hubprefs_private_arguments",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"subscription_id": 1},
    user_defined_macros={"secretly": secretly},
):

    @task
    def numbers() -> list[str]:
        """Templates in data are data: they must arrive as they are, and be refused as addresses."""
        return ["{{ secretly(9) }}"]

    through_jinja = HubPrefsUnsubscribeAllOperator(task_id="through_jinja", subscriber="{{ secretly(1) }}")
    set_status = HubPrefsSetStatusOperator(
        task_id="set_status",
        subscriber="{{ secretly(2) }}",
        subscription_id="{{ params.subscription_id }}",
        status="UNSUBSCRIBED",
    )
    mapped = HubPrefsUnsubscribeAllOperator.partial(task_id="mapped", subscriber="{{ secretly(3) }}").expand(
        poke_interval=[1.0]
    )
    waiting = HubPrefsUnsubscribeAllOperator(
        task_id="waiting", subscriber="{{ secretly(4) }}", wait_for_completion=True
    )
    literal = HubPrefsBatchUnsubscribeOperator(
        task_id="literal", subscribers=["{{ secretly(9) }}"], on_rejected="report"
    )
    sensed = HubPrefsOperationSensor(
        task_id="sensed", subscriber="{{ secretly(1) }}", expect="opted_out", poke_interval=0.1, timeout=30
    )
    lists = task(task_id="lists")(lambda: [["{{ secretly(9) }}"]])()
    data = HubPrefsBatchUnsubscribeOperator.partial(task_id="data", on_rejected="report").expand(
        subscribers=lists
    )
    from_task = HubPrefsBatchUnsubscribeOperator(
        task_id="from_task", subscribers=numbers(), on_rejected="report"
    )
    through_jinja >> sensed
