"""Arguments that may hold addresses are template fields that Airflow uses, and neither stores nor shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial

import pytest
from airflow.providers.common.compat.sdk import DAG, task, task_group
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_hubprefs.arguments import seconds, whole_number, yes_or_no
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor
from airflow_provider_hubprefs.simulator import Simulator

from .conftest import DAGS, Run

OPTED_OUT = {
    "jinja": ["jinja"],
    "upstream": ["upstream-1"],
    "literal": ["literal"],
    "upstream_list": ["upstream-2"],
    "list_of_upstream": ["upstream-1"],
    "partial_upstream": ["upstream-2"],
    "partial_jinja": ["partial"],
    "mapped": ["mapped-1", "mapped-2"],
    "mapped_single": ["mapped-3", "mapped-4"],
}


@pytest.mark.parametrize("dag_id", ["hubprefs_private_fields", "hubprefs_private_fields_native"])
def test_every_way_an_address_comes_reaches_hubspot_and_shows_nowhere(
    dag_id: str, run_dag: Callable[..., Run], hubspot: Simulator
) -> None:
    run = run_dag(dag_id, file=DAGS / "hubprefs_private_fields.py")
    assert run.state == "success"
    expected = {f"{name}@fields.example.com" for names in OPTED_OUT.values() for name in names}
    assert {each for each in expected if hubspot.is_opted_out(each)} == expected
    assert not hubspot.is_opted_out("data@fields.example.com")  # braces in data are no template
    writing = [(task, -1) for task in OPTED_OUT if task not in run.mapped] + [
        (task, index) for task in run.mapped for index in range(run.mapped[task])
    ]
    assert len(writing) >= 12
    for task_id, index in writing:
        fields = run.rendered(task_id, map_index=index)
        shown = {fields.get("subscriber"), fields.get("subscribers")} - {None}
        assert shown == {"<private>"}, (task_id, fields)
        assert "fields.example.com" not in json.dumps(fields)


def test_default_arguments_of_a_dag_reach_mapped_tasks_too(
    run_dag: Callable[..., Run], hubspot: Simulator
) -> None:
    run = run_dag("hubprefs_private_defaults", file=DAGS / "hubprefs_private_fields.py")
    assert run.state == "success"
    assert hubspot.is_opted_out("default@fields.example.com")
    assert run.rendered("by_default")["subscriber"] == "<private>"
    assert run.rendered("mapped_by_default", map_index=1)["subscriber"] == "<private>"


def test_tasks_whose_results_are_taken_run_first() -> None:
    with DAG("dependencies", schedule=None) as dag:

        @task
        def one() -> str:
            return ""

        @task
        def two() -> list[str]:
            return []

        first, second = one(), two()
        HubPrefsUnsubscribeAllOperator(task_id="plain", subscriber=first)
        HubPrefsBatchUnsubscribeOperator(task_id="listed", subscribers=[first, "bob@example.com"])
        HubPrefsBatchUnsubscribeOperator.partial(task_id="partial", subscribers=second).expand(source=[None])
        HubPrefsUnsubscribeAllOperator.partial(task_id="expanded").expand(subscriber=second)
    upstream = {each.task_id: set(each.upstream_task_ids) for each in dag.tasks if each.upstream_task_ids}
    assert upstream == {"plain": {"one"}, "listed": {"one"}, "partial": {"two"}, "expanded": {"two"}}


def test_a_serialized_dag_has_no_literal_address_of_an_unmapped_operator() -> None:
    with DAG("literals", schedule=None) as dag:
        HubPrefsUnsubscribeAllOperator(task_id="one", subscriber="jane@example.com")
        HubPrefsBatchUnsubscribeOperator(task_id="many", subscribers=["jane@example.com"])
    written = json.dumps(DagSerialization.to_dict(dag), default=str)
    assert re.findall(r"[\w.]+@example\.com", written) == []
    assert written.count("<private>") == 2


def in_partial() -> object:
    return HubPrefsBatchSetStatusOperator.partial(task_id="t", subscribers=["jane@example.com"], status="X")


def in_expand() -> object:
    begun = HubPrefsUnsubscribeAllOperator.partial(task_id="t")
    return begun.expand(subscriber=["{{ params.who }}", "jane@example.com"])


def in_expand_of_many() -> object:
    begun = HubPrefsBatchUnsubscribeOperator.partial(task_id="t")
    return begun.expand(subscribers=[["jane@example.com"]])


def in_expand_kwargs() -> object:
    return HubPrefsUnsubscribeAllOperator.partial(task_id="t").expand_kwargs(
        [{"subscriber": "jane@example.com"}]
    )


def in_a_sensor() -> object:
    begun = HubPrefsOperationSensor.partial(task_id="t", subscriber="jane@example.com")
    return begun.expand(subscription_id=[1])


def in_a_task_group() -> object:
    @task_group
    def group(address: str) -> None:
        HubPrefsUnsubscribeAllOperator(task_id="t", subscriber=address)

    return group.expand(address=["jane@example.com"])


def in_default_args() -> object:
    return HubPrefsUnsubscribeAllOperator(task_id="t")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "define",
    [
        in_partial,
        in_expand,
        in_expand_of_many,
        in_expand_kwargs,
        in_a_sensor,
        in_a_task_group,
        in_default_args,
    ],
)
@pytest.mark.filterwarnings("ignore:Task .* was never mapped")
def test_an_address_that_airflow_would_store_with_the_dag_is_refused_where_the_dag_is_parsed(
    define: Callable[[], object],
) -> None:
    default_args = {"subscriber": "jane@example.com"} if define is in_default_args else {}
    with (
        DAG("literals", schedule=None, default_args=default_args),
        pytest.raises(ValueError, match=r"^subscribers?: an address in .* would be stored") as refused,
    ):
        define()
    assert "earlier task's result" in str(refused.value)
    assert "jane" not in str(refused.value)


def test_what_airflow_stores_of_mapped_tasks_has_no_address() -> None:
    with DAG("mapped", schedule=None, default_args={"status": "UNSUBSCRIBED"}) as dag:
        addresses = task(task_id="addresses")(lambda: [])()
        one, many = HubPrefsUnsubscribeAllOperator, HubPrefsBatchUnsubscribeOperator
        one.partial(task_id="template", subscriber="{{ params.who }}").expand(poke_interval=[1])
        one.partial(task_id="templates").expand(subscriber=["{{ params.one }}", "{{ params.two }}"])
        one.partial(task_id="kwargs").expand_kwargs(addresses)
        one.partial(task_id="some").expand_kwargs([{"subscriber": "{{ params.who }}"}, {"api_version": "v4"}])
        one.partial(task_id="zipped").expand(subscriber=addresses.zip(addresses))
        many.partial(task_id="both", subscribers=[addresses]).expand(email_column=["a", "b"])
        many.partial(task_id="listed").expand(subscribers=[addresses, [addresses]])
        HubPrefsOperationSensor.partial(task_id="sensor").expand(subscriber=addresses)
        HubPrefsSetStatusOperator.partial(task_id="status", subscriber=addresses).expand(subscription_id=[1])
    assert json.dumps(DagSerialization.to_dict(dag), default=str).count('"_is_mapped": true') == 9
    assert {each.task_id for each in dag.tasks if each.upstream_task_ids} == {
        "kwargs", "zipped", "both", "listed", "sensor", "status",
    }  # fmt: skip


def test_an_operator_shows_no_address() -> None:
    operator = HubPrefsUnsubscribeAllOperator(task_id="one", subscriber="jane@example.com")
    assert f"{operator.subscriber} {operator.subscriber!r}" == "<private> <private>"


def test_what_airflow_rendered_is_data() -> None:
    operator = HubPrefsUnsubscribeAllOperator(task_id="one", subscriber="{{ who }}")
    assert operator.subscriber == "{{ who }}"  # for Airflow to render
    operator.subscriber = "{{ rendered }}@example.com"
    assert str(operator.subscriber) == "<private>"


@pytest.mark.parametrize(
    "read", [partial(whole_number, "number"), partial(yes_or_no, "switch"), partial(seconds, "timeout")]
)
def test_an_address_in_the_wrong_argument_is_masked_in_the_error(read: Callable[[object], object]) -> None:
    with pytest.raises(ValidationError, match=r"got .*\*\*\*@e\*\*\*\.com") as error:
        read("jane@example.com")
    assert "jane" not in str(error.value)
