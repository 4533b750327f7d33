"""Many subscribers: opt out of everything, or set a status, with every one of them accounted for."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_hubprefs.arguments import depend_on, reveal, whole_number, yes_or_no
from airflow_provider_hubprefs.exceptions import HubPrefsException, airflow_errors
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal, TextIO

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_hubprefs.bulk.exchange import Exchange
    from airflow_provider_hubprefs.bulk.report import Report
    from airflow_provider_hubprefs.bulk.source import Row
    from airflow_provider_hubprefs.bulk.writes import Write


class HubPrefsBatchOperator(BaseOperator):
    """A run: rows from somewhere, one write, a report. What is written, its subclasses say.

    They return, and push also when they fail because of ``on_rejected``: ``read`` and a count for each outcome
    (``changed``, ``unchanged``, ``rejected``, ``invalid``, ``duplicate``, ``unconfirmed``), which add up;
    ``reasons``, ``last_confirmed_row``, ``operations`` (how many answers had which operation status),
    ``duration_seconds``, ``requests``, ``retries``, ``throttled`` (429s met), ``waited_for_budget_seconds``,
    ``dead_letters`` and ``report`` (where they are). Never an address.

    :param subscribers: addresses, or mappings with one under ``email_column``: a list, an earlier task's
        result, or what ``expand`` gives. Never stored. Either this or ``source``.
    :param source: path or URL of a file, read through ``ObjectStoragePath``: CSV with a header or one address
        a line, or JSONL. (templated)
    :param email_column: where the address is, in CSV and JSONL. (templated)
    :param delimiter: of a CSV file; found out by default. (templated)
    :param encoding: of the file; UTF-8 by default. (templated)
    :param batch_size: subscribers per request. HubSpot documents no limit for this API.
    :param on_rejected: ``"fail"``: when all rows are done, the task fails if any was rejected, invalid or
        unconfirmed. ``"report"``: it succeeds and says so.
    :param dead_letters: path or URL to write those rows to, one JSON object a line, with the address. An older
        file there is replaced. (templated)
    :param report: path or URL to write the returned summary to, as JSON. (templated)
    :param hubprefs_conn_id: connection. (templated)
    :param api_version: overrides the connection's; v3 has no batches. (templated)
    :raises HubPrefsFailException: credentials, scopes, settings, arguments, or HubSpot refuses everybody.
    :raises HubPrefsException: the source cannot be read, HubSpot failed for too long, or ``on_rejected``.
    """

    template_fields: Sequence[str] = (
        "source",
        "email_column",
        "delimiter",
        "encoding",
        "dead_letters",
        "report",
        "hubprefs_conn_id",
        "api_version",
    )
    ui_color = "#ffd0bf"

    def __init__(
        self,
        *,
        subscribers: Any = None,
        source: str | ObjectStoragePath | None = None,
        email_column: str = "email",
        delimiter: str | None = None,
        encoding: str | None = None,
        batch_size: int = 100,
        on_rejected: Literal["fail", "report"] = "fail",
        dead_letters: str | ObjectStoragePath | None = None,
        report: str | ObjectStoragePath | None = None,
        hubprefs_conn_id: str = HubPrefsHook.default_conn_name,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.subscribers = subscribers
        self.source = source
        self.email_column = email_column
        self.delimiter = delimiter
        self.encoding = encoding
        self.batch_size = batch_size
        self.on_rejected = on_rejected
        self.dead_letters = dead_letters
        self.report = report
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version
        depend_on(self, subscribers)

    def execute(self, context: Context) -> dict[str, Any]:
        """Send all rows, and say what became of them."""
        with airflow_errors():
            self._check_arguments()
            rows = self._rows(context)
            hook = self._hook()
            summary = self._run(hook, rows)
        if text := self._not_applied(summary):
            if self.on_rejected == "fail":
                context["ti"].xcom_push(key="return_value", value=summary)
                raise HubPrefsException(
                    f"{text}. All other rows are done; on_rejected='report' would succeed."
                )
            self.log.warning("%s", text)
        return summary

    def _hook(self) -> HubPrefsHook:
        return HubPrefsHook(self.hubprefs_conn_id, self.api_version)

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        raise NotImplementedError

    def _check_arguments(self) -> None:
        from airflow_provider_hubprefs.hubspot.errors import ValidationError

        if (self.subscribers is None) == (self.source is None):
            got = "neither" if self.source is None else "both"
            raise ValidationError(f"expected either subscribers or source, got {got}")
        if self.on_rejected not in {"fail", "report"}:
            raise ValidationError(f"on_rejected: expected 'fail' or 'report', got {self.on_rejected!r}")

    def _rows(self, context: Context) -> Iterator[Row]:
        from airflow_provider_hubprefs.bulk.source import read_rows

        if self.source is not None:
            given: Any = _path(self.source)
        else:
            given = reveal(self, "subscribers", context)
        return read_rows(
            given, email_column=self.email_column, delimiter=self.delimiter, encoding=self.encoding
        )

    def _run(self, hook: HubPrefsHook, rows: Iterator[Row]) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.exchange import Exchange
        from airflow_provider_hubprefs.bulk.report import Report
        from airflow_provider_hubprefs.bulk.runner import Runner

        write = self._what_to_write(hook)
        begin = time.monotonic()
        with ExitStack() as stack:
            letters = stack.enter_context(_create(self.dead_letters)) if self.dead_letters else None
            report = Report(letters)
            exchange = Exchange(hook.client)
            try:
                Runner(exchange, write, report, batch_size=self.batch_size).run(rows)
            finally:
                summary = self._summary(report, exchange, time.monotonic() - begin)
                self.log.info("%s", summary)
        return summary

    def _summary(self, report: Report, exchange: Exchange, seconds: float) -> dict[str, Any]:
        import json

        usage = exchange.client.usage
        summary = {
            **report.summary(),
            "operations": dict(exchange.operations),
            "duration_seconds": round(seconds, 3),
            "requests": usage.requests,
            "retries": usage.retries,
            "throttled": usage.throttled,
            "waited_for_budget_seconds": round(usage.waited_for_budget, 3),
            "dead_letters": str(self.dead_letters) if self.dead_letters else None,
            "report": str(self.report) if self.report else None,
        }
        if self.report:
            with _create(self.report) as file:
                json.dump(summary, file, indent=2)
        return summary

    def _not_applied(self, summary: dict[str, Any]) -> str | None:
        from airflow_provider_hubprefs.bulk.report import NOT_APPLIED

        told = ", ".join(f"{summary[name]} {name}" for name in NOT_APPLIED if summary[name])
        if not told:
            return None
        where = f"they are in {self.dead_letters}" if self.dead_letters else "dead_letters would name them"
        return f"of {summary['read']} rows, {told}; {where}. Why: {summary['reasons']}"


class HubPrefsBatchUnsubscribeOperator(HubPrefsBatchOperator):
    """Opt many subscribers out of everything, or of one brand.

    Needs the batch scopes, which need Marketing Hub Enterprise; without them it makes one call per subscriber,
    and says so once. Its result and its other parameters are those of :class:`HubPrefsBatchOperator`.

    :param business_unit_id: brand; needed in portals with the Brands add-on, where 0 is the account's own. By
        default the connection's. (templated)
    """

    template_fields: Sequence[str] = (*HubPrefsBatchOperator.template_fields, "business_unit_id")

    def __init__(self, *, business_unit_id: int | str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.business_unit_id = business_unit_id

    def _hook(self) -> HubPrefsHook:
        return HubPrefsHook(self.hubprefs_conn_id, self.api_version, business_unit_id=self.business_unit_id)

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll

        return UnsubscribeAll(hook.client.calls, business_unit_id=hook.business_unit_id)


class HubPrefsBatchSetStatusOperator(HubPrefsBatchOperator):
    """Set the status of many subscribers for one subscription.

    Nobody is subscribed by accident: where ``status`` is not UNSUBSCRIBED the actual statuses are read first.
    Subscribers who unsubscribed are *rejected* with the category RESUBSCRIBE_NOT_ALLOWED unless there is
    ``allow_resubscribe=True`` and a ``legal_basis``; those who have the status already are *unchanged* and not
    written. Its result and its other parameters are those of :class:`HubPrefsBatchOperator`.

    :param subscription_id: of one of the portal's active definitions. (templated)
    :param status: SUBSCRIBED, UNSUBSCRIBED or NOT_SPECIFIED. (templated)
    :param legal_basis: one of HubSpot's, such as ``CONSENT_WITH_NOTICE``. (templated)
    :param legal_basis_explanation: in words. (templated)
    :param allow_resubscribe: whether subscribers who unsubscribed may be written. (templated)
    """

    template_fields: Sequence[str] = (
        *HubPrefsBatchOperator.template_fields,
        "subscription_id",
        "status",
        "legal_basis",
        "legal_basis_explanation",
        "allow_resubscribe",
    )

    def __init__(
        self,
        *,
        subscription_id: int | str,
        status: str,
        legal_basis: str | None = None,
        legal_basis_explanation: str | None = None,
        allow_resubscribe: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.subscription_id = subscription_id
        self.status = status
        self.legal_basis = legal_basis
        self.legal_basis_explanation = legal_basis_explanation
        self.allow_resubscribe = allow_resubscribe

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        from airflow_provider_hubprefs.bulk.writes import SetStatus

        subscription_id = whole_number("subscription_id", self.subscription_id)
        write = SetStatus(
            hook.client.calls,
            subscription_id=subscription_id,
            status=self.status,
            legal_basis=self.legal_basis or None,
            legal_basis_explanation=self.legal_basis_explanation or None,
            allow_resubscribe=yes_or_no("allow_resubscribe", self.allow_resubscribe),
        )
        write.check()
        hook.check_subscription(subscription_id)
        return write


def _path(path: str | ObjectStoragePath) -> ObjectStoragePath:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_hubprefs.bulk.source import SourceError

    try:
        found = ObjectStoragePath(path)
        found.fs  # noqa: B018 - Airflow looks for the store only when it is first used
    except ValueError as error:
        raise SourceError(f"{error}: is the Airflow provider of that store installed?") from error
    return found


def _create(path: str | ObjectStoragePath) -> TextIO:
    """Open a file for writing, wherever it is; folders of the local file system are made."""
    target = _path(path)
    if target.protocol in {"", "file", "local"}:
        target.parent.mkdir(parents=True, exist_ok=True)
    file: TextIO = target.open("w", encoding="utf-8")  # type: ignore[no-untyped-call]
    return file
