"""A table of consents is reconciled with HubSpot and exported back: then HubSpot and the table say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.operators.export import HubPrefsExportStatusesOperator
from airflow_provider_hubprefs.operators.reconcile import HubPrefsReconcileOperator
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import LONG, outcomes
from tests.system.consents import (
    COLUMNS,
    NEITHER,
    PORTAL,
    QUERY,
    READINGS,
    UNEQUAL,
    WRITINGS,
    Scene,
    fill,
    scene,
    sent,
)
from tests.warehouses import Warehouse

pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any
ROWS = 2000
YEAR = 365 * 86_400.0


reconciling: dict[str, Any] = {
    **{"sql": QUERY, "sql_conn_id": "warehouse", "max_changes": 10**9, **COLUMNS},
    **{"allow_resubscribe": True, "max_resubscribes": 10**9, "legal_basis": "NON_GDPR"},
}
exporting: dict[str, Any] = {
    **{"sql": "SELECT DISTINCT email FROM consent ORDER BY email", "sql_conn_id": "warehouse"},
    **{"table": "exported", "target_conn_id": "warehouse", "create_table": True},
    **{"on_missing": "delete", "opt_outs": True},
}
"""Arguments of the two tasks."""


class Task:
    """A DAG run: each operator is a task of it."""

    def __init__(self, context: Context, output: Path) -> None:
        self.context, self.output = context, str(output)

    def reconcile(self, **arguments: Any) -> dict[str, Any]:
        given = {**reconciling, "output": self.output, **arguments}
        return HubPrefsReconcileOperator(task_id="reconcile", **given).execute(self.context)

    def export(self, **arguments: Any) -> dict[str, Any]:
        given = {**exporting, "output": self.output, **arguments}
        return HubPrefsExportStatusesOperator(task_id="export", **given).execute(self.context)


@pytest.fixture
def task(context: Context, tmp_path: Path) -> Task:
    return Task(context, tmp_path / "runs")


def histories(hubspot: Simulator, begins: str) -> dict[str, Any]:
    return {key: one for key, one in hubspot.portal.preferences.items() if key.startswith(begins)}


def load(hubspot: Simulator, made: Scene) -> None:
    """Have HubSpot know what it has since long before the rows of the table."""
    hubspot.advance(-10 * YEAR)
    hubspot.load({**PORTAL, "subscribers": made.subscribers})
    hubspot.advance(10 * YEAR)


def go_around(hubspot: Simulator, run: Any, task: Task, made: Scene) -> None:
    """From the table to HubSpot and back, twice."""
    load(hubspot, made)
    fill(run, made.rows)
    bystanders = histories(hubspot, "bystander-")

    first = task.reconcile()
    assert first["read"] == len(made.rows) == sum(outcomes(first).values())
    assert set(outcomes(first)) == {"changed", "unchanged"}
    assert set(first["actions"]) == {"opt_out", "unsubscribe", "subscribe", "resubscribe", "unchanged"}
    assert histories(hubspot, "bystander-") == bystanders

    exported = task.export()
    people = len({one.email for one in made.rows})
    assert (exported["read"], exported["rows"]) == (people, people * len(hubspot.subscription_ids))
    assert run(UNEQUAL) == []
    (wanted,) = run("SELECT count(*) FROM consent")
    assert wanted == (len(made.rows),)

    before = sent(hubspot, WRITINGS), sent(hubspot, READINGS), dict(hubspot.portal.preferences)
    again = task.reconcile()
    assert (outcomes(again), again["changes"]) == ({"unchanged": len(made.rows)}, 0)
    assert "Nothing was to change" in Path(again["report"]).with_suffix(".html").read_text()
    assert sent(hubspot, WRITINGS) == before[0]
    assert sent(hubspot, READINGS) - before[1] <= made.reads + 1  # the batch in the middle is of both kinds
    assert hubspot.portal.preferences == before[2]


def test_a_table_and_hubspot_are_equal_after_one_round(
    hubspot: Simulator, any_warehouse: Warehouse, task: Task
) -> None:
    made = scene(hubspot.subscription_ids, ROWS)
    assert any(one.status.upper() == NEITHER for one in made.rows)
    go_around(hubspot, any_warehouse.run, task, made)


@pytest.mark.timeout(900)
@pytest.mark.skipif(not LONG, reason="a minute: 100,000 rows")
def test_so_are_100_000_rows(hubspot: Simulator, warehouse: Any, task: Task) -> None:
    go_around(hubspot, warehouse.run, task, scene(hubspot.subscription_ids, 100_000, seed=1))
