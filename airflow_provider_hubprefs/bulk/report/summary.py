"""What a run says of itself, in JSON and without an address: the report file holds it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from airflow_provider_hubprefs.bulk.report.state import now
from airflow_provider_hubprefs.hubspot.transport.latency import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.report.history import Point
    from airflow_provider_hubprefs.bulk.report.progress import Progress
    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.hubspot.pacing.slots import Budget
    from airflow_provider_hubprefs.storage import Path

SCHEMA = 2
"""Version of :class:`Summary`. It rises when a field is removed or changes its meaning."""


Kind = Literal["write", "plan", "read"]
"""What a run does to HubSpot."""


class About(TypedDict):
    """What is the same from a run's beginning to its end.

    :param run: who runs it, as the caller says: ``dag_id``, ``run_id``, ``task_id``, ``map_index``, ``try_number`` and
        ``started_by`` of an Airflow task; empty outside of Airflow.
    :param write: what it does to every subscriber, such as ``opt out of everything``.
    :param done: what it has done to one, such as ``opted out``.
    :param kind: ``write``; ``plan``: it writes nothing, and ``changed`` counts what applying the plan would change; or
        ``read``.
    :param connection: name of the connection.
    :param portal: HubSpot's id of the portal; null where it is not known.
    :param source_names: the first files of the source; masked where they look like an address.
    :param source_files: how many there are; null where rows come from memory.
    """

    run: dict[str, Any]
    write: str
    done: str
    kind: Kind
    connection: str | None
    portal: int | None
    api_version: str
    provider_version: str
    source_names: list[str]
    source_files: int | None


class Summary(About):
    """What a run returns, and its report holds, in JSON; sums over all its tries.

    :param state: ``running``; ``waiting``: all rows are sent, and HubSpot has not finished with some; ``complete`` or
        ``incomplete``: the run, or this try of it, is over.
    :param share: of the source that is read, 0 to 1; null where that cannot be known.
    :param seconds_left: until all rows are sent; null where that cannot be known.
    :param history: see :class:`~.history.Point`.

    :param read: rows; the six outcomes after it add up to it.
    :param skipped: rows that ``where`` left out; they are not among those read.
    :param multiline_records: CSV records that span lines, each read as one row.
    :param reasons: number of rows that were not applied, by outcome and category.
    :param complete: whether all rows of the source were sent and none is pending.
    :param incomplete_because: why not, if it is not: the name of an error's class, or a sentence.
    :param error: what that error said; null where it is none of HubSpot's, of the source's or of a file.
    :param operations: number of HubSpot's answers by operation status.
    :param started_at: when the first try began; ISO 8601, UTC.
    :param ended_at: when this summary was made; ISO 8601, UTC.
    :param duration_seconds: of all tries, without the time between them.
    :param resent: rows that were sent again, at most, because the checkpoint of a try that was stopped or killed did
        not have them; those of them that are *unchanged* may be this run's own change.
    :param requests: sent, with retries, without the polls of a wait, which many waits share. Of a try that was
        killed, those that no checkpoint had are taken to be one for each batch that was sent again.
    :param throttled: number of answers with status 429.
    :param waited_for_budget_seconds: that all threads together waited for a slot.
    :param latency_p50_ms: from sending a request to its whole answer; null without answers.
    :param budget_before: what HubSpot's headers had said last when this try began; unknown figures are null.
    :param budget_after: what they had said last when this summary was made.
    :param source: fingerprint of the source, the same in all tries; null where there is no checkpoint.
    :param dead_letters: path of the rows that were not applied; null where there are none, or no ``output``.
    :param audit: path of the records of what was written, once a try has ended; null where there is no ``output``.
    :param audit_head: hash of the last of them.
    :param report: path of the file that holds this summary.
    :param page: path of the same as a page to look at; null where it could not be written.
    """

    schema: int
    state: Literal["running", "waiting", "complete", "incomplete"]
    share: float | None
    seconds_left: int | None
    read: int
    changed: int
    unchanged: int
    rejected: int
    invalid: int
    duplicate: int
    unconfirmed: int
    skipped: int
    multiline_records: int
    reasons: dict[str, int]
    complete: bool
    incomplete_because: str | None
    error: str | None
    tries: int
    resent: int
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
    budget_before: dict[str, float | None]
    budget_after: dict[str, float | None]
    source: str | None
    dead_letters: str | None
    audit: str | None
    audit_head: str | None
    report: str | None
    page: str | None
    history: list[list[float | None]]


def summary_of(
    state: RunState,
    progress: Progress,
    about: About,
    *,
    going_on: bool,
    history: Sequence[Point] = (),
    dead_letters: Path | None = None,
    report: Path | None = None,
    page: Path | None = None,
    budget_before: Budget,
    budget_after: Budget,
) -> Summary:
    """Return the summary of a run as it is now; see :class:`Summary`.

    :param going_on: whether it goes on, here or elsewhere; otherwise it is complete, or ended early.
    """
    going: Literal["waiting", "running"] = "waiting" if state.all_sent else "running"
    tally, usage, pending = state.tally, state.usage, state.tally.reasons_of_pending
    counts = tally.counts + Counter(unconfirmed=pending.total())
    reasons = tally.reasons + Counter({f"unconfirmed: {name}": rows for name, rows in pending.items()})
    return Summary(
        schema=SCHEMA,
        state="complete" if state.complete else going if going_on else "incomplete",
        share=None if (share := progress.share) is None else round(share, 4),
        seconds_left=progress.seconds_left if going_on else None,
        read=tally.read,
        changed=counts["changed"],
        unchanged=counts["unchanged"],
        rejected=counts["rejected"],
        invalid=counts["invalid"],
        duplicate=counts["duplicate"],
        unconfirmed=counts["unconfirmed"],
        skipped=state.source_counts.skipped,
        multiline_records=state.source_counts.multiline_records,
        reasons=dict(reasons.most_common()),
        complete=state.complete,
        incomplete_because=state.incomplete_because,
        error=state.error,
        tries=state.tries,
        resent=state.resent,
        operations=dict(state.operations),
        started_at=state.started_at,
        ended_at=now(),
        duration_seconds=round(state.duration, 3),
        requests=usage.requests,
        retries=usage.retries,
        throttled=usage.throttled,
        waited_for_budget_seconds=round(usage.waited_for_budget, 3),
        latency_p50_ms=percentile(usage.answered, 0.5),
        latency_p95_ms=percentile(usage.answered, 0.95),
        budget_before=asdict(budget_before),
        budget_after=asdict(budget_after),
        source=state.source,
        dead_letters=str(dead_letters) if dead_letters else None,
        audit=None,  # its recorder says it
        audit_head=None,
        report=str(report) if report else None,
        page=str(page) if page else None,
        **about,
        history=[list(point) for point in history],
    )
