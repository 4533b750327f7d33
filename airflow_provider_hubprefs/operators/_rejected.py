"""Which rows may stay behind when a task succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


def check_on_rejected(value: str) -> None:
    """Refuse an unknown ``on_rejected``.

    :raises ValidationError: neither ``fail`` nor ``report``.
    """
    from airflow_provider_hubprefs.hubspot.errors import ValidationError

    if value not in {"fail", "report"}:
        raise ValidationError(f"on_rejected: expected 'fail' or 'report', got {value!r}")


def fail_if_not_applied(operator: Any, summary: dict[str, Any], context: Context) -> None:
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
    where = f"they are in {letters}" if letters else "dead_letters would name them"
    text = f"of {summary['read']} rows, {counts}; {where}. Why: {summary['reasons']}"
    if operator.on_rejected == "fail":
        context["ti"].xcom_push(key="return_value", value=summary)
        kind = HubPrefsException if summary["unconfirmed"] else HubPrefsFailException
        raise kind(f"{text}. All other rows are done; on_rejected='report' would succeed.")
    operator.log.warning("%s", text)
