"""Decorators: a function that gives rows becomes a run, and nothing of the rows is stored."""

from __future__ import annotations

import json
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_hubprefs.decorators.hubprefs import hubprefs_set_status, hubprefs_unsubscribe
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import HOME, Run
from tests.helpers import Store, outcomes, people, writes

pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any
JANE, BOB = "jane@example.com", "bob@example.com"


def run(function: Callable[..., Any], context: Context, *args: Any, **arguments: Any) -> Any:
    """Execute the task that a decorator makes of a function."""
    return made(function, *args, **arguments).execute(context)


def made(function: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
    with DAG("dag", schedule=None):
        result: Any = hubprefs_unsubscribe(task_id="rows", **arguments)(function)(*args)
        return result.operator


def rows_of_a_database() -> Iterator[Any]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.row_factory = sqlite3.Row
        yield from db.execute(f"select '{JANE}' as email, 1 as id union all select '{BOB}', 2")


class Cursor:
    """Can be read once, and is no iterator."""

    def __init__(self) -> None:
        self._left = [JANE, BOB]

    def __iter__(self) -> Iterator[str]:
        while self._left:
            yield self._left.pop(0)


class TestWhatAFunctionGives:
    @pytest.mark.parametrize(
        "function",
        [
            lambda: [JANE, BOB],
            lambda: (row for row in [{"email": JANE}, {"email": BOB}]),
            lambda: iter([namedtuple("Row", "email")(one) for one in (JANE, BOB)]),
            rows_of_a_database,
            Cursor,
            lambda: [[JANE], [BOB]],
        ],
        ids=["list", "generator", "named tuples", "rows of a database", "cursor", "lists of rows"],
    )
    def test_rows(self, hubspot: Simulator, context: Context, function: Callable[..., Any]) -> None:
        result = run(function, context, verify=True, max_changes=2)  # max_changes reads all rows beforehand
        assert outcomes(result) == {"changed": 2}
        assert hubspot.is_opted_out(JANE)
        assert hubspot.is_opted_out(BOB)

    @pytest.mark.parametrize("kind", [str, Path, ObjectStoragePath, lambda path: [Path(path)]])
    def test_paths(self, hubspot: Simulator, context: Context, tmp_path: Path, kind: Any) -> None:
        (tmp_path / "people.csv").write_text(f"email\n{JANE}\n")
        assert outcomes(run(lambda: kind(str(tmp_path / "people.csv")), context)) == {"changed": 1}
        assert hubspot.is_opted_out(JANE)

    @pytest.mark.parametrize("none", [list, lambda: iter(())], ids=["empty list", "empty generator"])
    def test_no_rows(self, hubspot: Simulator, context: Context, none: Any) -> None:
        assert run(none, context)["read"] == 0
        assert writes(hubspot) == 0

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (None, "the function returned nothing: expected rows or a path"),
            ({"email": JANE}, "expected a list of addresses or of mappings, got a dict"),
            (5, "expected a list of addresses or of mappings, got a int"),
            (iter([JANE, lambda: 0]), "rows 1 to 2: one of them holds what cannot be kept"),
        ],
        ids=["nothing", "mapping", "number", "an object"],
    )
    def test_what_is_no_source(self, hubspot: Simulator, context: Context, given: Any, says: str) -> None:
        with pytest.raises(HubPrefsFailException, match=says) as refused:
            run(lambda: given, context)
        assert JANE not in str(refused.value)
        assert hubspot.requests == []

    def test_a_dead_letter_has_the_number_of_the_row(self, context: Context, tmp_path: Path) -> None:
        result = run(lambda: iter([JANE, "broken", BOB]), context, output=str(tmp_path), on_rejected="report")
        (letter,) = map(json.loads, Path(result["dead_letters"]).read_text().splitlines())
        assert (letter["row"], letter["subscriber"]) == (2, "broken")


