"""What Airflow rendered, and what it means: one rule for every argument of every operator, sensor and trigger."""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_hubprefs.arguments import PrivateArgument
from airflow_provider_hubprefs.exceptions import HubPrefsFailException
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.operators.reconcile import (
    HubPrefsApplyPlanOperator,
    HubPrefsReconcileOperator,
)
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor
from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.triggers.batch import HubPrefsBatchTrigger
from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger
from airflow_provider_hubprefs.triggers.opt_out import HubPrefsOptOutTrigger
from tests.helpers import outcomes

JANE = "jane@example.com"
NEEDED: dict[type, dict[str, Any]] = {
    HubPrefsUnsubscribeAllOperator: {"subscriber": JANE},
    HubPrefsSetStatusOperator: {"subscriber": JANE, "subscription_id": 348211900, "status": "UNSUBSCRIBED"},
    HubPrefsBatchUnsubscribeOperator: {"subscribers": [JANE]},
    HubPrefsBatchSetStatusOperator: {
        "subscribers": [JANE],
        "subscription_id": 348211900,
        "status": "UNSUBSCRIBED",
    },
    HubPrefsReconcileOperator: {"subscribers": [JANE]},
    HubPrefsApplyPlanOperator: {"plan": "plan.jsonl"},
    HubPrefsOperationSensor: {"subscriber": JANE},
}
KINDS = list(NEEDED)
OF_PLANS = (HubPrefsReconcileOperator, HubPrefsApplyPlanOperator)
"""They need a folder that is named after the task, or a plan."""
ATTRIBUTES = {"output": "output_folder"}
"""Arguments whose attribute has another name: an operator's ``output`` is Airflow's."""
DURATIONS = {"poke_interval", "timeout", "max_wait"}


def made(kind: type, **more: Any) -> Any:
    return kind(**{"task_id": "task", **NEEDED[kind], **more})


