"""Bad tables and plans, from end to end: which tasks fail at once, what a person reads first, and what is written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_provider_hubprefs.exceptions import HubPrefsFailException
from airflow_provider_hubprefs.operators.reconcile import HubPrefsApplyPlanOperator
from tests.helpers import outcomes, writes
from tests.system.consents import IN, OUT, PORTAL, QUERY, Consent, fill

from .test_round_trip import Task

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator
    from tests.postgres import Database

pytestmark = pytest.mark.usefixtures("hubprefs_default")
JANE, BOB = "jane@example.com", "bob@example.com"
NUMBER = "348211900"
JANE_OUT = Consent(JANE, NUMBER, OUT)
NOW = datetime.now(UTC)


@pytest.fixture
def task(hubspot: Simulator, warehouse: Database, context: dict[str, Any], tmp_path: Path) -> Task:
    """Its table says that Jane is unsubscribed."""
    hubspot.load(PORTAL)
    fill(warehouse.run, [JANE_OUT])
    return Task(context, tmp_path / "runs")


class Bad(NamedTuple):
    """A table or a query that is not good.

    :param first: what its error says in the first 70 characters, or so far as a path in it allows.
    :param then: what it says after that: what was expected, and what to do.
    :param arguments: of the task.
    :param letter: what the dead letter of the row says.
    :param written: requests that write the good rows.
    """

    rows: list[Consent]
    first: str
    then: str
    arguments: Mapping[str, Any] = MappingProxyType({})
    letter: str = ""
    written: int = 0


BAD = {
    "no subscription": Bad(
        [JANE_OUT, Consent(BOB, "", OUT)],
        "guard subscriptions: rows without an active subscription of the portal",
        r": 1 \(allowed: 0\), such as b\*\*\*@e\*\*\*\.com\. Correct these rows; or approve the plan",
    ),
    "a subscription of another portal": Bad(
        [JANE_OUT, Consent(BOB, "99", OUT)],
        "guard subscriptions: rows without an active subscription of the portal",
        r"Correct these rows",
    ),
    "a subscription that is archived": Bad(
        [JANE_OUT, Consent(BOB, "348211919", OUT)],
        "guard subscriptions: rows without an active subscription of the portal",
        r"Correct these rows",
    ),
    "two statuses": Bad(
        [JANE_OUT, Consent(JANE, f"{NUMBER} ", IN, "NON_GDPR")],
        "1 times rows contradict each other: the same subscriber and subscripti",
        "on with another status: row 1 and row 2. Fix the source, or set on_conflict=",
    ),
    "everything and one": Bad(
        [Consent(JANE, "everything", OUT), Consent(JANE, NUMBER, IN, "NON_GDPR")],
        "1 times rows contradict each other: an opt-out from everything",
        "Fix the source, or set on_conflict='opt_out_wins'. Nothing was written",
    ),
    "no order": Bad(
        [JANE_OUT],
        "sql: expected ORDER BY a unique key, got no order.",
        "Add an order, or set resume=False",
        {"sql": "SELECT * FROM consent"},
    ),
    "an order of a subquery": Bad(
        [JANE_OUT],
        "sql: expected ORDER BY a unique key, got no order.",
        "Add an order, or set resume=False",
        {"sql": "SELECT * FROM (SELECT * FROM consent ORDER BY email) AS ordered"},
    ),
    "no such column": Bad(
        [JANE_OUT],
        'sql: no column is called "state". There are: "email", "subscription", ',
        r"Name the right one \(status_column=\.\.\.\)",
        {"status_column": "state"},
    ),
    "another column": Bad(
        [JANE_OUT],
        "of 1 row, 1 invalid: 1 INVALID_STATUS; they are in ",
        "All other rows are done; on_rejected='report' would succeed",
        {"status_column": "email"},
        "the status is not one of SUBSCRIBED, UNSUBSCRIBED, NOT_SPECIFIED",
    ),
    "a column of another type": Bad(
        [JANE_OUT],
        "of 1 row, 1 invalid: 1 INVALID_TIME; they are in ",
        "All other rows are done; on_rejected='report' would succeed",
        {
            "sql": "SELECT email, subscription, status, basis, explanation, 7 AS since FROM consent ORDER BY 1, 2"
        },
        "the time is a number; expected ISO 8601",
    ),
    "no address": Bad(
        [JANE_OUT, Consent(BOB, NUMBER, OUT)],
        "of 2 rows, 1 invalid: 1 INVALID_ADDRESS; they are in ",
        "All other rows are done; on_rejected='report' would succeed",
        {"sql": QUERY.replace("SELECT email", "SELECT nullif(email, %s) AS email"), "sql_parameters": [BOB]},
        "the address is empty",
        written=1,
    ),
    "the future": Bad(
        [JANE_OUT, Consent(BOB, NUMBER, OUT, since=NOW + timedelta(days=2))],
        "of 2 rows, 1 invalid: 1 INVALID_TIME; they are in ",
        "All other rows are done; on_rejected='report' would succeed",
        letter="the time is in the future",
        written=1,
    ),
    "no such table": Bad(
        [JANE_OUT],
        "sql: the query fails (UndefinedTable, 42P01, relation consents).",
        "Correct sql or sql_parameters, or what connection 'warehouse' may read. Nothing was sent",
        {"sql": "SELECT * FROM consents ORDER BY 1"},
    ),
}


def fails(work: Any, first: str, then: str) -> str:
    """The task fails at once, and its error says this, in one line, without an address."""
    with pytest.raises(HubPrefsFailException) as failed:
        work()
    text = str(failed.value)
    assert text[:70].startswith(first), text
    assert re.search(then, text), text
    assert "\n" not in text
    assert not re.search("jane|bob", text)
    return text


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_table_fails_its_task_and_says_why(
    hubspot: Simulator, warehouse: Database, task: Task, bad: Bad
) -> None:
    fill(warehouse.run, bad.rows)
    text = fails(lambda: task.reconcile(**bad.arguments), bad.first, bad.then)
    assert writes(hubspot) == bad.written
    if bad.letter:
        (path,) = re.findall(r"they are in (\S+)\. ", text)
        (letter,) = map(json.loads, Path(path).read_text().splitlines())
        assert bad.letter in str(letter)


@pytest.mark.parametrize(
    ("edit", "first", "then"),
    [
        (
            ('"format":1', '"format":2'),
            "plan 'plan.jsonl': is of format 2, and this release reads format 1.",
            " Make a new plan with this release. Nothing was written",
        ),
        (
            ("jane@", "june@"),
            "plan 'plan.jsonl': was edited or cut short since it was made (checksum",
            "Make a new plan; to leave rows out, correct its source. Nothing was written",
        ),
        (
            ('"max_changes":1000000000', '"max_changes":1000000001'),
            "plan 'plan.jsonl': its header was edited since it was made (checksum).",
            "Make a new plan. Nothing was written",
        ),
        (
            None,
            "plan 'plan.jsonl': is of portal 48120091, and the connection of portal",
            " 7. Make a new plan with this connection, or apply it with the other. Nothing was written",
        ),
    ],
    ids=["format", "line", "header", "portal"],
)
def test_a_plan_that_is_not_this_portals_or_not_as_it_was_made_fails_its_task(
    hubspot: Simulator, task: Task, edit: tuple[str, str] | None, first: str, then: str
) -> None:
    plan = Path(task.reconcile(mode="plan")["plan"])
    if edit is None:
        hubspot.load({**PORTAL, "portal_id": 7})
    else:
        assert edit[0] in plan.read_text()
        plan.write_text(plan.read_text().replace(*edit))
    fails(lambda: apply(task, plan), first, then)
    assert writes(hubspot) == 0


def apply(task: Task, plan: Path) -> dict[str, Any]:
    return HubPrefsApplyPlanOperator(task_id="apply", plan=str(plan), output=task.output).execute(
        task.context
    )


def test_a_plan_that_is_applied_already_is_green_and_writes_nothing(hubspot: Simulator, task: Task) -> None:
    plan = Path(task.reconcile(mode="plan")["plan"])
    assert outcomes(apply(task, plan)) == {"changed": 1}
    assert outcomes(apply(task, plan)) == {"unchanged": 1}
    assert writes(hubspot) == 1


@pytest.fixture
def reader(warehouse: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A connection whose role may read the tables."""
    warehouse.run("DROP ROLE IF EXISTS reader")
    warehouse.run("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    uri = warehouse.uri.replace(f"{warehouse.user}:{warehouse.password}", "reader:reader")
    monkeypatch.setenv("AIRFLOW_CONN_READER", uri)
    yield "reader"
    warehouse.run("DROP OWNED BY reader")
    warehouse.run("DROP ROLE reader")


@pytest.mark.parametrize("create", [False, True], ids=["table", "schema"])
def test_a_table_that_the_role_may_not_write_fails_its_task_before_anything_is_read(
    hubspot: Simulator, warehouse: Database, task: Task, reader: str, create: bool
) -> None:
    if not create:
        warehouse.run("CREATE TABLE exported (subscriber TEXT, subscription_id BIGINT, status TEXT)")
        warehouse.run("GRANT SELECT ON exported TO reader")
    arguments = {"columns": ["subscriber", "subscription_id", "status"], "opt_outs": False}
    fails(
        lambda: task.export(target_conn_id=reader, create_table=create, **arguments),
        f"permission denied for {'schema public' if create else 'table exported'}.",
        "Expected a table exported that this connection may write, with the columns subscriber, .* No row of it",
    )
    assert not any(request.path.endswith("/read") for request in hubspot.requests)


@pytest.mark.parametrize("batches", [True, False], ids=["batches", "single calls"])
def test_a_token_that_may_not_read_fails_its_task_and_writes_nothing(
    hubspot: Simulator, task: Task, monkeypatch: pytest.MonkeyPatch, batches: bool
) -> None:
    scopes = ["communication_preferences.write"]
    scopes += ["communication_preferences.statuses.batch.write"] * batches
    hubspot.load({**PORTAL, "tokens": {"blind": {"scopes": scopes}}})
    connection = json.loads(os.environ["AIRFLOW_CONN_HUBPREFS_DEFAULT"])
    connection["password"] = hubspot.tokens["blind"]
    monkeypatch.setenv("AIRFLOW_CONN_HUBPREFS_DEFAULT", json.dumps(connection))
    for work in (task.reconcile, task.export):
        fails(
            work,
            "HubSpot answered 403 MISSING_SCOPES to ",
            "grant the token one of these scopes: communication_preferences.read, ",
        )
    assert writes(hubspot) == 0
