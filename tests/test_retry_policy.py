"""When Airflow tries a failed task again: red at once, at HubSpot's time, at midnight, soon, or as the task says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_hubprefs import retry_policy
from airflow_provider_hubprefs.bulk.export.fields import TargetError
from airflow_provider_hubprefs.bulk.plan.guards import GuardError
from airflow_provider_hubprefs.bulk.send.daily_budget import BudgetError
from airflow_provider_hubprefs.bulk.source.errors import UnavailableError
from airflow_provider_hubprefs.exceptions import HubPrefsException
from airflow_provider_hubprefs.hubspot import errors
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.retry_policy import HubPrefsRetryPolicy, until_midnight
from airflow_provider_hubprefs.sensors.operation import HubPrefsOperationSensor
from airflow_provider_hubprefs.simulator import Simulator
from tests.conftest import HOME, Run

pytest.importorskip("airflow.sdk.definitions.retry_policy", reason="retry policies came with Airflow 3.3")


def decided(
    error: BaseException, *, time_zone: str | None = None, retry_delay: float = 300
) -> tuple[str, Any]:
    task: Any = SimpleNamespace(retry_delay=timedelta(seconds=retry_delay))
    decision = HubPrefsRetryPolicy(time_zone=time_zone).evaluate(error, 1, 3, {"task": task})
    return decision.action.value, decision.retry_delay and decision.retry_delay.total_seconds()


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("401"),
        errors.MissingScopesError("403"),
        errors.ValidationError("400"),
        errors.SettingsError("no token"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_no_retry_mends_is_red_at_once_also_where_the_hook_raised_it(error: Exception) -> None:
    assert decided(error) == ("fail", None)


@pytest.mark.parametrize("kind", ["BurstLimitError", "MigratingError", "LockedError", "ServerError"])
def test_a_time_that_hubspot_named_is_kept(kind: str) -> None:
    error = getattr(errors, kind)("wait", retry_after=1000, retryable=True)
    for raised in (error, HubPrefsException("wait", error=error)):
        action, delay = decided(raised)
        assert (action, 1000 <= delay <= 1100) == ("retry", True)
    assert decided(getattr(errors, kind)("wait", retryable=True)) == ("default", None)


@pytest.mark.parametrize(
    ("asked", "limits"),
    [(0, None), (1e300, (86_400, 95_040)), (float("inf"), (86_400, 95_040))],
    ids=["in the past", "huge", "endless"],
)
def test_a_time_that_makes_no_sense_keeps_no_task_from_its_retry(asked: float, limits: Any) -> None:
    action, delay = decided(errors.ServerError("wait", retry_after=asked, retryable=True))
    assert (action, delay) == ("default", None) if limits is None else limits[0] <= delay <= limits[1]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "US", "\0"])
def test_an_unknown_time_zone_is_named_and_the_task_waits_as_it_says(zone: str) -> None:
    policy, error = HubPrefsRetryPolicy(time_zone=zone), HubPrefsException("", error=BudgetError("used up"))
    decision = policy.evaluate(error, 1, 3, {})
    assert (decision.action.value, decision.retry_delay) == ("default", None)
    assert f"{zone!r} is no time zone" in str(decision.reason)


def test_every_error_has_a_decision() -> None:
    """A new class is decided about on purpose: it stands here."""

    def all_of(kind: type[Exception]) -> Iterator[type[Exception]]:
        yield kind
        for one in kind.__subclasses__():
            yield from all_of(one)

    decisions: dict[str, set[str]] = {}
    for kind in all_of(errors.HubSpotError):
        if kind.__module__.startswith("airflow_provider_hubprefs."):
            action, _ = decided(kind("text"), time_zone="UTC")
            decisions.setdefault(action, set()).add(kind.__name__)
    assert decisions == {
        "fail": {
            *(
                "AuthenticationError",
                GuardError.__name__,
                "MissingScopesError",
                "NotFoundError",
                "SettingsError",
                "ValidationError",
            ),
        },
        "retry": {"BudgetError", "DailyLimitError"},
        "default": {
            *("BudgetWaitError", "BurstLimitError", "ConflictError", "ConnectionFailedError"),
            *("ForeignAnswerError", "HubSpotError", "LockedError", "MalformedAnswerError", "MigratingError"),
            *("OperationCanceledError", "ServerError", "StaleReadingError", "StoppedError"),
            TargetError.__name__,
        },
    }


@pytest.mark.parametrize("kind", [errors.DailyLimitError, BudgetError])
def test_the_daily_limit_waits_for_midnight_of_the_account(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decided(HubPrefsException("used up", error=kind("used up"))) == ("default", None)
    for given in ("argument", "configuration"):
        if given == "configuration":
            monkeypatch.setenv("AIRFLOW__HUBPREFS__TIME_ZONE", "Asia/Tokyo")
        left = until_midnight("Asia/Tokyo", datetime.now(UTC)).total_seconds()
        action, delay = decided(
            HubPrefsException("used up", error=kind("used up")),
            time_zone="Asia/Tokyo" if given == "argument" else None,
        )
        assert (action, left - 5 <= delay <= left + 301) == ("retry", True)


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        ("UTC", "2026-11-26T23:00+00:00", 1),
        ("US/Eastern", "2026-11-26T23:00+00:00", 6),
        ("US/Eastern", "2026-11-01T04:00+00:00", 25),
        ("US/Eastern", "2026-03-08T05:00+00:00", 23),
        ("Asia/Tokyo", "2026-11-26T15:00+00:00", 24),
    ],
    ids=["here", "another zone", "clocks go back", "clocks go forward", "at midnight"],
)
def test_midnight_is_the_accounts(zone: str, now: str, hours: float) -> None:
    assert until_midnight(zone, datetime.fromisoformat(now)) == timedelta(hours=hours)


def test_rows_that_are_unconfirmed_are_asked_about_soon_and_no_later_than_the_task_says() -> None:
    assert decided(HubPrefsException("3 unconfirmed")) == ("retry", 60)
    assert decided(HubPrefsException("3 unconfirmed"), retry_delay=10) == ("retry", 10)


@pytest.mark.parametrize(
    "error",
    [
        errors.ConnectionFailedError("no answer", retryable=True),
        HubPrefsException("no file", error=UnavailableError("no file")),
        KeyError("of the DAG author's"),
    ],
    ids=["no answer", "a missing file", "another error"],
)
def test_everything_else_is_as_the_task_says(error: Exception) -> None:
    assert decided(error) == ("default", None)


def test_tasks_have_it_unless_their_author_names_another() -> None:
    class Own(HubPrefsRetryPolicy):
        pass

    needed: dict[str, Any] = {"task_id": "task", "subscribers": []}
    assert type(HubPrefsBatchUnsubscribeOperator(**needed).retry_policy) is HubPrefsRetryPolicy
    assert type(HubPrefsOperationSensor(task_id="task", subscriber="").retry_policy) is HubPrefsRetryPolicy
    own = Own()
    assert HubPrefsBatchUnsubscribeOperator(**needed, retry_policy=own).retry_policy is own
    by_default = {"retry_policy": own}
    assert HubPrefsBatchUnsubscribeOperator(**needed, default_args=by_default).retry_policy is own
    assert BaseOperator(task_id="task").retry_policy is None


def test_where_airflow_has_no_policies_tasks_have_none_and_the_import_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry_policy, "RetryPolicy", None)
    monkeypatch.delattr(retry_policy, "HubPrefsRetryPolicy")
    assert HubPrefsBatchUnsubscribeOperator(task_id="task", subscribers=[]).retry_policy is None
    with pytest.raises(ImportError, match=r"HubPrefsRetryPolicy needs Airflow 3\.3"):
        from airflow_provider_hubprefs.retry_policy import HubPrefsRetryPolicy  # noqa: F401


class UpForRetryError(BaseException):
    """Ends a DAG run whose task would wait for its retry."""


@pytest.mark.parametrize(
    ("fault", "limits", "says"),
    [
        (
            {"kind": "status", "status": 477, "retry_after": 1000},
            (1000, 1100),
            "HubSpot asked to wait 1000 s",
        ),
        ({"kind": "daily"}, (0, 90_301), "return at midnight, US/Eastern"),
    ],
    ids=["moving", "daily limit"],
)
def test_airflow_waits_as_long_as_the_policy_says(
    run_dag: Callable[..., Run],
    hubspot: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    *,
    fault: dict[str, Any],
    limits: tuple[float, float],
    says: str,
) -> None:
    from airflow.sdk.execution_time import supervisor

    monkeypatch.setenv("AIRFLOW__HUBPREFS__TIME_ZONE", "US/Eastern")
    (tmp_path / "people.csv").write_text("email\njane@example.com\n")
    hubspot.fault(**fault, match={"method": "POST"}, times=None)
    run_task = supervisor.run_task_in_process
    ended: list[Any] = []

    def run_and_end(**arguments: Any) -> Any:
        ended.append(run_task(**arguments))
        raise UpForRetryError

    monkeypatch.setattr(supervisor, "run_task_in_process", run_and_end)
    with pytest.raises(UpForRetryError):
        run_dag("hubprefs_retried", contacts=str(tmp_path / "people.csv"))
    (result,) = ended
    assert type(result.msg).__name__ == "RetryTask"
    assert limits[0] <= result.msg.retry_delay_seconds <= limits[1]
    with closing(sqlite3.connect(HOME / "airflow.db")) as db:
        query = "select state, retry_delay_override, retry_reason from task_instance where run_id = ?"
        state, delay, reason = db.execute(query, (result.ti.run_id,)).fetchone()
    assert (state, delay) == ("up_for_retry", result.msg.retry_delay_seconds)
    assert says in reason
