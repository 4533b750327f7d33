"""Every failure, once for each operator: the errors of failing tasks must not name a subscriber."""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor

CONTACTS = os.environ.get("TEST_CONTACTS", "")
SUBSCRIPTION = os.environ.get("TEST_SUBSCRIPTION", "")
KINDS = os.environ.get("TEST_FAILURES", "").split()
"""Connections, each to a HubSpot that fails in its own way."""


def address(row: int) -> str:
    """An address that stands in the file alone, not in this source."""
    return Path(CONTACTS).read_text(encoding="utf-8").splitlines()[row]


with DAG(
    dag_id="hubprefs_failures",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    user_defined_macros={"address": address},
):
    for kind in KINDS:
        HubPrefsBatchUnsubscribeOperator(
            task_id=f"many_{kind}",
            source=CONTACTS,
            output=f"{CONTACTS}.runs",
            hubprefs_conn_id=kind,
        )
        HubPrefsUnsubscribeAllOperator(
            task_id=f"one_{kind}", subscriber="{{ address(1) }}", hubprefs_conn_id=kind
        )
        HubPrefsSetStatusOperator(
            task_id=f"status_{kind}",
            subscriber="{{ address(2) }}",
            subscription_id=SUBSCRIPTION,
            status="SUBSCRIBED",
            hubprefs_conn_id=kind,
        )
        HubPrefsOperationSensor(
            task_id=f"wait_{kind}",
            subscriber="{{ address(3) }}",
            max_transient_failures=0,
            poke_interval=0.5,
            timeout=20,
            hubprefs_conn_id=kind,
        )
