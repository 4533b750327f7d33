"""A huge file opted out in one task; and a task that does nothing, to compare its process with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pendulum
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class Idle(BaseOperator):
    """A process and nothing else; Airflow does not run its EmptyOperator at all."""

    def execute(self, context: Context) -> None:
        """See the class."""


with DAG(
    dag_id="hubprefs_one_task",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):
    Idle(task_id="idle") >> HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out",
        source="{{ params.contacts }}",
        output="{{ params.output }}",
        on_rejected="report",
        params={"contacts": "", "output": ""},
    )
