"""What a run says in its log, in words: how far it is, and how it ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.report.checkpoint import CheckpointError
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES, PENDING
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


def last_line(summary: Mapping[str, Any], *, hint: str = "set output to keep a report") -> str:
    """Return one sentence that says what became of all rows, and where the report is.

    :param summary: see :class:`~.summary.Summary`; of an earlier version, some of its fields may be missing.
    :param hint: how to have a report, where there is none.
    """
    rows: Counter[str] = Counter({name: summary.get(name) or 0 for name in ("read", "skipped", *OUTCOMES)})
    read, applied, state = rows["read"], rows["changed"] + rows["unchanged"], summary.get("state")
    where = f" -> {summary.get('page') or summary.get('report') or hint}"
    text = f"{applied:,} of {read:,} {summary.get('done') or 'applied'}"
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
        text = "No rows were read"
    if applied:
        text += f" ({rows['changed']:,} new)"
    if rows["duplicate"]:
        text += f", {counted(rows['duplicate'], 'duplicate')}"
    open_ = "not finished by HubSpot yet" if state in {"waiting", "running"} else "unconfirmed"
    kinds = {"invalid": "invalid", "rejected": "refused", "unconfirmed": open_}
    if not_applied := sum(rows[name] for name in kinds):
        each = ", ".join(f"{rows[name]:,} {kind}" for name, kind in kinds.items() if rows[name])
        text += f", {not_applied:,} not: {each}"
    if not read and rows["skipped"]:
        text += f", {rows['skipped']:,} left out by where"
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
