"""The answers of the pages, for any web framework: content, status and headers."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.page import page
from airflow_provider_hubprefs.bulk.page.letters import clean, first_letters
from airflow_provider_hubprefs.ui.store import TaskFiles, UnreadableError, in_time

if TYPE_CHECKING:
    from airflow_provider_hubprefs.ui.runs import TaskRun

Answer = tuple[str | Iterator[bytes], int, dict[str, str]]

_LETTERS = "dead_letters.jsonl"
_DEEPEST = 20
"""Levels of a report that are shown; one that a run wrote has three."""


def headers(nonce: str | None = None, kind: str = "text/html; charset=utf-8", **more: str) -> dict[str, str]:
    """Return an answer's headers. The tab shares the session with Airflow's UI: nothing injected may run in it.

    :param nonce: of the page's scripts and styles; None: scripts do not run.
    """
    scripts, styles = (f"'nonce-{nonce}'",) * 2 if nonce else ("'none'", "'unsafe-inline'")
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors 'self'{'' if nonce else '; sandbox'}"
    )
    plain = {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
    }
    return {"Content-Type": kind, "Content-Security-Policy": policy, **plain, **more}


def listed(*, status: int = 200, **values: Any) -> Answer:
    """Answer by the page of recent runs, or a ``message``.

    :param values: ``live``: it is loaded again in a moment; ``back``: address of the task that a message is about.
    """
    nonce = secrets.token_urlsafe(16)
    shown = {"message": None, "live": False, "back": None, **values}
    text = page.template(Path(__file__).with_name("pages.html")).render(nonce=nonce, **shown)
    return text, status, headers(nonce)


def report_of(run: TaskRun) -> tuple[dict[str, Any], list[dict[str, Any]], str | None]:
    """Return a run's report, or what its XCom says; its first dead letters; and what cannot be shown, and why."""
    known = run.known or {}
    report: dict[str, Any] = {**known, "run": run.key, "incomplete_because": known.get("because")}
    if not known.get("folder"):
        kept = (
            "No report and no dead letters are kept: neither the task's output nor [hubprefs] output names a "
            "folder. Set one of them."
        )
        return report, [], kept if "Batch" in run.operator else None
    try:
        found, letters = in_time(partial(_read, known["folder"], run.key))
    except UnreadableError as error:
        return report, [], f"{error}. Below is what Airflow itself knows."
    return {**report, **found}, letters, None


def _read(folder: str, key: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    files = TaskFiles(folder, key)
    return files.report() or {}, first_letters(files.path(_LETTERS))


def _show(run: TaskRun | None, *, fragment: bool = False, live: bool = True) -> Answer:
    """Answer by the page of a run.

    :param fragment: only the part of it that changes while the run goes on.
    :param live: whether it follows the run; otherwise it is what the file ``report.html`` is.
    """
    if run is None or run.known is None:
        return _without_report(run)
    report, letters, note = report_of(run)
    nonce = secrets.token_urlsafe(16)
    how = (
        page.Live(nonce, run.state, run.ended, note, links=bool(run.known.get("folder")) and not note)
        if live
        else None
    )
    try:
        text = page.render(report, letters, live=how, fragment=fragment)
    except Exception as error:  # noqa: BLE001 - of a report that something else wrote, not of a run
        why = f"The report cannot be shown ({type(error).__name__}): it is not one that a run wrote."
        return listed(message=why)
    return text, 200, headers(nonce if live else None)


def _without_report(run: TaskRun | None) -> Answer:
    if run is not None and "HubPrefs" not in run.operator:
        text = "This task does not write to HubSpot by this provider, so there is nothing to show here."
    elif run is not None and run.ended:
        text = f"This task left no report: it ended ({run.state}) before it said where one would be."
    else:
        return listed(message="This task has not begun, so there is nothing to show yet.", live=True)
    return listed(message=text)


def _as_json(run: TaskRun | None) -> Answer:
    return json.dumps(_masked(report_of(run)[0]) if run else {}), 200, headers(kind="application/json")


def _masked(value: Any, depth: int = 0) -> Any:
    """Mask addresses in all texts: a report has HubSpot's words in it, and names of files and folders."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, dict):
        return {clean(name): _masked(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_masked(one, depth + 1) for one in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return clean(value, most=2000) if isinstance(value, str) else value


def download(run: TaskRun | None) -> Answer:
    """Answer by the dead letters, piece by piece: they may be larger than memory."""
    folder = run and run.known and run.known.get("folder")
    to_task: dict[str, Any] = {"status": 404, "back": run and _address_from_page(run)}
    if run is None or not folder:
        return listed(message="There are no dead letters: this run has no output folder.", **to_task)
    try:
        file = in_time(lambda: TaskFiles(folder, run.key).open(_LETTERS))
    except FileNotFoundError:
        text = "There are no dead letters yet: they are put together when the run ends or waits."
        return listed(message="There are no dead letters of this run." if run.ended else text, **to_task)
    except UnreadableError as error:
        return listed(message=str(error), **to_task)
    name = "-".join(str(part) for part in ("dead_letters", *run.key.values()) if part != -1)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:150]
    saved = {"Content-Disposition": f'attachment; filename="{name}.jsonl"'}
    return _pieces(file), 200, headers(kind="application/x-ndjson", **saved)


def _address_from_page(run: TaskRun) -> str:
    """Return the address of a run's tab, as a link on one of its pages: Airflow may have a path before its own."""
    return run.address if run.address.startswith(("/", "http")) else "../" * 8 + run.address


def _pieces(file: Any) -> Iterator[bytes]:
    with file:
        while piece := in_time(lambda: file.read(1 << 16)):
            yield piece


PAGES: dict[str, Callable[[TaskRun | None], Answer]] = {
    "page": _show,
    "fragment": partial(_show, fragment=True),
    "report.html": partial(_show, live=False),
    "report.json": _as_json,
}
"""Of a task instance; who may read its XComs may see them."""
