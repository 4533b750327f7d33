"""A wait ends alike in poke mode and deferred, whatever HubSpot says.

Alike is: the same state, result and exception.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import ANSWER_PENDING, PENDING

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

CANCELED: dict[str, Any] = {
    "kind": "answer",
    "json": {**PENDING, "status": "CANCELED", "errors": [{"category": "X", "message": "jane@x.com"}]},
}
OPTED_OUT: dict[str, Any] = {
    "kind": "answer",
    "json": {
        "status": "COMPLETE",
        "startedAt": PENDING["startedAt"],
        "results": [
            {
                "subscriberIdString": "expected@example.com",
                "status": "UNSUBSCRIBED",
                "channel": "EMAIL",
                "wideStatusType": "PORTAL_WIDE",
                "timestamp": "2026-11-22T10:00:00.000Z",
            }
        ],
    },
}
AWAY: dict[str, Any] = {"kind": "status", "status": 503}
REVOKED: dict[str, Any] = {"kind": "status", "status": 401}
UNKNOWN: dict[str, Any] = {"kind": "answer", "json": {**PENDING, "status": "HIBERNATING"}}

# What HubSpot answers after a first PENDING, which makes the sensor defer: a fault, how often (None: for ever);
# then the truth, which is COMPLETE. And how the task ends: state, exception.
TABLE: dict[str, tuple[dict[str, Any] | None, int | None, str, str | None]] = {
    "complete": (None, 1, "success", None),
    "canceled": (CANCELED, None, "failed", "HubPrefsFailException"),
    "canceled_branch": (CANCELED, None, "success", None),
    "canceled_soft": (CANCELED, None, "skipped", None),
    "canceled_never": (CANCELED, None, "skipped", None),
    "timeout": (ANSWER_PENDING, None, "failed", "AirflowSensorTimeout"),
    "timeout_soft": (ANSWER_PENDING, None, "skipped", None),
    "tolerated": (AWAY, 2, "success", None),
    "failing": (AWAY, None, "failed", "HubPrefsException"),
    "failing_soft": (AWAY, None, "failed", "HubPrefsException"),
    "failing_never": (AWAY, None, "skipped", None),
    "failing_silent": (AWAY, 2, "success", None),
    "revoked": (REVOKED, None, "failed", "HubPrefsFailException"),
    "revoked_soft": (REVOKED, None, "skipped", None),
    "unknown": (UNKNOWN, 2, "success", None),
    "expected": (OPTED_OUT, None, "success", None),
    "killed": (ANSWER_PENDING, None, "failed", "AirflowTaskTimeout"),
    "unconnected": (None, 1, "failed", "AirflowNotFoundException"),
}
MODES = ("poke", "deferred")


def without_times(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """The result, whenever it was."""
    return result and {**result, "started_at": 0, "completed_at": 0}


@pytest.mark.timeout(600)
def test_every_wait_ends_alike_in_every_mode(
    hubspot: Simulator, run_dag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger

    for name, (fault, times, _, _) in TABLE.items():
        for mode in MODES:
            match = {"path_contains": f"/{name}.{mode}"}
            hubspot.fault(**ANSWER_PENDING, match=match)
            if fault is not None:
                about_it = json.loads(json.dumps(fault).replace("expected@", f"{name}.{mode}@"))
                hubspot.fault(**about_it, match=match, times=times)
    noted = tmp_path / "exceptions"
    noted.touch()
    monkeypatch.setenv("HUBPREFS_TEST_EXCEPTIONS", str(noted))
    deferred_waits: list[str] = []

    async def outcome(self: HubPrefsOperationTrigger) -> Any:
        assert "@" not in str(self.serialize())
        event = await whole(self)
        deferred_waits.append(self.wait.subscriber.partition("@")[0])
        return event

    whole = HubPrefsOperationTrigger.outcome
    monkeypatch.setattr(HubPrefsOperationTrigger, "outcome", outcome)
    run = run_dag("hubprefs_waiting_modes")

    exceptions = dict(line.split() for line in noted.read_text().splitlines())
    ended = {
        (name, mode): (run.tasks[f"{name}.{mode}"], exceptions.get(f"{name}.{mode}"))
        for name in TABLE
        for mode in MODES
    }
    assert ended == {
        (name, mode): (state, error) for name, (_, _, state, error) in TABLE.items() for mode in MODES
    }
    for name, (_, _, state, _) in TABLE.items():
        poked, deferred = (run.xcom(f"{name}.{mode}") for mode in MODES)
        assert without_times(deferred) == without_times(poked), name
        assert (poked is not None) == (state == "success"), name
    # A connection that is not there is found out before anything is deferred.
    # (On a machine that is very busy, "killed" may be over before it could defer.)
    deferring = {f"{name}.deferred" for name in TABLE if name != "unconnected"}
    assert deferring - set(deferred_waits) <= {"killed.deferred"}
    assert set(deferred_waits) <= deferring
