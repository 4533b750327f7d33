"""What a run says in its log, in words: how far it is, and how it ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.report.checkpoint import CheckpointError
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES, PENDING, left_to_hubspot
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 row``, ``2,000 rows``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def outcomes_in_words(counts: Mapping[str, int]) -> str:
    """Return ``888 changed, 38 duplicates``, or nothing where no row has an outcome."""
    many = {"duplicate": "duplicates"}
    names = [name for name in (*OUTCOMES, PENDING) if counts.get(name)]
    return ", ".join(counted(counts[name], name, many.get(name, name)) for name in names)


def reasons_in_words(reasons: Mapping[str, int]) -> str:
    """Return ``12 INVALID_ADDRESS, 2 VALIDATION_ERROR``.

    :param reasons: rows by outcome and category.
    """
    return ", ".join(f"{rows:,} {name.partition(': ')[2]}" for name, rows in reasons.items())


CALLED = {"plan": {"changed": "to change", "unchanged": "as wanted"}, "read": {"unchanged": "read"}}
"""What outcomes of runs that write nothing are called, by kind."""

ACTIONS = {
    "opt_out": "opted out of everything",
    "unsubscribe": "unsubscribed",
    "subscribe": "subscribed",
    "resubscribe": "resubscribed",
}
"""What a plan would do, to so many subscribers."""


def achieved(summary: Mapping[str, Any], *, so_far: bool = False) -> str:
    """Return ``948 of 1,000 opted out``; of a plan ``12 of 1,000 would change``; ``1,000 subscribers read``.

    :param so_far: whether the run goes on, and how much it reads is not known: ``948 opted out so far``.
    """
    read, changed, unchanged = (summary.get(name) or 0 for name in ("read", "changed", "unchanged"))
    kind, done = summary.get("kind"), summary.get("done")
    if kind == "plan":
        return f"{changed:,} to change so far" if so_far else f"{changed:,} of {read:,} would change"
    applied = changed + unchanged
    if so_far:
        return f"{applied:,} {done or 'applied'} so far"
    if kind != "read":
        return f"{applied:,} of {read:,} {done or 'applied'}"
    return f"{'' if applied == read else f'{applied:,} of '}{counted(read, 'subscriber')} {done or 'read'}"


def without_rows(kind: object, plan: object) -> str:
    """Return what to say of a run without rows: one that applies a plan has none where nothing differs."""
    return "Nothing was to change" if plan and kind != "plan" else "No rows were read"


def _tripped(plan: Mapping[str, Any]) -> str:
    """Return the names of the guards that stop a plan, of a report's ``plan``; nothing where a person approved it."""
    if plan.get("approved_by"):
        return ""
    guards = plan.get("guards") or ()
    return ", ".join(
        str(one.get("name")) for one in guards if one.get("tripped") and not one.get("report_only")
    )


def last_line(summary: Mapping[str, Any], *, hint: str = "set output to keep a report") -> str:
    """Return one sentence that says what became of all rows, and where the report is.

    :param summary: see :class:`~.summary.Summary`; of an earlier version, some of its fields may be missing.
    :param hint: how to have a report, where there is none.
    """
    rows: Counter[str] = Counter({name: summary.get(name) or 0 for name in ("read", "skipped", *OUTCOMES)})
    read, state, kind = rows["read"], summary.get("state"), summary.get("kind")
    plan: Mapping[str, Any] = summary.get("plan") or {}
    where = f" -> {summary.get('page') or summary.get('report') or hint}"
    text = achieved(summary)
    if state == "incomplete":
        early = f"Stopped early ({str(summary.get('incomplete_because')).partition(':')[0]})"
        if not read:
            return f"{early} before any row was done{where}"
        text = f"{early} after {counted(read, 'row')}: {text}"
    elif state == "running":
        share = "" if (share := summary.get("share")) is None else f", {share:.0%} of the source read"
        text = text if read else "no row has an outcome yet"
        text = f"Still running as of {summary.get('ended_at')}{share}: {text}"
    elif not read:
        text = without_rows(kind, plan)
    if kind == "plan":
        actions = plan.get("actions") or {}
        each = ", ".join(f"{actions[name]:,} {done}" for name, done in ACTIONS.items() if actions.get(name))
        text += (f" ({each})" if each else "") + (
            f", {rows['unchanged']:,} as wanted" if rows["unchanged"] else ""
        )
    elif kind != "read" and rows["changed"] + rows["unchanged"]:
        text += f" ({rows['changed']:,} new)"
    if rows["duplicate"]:
        text += f", {counted(rows['duplicate'], 'duplicate')}"
    if kept := left_to_hubspot(summary.get("reasons") or {}):
        text += f", {kept:,} left to HubSpot"
    open_ = "not finished by HubSpot yet" if state in {"waiting", "running"} else "unconfirmed"
    kinds = {"invalid": "invalid", "rejected": "refused", "unconfirmed": open_}
    rows["rejected"] -= kept
    if not_applied := sum(rows[name] for name in kinds):
        each = ", ".join(f"{rows[name]:,} {one}" for name, one in kinds.items() if rows[name])
        text += f", {each}" if kind == "plan" else f", {not_applied:,} not: {each}"
    if not read and rows["skipped"]:
        text += f", {rows['skipped']:,} left out by where"
    if kind == "plan" and (tripped := _tripped(plan)):
        text += f"; tripped: {tripped}"
    return text + where


def said_by(error: BaseException) -> str | None:
    """Return what an error says, in one line; None: it is a stranger's, and what it quotes is not known."""
    if isinstance(error, OSError):
        text = f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}"
    elif isinstance(error, HubSpotError | SourceError | CheckpointError):
        text = str(error)
    else:
        return None
    return scrub(" ".join(text.split()))


def details(summary: Mapping[str, Any]) -> str:
    """Return what else there is to say where no report says it."""
    text = f"{counted(summary['requests'], 'request')}, {summary['throttled'] or 'none'} answered with 429, "
    text += counted(summary["tries"], "try", "tries")
    return f"{text}; not applied: {reasons_in_words(summary['reasons'])}" if summary["reasons"] else text
