"""What a run says of itself: a summary for the task's XCom, and details for the report file. Neither has an address."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from airflow_provider_hubprefs.bulk.report.state import now
from airflow_provider_hubprefs.hubspot.transport.latency import percentile

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
    from airflow_provider_hubprefs.storage import Path

SCHEMA = 1
"""Version of :class:`Summary` and :class:`Details`. It rises when a field is removed or changes its meaning."""


class Summary(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a run's task returns, in JSON; sums over all its tries.

    :param read: rows; the six outcomes after it add up to it.
    :param reasons: number of rows that were not applied, by outcome and category.
    :param complete: whether all rows of the source were sent and none is pending.
    :param incomplete_because: why not, if it is not.
    :param operations: number of HubSpot's answers by operation status.
    :param started_at: when the first try began; ISO 8601, UTC.
    :param ended_at: when this summary was made; ISO 8601, UTC.
    :param duration_seconds: of all tries, without the time between them.
    :param requests: sent, with retries, without the polls of a wait, which many waits share.
    :param throttled: number of answers with status 429.
    :param waited_for_budget_seconds: that all threads together waited for a slot.
    :param latency_p50_ms: from sending a request to its whole answer; null without answers.
    :param dead_letters: path of the rows that were not applied.
    :param report: path of :class:`Details`.
    """

    schema: int = SCHEMA
    read: int
    changed: int
    unchanged: int
    rejected: int
    invalid: int
    duplicate: int
    unconfirmed: int
    reasons: dict[str, int]
    complete: bool
    incomplete_because: str | None
    tries: int
    operations: dict[str, int]
    started_at: str
    ended_at: str
    duration_seconds: float
    requests: int
    retries: int
    throttled: int
    waited_for_budget_seconds: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    dead_letters: str | None = None
    report: str | None = None


class Details(Summary, kw_only=True, forbid_unknown_fields=True):
    """What the report file holds: the summary, and what an XCom does not need.

    :param budget_before: what HubSpot's headers had said last when this try began; unknown figures are null.
    :param budget_after: what they had said last when it ended.
    :param source: fingerprint of the source; null where it cannot be read twice.
    """

    budget_before: dict[str, float | None] | None = None
    budget_after: dict[str, float | None] | None = None
    source: str | None = None


def details_of(
    state: RunState,
    *,
    dead_letters: Path | None = None,
    report: Path | None = None,
    budget_before: Budget | None = None,
    budget_after: Budget | None = None,
) -> Details:
    """Return the details of a run as it is now.

    :param dead_letters: where rows are that were not applied.
    :param report: where these details will be.
    """
    tally, answered, pending = state.tally, state.usage.answered, state.tally.reasons_of_pending
    counts = tally.counts + Counter(unconfirmed=pending.total())
    reasons = tally.reasons + Counter({f"unconfirmed: {name}": rows for name, rows in pending.items()})
    return Details(
        read=tally.read,
        **{name: counts[name] for name in OUTCOMES},
        reasons=dict(reasons.most_common()),
        complete=state.complete,
        incomplete_because=state.incomplete_because,
        tries=state.tries,
        operations=dict(state.operations),
        started_at=state.started_at,
        ended_at=now(),
        **state.usage.figures(),
        latency_p50_ms=percentile(answered, 0.5),
        latency_p95_ms=percentile(answered, 0.95),
        dead_letters=str(dead_letters) if dead_letters else None,
        report=str(report) if report else None,
        budget_before=asdict(budget_before) if budget_before else None,
        budget_after=asdict(budget_after) if budget_after else None,
        source=state.source,
    )


def summary_of(details: Details) -> dict[str, Any]:
    """Return the part of the details that is the summary, as a task returns it."""
    return {name: getattr(details, name) for name in Summary.__struct_fields__}
