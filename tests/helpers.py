"""What several test files need: addresses, outcomes, counts of writes, answers of HubSpot, a task's state store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.simulator import Simulator

LONG = os.environ.get("HUBPREFS_TEST_LONG") == "1"
"""Whether `make test-long` runs: more waits, seeds, kills and examples than `make test` has time for."""

OUTCOMES = ("changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed")

PENDING: dict[str, Any] = {"status": "PENDING", "results": [], "startedAt": "2026-11-22T10:00:00.000Z"}
"""HubSpot's answer to a question about an operation that has not ended."""
ANSWER_PENDING: dict[str, Any] = {"kind": "answer", "json": PENDING}
"""The simulator's fault that gives this answer."""


def people(count: int, *, start: int = 0) -> list[str]:
    """Addresses, numbered from ``start``."""
    return [f"person-{number}@example.com" for number in range(start, start + count)]


def outcomes(summary: Mapping[str, Any]) -> dict[str, int]:
    """A summary's outcomes that occurred."""
    return {name: summary[name] for name in OUTCOMES if summary[name]}


def reported(result: Mapping[str, Any]) -> dict[str, Any]:
    """The report of the run that had this result."""
    found: dict[str, Any] = json.loads(Path(result["report"]).read_text())
    return found


def writes(hubspot: Simulator) -> int:
    """How many requests to write preferences HubSpot received."""
    return sum(
        "/communication-preferences/" in request.path
        and request.method in {"POST", "PUT"}
        and not request.path.endswith(("/read", "/generate"))
        for request in hubspot.requests
    )


class Store(dict[str, Any]):
    """Airflow's store for a task's state: it keeps JSON."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)
