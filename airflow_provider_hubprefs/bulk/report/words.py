"""What a run says in its log, in words: how far it is, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES, PENDING

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

    :param summary: see :class:`~.summary.Summary`.
    :param hint: how to have a report, where there is none.
    """
    read, applied = summary["read"], summary["changed"] + summary["unchanged"]
    where = f" -> {summary['page'] or summary['report'] or hint}"
    text = f"{applied:,} of {read:,} {summary['done']}"
    if summary["state"] == "incomplete":
        early = f"Stopped early ({summary['incomplete_because'].partition(':')[0]})"
        if not read:
            return f"{early} before any row was done{where}"
        text = f"{early} after {counted(read, 'row')}: {text}"
    if applied:
        text += f" ({summary['changed']:,} new)"
    if summary["duplicate"]:
        text += f", {counted(summary['duplicate'], 'duplicate')}"
    open_ = "not finished by HubSpot yet" if summary["state"] == "waiting" else "unconfirmed"
    kinds = {"invalid": "invalid", "rejected": "refused", "unconfirmed": open_}
    if not_applied := sum(summary[name] for name in kinds):
        each = ", ".join(f"{summary[name]:,} {kind}" for name, kind in kinds.items() if summary[name])
        text += f", {not_applied:,} not: {each}"
    return text + where


def details(summary: Mapping[str, Any]) -> str:
    """Return what else there is to say where no report says it."""
    text = f"{counted(summary['requests'], 'request')}, {summary['throttled'] or 'none'} answered with 429, "
    text += counted(summary["tries"], "try", "tries")
    return f"{text}; not applied: {reasons_in_words(summary['reasons'])}" if summary["reasons"] else text