def arguments_of(kind: type) -> dict[str, inspect.Parameter]:
    """The arguments of the package's own classes, but for those that hold addresses."""
    found = {
        name: one
        for name, one in inspect.signature(vars(kind)["__init__"]).parameters.items()
        if one.kind is one.KEYWORD_ONLY
    }
    return {
        ATTRIBUTES.get(name, name): one
        for name, one in found.items()
        if not isinstance(getattr(kind, name, 0), PrivateArgument)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_one_constructor_has_every_argument_and_its_defaults(kind: Any) -> None:
    makers = [base for base in kind.__mro__ if "__init__" in vars(base)]
    assert [base for base in makers if base.__module__.startswith("airflow_provider_hubprefs.")] == [kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_is_read(kind: Any) -> None:
    read = set(kind.ARGUMENTS) | (DURATIONS if kind is HubPrefsOperationSensor else set())
    assert read == set(arguments_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_that_gives_nothing_leaves_an_optional_argument_out(kind: Any) -> None:
    for name in set(kind.template_fields) & set(kind.ARGUMENTS):
        default = arguments_of(kind)[name].default
        required = default is inspect.Parameter.empty or name == "hubprefs_conn_id"
        for nothing in (None, "", "None", " None\n"):
            task = made(kind)
            setattr(task, name, nothing)
            if required:
                with pytest.raises(ValidationError, match=f"{name}: expected .*, got nothing"):
                    task.read_arguments()
            else:
                task.read_arguments()
                assert getattr(task, name) == default, (name, nothing)


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_argument_cannot_be_is_refused_by_its_name_and_without_an_address(kind: Any) -> None:
    wrong: tuple[Any, ...] = (
        {"a": 1},
        object(),
        b"bytes",
        [[JANE]],
        [],
        JANE,
        [JANE, 5],
        2026,
        -1,
        1.5,
        True,
        "\x00",
        "nan",
    )
    for name in kind.ARGUMENTS:
        refused = 0
        for value in wrong:
            task = made(kind)
            setattr(task, name, value)
            try:
                task.read_arguments()
            except ValidationError as error:
                refused += 1
                assert str(error).startswith(f"{name.removesuffix('_folder')}: expected "), error
                assert "jane" not in str(error)
                assert len(str(error)) < 250
        assert refused >= 3, name


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (HubPrefsSetStatusOperator, {"legal_basis_explanation": 2026}),
        (HubPrefsSetStatusOperator, {"legal_basis": ["CONSENT_WITH_NOTICE"]}),
        (HubPrefsSetStatusOperator, {"subscription_id": [1, 2]}),
        (HubPrefsSetStatusOperator, {"subscription_id": None}),
        (HubPrefsSetStatusOperator, {"status": ""}),
        (HubPrefsSetStatusOperator, {"status": JANE}),
        (HubPrefsUnsubscribeAllOperator, {"business_unit_id": JANE}),
        (HubPrefsUnsubscribeAllOperator, {"subscriber": "None"}),
        (HubPrefsUnsubscribeAllOperator, {"subscriber": 5}),
        (HubPrefsUnsubscribeAllOperator, {"api_version": 2026}),
        (HubPrefsUnsubscribeAllOperator, {"api_version": JANE}),
        (HubPrefsUnsubscribeAllOperator, {"hubprefs_conn_id": "None"}),
        (HubPrefsUnsubscribeAllOperator, {"timeout": -5}),
        (HubPrefsUnsubscribeAllOperator, {"poke_interval": None}),
        (HubPrefsBatchSetStatusOperator, {"subscription_id": [1, 2]}),
        (HubPrefsBatchSetStatusOperator, {"subscription_id": -1}),
        (HubPrefsBatchSetStatusOperator, {"legal_basis_explanation": 2026}),
        (HubPrefsBatchUnsubscribeOperator, {"subscribers": None, "source": 20260101}),
        (HubPrefsBatchUnsubscribeOperator, {"subscribers": None, "source": ["a.csv", "None"]}),
        (HubPrefsBatchUnsubscribeOperator, {"subscribers": None, "source": "a\0b"}),
        (HubPrefsBatchUnsubscribeOperator, {"output": "a\0b"}),
        (HubPrefsBatchUnsubscribeOperator, {"max_budget_share": "x"}),
        (HubPrefsBatchUnsubscribeOperator, {"max_budget_share": 0}),
        (HubPrefsBatchUnsubscribeOperator, {"daily_reserve": "half"}),
        (HubPrefsBatchUnsubscribeOperator, {"daily_reserve": -1}),
        (HubPrefsBatchUnsubscribeOperator, {"batch_size": 0}),
        (HubPrefsBatchUnsubscribeOperator, {"verify": "perhaps"}),
        (HubPrefsOperationSensor, {"subscription_id": [1]}),
        (HubPrefsOperationSensor, {"expect": JANE}),
        (HubPrefsOperationSensor, {"max_budget_share": [0.5]}),
        (HubPrefsOperationSensor, {"max_transient_failures": -1}),
        (HubPrefsOperationSensor, {"business_unit_id": 1.5}),
    ],
)
def test_a_task_refuses_an_argument_before_its_first_request(
    hubspot: Simulator, kind: Any, arguments: dict[str, Any]
) -> None:
    with pytest.raises(HubPrefsFailException, match=f"{list(arguments)[-1]}: ") as refused:
        made(kind, **arguments).execute({})
    assert hubspot.requests == []
    assert "jane" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.usefixtures("hubprefs_default")
def test_text_means_what_it_says(hubspot: Simulator, context: Any) -> None:
    task = made(
        HubPrefsBatchUnsubscribeOperator,
        source="None",
        email_column="",
        output="None",
        max_budget_share="0.5",
        daily_reserve="0.1",
        batch_size="7",
        verify="False",
        resume="False",
        wait_for_completion="True",
        deferrable="False",
        business_unit_id="None",
        api_version="None",
    )
    assert outcomes(task.execute(context)) == {"changed": 1}
    assert task.batch_size == 7
    single = made(HubPrefsSetStatusOperator, subscription_id=348211900.0)  # a number of JSON's
    assert single.execute(context)["subscription_id"] == 348211900
    assert task.verify is False
    assert hubspot.is_opted_out(JANE)


def test_an_empty_brand_is_the_connections(hubspot: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    hubspot.load({"brands": [7]})
    connection = {"conn_type": "hubprefs", "host": hubspot.url, "password": hubspot.token}
    connection["extra"] = json.dumps({"business_unit_id": 7})
    monkeypatch.setenv("AIRFLOW_CONN_BRANDED", json.dumps(connection))
    for empty in (None, "", " ", "None"):
        for kind in (HubPrefsUnsubscribeAllOperator, HubPrefsBatchUnsubscribeOperator):
            made(kind, hubprefs_conn_id="branded", business_unit_id=empty).execute({})
        HubPrefsHook("branded", business_unit_id=empty).unsubscribe_all(JANE)
    sent = [request for request in hubspot.requests if request.method == "POST"]
    assert len(sent) >= 12
    assert all("businessUnitId=7" in request.query for request in sent)
    assert HubPrefsHook("branded", business_unit_id=0).business_unit_id == 0


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("second", [timedelta(seconds=1), 1, 1.0, "1", " 1.0 "])
def test_durations_are_timedeltas_numbers_or_text(hubspot: Simulator, context: Any, second: Any) -> None:
    hubspot.load({"operations": {"seconds": 60}})
    waits = {"deferrable": True, "poke_interval": second, "timeout": second}
    for kind in (HubPrefsUnsubscribeAllOperator, HubPrefsOperationSensor):
        more = (
            {"wait_for_completion": True} if kind is HubPrefsUnsubscribeAllOperator else {"max_wait": second}
        )
        with pytest.raises(TaskDeferred) as deferred:
            made(kind, **waits, **more).execute(context)
        stored = json.loads(json.dumps(deferred.value.trigger.serialize()[1]))
        assert stored["poke_interval"] == 1
        assert stored.get("max_wait", 1) in {1, None}
    batch = made(HubPrefsBatchUnsubscribeOperator, **waits)
    batch.read_arguments()
    assert (batch.poke_interval, batch.timeout) == (1, 1)
    for trigger in (HubPrefsBatchTrigger, HubPrefsOperationTrigger):
        assert trigger(poke_interval=second).serialize()[1]["poke_interval"] == 1
    watcher = HubPrefsOptOutTrigger(output="file:///tmp/x", poll_interval=second, overlap=second)
    assert (watcher.poll_interval, watcher.overlap) == (1, 1)


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("name", ["poke_interval", "timeout"])
def test_what_is_no_duration_is_refused_before_the_write(hubspot: Simulator, name: str) -> None:
    for wrong in (
        0,
        -1,
        timedelta(0),
        timedelta(seconds=-1),
        "0",
        "soon",
        "nan",
        float("inf"),
        True,
        [1],
        None,
    ):
        for kind in KINDS:
            if wrong is None and kind is HubPrefsOperationSensor and name == "timeout":
                continue  # Airflow's own default
            with pytest.raises(HubPrefsFailException, match=f"{name}: expected seconds, more than 0"):
                made(kind, **{name: wrong}).execute({})
    for trigger in (HubPrefsBatchTrigger, HubPrefsOperationTrigger):
        with pytest.raises(ValidationError, match="poke_interval: expected seconds"):
            trigger(poke_interval="soon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="poll_interval: expected seconds"):
        HubPrefsOptOutTrigger(output="file:///tmp/x", poll_interval=0)
    assert hubspot.requests == []


@pytest.mark.usefixtures("hubprefs_default")
def test_a_result_is_pushed_only_where_the_task_pushes_results(context: Any) -> None:
    for pushes in (True, False):
        task = HubPrefsBatchUnsubscribeOperator(
            task_id="task", subscribers=[JANE, "broken"], do_xcom_push=pushes
        )
        with pytest.raises(HubPrefsFailException, match="of 2 rows, 1 invalid"):
            task.execute(context)
        assert ("return_value" in context["ti"].pushed) is pushes
        context["ti"].pushed.clear()


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize("kind", [one for one in KINDS if one not in OF_PLANS])
def test_a_task_needs_nothing_of_airflows_context(hubspot: Simulator, kind: Any) -> None:
    made(kind).execute({})
    if "subscribers" in NEEDED[kind]:
        with pytest.raises(HubPrefsFailException, match="of 1 row, 1 invalid"):
            made(kind, subscribers=["broken"]).execute({})
        with pytest.raises(HubPrefsFailException, match="of 1 row, 1 invalid"):
            made(kind, subscribers=["broken"]).execute({"ti": None})
