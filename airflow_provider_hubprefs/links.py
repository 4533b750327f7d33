"""Links from a task to its report, its dead letters and HubSpot's settings, and the XCom that they are found by."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_hubprefs.compat import AirflowException, BaseOperatorLink, conf

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.compat import BaseOperator, Context

REPORT = "hubprefs_report"
"""Key of the XCom that says where the report of a task instance is, and what became of its rows."""

TAB = "hubprefs"
"""Name of the tab, in addresses of Airflow's UI."""

PREFIX = "/hubprefs"
"""Where Airflow serves the pages of this package."""

OUTCOMES = ("read", "changed", "unchanged", "rejected", "invalid", "duplicate", "unconfirmed")

_FROM_REPORT = (*OUTCOMES, "reasons", "outcome", "state", "portal", "write", "done", "kind", "audit_head")
_WAITS = {"TaskDeferred", "AirflowRescheduleException"}
_log = logging.getLogger(__name__)


def address_of(task: Any, suffix: str = "") -> str:
    """Return the address of a task instance's tab, or of one of its pages, relative to that of Airflow.

    On Airflow 2.11, which has no tabs, it is the whole address of the page.

    :param task: a task instance, or its key.
    :param suffix: name of a page; none: the tab.
    """
    dag, run, name = (quote(str(part), safe="") for part in (task.dag_id, task.run_id, task.task_id))
    index = getattr(task, "map_index", -1)
    if not _has_tabs():
        base = conf.get("webserver", "base_url", fallback="").rstrip("/")
        return f"{base}{PREFIX}/dags/{dag}/runs/{run}/tasks/{name}/{index}/{suffix or 'page'}"
    if suffix:
        return f"{PREFIX[1:]}/dags/{dag}/runs/{run}/tasks/{name}/{index}/{suffix}"
    mapped = f"/mapped/{index}" if index is not None and index >= 0 else ""
    return f"dags/{dag}/runs/{run}/tasks/{name}{mapped}/plugin/{TAB}"


def _has_tabs() -> bool:
    return hasattr(BaseOperatorLink, "xcom_key")  # Airflow 3 keeps links in XComs


class ReportLink(BaseOperatorLink):
    """To the report of a task instance: its tab in the UI, or on Airflow 2.11 its page."""

    name = "Report"
    xcom_key = "_link_hubprefs_report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address."""
        return address_of(ti_key)


class DeadLettersLink(BaseOperatorLink):
    """To the rows that were not applied: a file to download, for who may read the task's logs."""

    name = "Dead letters"
    xcom_key = "_link_hubprefs_dead_letters"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address."""
        return address_of(ti_key, "download")


class SettingsLink(BaseOperatorLink):
    """To the portal's subscription types. HubSpot's short form asks for the account, where the portal is not known.

    HubSpot sends users of a data centre in the EU on from its general host.
    """

    name = "HubSpot settings"
    xcom_key = "_link_hubprefs_settings"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address."""
        portal = getattr(operator, "_known", {}).get("portal")
        settings = f"settings/{portal}" if isinstance(portal, int) else "l/settings"
        return f"https://app.hubspot.com/{settings}/marketing/email/subscriptions"


LINKS: tuple[BaseOperatorLink, ...] = (ReportLink(), SettingsLink())
"""Of every operator and sensor; those that write dead letters have the other one, too."""

BATCH_LINKS: tuple[BaseOperatorLink, ...] = (ReportLink(), DeadLettersLink(), SettingsLink())


def run_announced(task: Any, method: Callable[..., Any], context: Context, *args: Any, **kwargs: Any) -> Any:
    """Run a method as ``task.announced`` says."""
    from airflow_provider_hubprefs.exceptions import airflow_errors
    from airflow_provider_hubprefs.lineage import note

    task._announcing, task._known = True, {}
    end: BaseException | None = None
    folder = task._report_folder(context) if hasattr(task, "_report_folder") else None
    if folder is not None:
        from airflow_provider_hubprefs.storage import without_connection

        folder = without_connection(folder)
    known = {"folder": folder, "connection": str(task.hubprefs_conn_id), "portal": None}
    try:
        _push(task, context, {**known, "state": "running"}, links=True)
        with airflow_errors():
            return method(task, context, *args, **kwargs)
    except BaseException as error:
        end = error
        raise
    finally:
        task._announcing = False
        if type(end).__name__ not in _WAITS:
            note(task)
        _push(task, context, {**known, **_known_at_the_end(task._known, end)})


def _known_at_the_end(report: dict[str, Any], end: BaseException | None) -> dict[str, Any]:
    """What the XCom says when a task ends or waits: outcomes, state, budget, and why it failed; no address."""
    from airflow_provider_hubprefs.bulk.report.outcome import left_to_hubspot
    from airflow_provider_hubprefs.hubspot.privacy import scrub

    known = {name: report[name] for name in _FROM_REPORT if report.get(name) is not None}
    if kept := left_to_hubspot(report.get("reasons") or {}):
        known["kept"] = kept
    if type(end).__name__ in _WAITS:
        return {**known, "state": "waiting"}
    if known.get("state") in {None, "running", "waiting"}:
        known["state"] = "complete" if report.get("complete", end is None) else "incomplete"
    budget = report.get("budget_after") or {}
    if budget.get("daily_remaining") is not None:
        known["budget"] = {name: budget.get(name) for name in ("daily", "daily_remaining")}
    if end is not None:
        known["because"] = scrub(str(end))[:300] if isinstance(end, AirflowException) else type(end).__name__
    return known


def _push(task: Any, context: Context, value: dict[str, Any], *, links: bool = False) -> None:
    """Push the XCom, and links. A task never fails because of them."""
    ti: Any = context.get("ti")
    if not hasattr(ti, "xcom_push"):
        return
    try:
        ti.xcom_push(key=REPORT, value=value)
        if links and _has_tabs() and hasattr(ti, "task_id"):
            for link in task.operator_extra_links:
                ti.xcom_push(key=link.xcom_key, value=link.get_link(task, ti_key=ti))
    except Exception as error:  # noqa: BLE001 - whatever Airflow's server answers
        _log.warning("The links of this task could not be stored: %s", type(error).__name__)
