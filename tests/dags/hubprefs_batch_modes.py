"""Every way a batch that HubSpot takes its time for can end, waited for in the worker and in the triggerer."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "complete": {},
    "status": {},
    "many": {"batch_size": 1},
    "canceled": {"retries": 1},
    "canceled_reported": {"on_rejected": "report"},
    "timeout": {"timeout": 0.2},
    "timeout_retried": {"timeout": 0.2, "retries": 8},
    "timeout_reported": {"timeout": 0.2, "on_rejected": "report"},
    "broken_retried": {"retries": 1},
    "revoked": {"retries": 1},
    "killed": {"execution_timeout": timedelta(seconds=2)},
}


def note_exception(context: Any) -> None:
    """Write down what a try failed with, where the test asks for it."""
    if where := os.environ.get("HUBPREFS_TEST_EXCEPTIONS"):
        with Path(where).open("a", encoding="utf-8") as file:
            file.write(f"{context['ti'].task_id} {type(context['exception']).__name__}\n")


with DAG(
    dag_id="hubprefs_batch_modes",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"subscription_id": 1},
    default_args={
        "on_failure_callback": note_exception,
        "on_retry_callback": note_exception,
        "retry_delay": timedelta(),
        "poke_interval": 0.1,
    },
):
    for name, arguments in ARGUMENTS.items():
        for mode in ("worker", "deferred"):
            common: dict[str, Any] = {
                "task_id": f"{name}.{mode}",
                "subscribers": [f"{name}.{mode}.{number}@example.com" for number in range(3)],
                "deferrable": mode == "deferred",
                **arguments,
            }
            if name == "status":
                HubPrefsBatchSetStatusOperator(
                    subscription_id="{{ params.subscription_id }}", status="UNSUBSCRIBED", **common
                )
            else:
                HubPrefsBatchUnsubscribeOperator(**common)