class TestWhenTheFunctionIsCalled:
    def test_once_in_a_try_however_often_the_rows_are_read(
        self, hubspot: Simulator, context: Context
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.2}})
        calls = []

        def function() -> Iterator[str]:
            calls.append(1)
            yield from people(250)

        result = run(function, context, max_changes=250, poke_interval=0.1)
        assert outcomes(result) == {"changed": 250}
        assert len(calls) == 1

    @pytest.mark.parametrize(
        "error", [OSError("disk"), AirflowSkipException("no list today")], ids=["an error", "a skip"]
    )
    def test_what_it_raises_ends_the_task_as_it_is_and_nothing_was_sent(
        self, hubspot: Simulator, context: Context, error: Exception
    ) -> None:
        def function() -> Iterator[str]:
            yield from people(1500)
            raise error

        with pytest.raises(type(error)) as raised:
            run(function, context)
        assert raised.value is error
        assert hubspot.requests == []

    def test_not_where_an_argument_cannot_work(self, context: Context) -> None:
        def function() -> list[str]:
            raise AssertionError("called")

        with DAG("dag", schedule=None):
            task_: Any = hubprefs_set_status(subscription_id=1)(function)()
        with pytest.raises(HubPrefsFailException, match="expected either status or status_column"):
            task_.operator.execute(context)

    def test_a_retry_resumes_where_the_same_rows_come_and_refuses_others(
        self, hubspot: Simulator, context: Context
    ) -> None:
        context["task_state_store"] = Store()
        hubspot.fault("daily", match={"body_contains": "person-400@"}, times=2)
        some = people(500)
        for _ in range(2):
            with pytest.raises(HubPrefsException, match="the day's requests are used up"):
                run(lambda: iter(some), context, batch_size=10)
        sent = writes(hubspot)
        assert sent < 100
        with pytest.raises(HubPrefsFailException, match="source"):
            run(lambda: iter(some[::-1]), context, batch_size=10)
        assert writes(hubspot) == sent
        result = run(lambda: iter(some), context, batch_size=10)
        assert (result["changed"] + result["unchanged"], result["complete"]) == (500, True)


class TestArguments:
    @pytest.mark.parametrize("name", ["subscribers", "source", "sql", "sql_conn_id"])
    def test_the_rows_are_the_functions_alone(self, name: str) -> None:
        with pytest.raises(TypeError, match=f"{name}: expected nothing"):
            made(lambda: [], **{name: "people.csv"})

    def test_an_async_function_is_refused_when_the_dag_is_read(self) -> None:
        async def rows() -> list[str]:
            return []

        async def more() -> Any:
            yield JANE

        for function in (rows, more):
            with pytest.raises(TypeError, match="async def: expected a plain function"):
                made(function)

    def test_addresses_that_airflow_would_store_with_the_dag_are_refused(self) -> None:
        def function(who: Any, table: str = "") -> Any:
            return [who, table]

        with DAG("dag", schedule=None):
            decorated: Any = hubprefs_unsubscribe(function)
            for given in ([JANE], [{"a": [JANE]}]):
                with pytest.raises(ValueError, match=r"an address in partial\(\) or expand\(\)"):
                    decorated.expand(who=given)
            with pytest.raises(ValueError, match=r"an address in partial\(\) or expand\(\)"):
                decorated.partial(who=JANE).expand(table=["a"])

            @task_group
            def group(who: str) -> None:
                decorated(who)

            with pytest.raises(ValueError, match=r"an address in partial\(\) or expand\(\)"):
                group.expand(who=[JANE])
            decorated.partial(table="s3://aws_default@bucket/table").expand(who=["{{ params.who }}"])


def test_nothing_of_rows_or_arguments_is_stored(
    run_dag: Callable[..., Run], hubspot: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "people.csv").write_text("email,wanted\nin-a-file@decorated.example.com,yes\nno@x.org,no\n")
    subscription = hubspot.subscription_ids[0]
    ran = run_dag("hubprefs_decorators", folder=str(tmp_path), subscription_id=subscription)
    assert set(ran.tasks.values()) == {"success"}
    assert outcomes(ran.xcom("yielded")) == {"changed": 3}
    names = ("literal", "macro-1", "yielded", "in-a-file")
    assert [hubspot.is_opted_out(f"{name}@decorated.example.com") for name in names] == [True] * 4
    for index, number in enumerate((3, 4)):
        assert hubspot.status_of(f"mapped-{number}@decorated.example.com", subscription) == "UNSUBSCRIBED"
        assert ran.rendered("mapped", map_index=index)["op_kwargs"] == "<private>"
    rendered = ran.rendered("yielded")
    assert (rendered["op_args"], rendered["op_kwargs"]) == ("<private>", "<private>")
    assert ran.rendered("path")["output_folder"] == f"{tmp_path}/runs"
    with closing(sqlite3.connect(HOME / "airflow.db")) as db:
        lines = [line for line in db.iterdump() if 'INSERT INTO "dag_code"' not in line]  # the file as it is
    assert any('"serialized_dag"' in line and "hubprefs_decorators" in line for line in lines)
    assert [line for line in lines if "@decorated.example.com" in line] == []


def test_airflow_finds_the_decorators_by_the_providers_description() -> None:
    for name in ("hubprefs_unsubscribe", "hubprefs_set_status"):
        with DAG("dag", schedule=None):
            found: Any = getattr(task, name)(task_id="some")(lambda: [])
        assert found.operator_class.custom_operator_name == f"@task.{name}"
