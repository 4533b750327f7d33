"""Functions whose rows become runs: each kind of argument, and each kind of result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

with DAG(
    dag_id="hubprefs_decorators",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"folder": "", "subscription_id": 1},
    user_defined_macros={"secretly": "macro-{}@decorated.example.com".format},
    default_args={"source": "of other tasks", "subscribers": "of other tasks", "on_rejected": "report"},
):

    @task
    def some() -> list[int]:
        return [3, 4]

    @task.hubprefs_unsubscribe
    def yielded(
        literal: str, template: str, *, nested: list[Any], params: Any = None, day: str = ""
    ) -> Iterator[str]:
        """Arguments of all kinds, and Airflow's context."""
        assert (nested, day) == ([[3, 4], "in-a-list@decorated.example.com"], "default-argument")
        assert Path(params["folder"]).is_dir()
        yield from (literal, template, "yielded@decorated.example.com")

    yielded(
        "literal@decorated.example.com",
        "{{ secretly(1) }}",
        nested=[some(), "in-a-list@decorated.example.com"],
        day="default-argument",
    )

    @task.hubprefs_set_status(subscription_id="{{ params.subscription_id }}", status="UNSUBSCRIBED")
    def mapped(number: int, what: str) -> list[dict[str, str]]:
        """One run for each number."""
        return [{"E-Mail": f"{what}-{number}@decorated.example.com"}]

    mapped.override(task_id="mapped", email_column="e-mail").partial(what="mapped").expand(number=some())

    @task.hubprefs_unsubscribe(read_options={"where": {"wanted": ["yes"]}}, output="{{ params.folder }}/runs")
    def path(**context: Any) -> str:
        """A file is the source."""
        return f"{context['params']['folder']}/people.csv"

    path()
