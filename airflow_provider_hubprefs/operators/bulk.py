"""Many subscribers: opt them out of everything, or set a status, with an outcome for every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import choice, column, count, optional, positive, text, yes_or_no
from airflow_provider_hubprefs.get_provider_info import CONN_ID
from airflow_provider_hubprefs.operators._bulk import HubPrefsBatchOperator
from airflow_provider_hubprefs.operators._waiting import POKE_INTERVAL, TIMEOUT
from airflow_provider_hubprefs.task import DEFERRABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from typing import Literal

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.duplicates import OnConflict
    from airflow_provider_hubprefs.compat import ObjectStoragePath
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook


class HubPrefsBatchUnsubscribeOperator(HubPrefsBatchOperator):
    """Opt many subscribers out of everything, or of one brand.

    It needs the batch scopes, which need Marketing Hub Enterprise; without them it makes one call per subscriber and
    logs that once. Its result and its other parameters are those of :class:`HubPrefsBatchOperator`.

    :param business_unit_id: brand; needed in portals with the Brands add-on, where 0 is the account's own. By
        default the connection's. (templated)
    """

    template_fields: Sequence[str] = (*HubPrefsBatchOperator.template_fields, "business_unit_id")
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **HubPrefsBatchOperator.ARGUMENTS,
        "business_unit_id": optional(count),
    }

    def __init__(
        self,
        *,
        subscribers: Any = None,
        source: str | ObjectStoragePath | Sequence[str | ObjectStoragePath] | None = None,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        sql_parameters: Sequence[Any] | Mapping[str, Any] | str | None = None,
        email_column: str | int = "email",
        read_options: Mapping[str, Any] | str | None = None,
        batch_size: int = 100,
        verify: bool = False,
        max_budget_share: float = 1.0,
        daily_reserve: float = 0.05,
        on_insufficient_budget: Literal["fail", "partial"] = "fail",
        max_changes: int | str | None = None,
        stop_when_refused_alike: bool = True,
        on_rejected: Literal["fail", "report"] = "fail",
        output: str | ObjectStoragePath | None = None,
        audit_addresses: bool | str | None = None,
        resume: bool = True,
        on_changed_source: Literal["fail", "restart"] = "fail",
        business_unit_id: int | str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = DEFERRABLE,
        poke_interval: timedelta | float | str = POKE_INTERVAL,
        timeout: timedelta | float | str = TIMEOUT,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments({**locals(), "output_folder": output})
        self.subscribers, self.sql_parameters = subscribers, sql_parameters

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll

        return UnsubscribeAll(hook.client.calls, business_unit_id=hook.business_unit_id)


class HubPrefsBatchSetStatusOperator(HubPrefsBatchOperator):
    """Set the status of many subscribers for a subscription: the same for all, or what columns of the source say.

    Subscribers who have unsubscribed are *rejected* with the category RESUBSCRIBE_NOT_ALLOWED, unless you set
    ``allow_resubscribe=True`` and give a legal basis. For that, the actual status is read first where the wanted one is
    not UNSUBSCRIBED; subscribers who have the wanted status already are *unchanged* and not written.
    Its result and its other parameters are those of :class:`HubPrefsBatchOperator`.

    Columns are named as in the file's header, or as the keys of mappings. A cell that cannot be read makes its row
    *invalid*, and no other: INVALID_STATUS (HubSpot's names, its labels such as "Opted out", and ``status_values``),
    INVALID_SUBSCRIPTION (also where the portal has no
    active subscription of this id), INVALID_LEGAL_BASIS (also where it is empty and ``allow_resubscribe`` needs one).

    With a column of subscriptions only a row of the same subscriber *and* subscription is a duplicate. With a column
    of statuses the source is read twice, first to find rows that contradict each other: they have the same subscriber
    and subscription, and different statuses. Of rows that agree in status the first counts, whatever their legal basis.
    A row whose status, subscription or legal basis cannot be read may be an opt-out: its subscriber's other rows opt
    out, or are *invalid* (CONTRADICTED_BY_INVALID_ROW), whatever ``on_conflict`` says. An opt-out needs no legal basis:
    one that cannot be read is left out.

    :param subscription_id: of one of the portal's active definitions. Either this or ``subscription_column``.
        (templated)
    :param subscription_column: where each row has the id. (templated)
    :param status: SUBSCRIBED, UNSUBSCRIBED or NOT_SPECIFIED. Either this or ``status_column``. (templated)
    :param status_column: where each row has the status. (templated)
    :param legal_basis: one of HubSpot's, such as ``CONSENT_WITH_NOTICE``. (templated)
    :param legal_basis_column: where each row has its own, or nothing; instead of ``legal_basis``. (templated)
    :param legal_basis_explanation: in words. (templated)
    :param legal_basis_explanation_column: where each row has its own, or nothing; instead of
        ``legal_basis_explanation``. (templated)
    :param allow_resubscribe: whether subscribers who have unsubscribed may be resubscribed. (templated)
    :param on_conflict: what to do about rows that contradict each other. ``"error"``: fail before anything is
        written, and name some of them by number. ``"last"``: the last row counts. ``"opt_out_wins"``: the first
        that says UNSUBSCRIBED counts; where none does, fail. Rows that do not count are *duplicate*.
    """

    template_fields: Sequence[str] = (
        *HubPrefsBatchOperator.template_fields,
        "subscription_id",
        "subscription_column",
        "status",
        "status_column",
        "legal_basis",
        "legal_basis_column",
        "legal_basis_explanation",
        "legal_basis_explanation_column",
        "allow_resubscribe",
    )
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **HubPrefsBatchOperator.ARGUMENTS,
        "subscription_id": optional(positive),
        "subscription_column": optional(column),
        "status": optional(text),
        "status_column": optional(column),
        "legal_basis": optional(text),
        "legal_basis_column": optional(column),
        "legal_basis_explanation": optional(text),
        "legal_basis_explanation_column": optional(column),
        "allow_resubscribe": optional(yes_or_no, default=False),
        "on_conflict": choice("error", "last", "opt_out_wins"),
    }

    subscription_id: int | None
    subscription_column: str | None
    status: str | None
    status_column: str | None
    legal_basis: str | None
    legal_basis_column: str | None
    legal_basis_explanation: str | None
    legal_basis_explanation_column: str | None
    allow_resubscribe: bool
    on_conflict: OnConflict

    def __init__(
        self,
        *,
        subscribers: Any = None,
        source: str | ObjectStoragePath | Sequence[str | ObjectStoragePath] | None = None,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        sql_parameters: Sequence[Any] | Mapping[str, Any] | str | None = None,
        email_column: str | int = "email",
        read_options: Mapping[str, Any] | str | None = None,
        batch_size: int = 100,
        verify: bool = False,
        max_budget_share: float = 1.0,
        daily_reserve: float = 0.05,
        on_insufficient_budget: Literal["fail", "partial"] = "fail",
        max_changes: int | str | None = None,
        stop_when_refused_alike: bool = True,
        on_rejected: Literal["fail", "report"] = "fail",
        output: str | ObjectStoragePath | None = None,
        audit_addresses: bool | str | None = None,
        resume: bool = True,
        on_changed_source: Literal["fail", "restart"] = "fail",
        subscription_id: int | str | None = None,
        subscription_column: str | int | None = None,
        status: str | None = None,
        status_column: str | int | None = None,
        legal_basis: str | None = None,
        legal_basis_column: str | int | None = None,
        legal_basis_explanation: str | None = None,
        legal_basis_explanation_column: str | int | None = None,
        allow_resubscribe: bool | str = False,
        on_conflict: OnConflict = "error",
        wait_for_completion: bool = True,
        deferrable: bool = DEFERRABLE,
        poke_interval: timedelta | float | str = POKE_INTERVAL,
        timeout: timedelta | float | str = TIMEOUT,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments({**locals(), "output_folder": output})
        self.subscribers, self.sql_parameters = subscribers, sql_parameters

    def _reading(self) -> dict[str, Any]:
        return {**super()._reading(), "on_conflict": self.on_conflict}

    def _columns(self) -> Columns:
        from dataclasses import replace

        named = {name: getattr(self, f"{name}_column") for name in _SAME_FOR_ALL}
        given: dict[str, Any] = {
            name: str(column) for name, column in named.items() if column not in {None, ""}
        }
        return replace(super()._columns(), **given, every_status=self.status or None)

    def _check_arguments(self) -> None:
        from airflow_provider_hubprefs.hubspot.errors import ValidationError

        super()._check_arguments()
        for name, argument in _SAME_FOR_ALL.items():
            given, by_row = getattr(self, argument) is not None, getattr(self, f"{name}_column") is not None
            if given and by_row:
                raise ValidationError(f"expected either {argument} or {name}_column, got both")
            if not given and not by_row and name in {"status", "subscription"}:
                raise ValidationError(f"expected either {argument} or {name}_column, got neither")

    def _what_to_write(self, hook: HubPrefsHook) -> Write:
        from airflow_provider_hubprefs.bulk.send.writes import SetStatus

        return SetStatus(
            hook.client.calls,
            subscription_id=self.subscription_id,
            status=self.status,
            legal_basis=self.legal_basis,
            legal_basis_explanation=self.legal_basis_explanation,
            allow_resubscribe=self.allow_resubscribe,
            basis_by_row=bool(self.legal_basis_column),
        )


_SAME_FOR_ALL = {
    "subscription": "subscription_id",
    "status": "status",
    "legal_basis": "legal_basis",
    "legal_basis_explanation": "legal_basis_explanation",
}
"""What a column may say for each row -> the argument that says it for all."""
