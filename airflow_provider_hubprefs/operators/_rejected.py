"""Which rows may stay behind when a task succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.compat import Context


def fail_if_not_applied(operator: Any, summary: Mapping[str, Any], context: Context) -> None:
    """Fail where rows were not applied, or log it, as ``on_rejected`` says of those that are rejected or invalid.

    What is unconfirmed always fails: it is not known what became of it. So does a subscriber who was resubscribed by
    accident, although that was undone.

    :param operator: with ``on_rejected`` and ``log``.
    :raises HubPrefsException: some rows are unconfirmed; a retry may help.
    :raises HubPrefsFailException: some rows are rejected or invalid; a retry cannot help.
    """
    from airflow_provider_hubprefs.bulk.report.outcome import NOT_APPLIED
    from airflow_provider_hubprefs.bulk.send.outcomes import RACE

    counts = ", ".join(f"{summary[name]} {name}" for name in NOT_APPLIED if summary[name])
    if not counts:
        return
    letters = summary["dead_letters"]
    where = f"they are in {letters}" if letters else "set output to a folder, and they are named there"
    text = f"of {summary['read']} rows, {counts}; {where}. Why: {summary['reasons']}"
    raced = summary["reasons"].get(f"rejected: {RACE}")
    if operator.on_rejected == "fail" or summary["unconfirmed"] or raced:
        ti: Any = context.get("ti")
        if operator.do_xcom_push and hasattr(ti, "xcom_push"):
            ti.xcom_push(key="return_value", value=summary)
        if summary["unconfirmed"]:
            raise HubPrefsException(f"{text}. All other rows are done; a retry asks about these again.")
        remedy = "look at those subscribers" if raced else "on_rejected='report' would succeed"
        raise HubPrefsFailException(f"{text}. All other rows are done; {remedy}.")
    operator.log.warning("%s", text)
