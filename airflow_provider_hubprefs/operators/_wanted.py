"""What rows want of HubSpot, and what guards them: the arguments of the operator that plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import (
    choice,
    column,
    count,
    number,
    optional,
    positive,
    text,
    yes_or_no,
)
from airflow_provider_hubprefs.operators._bulk import HubPrefsBatchOperator
from airflow_provider_hubprefs.operators._plans import PlansOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.plan.actions import Rules
    from airflow_provider_hubprefs.bulk.plan.compare import Comparison
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.duplicates import OnConflict
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

    Mode = Literal["plan", "apply", "plan_and_apply"]

MAX_CHANGES = 10_000
MAX_SHRINK = 0.5


def _names(name: str, value: object) -> list[str]:
    """Read a list of names, or text with commas.

    :raises ValidationError: it is none.
    """
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple | set | frozenset):
        given = [value]
    return [text(name, one).strip() for one in given]


class WantedOperator(PlansOperator):
    """Says what is wanted, and under which rules; the parameters are described with its subclass."""

    template_fields: Sequence[str] = (
        *HubPrefsBatchOperator.template_fields,
        "mode",
        "subscription_id",
        "subscription_column",
        "status",
        "status_column",
        "effective_at_column",
        "legal_basis",
        "legal_basis_column",
        "legal_basis_explanation",
        "legal_basis_explanation_column",
        "allow_resubscribe",
        "on_newer_in_hubspot",
        "max_resubscribes",
        "max_shrink",
        "report_only",
        "business_unit_id",
    )
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **HubPrefsBatchOperator.ARGUMENTS,
        "mode": optional(choice("plan", "apply", "plan_and_apply"), default="plan_and_apply"),
        "subscription_id": optional(positive),
        "subscription_column": optional(column),
        "status": optional(text),
        "status_column": optional(column),
        "effective_at_column": optional(column),
        "legal_basis": optional(text),
        "legal_basis_column": optional(column),
        "legal_basis_explanation": optional(text),
        "legal_basis_explanation_column": optional(column),
        "on_conflict": choice("error", "last", "opt_out_wins"),
        "allow_resubscribe": optional(yes_or_no, default=False),
        "on_newer_in_hubspot": optional(choice("keep", "overwrite"), default="keep"),
        "max_changes": optional(count, default=MAX_CHANGES),
        "max_resubscribes": optional(count, default=0),
        "max_shrink": optional(number, default=MAX_SHRINK),
        "report_only": optional(_names, default=()),
        "business_unit_id": optional(count),
    }

    mode: Mode
    subscription_id: int | None
    subscription_column: str | None
    status: str | None
    status_column: str | None
    effective_at_column: str | None
    legal_basis: str | None
    legal_basis_column: str | None
    legal_basis_explanation: str | None
    legal_basis_explanation_column: str | None
    on_conflict: OnConflict
    allow_resubscribe: bool
    on_newer_in_hubspot: Literal["keep", "overwrite"]
    max_resubscribes: int
    max_shrink: float
    report_only: Sequence[str]

    def _reading(self) -> dict[str, Any]:
        return {**super()._reading(), "on_conflict": self.on_conflict}

    def _columns(self) -> Columns:
        from airflow_provider_hubprefs.bulk.source.columns import Columns

        return Columns(
            email=str(self.email_column),
            status=self.status_column,
            subscription=self.subscription_column,
            legal_basis=self.legal_basis_column,
            legal_basis_explanation=self.legal_basis_explanation_column,
            effective_at=self.effective_at_column,
            every_status=self.status,
            everything_allowed=True,
        )

    def _check_arguments(self) -> None:
        from airflow_provider_hubprefs.hubspot.errors import ValidationError

        self.only_reads = self.mode == "plan"
        if self.subscription_id is not None and self.subscription_column is not None:
            raise ValidationError("expected either subscription_id or subscription_column, got both")
        if self._about_everything and self.status_column is not None:
            raise ValidationError(
                "status_column: expected subscription_id or subscription_column with it, got neither: without them "
                "every row is an opt-out from everything"
            )
        if self._about_everything:
            self.status = self.status or "UNSUBSCRIBED"
            if self.status != "UNSUBSCRIBED":
                raise ValidationError(
                    f"status: expected UNSUBSCRIBED without a subscription, got {self.status}"
                )
        self._rules()
        super()._check_arguments()

    @property
    def _about_everything(self) -> bool:
        return self.subscription_id is None and self.subscription_column is None

    def _rules(self) -> Rules:
        from airflow_provider_hubprefs.bulk.plan.actions import Rules

        return Rules(
            allow_resubscribe=self.allow_resubscribe,
            on_newer_in_hubspot=self.on_newer_in_hubspot,
            legal_basis=self.legal_basis,
            legal_basis_explanation=self.legal_basis_explanation,
            max_changes=self.max_changes,
            max_resubscribes=self.max_resubscribes,
            max_shrink=self.max_shrink,
            report_only=frozenset(self.report_only),
        )

    def _comparison(self, hook: HubPrefsHook) -> Comparison:
        from airflow_provider_hubprefs.bulk.plan.compare import Comparison

        return Comparison(
            hook.client.calls,
            self._rules(),
            self._columns(),
            status=self.status,
            subscription_id=self.subscription_id,
            everything=self._about_everything,
            brand=hook.business_unit_id,
        )
