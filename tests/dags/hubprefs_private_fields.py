"""Every way an address gets into an argument of an operator, with Jinja as text and as native objects."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG, task, task_group

from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator as Many
from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator as One

for name, native in (("hubprefs_private_fields", False), ("hubprefs_private_fields_native", True)):
    with DAG(
        dag_id=name,
        schedule=None,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        render_template_as_native_obj=native,
        user_defined_macros={"address": "{}@fields.example.com".format, "several": "n1@fields.example.com"},
        default_args={"on_rejected": "report"},
    ) as dag:

        @task
        def one() -> str:
            return "upstream-1@fields.example.com"

        @task
        def many() -> list[str]:
            """A text with braces in it is data, not the DAG author's template."""
            return ["upstream-2@fields.example.com", "{{ address('data') }}"]

        @task
        def lists() -> list[list[str]]:
            return [["mapped-1@fields.example.com"], ["mapped-2@fields.example.com", "{{ address('data') }}"]]

        @task
        def singles() -> list[str]:
            return ["mapped-3@fields.example.com", "mapped-4@fields.example.com"]

        first, rest = one(), many()
        One(task_id="jinja", subscriber="{{ address('jinja') }}")
        One(task_id="upstream", subscriber=first)
        Many(task_id="literal", subscribers=["literal@fields.example.com", "{{ address('data') }}"])
        Many(task_id="upstream_list", subscribers=rest)
        Many(task_id="list_of_upstream", subscribers=[first, "{{ address('data') }}"])
        Many.partial(task_id="partial_upstream", subscribers=rest).expand(email_column=["email"])
        One.partial(task_id="partial_jinja", subscriber="{{ address('partial') }}").expand(
            poke_interval=[1.0]
        )
        Many.partial(task_id="mapped").expand(subscribers=lists())
        One.partial(task_id="mapped_single").expand(subscriber=singles())

        @task_group
        def group(address: str) -> None:
            One(task_id="inside", subscriber=address)

        group.expand(address=singles())

with DAG(
    dag_id="hubprefs_private_defaults",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    user_defined_macros={"address": "{}@fields.example.com".format},
    default_args={"subscriber": "{{ address('default') }}"},
) as defaults:
    One(task_id="by_default")  # type: ignore[call-arg] # default_args has it
    One.partial(task_id="mapped_by_default").expand(poke_interval=[1.0, 2.0])
