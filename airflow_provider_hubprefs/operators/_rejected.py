"""Which rows may stay behind when a task succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.compat import Context


def fail_if_not_applied(operator: Any, result: Mapping[str, Any], context: Context) -> None:
    """Fail where rows were not applied, unless they are rejected or invalid and may stay behind.

    What is unconfirmed always fails: it is not known what became of it. So does a subscriber who was resubscribed by
    accident, although that was undone.

    :param operator: says which may (``may_stay_behind``).
    :param result: of the task; pushed before it fails.
    :raises HubPrefsException: some rows are unconfirmed; a retry may help.
    :raises HubPrefsFailException: some rows are rejected or invalid; a retry cannot help.
    """
    from airflow_provider_hubprefs.bulk.report.outcome import NOT_APPLIED
    from airflow_provider_hubprefs.bulk.report.words import counted, reasons_in_words
    from airflow_provider_hubprefs.bulk.send.outcomes import RACE

    counts = ", ".join(f"{result[name]:,} {name}" for name in NOT_APPLIED if result[name])
    raced = result["reasons"].get(f"rejected: {RACE}")
    tolerated = all(map(operator.may_stay_behind, result["reasons"]))
    if not counts or (tolerated and not result["unconfirmed"] and not raced):
        return
    push_result(operator, result, context)
    letters = result["dead_letters"]
    where = f"they are in {letters}" if letters else "set output to a folder, and they are named there"
    text = f"of {counted(result['read'], 'row')}, {counts}: {reasons_in_words(result['reasons'])}; {where}"
    if result["unconfirmed"]:
        raise HubPrefsException(f"{text}. All other rows are done; a retry asks about these again.")
    remedy = "look at those subscribers" if raced else "on_rejected='report' would succeed"
    raise HubPrefsFailException(f"{text}. All other rows are done; {remedy}.")


def push_result(operator: Any, result: Mapping[str, Any], context: Context) -> None:
    """Push the result of a task that is about to fail, which Airflow does not do."""
    ti: Any = context.get("ti")
    if operator.do_xcom_push and hasattr(ti, "xcom_push"):
        ti.xcom_push(key="return_value", value=dict(result))
