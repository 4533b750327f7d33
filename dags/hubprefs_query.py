"""Subscribers from a database: a function yields rows, and its task is a bulk run. No row gets into an XCom.

suppressed customers -> opted out; customers who want no newsletter -> that status

It reads a SQLite file with a table ``customers`` (email, suppressed, newsletter); with a hook of your database instead
of ``sqlite3`` it is the same. ``ORDER BY`` lets a retry resume where the try before it stopped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param, task

# [START howto_retry_policy_hubprefs]
try:
    from airflow_provider_hubprefs.retry_policy import HubPrefsRetryPolicy

    RETRIES: dict[str, Any] = {"retries": 4, "retry_policy": HubPrefsRetryPolicy(time_zone="US/Eastern")}
except ImportError:  # before Airflow 3.3
    RETRIES = {"retries": 4}
# [END howto_retry_policy_hubprefs]

with DAG(
    dag_id="hubprefs_query",
    description="Opt out in HubSpot who is suppressed in a database",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "database": Param(
            "",
            type="string",
            minLength=1,
            title="Database",
            description="Path of a SQLite file with a table customers (email, suppressed, newsletter)",
        ),
        "newsletter": Param(
            348211907,
            type="integer",
            minimum=1,
            title="Subscription id",
            description="The DAG hubprefs_subscriptions lists the ids",
        ),
    },
    doc_md=__doc__,
) as dag:

    def rows(database: str, condition: str) -> Iterator[Any]:
        """Yield the rows of customers as they come from the database."""
        query = f"SELECT email FROM customers WHERE {condition} ORDER BY email"  # noqa: S608 - one of those below
        with closing(sqlite3.connect(database)) as connection:
            yield from connection.execute(query)

    # [START howto_decorator_hubprefs_unsubscribe]
    @task.hubprefs_unsubscribe(verify=True, **RETRIES)
    def suppressed(**context: Any) -> Iterator[Any]:
        """Give the rows to opt out of everything."""
        yield from rows(context["params"]["database"], "suppressed")

    # [END howto_decorator_hubprefs_unsubscribe]

    # [START howto_decorator_hubprefs_set_status]
    @task.hubprefs_set_status(subscription_id="{{ params.newsletter }}", status="UNSUBSCRIBED", **RETRIES)
    def without_newsletter(**context: Any) -> Iterator[Any]:
        """Give the rows to set the status of."""
        yield from rows(context["params"]["database"], "NOT newsletter AND NOT suppressed")

    # [END howto_decorator_hubprefs_set_status]

    suppressed() >> without_newsletter()
