"""The sensor waits for the operation, for the preference where asked, and no longer than its timeout."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_hubprefs.bulk.send.operation_wait import OperationWait
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.api.endpoints import UnknownVersionWarning
from airflow_provider_hubprefs.hubspot.errors import BudgetWaitError
from airflow_provider_hubprefs.operators.preferences import (
    HubPrefsSetStatusOperator,
    HubPrefsUnsubscribeAllOperator,
)
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor
from airflow_provider_hubprefs.simulator import Simulator
from tests.helpers import PENDING, Store

JANE = "jane@example.com"
pytestmark = pytest.mark.usefixtures("hubprefs_default")


def wait(context: Any, **arguments: Any) -> dict[str, Any]:
    given = {"task_id": "wait", "subscriber": JANE, "poke_interval": 0.05, "timeout": 20, **arguments}
    result: dict[str, Any] = HubPrefsOperationSensor(**given).execute(context)
    return result


def opt_out() -> None:
    """Begin an opt-out, and do not wait."""
    HubPrefsHook().unsubscribe_all(JANE)


def polls(hubspot: Simulator) -> int:
    return sum(request.method == "GET" for request in hubspot.requests)


def operation(status: str) -> dict[str, Any]:
    """HubSpot's answer about an operation that has this status."""
    return {**PENDING, "status": status}


