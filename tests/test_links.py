"""Links of tasks: there from the first second, computed without network; and the XCom that the pages read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.sdk import DAG

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.get_provider_info import get_provider_info
from airflow_provider_hubprefs.links import BATCH_LINKS, LINKS, REPORT, address_of
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor
from tests.bulk.test_kinds import Plan
from tests.conftest import RecordingTaskInstance
from tests.helpers import people

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator
    from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("hubprefs_default")


class Pushes(RecordingTaskInstance):
    """Remembers all that is pushed, in its order."""

    run_id, task_id = "manual__2026-11-25T10:00:00+00:00", "opt_out"

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[str, Any]] = []

    def xcom_push(self, key: str, value: Any) -> None:
        super().xcom_push(key, value)
        self.all.append((key, value))

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [value for key, value in self.all if key == REPORT]


@pytest.fixture
def ti() -> Pushes:
    return Pushes()


def opt_out(ti: Any, **arguments: Any) -> Any:
    operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", on_rejected="report", **arguments)
    return operator.execute(cast("Any", {"ti": ti}))


class TestWhatARunSays:
    def test_is_where_its_report_will_be_and_then_what_became_of_it(
        self, ti: Pushes, hubspot: Simulator, tmp_path: Path
    ) -> None:
        opt_out(ti, subscribers=[*people(3), "no address"], output=str(tmp_path))
        first, last = ti.reports
        folder = f"{tmp_path}/dag/manual__2026-11-25T10%3A00%3A00%2B00%3A00/opt_out"
        assert first == {
            "folder": folder,
            "connection": "hubprefs_default",
            "portal": None,
            "state": "running",
        }
        assert ti.all[0] == (REPORT, first)  # before anything is asked
        assert {"read": 4, "changed": 3, "invalid": 1, "state": "complete"}.items() <= last.items()
        assert (last["done"], last["reasons"]) == ("opted out", {"invalid: INVALID_ADDRESS": 1})
        assert last["folder"] == folder
        assert last["budget"]["daily_remaining"] < last["budget"]["daily"]
        assert "because" not in last

    def test_is_said_by_a_run_that_fails(self, ti: Pushes, hubspot: Simulator) -> None:
        hubspot.fault("status", status=401, match={"body_contains": "person-25@"}, times=None)
        with pytest.raises(HubPrefsFailException):
            opt_out(ti, subscribers=people(40), batch_size=10, max_budget_share=0.1)
        last = ti.reports[-1]
        assert last["state"] == "incomplete"
        assert last["folder"] is None
        assert "token" in last["because"]
        assert 0 < last["read"] < 40

    @pytest.mark.parametrize("category", ["NEWER_IN_HUBSPOT", "LEGAL_BASIS_MISSING"])
    def test_is_what_it_does_to_hubspot_and_what_it_left_to_it(self, ti: Pushes, category: str) -> None:
        class Planning(HubPrefsBatchUnsubscribeOperator):
            def _what_to_write(self, hook: Any) -> Any:
                return Plan(hook.client.calls, category)

        operator = Planning(
            task_id="plan", subscribers=people(3), on_rejected="report", stop_when_refused_alike=False
        )
        operator.execute(cast("Any", {"ti": ti}))
        assert (ti.reports[-1]["kind"], ti.reports[-1]["rejected"]) == ("plan", 3)
        assert ti.reports[-1].get("kept") == (3 if category == "NEWER_IN_HUBSPOT" else None)

    def test_is_said_where_nothing_could_begin(self, ti: Pushes, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(HubPrefsFailException):
            opt_out(ti, subscribers=["jane@example.com"], batch_size="jane@example.com")
        first, last = ti.reports
        assert (first["state"], last["state"]) == ("running", "incomplete")
        assert "***@e***.com" in last["because"]
        assert "jane@" not in str(ti.all)

    def test_is_that_it_waits_where_it_is_deferred(
        self, ti: Pushes, hubspot: Simulator, tmp_path: Path
    ) -> None:
        from airflow.sdk.exceptions import TaskDeferred

        hubspot.load({"operations": {"seconds": 60}})
        with pytest.raises(TaskDeferred):
            opt_out(ti, subscribers=people(3), output=str(tmp_path), deferrable=True)
        assert ti.reports[-1]["state"] == "waiting"
        assert ti.reports[-1]["read"] == 3

    def test_is_one_outcome_of_a_single_write(self, ti: Pushes) -> None:
        operator = HubPrefsUnsubscribeAllOperator(
            task_id="one", subscriber="jane@example.com", do_xcom_push=False
        )
        operator.execute(cast("Any", {"ti": ti}))
        first, last = ti.reports
        assert (first["state"], last["state"], last["outcome"], last["changed"]) == (
            "running",
            "complete",
            "changed",
            1,
        )
        assert "jane" not in str(ti.all)

    def test_is_that_hubspot_refused_a_single_write(self, ti: Pushes, hubspot: Simulator) -> None:
        hubspot.load({"rejected": {"jane@example.com": {"category": "VALIDATION_ERROR", "message": "no"}}})
        operator = HubPrefsUnsubscribeAllOperator(task_id="one", subscriber="jane@example.com")
        with pytest.raises(HubPrefsFailException):
            operator.execute(cast("Any", {"ti": ti}))
        assert {"state": "incomplete", "outcome": "rejected", "rejected": 1}.items() <= ti.reports[-1].items()

    def test_is_said_once_by_a_write_that_waits_in_the_worker(self, ti: Pushes, hubspot: Simulator) -> None:
        hubspot.load({"operations": {"seconds": 0.2}})
        operator = HubPrefsUnsubscribeAllOperator(
            task_id="one", subscriber="jane@example.com", poke_interval=0.1
        )
        operator.execute(cast("Any", {"ti": ti}))
        assert [one["state"] for one in ti.reports] == ["running", "complete"]

    @pytest.mark.parametrize(
        "context", [{}, {"ti": None}, {"ti": object()}], ids=["none", "no ti", "another"]
    )
    def test_is_said_to_none_where_there_is_no_task_instance(self, context: Any) -> None:
        operator = HubPrefsUnsubscribeAllOperator(task_id="one", subscriber="jane@example.com")
        assert operator.execute(context)["outcome"] == "changed"

    def test_never_fails_a_task(self, hubspot: Simulator) -> None:
        class Broken(Pushes):
            def xcom_push(self, key: str, value: Any) -> None:
                raise ConnectionError("no API server")

        assert opt_out(Broken(), subscribers=people(1))["changed"] == 1
        with pytest.raises(HubPrefsException):
            opt_out(
                Broken(), subscribers=people(1), hubprefs_conn_id="hubprefs_default", source="nowhere.csv"
            )


class TestLinks:
    @pytest.mark.parametrize(
        ("make", "names"),
        [
            (HubPrefsBatchUnsubscribeOperator, ["Report", "Dead letters", "HubSpot settings"]),
            (HubPrefsUnsubscribeAllOperator, ["Report", "HubSpot settings"]),
            (HubPrefsSetStatusOperator, ["Report", "HubSpot settings"]),
            (HubPrefsOperationSensor, ["Report", "HubSpot settings"]),
        ],
        ids=lambda one: getattr(one, "__name__", None),
    )
    def test_are_on_every_operator(self, make: Any, names: list[str]) -> None:
        assert [link.name for link in make.operator_extra_links] == names

    def test_are_pushed_before_the_task_asks_anything(self, ti: Pushes, hubspot: Simulator) -> None:
        hubspot.fault("status", status=401, times=None)
        with pytest.raises(HubPrefsFailException):
            opt_out(ti, subscribers=people(1))
        run = "dags/dag/runs/manual__2026-11-25T10%3A00%3A00%2B00%3A00/tasks/opt_out"
        assert [value for key, value in ti.all if key.startswith("_link")] == [
            f"{run}/plugin/hubprefs",
            f"hubprefs/{run}/-1/download",
            "https://app.hubspot.com/l/settings/marketing/email/subscriptions",
        ]
        assert hubspot.requests  # they came before

    def test_lead_to_the_map_index(self, ti: Pushes) -> None:
        ti.map_index = 3
        assert address_of(ti).endswith("/tasks/opt_out/mapped/3/plugin/hubprefs")
        assert address_of(ti, "download").endswith("/tasks/opt_out/3/download")

    def test_lead_to_the_portal_that_the_run_has_met(self) -> None:
        operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", subscribers=[])
        operator._known = {"portal": 4711}
        link = BATCH_LINKS[-1].get_link(operator, ti_key=cast("Any", None))
        assert link == "https://app.hubspot.com/settings/4711/marketing/email/subscriptions"

    def test_are_named_to_airflow(self) -> None:
        named = {f"{type(link).__module__}.{type(link).__name__}" for link in (*LINKS, *BATCH_LINKS)}
        assert set(get_provider_info()["extra-links"]) == named

    def test_survive_the_end_of_a_run_in_airflow(
        self, run_dag: Callable[..., Run], hubspot: Simulator
    ) -> None:
        run = run_dag(
            "hubprefs_set_status", subscriber="jane@example.com", subscription_id=hubspot.subscription_ids[0]
        )
        assert run.xcom("set_status", key=REPORT)["outcome"] == "changed"
        links = [run.xcom("set_status", key=link.xcom_key) for link in LINKS]
        assert links[0].endswith("/tasks/set_status/plugin/hubprefs")
        assert links[1].startswith("https://app.hubspot.com/")


def test_a_dag_with_links_can_be_serialized() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("linked") as dag:
        HubPrefsBatchUnsubscribeOperator(task_id="opt_out", subscribers=[])
    stored = DagSerialization.to_dict(dag)
    assert "_link_hubprefs_report" in str(stored["dag"]["tasks"])
