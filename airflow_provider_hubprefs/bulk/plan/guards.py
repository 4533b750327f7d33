"""Guards of a plan: what stops it from being applied, unless a person has approved it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airflow_provider_hubprefs.bulk.plan.actions import LEGAL_BASIS_MISSING
from airflow_provider_hubprefs.bulk.source.row import INVALID_SUBSCRIPTION
from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_hubprefs.bulk.plan.actions import Rules
    from airflow_provider_hubprefs.bulk.plan.lines import PlanCounts

_TEXTS = {
    "max_changes": (
        "rows to change",
        "Check the source; if all of this is meant, approve the plan or raise max_changes",
    ),
    "max_resubscribes": (
        "subscribers to subscribe again who unsubscribed",
        "Check that each has given a new consent; then approve the plan or raise max_resubscribes",
    ),
    "max_shrink": (
        "share of the last run's rows that is gone",
        "Find out whether the source is whole; if it is, approve the plan or raise max_shrink",
    ),
    "legal_basis": (
        "rows to subscribe without a legal basis",
        "Give these rows one, or all rows (legal_basis); or approve the plan, which leaves them out",
    ),
    "subscriptions": (
        "rows without an active subscription of the portal",
        "Correct these rows; or approve the plan, which leaves them out",
    ),
}
"""What a guard has found, and how to go on."""


class Guard(msgspec.Struct, frozen=True):
    """What one guard has found.

    :param name: one of :data:`~.actions.GUARDS`.
    :param limit: that it allows; None: anything.
    :param found: rows, or of ``max_shrink`` the share that is gone.
    :param tripped: whether that is more.
    :param examples: masked addresses, three at most.
    :param remedy: how to go on.
    :param report_only: whether it stops nothing.
    """

    name: str
    limit: int | float | None
    found: int | float
    tripped: bool
    examples: list[str]
    remedy: str
    report_only: bool = False

    @property
    def stops(self) -> bool:
        """Whether it keeps the plan from being applied, unless that is approved."""
        return self.tripped and not self.report_only

    @property
    def says(self) -> str:
        """What it has found, in words."""
        such_as = f", such as {', '.join(self.examples)}" if self.examples else ""
        shown = "{:.1%}" if self.name == "max_shrink" else "{:,}"
        allowed = "" if self.limit is None else f" (allowed: {shown.format(self.limit)})"
        return f"guard {self.name}: {_TEXTS[self.name][0]}: {shown.format(self.found)}{allowed}{such_as}"


class GuardError(ValidationError):
    """A guard stops the plan. Nothing was written."""


def check_guards(
    counts: PlanCounts, rules: Rules, *, rows: int, previous_rows: int | None = None
) -> list[Guard]:
    """Return what each guard has found, tripped or not.

    :param rows: of the source.
    :param previous_rows: of the source in the last successful run; None: unknown.
    """
    gone = max(0.0, round(1 - rows / previous_rows, 4)) if previous_rows else 0.0
    found: dict[str, tuple[int | float | None, int | float, str]] = {
        "max_changes": (rules.max_changes, counts.changes, "changes"),
        "max_resubscribes": (rules.max_resubscribes, counts.actions["resubscribe"], "resubscribe"),
        "max_shrink": (rules.max_shrink, gone, ""),
        "legal_basis": (0, counts.refused[LEGAL_BASIS_MISSING], LEGAL_BASIS_MISSING),
        "subscriptions": (0, counts.refused[INVALID_SUBSCRIPTION], INVALID_SUBSCRIPTION),
    }
    return [
        Guard(
            name,
            limit,
            number,
            limit is not None and number > limit,
            counts.examples.get(examples, []),
            _TEXTS[name][1],
            name in rules.report_only,
        )
        for name, (limit, number, examples) in found.items()
    ]


def stop_if_tripped(guards: Iterable[Guard]) -> None:
    """Refuse a plan that a guard stops.

    :raises GuardError: names each of them, what it allows and has found, examples, and how to go on.
    """
    if stopping := [f"{one.says}. {one.remedy}" for one in guards if one.stops]:
        raise GuardError(f"{'. '.join(stopping)}. Nothing was written", not_applied=True)
