"""Desired state: make HubSpot's statuses those of a table, once a day, and let a person look at what is unusual.

plan -> approve, where a guard tripped or much would change -> apply -> verify

The plan writes nothing to HubSpot. A guard trips where the list is not what it was: more changes than
``max_changes``, a list of half the rows, subscriptions that the portal does not have. Then, or where more than
``approve_above`` rows would change, a person approves it under *Required Actions* (Airflow 3.1; before that a tripped
guard fails the run). Otherwise the plan is applied at once. In the end HubSpot is read again: no row may differ.

The table of this example is a file, such as this one (``since`` and ``basis`` may be empty):

    email,subscription,status,since,basis
    jane@example.com,everything,unsubscribed,2026-11-02T08:00:00Z,
    bob@example.com,348211907,subscribed,2026-11-03T09:30:00Z,CONSENT_WITH_NOTICE
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Param, task

from airflow_provider_hubprefs.operators.reconcile import HubPrefsApplyPlanOperator, HubPrefsReconcileOperator

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except Exception:  # noqa: BLE001 - before Airflow 3.1 there is none, and the module raises an error of its own
    ApprovalOperator = None  # type: ignore[assignment,misc]

TABLE: dict[str, Any] = {
    "source": "{{ params.wanted }}",
    "subscription_column": "subscription",
    "status_column": "status",
    "effective_at_column": "since",
    "legal_basis_column": "basis",
    "output": "{{ params.output }}",
    "hubprefs_conn_id": "{{ params.hubprefs_conn_id }}",
    "retries": 2,
}

BODY = """
{%- set plan = ti.xcom_pull(task_ids="plan") -%}
Of {{ "{:,}".format(plan.read) }} rows, **{{ "{:,}".format(plan.changes) }} would change** in HubSpot.

| Action | Rows |
| --- | ---: |
{% for action, rows in plan.actions.items() -%}
| {{ action }} | {{ "{:,}".format(rows) }} |
{% endfor %}
{% for found in plan.tripped.values() -%}
- {{ found }}
{% endfor %}
[Report of the plan]({{ ti.xcom_pull(task_ids="plan", key="_link_hubprefs_report") }})
"""
"""What the person who approves reads, as Markdown: counts and no address."""

with DAG(
    dag_id="hubprefs_reconcile",
    description="Make HubSpot's statuses those of a table: plan, approve, apply, verify",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["hubprefs", "example"],
    params={
        "wanted": Param(
            "",
            type="string",
            minLength=1,
            title="What is wanted",
            description="Path or URL of a file with the columns email, subscription, status, since and basis",
        ),
        "approve_above": Param(
            1_000,
            type="integer",
            minimum=0,
            title="Ask a person above",
            description="So many rows may change without a person's approval (Airflow 3.1)",
        ),
        "max_changes": Param(
            10_000,
            type="integer",
            minimum=0,
            title="At most so many changes",
            description="Where more rows would change, a guard trips",
        ),
        "output": Param(
            None,
            type=["null", "string"],
            title="Folder for plans and reports",
            description="Path or URL that all workers reach. Empty: [hubprefs] output of Airflow's configuration, "
            "one of them is needed. Plans hold addresses",
        ),
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
    # [START howto_operator_hubprefs_reconcile]
    plan = HubPrefsReconcileOperator(
        task_id="plan", mode="plan", max_changes="{{ params.max_changes }}", **TABLE
    )
    # [END howto_operator_hubprefs_reconcile]

    apply: Any
    if ApprovalOperator is None:
        apply = HubPrefsApplyPlanOperator(
            task_id="apply",
            plan="{{ ti.xcom_pull(task_ids='plan')['plan'] }}",
            output="{{ params.output }}",
            hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
            retries=2,
        )
        plan >> apply
    else:

        @task.branch
        def decide(found: dict[str, Any], **context: Any) -> str:
            """Ask a person where a guard tripped, or much would change."""
            unusual = found["tripped"] or found["changes"] > context["params"]["approve_above"]
            return "approve" if unusual else "apply"

        # [START howto_operator_hubprefs_apply_plan]
        approve = ApprovalOperator(
            task_id="approve",
            subject="Change {{ ti.xcom_pull(task_ids='plan')['changes'] }} rows in HubSpot?",
            body=BODY,
        )
        apply = HubPrefsApplyPlanOperator(
            task_id="apply",
            plan="{{ ti.xcom_pull(task_ids='plan')['plan'] }}",
            approved=approve.output,  # nothing, where no person was asked
            output="{{ params.output }}",
            hubprefs_conn_id="{{ params.hubprefs_conn_id }}",
            trigger_rule="none_failed_min_one_success",
            retries=2,
        )
        # [END howto_operator_hubprefs_apply_plan]
        decide(plan.output) >> [approve, apply]

    verify = HubPrefsReconcileOperator(task_id="verify", mode="plan", **TABLE)

    @task
    def prove(found: dict[str, Any]) -> str:
        """Fail where HubSpot is not as it is wanted."""
        if found["changes"]:
            raise AirflowFailException(
                f"{found['changes']:,} of {found['read']:,} rows differ from HubSpot still"
            )
        return f"{found['unchanged']:,} of {found['read']:,} rows are as they are wanted"

    apply >> verify
    prove(verify.output)
