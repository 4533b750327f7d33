"""A huge file, in several tasks at once: split, opted out shard by shard, merged into one report.

split -> batch unsubscribe, mapped over the shards -> merge

With the LocalExecutor the tasks share this machine's budget of requests by themselves; with workers on several
machines (Celery, Kubernetes) give the connection a ``budget_store`` of ``redis://...``. A shard that failed is
cleared by itself and goes on where it stopped; then the merge is cleared.
"""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.shards import HubPrefsMergeReportsOperator, HubPrefsSplitOperator

with DAG(
    dag_id="hubprefs_sharded",
    description="Opt everybody in a huge file out of all marketing e-mail in HubSpot, in several tasks at once",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["hubprefs", "example"],
    params={
        "contacts": Param("contacts.csv", type="string", title="File of addresses (path or URL)"),
        "email_column": Param("email", type="string", title="Column of the address"),
        "shards": Param(4, type="integer", minimum=1, title="How many tasks, at most"),
        "dead_letters": Param(
            "dead_letters.jsonl", type="string", title="Where rows go that were not applied"
        ),
        "report": Param("report.json", type="string", title="Where the report goes"),
        "hubprefs_conn_id": Param("hubprefs_default", type="string", title="Connection"),
    },
    doc_md=__doc__,
) as dag:
    split = HubPrefsSplitOperator(
        task_id="split",
        source="{{ params.contacts }}",
        shards="{{ params.shards }}",
    )

    opt_out = HubPrefsBatchUnsubscribeOperator.partial(
        task_id="opt_out",
        source="{{ params.contacts }}",
        email_column="{{ params.email_column }}",
        dead_letters="{{ params.dead_letters }}",
        report="{{ params.report }}",
        on_rejected="report",  # the merge judges all shards together
        hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
        retries=2,
    ).expand(shard=split.output)

    HubPrefsMergeReportsOperator(
        task_id="merge",
        reports=opt_out.output,
        dead_letters="{{ params.dead_letters }}",
        report="{{ params.report }}",
        on_rejected="report",
    )
