"""Desired state: a table is compared with HubSpot, and what differs is written, once and under guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath, TaskDeferred
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.reconcile import HubPrefsApplyPlanOperator, HubPrefsReconcileOperator
from tests.helpers import Store, outcomes, people, reported, writes

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

pytestmark = pytest.mark.usefixtures("hubprefs_default")
Context = Any
COLUMNS: dict[str, Any] = {
    "subscription_column": "subscription",
    "status_column": "status",
    "legal_basis_column": "basis",
    "effective_at_column": "since",
}
STORES = pytest.mark.parametrize("has_store", [True, False], ids=["store", "folder"])


@pytest.fixture(autouse=True)
def quick(hubspot: Simulator) -> None:
    hubspot.load({"limits": {"burst": 10_000}})


@pytest.fixture
def task(context: Context, tmp_path: Path) -> Task:
    return Task(context, tmp_path / "runs")


class Task:
    """A task instance: its operator is made anew for each try."""

    def __init__(self, context: Context, output: Path) -> None:
        self.context, self.output = context, output
        self.folder = output / "dag" / "run" / "reconcile"

    def reconcile(self, **arguments: Any) -> dict[str, Any]:
        return self.operator(**arguments).execute(self.context)

    def operator(self, **arguments: Any) -> HubPrefsReconcileOperator:
        given = {"task_id": "reconcile", "output": str(self.output), "batch_size": 10, **arguments}
        return HubPrefsReconcileOperator(**given)

    def apply(self, plan: Any, **arguments: Any) -> dict[str, Any]:
        given = {"task_id": "apply", "output": str(self.output), "batch_size": 10, **arguments}
        return HubPrefsApplyPlanOperator(plan=plan, **given).execute(self.context)

    @property
    def pushed(self) -> dict[str, Any]:
        return self.context["ti"].pushed  # type: ignore[no-any-return]

    def last(self, task_id: str = "reconcile") -> dict[str, Any] | None:
        path = self.output / "dag" / "%last" / f"{task_id}.json"
        return json.loads(path.read_text()) if path.exists() else None


def rows(hubspot: Simulator, count: int = 5, **more: Any) -> list[dict[str, Any]]:
    """Rows of which each wants one subscription unsubscribed."""
    number = hubspot.subscription_ids[0]
    wanted = {"subscription": number, "status": "UNSUBSCRIBED", "basis": None, "since": None, **more}
    return [{"email": one, **wanted} for one in people(count)]


def reads(hubspot: Simulator) -> int:
    return sum(request.path.endswith("/read") for request in hubspot.requests)


class TestModes:
    def test_a_plan_says_what_would_change_and_writes_nothing(self, hubspot: Simulator, task: Task) -> None:
        result = task.reconcile(subscribers=people(3), mode="plan")
        assert (outcomes(result), result["changes"], result["tripped"]) == ({"changed": 3}, 3, {})
        assert result["actions"] == {"opt_out": 3, "unchanged": 0}
        assert result["plan"] == str(task.folder / "plan.jsonl")
        assert writes(hubspot) == 0
        assert len(Path(result["plan"]).read_text().splitlines()) == 4

    def test_a_plan_says_what_it_was_made_of(self, hubspot: Simulator, task: Task) -> None:
        headers = []
        for given in (rows(hubspot), rows(hubspot), rows(hubspot, 6)):
            result = task.reconcile(subscribers=given, mode="plan", **COLUMNS)
            headers.append(json.loads(Path(result["plan"]).read_text().splitlines()[0]))
        first, same, other = headers
        assert first["source"]
        assert (first["source"], first["checksum"]) == (same["source"], same["checksum"])
        assert first["source"] != other["source"]
        assert first["arguments"]["effective_at"] == "since"
        (moved,) = reported(result)["plan"]["subscriptions"]
        assert moved["name"] == hubspot.portal.definitions[moved["id"]].name

    @pytest.mark.parametrize(("mode", "kept"), [("plan_and_apply", True), ("apply", False)])
    def test_what_differs_is_written_and_after_that_nothing(
        self, hubspot: Simulator, task: Task, mode: Any, kept: bool
    ) -> None:
        hubspot.load({"subscribers": {people(1)[0]: {"opted_out": True}}})
        assert hubspot.is_opted_out(people(1)[0])
        given = [*people(4), "no address"]
        result = task.reconcile(subscribers=given, mode=mode, on_rejected="report")
        assert outcomes(result) == {"changed": 3, "unchanged": 1, "invalid": 1}
        assert result["read"] == 5
        assert all(map(hubspot.is_opted_out, people(4)))
        assert writes(hubspot) == 1
        plan = task.folder / "plan" / "plan.jsonl"
        assert (result["plan"], plan.exists()) == (str(plan) if kept else None, kept)
        again = task.reconcile(subscribers=given, mode=mode, on_rejected="report")
        assert (outcomes(again), again["changes"]) == ({"unchanged": 4, "invalid": 1}, 0)
        assert writes(hubspot) == 1
        left = [path.name for path in task.folder.rglob("*") if "person" in path.name or path.is_file()]
        assert ("plan.jsonl" in left) is kept

    def test_rows_are_about_subscriptions_and_about_everything(self, hubspot: Simulator, task: Task) -> None:
        one, two = hubspot.subscription_ids[:2]
        given = rows(hubspot, 2)
        given += [{**given[0], "email": "all@example.com", "subscription": "Everything"}]
        given += [
            {
                **given[0],
                "subscription": two,
                "status": "subscribed",
                "basis": "CONSENT_WITH_NOTICE",
            }
        ]
        result = task.reconcile(subscribers=given, **COLUMNS)
        assert result["actions"] == {"opt_out": 1, "subscribe": 1, "unsubscribe": 2, "unchanged": 0}
        assert hubspot.is_opted_out("all@example.com")
        assert hubspot.status_of(people(1)[0], one) == "UNSUBSCRIBED"
        assert hubspot.status_of(people(1)[0], two) == "SUBSCRIBED"

    def test_it_needs_a_folder(self, hubspot: Simulator, task: Task) -> None:
        with pytest.raises(HubPrefsFailException, match="output: expected a folder for the plan, got none"):
            task.reconcile(subscribers=people(1), output=None)
        assert hubspot.requests == []

    def test_files_and_object_stores_will_do(self, hubspot: Simulator, task: Task) -> None:
        attach("memory", fs=MemoryFileSystem())
        try:
            source = ObjectStoragePath("memory://bucket/wanted.csv")
            source.write_text("email\na@example.com\n")
            given: dict[str, Any] = {"source": str(source), "output": "memory://bucket/runs"}
            planned = task.reconcile(mode="plan", **given)
            assert planned["plan"] == "memory://bucket/runs/dag/run/reconcile/plan.jsonl"
            assert outcomes(task.apply(planned["plan"], output="memory://bucket/runs")) == {"changed": 1}
            last = ObjectStoragePath("memory://bucket/runs/dag/%last/reconcile.json")
            assert json.loads(last.read_text())["rows"] == 1
            assert outcomes(task.reconcile(mode="apply", **given)) == {"unchanged": 1}
        finally:
            MemoryFileSystem.store.clear()

    def test_mapped_tasks_have_plans_of_their_own(self, hubspot: Simulator, task: Task) -> None:
        task.context["ti"].map_index = 2
        result = task.reconcile(subscribers=people(2), mode="plan")
        assert result["plan"] == str(task.folder / "2" / "plan.jsonl")
        task.apply(result["plan"])
        assert task.last("reconcile%5B2%5D") == {
            "rows": 2,
            "actions": {"opt_out": 2, "unchanged": 0},
            "at": json.loads(Path(result["plan"]).read_text().splitlines()[0])["created_at"],
        }


class TestWhoWins:
    def test_an_opt_out_in_hubspot_wins_and_fails_nothing(self, hubspot: Simulator, task: Task) -> None:
        number, (jane, bob) = hubspot.subscription_ids[0], people(2)
        hubspot.load({"subscribers": {jane: {"statuses": {str(number): "UNSUBSCRIBED"}}}})
        given = rows(hubspot, 2, status="SUBSCRIBED", basis="CONSENT_WITH_NOTICE")
        for mode in ("plan", "plan_and_apply"):
            result = task.reconcile(subscribers=given, mode=mode, **COLUMNS)
            assert result["reasons"] == {"rejected: OPTED_OUT_IN_HUBSPOT": 1}
        assert (hubspot.status_of(jane, number), hubspot.status_of(bob, number)) == (
            "UNSUBSCRIBED",
            "SUBSCRIBED",
        )

    def test_what_hubspot_has_changed_since_the_plan_is_left_out_and_fails_nothing(
        self, hubspot: Simulator, task: Task
    ) -> None:
        number, (jane, bob) = hubspot.subscription_ids[0], people(2)
        given = rows(hubspot, 2, status="SUBSCRIBED", basis="CONSENT_WITH_NOTICE")
        planned = task.reconcile(subscribers=given, mode="plan", **COLUMNS)
        hubspot.load({"subscribers": {jane: {"statuses": {str(number): "UNSUBSCRIBED"}}}})
        result = task.apply(planned["plan"])
        assert result["reasons"] == {"rejected: CHANGED_IN_HUBSPOT": 1}
        assert (hubspot.status_of(jane, number), hubspot.status_of(bob, number)) == (
            "UNSUBSCRIBED",
            "SUBSCRIBED",
        )

    def test_rows_that_cannot_be_read_fail_what_applies_and_no_plan(
        self, hubspot: Simulator, task: Task
    ) -> None:
        given = [*people(2), "no address"]
        assert outcomes(task.reconcile(subscribers=given, mode="plan")) == {"changed": 2, "invalid": 1}
        with pytest.raises(
            HubPrefsFailException, match="of 3 rows, 1 invalid: 1 INVALID_ADDRESS; they are in "
        ) as failed:
            task.reconcile(subscribers=given)
        assert str(task.folder / "plan" / "dead_letters.jsonl") in str(failed.value)
        assert all(map(hubspot.is_opted_out, people(2)))

    @pytest.mark.parametrize("mode", ["plan", "plan_and_apply"])
    def test_a_status_that_hubspot_does_not_show_fails_always(
        self, hubspot: Simulator, task: Task, mode: Any
    ) -> None:
        hubspot.load({"missing": {"addresses": people(1), "applied": False}})
        with pytest.raises(HubPrefsException, match="of 3 rows, 1 unconfirmed") as failed:
            task.reconcile(subscribers=rows(hubspot, 3), mode=mode, on_rejected="report", **COLUMNS)
        assert not isinstance(failed.value, HubPrefsFailException)


GUARDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "max_changes": ({}, {"max_changes": "2"}, "rows to change: 5"),
    "max_resubscribes": (
        {"status": "SUBSCRIBED", "basis": "CONSENT_WITH_NOTICE"},
        {"allow_resubscribe": True},
        "subscribers to subscribe again who unsubscribed: 5",
    ),
    "legal_basis": ({"status": "SUBSCRIBED"}, {}, "rows to subscribe without a legal basis: 5"),
    "subscriptions": ({"subscription": 17}, {}, "rows without an active subscription of the portal: 5"),
}


class TestGuards:
    @pytest.mark.parametrize("name", GUARDS)
    def test_one_that_trips_stops_it_before_the_first_write(
        self, hubspot: Simulator, task: Task, name: str
    ) -> None:
        more, arguments, says = GUARDS[name]
        if name == "max_resubscribes":
            out = {"statuses": {str(hubspot.subscription_ids[0]): "UNSUBSCRIBED"}}
            hubspot.load({"subscribers": dict.fromkeys(people(5), out)})
        given = rows(hubspot, 5, **more)
        for mode in ("plan_and_apply", "apply"):
            with pytest.raises(HubPrefsFailException, match=f"guard {name}: .*{says}") as stopped:
                task.reconcile(subscribers=given, mode=mode, **COLUMNS, **arguments)
            text = str(stopped.value)
            assert text.count("p***@e***.com") == 3
            assert "Nothing was written" in text
            assert people(1)[0] not in text
            pushed = task.pushed.pop("return_value")
            assert list(pushed["tripped"]) == [name]
            assert (task.folder / "plan" / "plan.jsonl").exists() is (mode == "plan_and_apply")
        planned = task.reconcile(subscribers=given, mode="plan", **COLUMNS, **arguments)
        assert says in planned["tripped"][name]
        assert writes(hubspot) == 0
        assert task.last() is None
        reporting = task.reconcile(
            subscribers=given, report_only=f"{name}, max_shrink", on_rejected="report", **COLUMNS, **arguments
        )
        assert reporting["tripped"] == {}

    def test_rows_that_contradict_each_other_stop_it_while_they_are_read(
        self, hubspot: Simulator, task: Task
    ) -> None:
        given = [*rows(hubspot, 2), *rows(hubspot, 1, status="SUBSCRIBED", basis="CONSENT_WITH_NOTICE")]
        for mode in ("plan", "plan_and_apply"):
            with pytest.raises(HubPrefsFailException, match="1 times rows contradict"):
                task.reconcile(subscribers=given, mode=mode, **COLUMNS)
        assert (reads(hubspot), writes(hubspot)) == (0, 0)
        assert task.reconcile(subscribers=given, on_conflict="opt_out_wins", **COLUMNS)["changed"] == 2

    def test_a_list_that_shrank_since_it_was_applied_last_is_refused(
        self, hubspot: Simulator, task: Task
    ) -> None:
        task.reconcile(subscribers=people(10))
        assert task.last() is not None
        task.context["ti"].run_id = "the next day"
        shrunk = task.reconcile(subscribers=people(4), mode="plan")
        assert "share of the last run's rows that is gone: 60.0%" in shrunk["tripped"]["max_shrink"]
        for most in (None, "0.5"):  # the plan that no one applied is no reference for this one
            with pytest.raises(HubPrefsFailException, match=r"guard max_shrink: "):
                task.reconcile(subscribers=people(4), max_shrink=most)
        assert (task.last() or {})["rows"] == 10
        task.reconcile(subscribers=people(4), max_shrink=0.6)
        assert (task.last() or {})["rows"] == 4
        assert task.reconcile(subscribers=people(3), mode="plan")["tripped"] == {}

    def test_a_run_that_fails_is_no_reference(self, hubspot: Simulator, task: Task) -> None:
        with pytest.raises(HubPrefsFailException, match="1 invalid"):
            task.reconcile(subscribers=[*people(2), "no address"])
        assert task.last() is None


APPROVED: dict[str, Any] = {
    "chosen_options": ["Approve"],
    "params_input": {},
    "responded_at": "2026-11-26T08:00:00Z",
    "responded_by_user": {"id": "17", "name": "ann"},
}


class TestApplyingAPlan:
    @pytest.fixture
    def plan(self, hubspot: Simulator, task: Task) -> Path:
        """One that a guard stops."""
        return Path(task.reconcile(subscribers=people(5), mode="plan", max_changes=2)["plan"])

    @pytest.mark.parametrize(
        "approved",
        [
            *(False, "False", None, "None", ""),
            {**APPROVED, "chosen_options": ["Reject"]},
            {**APPROVED, "chosen_options": []},
            {**APPROVED, "chosen_options": ["Approve", "Reject"]},
        ],
        ids=["no", "text", "none", "None", "empty", "rejected", "nothing chosen", "both chosen"],
    )
    def test_a_guard_stops_it_unless_a_person_approves(
        self, hubspot: Simulator, task: Task, plan: Path, approved: Any
    ) -> None:
        with pytest.raises(HubPrefsFailException, match="guard max_changes: rows to change: 5"):
            task.apply(plan, approved=approved)
        assert writes(hubspot) == 0

    @pytest.mark.parametrize(
        ("approved", "by"),
        [
            (True, None),
            ("True", None),
            (APPROVED, "ann"),
            ({**APPROVED, "responded_by_user": {"id": "ann@example.com", "name": ""}}, "a***@e***.com"),
        ],
        ids=["yes", "text", "airflow", "address"],
    )
    def test_an_approved_plan_is_applied_and_its_report_says_by_whom(
        self, hubspot: Simulator, task: Task, plan: Path, approved: Any, by: str | None
    ) -> None:
        result = task.apply(str(plan), approved=approved)
        assert outcomes(result) == {"changed": 5}
        assert list(result["tripped"]) == ["max_changes"]
        assert all(map(hubspot.is_opted_out, people(5)))
        assert reported(result)["plan"]["approved_by"] == by
        assert (task.last() or {})["rows"] == 5
        assert task.last("apply") is None

    @pytest.mark.parametrize("approved", ["yes", 1, {"chosen": ["Approve"]}, ["Approve"], "{'a': 1}"])
    def test_what_is_no_approval_is_refused(
        self, hubspot: Simulator, task: Task, plan: Path, approved: Any
    ) -> None:
        with pytest.raises(HubPrefsFailException, match="approved: expected True or False, got"):
            task.apply(plan, approved=approved)

    def test_a_second_time_there_is_nothing_to_do(self, hubspot: Simulator, task: Task, plan: Path) -> None:
        assert outcomes(task.apply(plan, approved=True)) == {"changed": 5}
        assert outcomes(task.apply(plan, approved=True)) == {"unchanged": 5}
        assert writes(hubspot) == 1

    @pytest.mark.parametrize(
        ("what", "says"),
        [
            ("portal", "plan 'plan.jsonl': is of portal .*, and the connection of portal 7"),
            ("line", r"plan 'plan.jsonl': was edited or cut short since it was made \(checksum\)"),
            ("header", "plan 'plan.jsonl': its header was edited"),
            ("format", "plan 'plan.jsonl': is of format 99, and this release reads format 1"),
            ("other", "plan 'plan.jsonl': is no plan"),
        ],
    )
    def test_one_that_is_not_this_portals_or_not_as_it_was_made_is_refused(
        self, hubspot: Simulator, task: Task, plan: Path, what: str, says: str
    ) -> None:
        text = plan.read_text()
        edits = {
            "line": text.replace("person-1@", "other-1@"),
            "header": text.replace('"tripped":true', '"tripped":false'),
            "format": text.replace('"format":1', '"format":99'),
            "other": "email\n" + "\n".join(people(5)),
            "portal": text,
        }
        plan.write_text(edits[what])
        if what == "portal":
            hubspot.load({"portal_id": 7})
        else:
            assert edits[what] != text
        with pytest.raises(HubPrefsFailException, match=says) as refused:
            task.apply(plan, approved=True)
        assert writes(hubspot) == 0
        assert "person" not in str(refused.value)

    def test_one_that_is_missing_may_come(self, hubspot: Simulator, task: Task, tmp_path: Path) -> None:
        with pytest.raises(HubPrefsException, match="is not there") as missing:
            task.apply(tmp_path / "plan.jsonl")
        assert not isinstance(missing.value, HubPrefsFailException)
        assert hubspot.requests == []

    def test_the_plan_of_a_task_that_would_have_applied_it_can_be_approved(
        self, hubspot: Simulator, task: Task
    ) -> None:
        with pytest.raises(HubPrefsFailException, match="guard max_changes"):
            task.reconcile(subscribers=people(5), max_changes=2)
        plan = task.folder / "plan" / "plan.jsonl"
        assert outcomes(task.apply(plan, approved=True)) == {"changed": 5}
        assert (task.last() or {})["rows"] == 5

    def test_a_copy_elsewhere_is_applied_and_is_no_reference(
        self, hubspot: Simulator, task: Task, plan: Path, tmp_path: Path
    ) -> None:
        copy = tmp_path / "a" / "b" / "copy" / plan.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(plan.read_bytes())
        assert outcomes(task.apply(copy, approved=True)) == {"changed": 5}
        copy = tmp_path / "a" / "b" / "another" / plan.name
        copy.parent.mkdir()
        for name in (plan.name, "report.json"):
            (copy.parent / name).write_bytes((plan.parent / name).read_bytes())
        assert outcomes(task.apply(copy, approved=True)) == {"unchanged": 5}
        assert not list(tmp_path.rglob("%last"))


class TestRetries:
    @STORES
    def test_a_try_that_was_stopped_while_it_applied_goes_on_without_another_plan(
        self, hubspot: Simulator, task: Task, has_store: bool
    ) -> None:
        if has_store:
            task.context["task_state_store"] = Store()
        hubspot.fault("daily", match={"endpoint": "batch_unsubscribe_all", "body_contains": "person-25@"})
        with pytest.raises(HubPrefsException, match="midnight"):
            task.reconcile(subscribers=people(30), mode="apply")
        assert (task.folder / "plan" / "plan.jsonl").exists()
        before = reads(hubspot)
        result = task.reconcile(subscribers=people(30), mode="apply")
        assert outcomes(result)["changed"] + outcomes(result).get("unchanged", 0) == 30
        assert reads(hubspot) - before < 3
        assert all(map(hubspot.is_opted_out, people(30)))
        assert not (task.folder / "plan" / "plan.jsonl").exists()
        assert task.context.get("task_state_store", {}) == {}
        assert (task.last() or {})["rows"] == 30

    @STORES
    def test_where_the_plan_is_gone_a_retry_plans_anew(
        self, hubspot: Simulator, task: Task, has_store: bool
    ) -> None:
        if has_store:
            task.context["task_state_store"] = Store()
        hubspot.fault("daily", match={"endpoint": "batch_unsubscribe_all", "body_contains": "person-25@"})
        with pytest.raises(HubPrefsException, match="midnight"):
            task.reconcile(subscribers=people(30))
        (task.folder / "plan" / "plan.jsonl").unlink()
        result = task.reconcile(subscribers=people(30))
        assert result["read"] == 30
        assert all(map(hubspot.is_opted_out, people(30)))

    @STORES
    @pytest.mark.parametrize("endpoint", ["batch_read_unsubscribe_all"])
    def test_a_try_that_was_stopped_while_it_planned_goes_on_with_that(
        self, hubspot: Simulator, task: Task, has_store: bool, endpoint: str
    ) -> None:
        if has_store:
            task.context["task_state_store"] = Store()
        hubspot.fault("daily", match={"endpoint": endpoint, "body_contains": "person-25@"})
        with pytest.raises(HubPrefsException, match="midnight"):
            task.reconcile(subscribers=people(30))
        assert writes(hubspot) == 0
        before = reads(hubspot)
        assert outcomes(task.reconcile(subscribers=people(30))) == {"changed": 30}
        assert reads(hubspot) - before < 6

    def test_a_try_that_was_killed_between_the_two_plans_anew(
        self, hubspot: Simulator, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task.context["task_state_store"] = Store()

        class Killed(BaseException):
            pass

        def die(*_: object, **__: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(HubPrefsReconcileOperator, "_apply", die)
            with pytest.raises(Killed):
                task.reconcile(subscribers=people(5))
        assert outcomes(task.reconcile(subscribers=people(7))) == {"changed": 7}

    def test_what_the_account_cannot_afford_today_is_left_for_tomorrow(
        self, hubspot: Simulator, task: Task
    ) -> None:
        given: dict[str, Any] = {"subscribers": people(30), "on_insufficient_budget": "partial"}
        hubspot.fault(
            "daily", match={"endpoint": "batch_read_unsubscribe_all", "body_contains": "person-25@"}
        )
        planned = task.reconcile(**given)
        assert (planned["complete"], planned["plan"], planned["changes"]) == (False, None, None)
        assert writes(hubspot) == 0
        hubspot.fault("daily", match={"endpoint": "batch_unsubscribe_all", "body_contains": "person-25@"})
        applied = task.reconcile(**given)
        assert (applied["complete"], applied["changes"], task.last()) == (False, 30, None)
        assert applied["read"] == sum(outcomes(applied).values()) < 30
        assert task.reconcile(**given)["complete"] is True
        assert all(map(hubspot.is_opted_out, people(30)))
        assert (task.last() or {})["rows"] == 30

    def test_a_cleared_task_plans_anew(self, hubspot: Simulator, task: Task) -> None:
        task.context["task_state_store"] = Store()
        task.reconcile(subscribers=people(5))
        hubspot.load({"subscribers": {people(1)[0]: {}}})
        assert outcomes(task.reconcile(subscribers=people(7)))["changed"] >= 2

    def test_without_resume_it_plans_anew(self, hubspot: Simulator, task: Task) -> None:
        hubspot.fault("daily", match={"endpoint": "batch_unsubscribe_all", "body_contains": "person-25@"})
        with pytest.raises(HubPrefsException, match="midnight"):
            task.reconcile(subscribers=people(30))
        assert task.reconcile(subscribers=people(40), resume=False)["read"] == 40

    def test_what_hubspot_takes_its_time_for_is_waited_for_in_the_triggerer(
        self, hubspot: Simulator, task: Task
    ) -> None:
        task.context["task_state_store"] = Store()
        hubspot.load({"operations": {"seconds": 60}})
        operator = task.operator(
            subscribers=[*people(5), "no address"], deferrable=True, on_rejected="report"
        )
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(task.context)
        assert "person" not in str(deferred.value.trigger.serialize())
        asked = len(hubspot.requests)
        hubspot.advance(60)
        result = operator.execute_complete(task.context, {"status": "success"})
        assert outcomes(result) == {"changed": 5, "invalid": 1}
        assert len(hubspot.requests) - asked <= 2  # which portal it is, and what became of them
        assert (writes(hubspot), task.context["task_state_store"]) == (1, {})
        assert (task.last() or {})["rows"] == 6

    def test_where_the_plan_is_gone_after_a_wait_it_plans_anew(self, hubspot: Simulator, task: Task) -> None:
        task.context["task_state_store"] = Store()
        hubspot.load({"operations": {"seconds": 60}})
        operator = task.operator(subscribers=people(5), deferrable=True)
        with pytest.raises(TaskDeferred):
            operator.execute(task.context)
        (task.folder / "plan" / "plan.jsonl").unlink()
        hubspot.advance(60)
        assert outcomes(operator.execute_complete(task.context, {"status": "success"})) == {"unchanged": 5}

    def test_a_plan_that_waits_is_applied_by_the_other_operator_too(
        self, hubspot: Simulator, task: Task
    ) -> None:
        task.context["task_state_store"] = Store()
        planned = task.reconcile(subscribers=people(5), mode="plan")
        hubspot.load({"operations": {"seconds": 60}})
        applying = HubPrefsApplyPlanOperator(task_id="apply", plan=planned["plan"], deferrable=True)
        with pytest.raises(TaskDeferred):
            applying.execute(task.context)
        hubspot.advance(60)
        assert outcomes(applying.execute_complete(task.context, {"status": "success"})) == {"changed": 5}


def test_nothing_that_airflow_keeps_or_logs_has_an_address(
    hubspot: Simulator, task: Task, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*people(5), "person-6 without an address"]
    operator = task.operator(subscribers=given, max_changes=1, mode="plan")
    planned = operator.execute(task.context)
    with pytest.raises(HubPrefsFailException):
        task.apply(planned["plan"], approved="False")
    hubspot.fault("status", status=400, match={"body_contains": "person-1@"}, times=None)
    with pytest.raises(HubPrefsException, match="1 INTERNAL_ERROR"):
        task.apply(planned["plan"], approved=True)
    with pytest.raises(HubPrefsFailException, match="guard max_changes"):
        task.reconcile(subscribers=people(9), max_changes=1)
    kept = [planned, task.pushed, task.last(), *(path.read_text() for path in task.output.rglob("report.*"))]
    kept += [getattr(operator, name) for name in operator.template_fields]
    everything = str(kept) + caplog.text + "".join(capsys.readouterr())
    assert "person-" not in everything


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "expected one of subscribers, source and sql, got none"),
        ({"subscribers": ["a@example.com"], "source": "x.csv"}, "got subscribers and source"),
        ({"mode": "dry_run"}, "mode: expected 'plan' or 'apply' or 'plan_and_apply', got 'dry_run'"),
        (
            {"subscription_id": 1, "subscription_column": "x", "status": "SUBSCRIBED"},
            "either subscription_id or",
        ),
        (
            {"status_column": "status"},
            "status_column: expected subscription_id or subscription_column with it",
        ),
        ({"status": "SUBSCRIBED"}, "status: expected UNSUBSCRIBED without a subscription, got SUBSCRIBED"),
        ({"subscription_id": 1}, "status: expected one for all rows, or a status_column"),
        (
            {"subscription_id": 1, "status": "UNSUBSCRIBED", "status_column": "x"},
            "status: expected one for all rows, or a status_column",
        ),
        ({"on_newer_in_hubspot": "ask"}, "on_newer_in_hubspot: expected 'keep' or 'overwrite', got 'ask'"),
        ({"max_shrink": 2}, "max_shrink: expected a share from 0 to 1, got 2"),
        ({"max_shrink": "half"}, "max_shrink: expected a number, got 'half'"),
        ({"max_resubscribes": -1}, "max_resubscribes: expected a whole number"),
        ({"legal_basis": "I asked"}, "legal_basis: expected .*CONSENT_WITH_NOTICE"),
        ({"report_only": "everything"}, "report_only: expected names among max_changes"),
        ({"report_only": [["max_changes"]]}, "report_only: expected a text"),
        ({"on_conflict": "first"}, "on_conflict: expected 'error' or 'last' or 'opt_out_wins', got 'first'"),
        ({"business_unit_id": "x"}, "business_unit_id: expected a whole number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arguments_that_cannot_work_are_named_before_the_first_request(
    hubspot: Simulator, task: Task, arguments: dict[str, Any], says: str
) -> None:
    given = {"subscribers": ["a@example.com"], **arguments} if arguments else {}
    with pytest.raises(HubPrefsFailException, match=says):
        task.reconcile(**given)
    assert hubspot.requests == []


def test_a_source_that_the_run_writes_into_is_refused(hubspot: Simulator, task: Task) -> None:
    with pytest.raises(HubPrefsFailException, match="source and output overlap"):
        task.reconcile(source=str(task.output), mode="plan")
    assert hubspot.requests == []


def test_a_plan_reads_what_applying_writes(hubspot: Simulator, task: Task, tmp_path: Path) -> None:
    table = tmp_path / "wanted.csv"
    number = hubspot.subscription_ids[0]
    table.write_text(f"email,subscription,status\na@example.com,{number},unsubscribed\n")
    columns = {"subscription_column": "subscription", "status_column": "status"}
    planning = task.operator(source=str(table), mode="plan", **columns)
    plan = planning.execute(task.context)["plan"]
    applying = HubPrefsApplyPlanOperator(task_id="apply", plan=plan, output=str(task.output))
    applying.execute(task.context)
    statuses = f"hubspot://{hubspot.portal.settings.portal_id}"
    found = planning.get_openlineage_facets_on_complete(None)
    assert [one.name for one in found.inputs] == [str(table), "subscriptions"]
    assert found.outputs == []
    found = applying.get_openlineage_facets_on_complete(None)
    assert [one.name for one in found.inputs] == [plan]
    assert [(one.namespace, one.name) for one in found.outputs] == [(statuses, "subscriptions")]