class TestTheOperation:
    def test_complete_is_the_end_and_the_result_holds_no_address(
        self, hubspot: Simulator, context: Any
    ) -> None:
        opt_out()
        result = wait(context)
        assert result["operation"] == "COMPLETE"
        assert result["opted_out"] is True
        assert result["subscriber"] == "j***@e***.com"
        assert result["started_at"].endswith("+00:00")
        assert result["errors"] == []
        assert polls(hubspot) == 1

    @pytest.mark.parametrize("version", ["v4", "2026-03", "2026-09"])
    def test_pending_and_processing_are_waited_for(
        self, hubspot: Simulator, context: Any, version: str
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.6}})
        opt_out()
        assert wait(context, api_version=version)["opted_out"] is True
        assert polls(hubspot) > 2

    def test_the_word_of_hubspots_guide_ends_a_wait(self, hubspot: Simulator, context: Any) -> None:
        hubspot.fault("answer", json=operation("SUCCESS"))
        assert wait(context)["operation"] == "SUCCESS"

    @pytest.mark.parametrize("status", ["PENDING", "PROCESSING", "HIBERNATING"])
    def test_whatever_is_not_complete_is_waited_for(
        self, hubspot: Simulator, context: Any, status: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        hubspot.fault("answer", json=operation(status), times=2)
        assert wait(context)["operation"] == "COMPLETE"
        assert polls(hubspot) == 3

    def test_canceled_fails_at_once_with_hubspots_errors(self, hubspot: Simulator, context: Any) -> None:
        errors = [{"category": "VALIDATION_ERROR", "message": f"{JANE} is gone"}]
        hubspot.fault("answer", json={**operation("CANCELED"), "errors": errors})
        with pytest.raises(
            HubPrefsException, match=r"canceled.*VALIDATION_ERROR: j\*\*\*@e\*\*\*.com is gone"
        ):
            wait(context)
        assert polls(hubspot) == 1

    def test_canceled_can_be_a_result_to_branch_on(self, hubspot: Simulator, context: Any) -> None:
        errors = [{"category": "VALIDATION_ERROR", "message": f"{JANE} is gone"}]
        hubspot.fault("answer", json={**operation("CANCELED"), "errors": errors})
        result = wait(context, fail_on_canceled=False)
        assert result["operation"] == "CANCELED"
        assert result["errors"] == [{"category": "VALIDATION_ERROR", "message": "j***@e***.com is gone"}]


class TestThePreference:
    def test_an_opt_out_is_waited_for(self, hubspot: Simulator, context: Any) -> None:
        with pytest.raises(AirflowSensorTimeout):
            wait(context, expect="opted_out", timeout=0.3)
        assert polls(hubspot) > 1
        opt_out()
        assert wait(context, expect="opted_out")["opted_out"] is True

    def test_an_opt_out_of_another_brand_is_another_matter(self, hubspot: Simulator, context: Any) -> None:
        hubspot.load({"brands": [0, 77]})
        HubPrefsUnsubscribeAllOperator(task_id="o", subscriber=JANE, business_unit_id=77).execute(context)
        assert wait(context, business_unit_id=77, expect="opted_out")["opted_out"] is True
        assert wait(context, business_unit_id=0)["opted_out"] is False
        assert wait(context)["opted_out"] is False
        with pytest.raises(AirflowSensorTimeout):
            wait(context, expect="opted_out", timeout=0.2)

    @pytest.mark.parametrize("arguments", [{}, {"expect": "opted_out"}])
    def test_answers_about_others_do_not_end_it(
        self, hubspot: Simulator, context: Any, arguments: dict[str, Any]
    ) -> None:
        hubspot.opt_out(JANE)
        hubspot.fault("edit", row={"subscriberIdString": "alice@example.com"}, times=2)
        assert wait(context, **arguments)["opted_out"] is True
        assert polls(hubspot) == 3

    @pytest.mark.parametrize("status", ["SUBSCRIBED", "UNSUBSCRIBED"])
    @pytest.mark.parametrize("version", ["v4", "2026-09"])
    def test_a_status_is_waited_for(
        self, hubspot: Simulator, context: Any, status: str, version: str
    ) -> None:
        number = hubspot.subscription_ids[0]
        wanted = {"subscription_id": number, "expect": status, "api_version": version}
        with pytest.raises(AirflowSensorTimeout):
            wait(context, **wanted, timeout=0.2)
        HubPrefsSetStatusOperator(
            task_id="s", subscriber=JANE, subscription_id=number, status=status
        ).execute(context)
        result = wait(context, **wanted)
        assert (result["status"], result["subscription_id"], result["opted_out"]) == (status, number, None)

    def test_a_subscriber_hubspot_does_not_know_yet_is_waited_for(
        self, hubspot: Simulator, context: Any
    ) -> None:
        hubspot.load({"unknown_subscriber": "not_found"})
        number = hubspot.subscription_ids[0]
        with pytest.raises(AirflowSensorTimeout):
            wait(context, subscription_id=number, expect="SUBSCRIBED", timeout=0.2)
        assert wait(context, subscription_id=number)["status"] is None

    def test_a_poke_for_which_the_budget_has_no_request_left_is_no_failure(self) -> None:
        error = BudgetWaitError("the account's budget has no request left", retryable=True, not_applied=True)
        assert OperationWait(subscriber=JANE).tolerate(error, failures=5, most=5) == (5, str(error))

    def test_a_path_hubspot_does_not_know_is_an_error_at_once(self, hubspot: Simulator, context: Any) -> None:
        with (
            pytest.warns(UnknownVersionWarning),
            pytest.raises(HubPrefsFailException, match="check the connection's api_version"),
        ):
            wait(context, api_version="2101-03", expect="opted_out")

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"expect": "gone"}, "expect: expected one of opted_out, SUBSCRIBED, UNSUBSCRIBED"),
            ({"expect": "SUBSCRIBED"}, "expected a subscription_id"),
            ({"expect": "opted_out", "subscription_id": 5}, "leave subscription_id out"),
            ({"subscription_id": "news"}, "subscription_id: expected a whole number"),
            ({"subscriber": "jane"}, "subscriber: expected an e-mail address"),
            ({"business_unit_id": "brand"}, "business_unit_id: expected"),
            ({"api_version": "v3"}, "api_version: 'v3' is not supported"),
        ],
    )
    def test_what_cannot_work_is_refused_before_any_request(
        self, hubspot: Simulator, context: Any, arguments: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(HubPrefsFailException, match=text):
            wait(context, **arguments)
        assert hubspot.requests == []


class TestTransientFailures:
    def test_are_tolerated_up_to_a_number_in_a_row(
        self, hubspot: Simulator, context: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        hubspot.fault("status", status=503, times=3)
        assert wait(context, max_transient_failures=3)["operation"] == "COMPLETE"
        assert polls(hubspot) == 4

    def test_and_no_longer(self, hubspot: Simulator, context: Any) -> None:
        hubspot.fault("status", status=503, times=None)
        with pytest.raises(HubPrefsException, match="503"):
            wait(context, max_transient_failures=2)
        assert polls(hubspot) == 3

    def test_a_success_in_between_starts_the_count_anew(self, hubspot: Simulator, context: Any) -> None:
        hubspot.fault("status", status=503, match={"nth": [1, 2, 4, 5]})
        hubspot.fault(
            "answer", json=operation("PENDING"), match={"nth": 1}
        )  # counted where the rule above lets one pass
        assert wait(context, max_transient_failures=2)["operation"] == "COMPLETE"
        assert polls(hubspot) == 6

    @pytest.mark.parametrize("fault", [{"kind": "daily"}, {"kind": "status", "status": 401}])
    def test_what_does_not_pass_is_not_tolerated(
        self, hubspot: Simulator, context: Any, fault: dict[str, Any]
    ) -> None:
        hubspot.fault(**fault)
        with pytest.raises(HubPrefsException):
            wait(context)
        assert polls(hubspot) == 1


class TestInAirflow:
    def test_soft_fail_skips_after_the_time_is_over(self, context: Any) -> None:
        with pytest.raises(AirflowSkipException):
            wait(context, expect="opted_out", timeout=0.1, soft_fail=True)

    def test_soft_fail_skips_when_hubspot_cancels(self, hubspot: Simulator, context: Any) -> None:
        hubspot.fault("answer", json=operation("CANCELED"))
        with pytest.raises(AirflowSkipException):
            wait(context, soft_fail=True)

    def test_its_errors_are_airflows(self, hubspot: Simulator, context: Any) -> None:
        hubspot.fault("status", status=401)
        with pytest.raises(AirflowException) as raised:
            wait(context)
        assert raised.value.error.status == 401  # type: ignore[attr-defined]

    def test_logs_hold_no_address(
        self, hubspot: Simulator, context: Any, caplog: pytest.LogCaptureFixture, capsys: Any
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.8}})
        hubspot.fault("status", status=503)
        with caplog.at_level(logging.DEBUG):
            opt_out()
            wait(context)
        logged = caplog.text + "".join(capsys.readouterr())
        assert "j***@e***.com: operation P" in logged  # PENDING or PROCESSING: a poke says what it found
        assert "jane" not in logged

    def test_both_modes_under_airflow_and_a_branch_for_canceled(
        self, hubspot: Simulator, run_dag: Any
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.4}})
        complete = run_dag("hubprefs_waiting", subscriber=JANE)
        assert complete.tasks["done"] == "success"
        assert complete.tasks["undone"] == "skipped"
        poked, rescheduled = complete.xcom("poke"), complete.xcom("reschedule")
        times = {"started_at": 0, "completed_at": 0}
        assert {**poked, **times} == {**rescheduled, **times}
        hubspot.load({"operations": {"outcomes": {JANE: "CANCELED"}, "seconds": 0.4}})
        canceled = run_dag("hubprefs_waiting", subscriber=JANE)
        assert canceled.tasks["undone"] == "success"
        assert canceled.xcom("reschedule")["operation"] == "CANCELED"

    def test_failures_in_a_row_are_counted_across_reschedules(self, hubspot: Simulator, run_dag: Any) -> None:
        hubspot.fault("status", status=503, match={"method": "GET"}, times=None)
        run = run_dag("hubprefs_waiting", subscriber=JANE)
        assert (run.tasks["poke"], run.tasks["reschedule"]) == ("failed", "failed")
        # Each sensor: 2 tolerated and one too many; each poll may retry within its poke_interval.
        assert polls(hubspot) == 6

    def test_a_retry_of_the_task_tolerates_as_many_failures_as_the_first_try(
        self, hubspot: Simulator, context: Any
    ) -> None:
        hubspot.fault("status", status=503, times=None)
        context["task_state_store"] = Store()

        def poke() -> Any:
            arguments: dict[str, Any] = {
                "poke_interval": 0.05,
                "mode": "reschedule",
                "max_transient_failures": 1,
            }
            return HubPrefsOperationSensor(task_id="wait", subscriber=JANE, **arguments).poke(context)

        for _ in range(2):
            assert not poke()
            with pytest.raises(HubPrefsException, match="503"):
                poke()

    @pytest.mark.parametrize(
        ("arguments", "raised"), [({}, AirflowSensorTimeout), ({"soft_fail": True}, AirflowSkipException)]
    )
    def test_a_triggerer_that_is_not_there_is_a_time_out(
        self, context: Any, arguments: dict[str, Any], raised: type[BaseException]
    ) -> None:
        from airflow.models.trigger import TriggerFailureReason

        sensor = HubPrefsOperationSensor(task_id="wait", subscriber=JANE, deferrable=True, **arguments)
        with pytest.raises(raised):
            sensor.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, context)
