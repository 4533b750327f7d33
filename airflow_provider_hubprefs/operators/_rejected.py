"""Which rows may stay behind when a task succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.compat import Context


def fail_if_not_applied(operator: Any, summary: Mapping[str, Any], context: Context) -> None:
    """Fail where rows were not applied, or log it, as ``on_rejected`` says.

    :param operator: with ``on_rejected`` and ``log``.
    :raises HubPrefsException: some rows are unconfirmed; a retry may help.
    :raises HubPrefsFailException: some rows are rejected or invalid; a retry cannot help.
    """
    from airflow_provider_hubprefs.bulk.report.outcome import NOT_APPLIED

    counts = ", ".join(f"{summary[name]} {name}" for name in NOT_APPLIED if summary[name])
    if not counts:
        return
    letters = summary["dead_letters"]
    where = f"they are in {letters}" if letters else "a folder as output would name them"
    text = f"of {summary['read']} rows, {counts}; {where}. Why: {summary['reasons']}"
    if operator.on_rejected == "fail":
        if operator.do_xcom_push and "ti" in context:
            context["ti"].xcom_push(key="return_value", value=summary)
        kind = HubPrefsException if summary["unconfirmed"] else HubPrefsFailException
        raise kind(f"{text}. All other rows are done; on_rejected='report' would succeed.")
    operator.log.warning("%s", text)
