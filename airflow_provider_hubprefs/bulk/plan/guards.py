"""Guards of a plan: what stops it from being applied, unless a person has approved it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airflow_provider_hubprefs.bulk.plan.actions import LEGAL_BASIS_MISSING
from airflow_provider_hubprefs.bulk.report.words import counted
from airflow_provider_hubprefs.bulk.source.row import INVALID_SUBSCRIPTION
from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_hubprefs.bulk.plan.actions import Rules
    from airflow_provider_hubprefs.bulk.plan.lines import PlanCounts


class Guard(msgspec.Struct, frozen=True):
    """What one guard has found.

    :param name: one of :data:`~.actions.GUARDS`.
    :param limit: that it allows; None: anything.
    :param found: rows, or of ``max_shrink`` the share that is gone.
    :param tripped: whether that is more.
    :param examples: masked addresses, three at most.
    :param says: what was found, in words.
    :param remedy: how to go on.
    :param report_only: whether it stops nothing.
    """

    name: str
    limit: int | float | None
    found: int | float
    tripped: bool
    examples: list[str]
    says: str
    remedy: str
    report_only: bool = False


class GuardError(ValidationError):
    """A guard stops the plan. Nothing was written."""


def check_guards(
    counts: PlanCounts, rules: Rules, *, rows: int, previous_rows: int | None = None
) -> list[Guard]:
    """Return what each guard has found, tripped or not.

    :param rows: of the source.
    :param previous_rows: of the source in the last successful run; None: unknown.
    """
    again, changes = counts.actions["resubscribe"], counts.changes
    lacking, unusable = counts.refused[LEGAL_BASIS_MISSING], counts.refused[INVALID_SUBSCRIPTION]
    gone = max(0.0, round(1 - rows / previous_rows, 4)) if previous_rows else 0.0
    found: list[tuple[str, int | float | None, int | float, str, str, str]] = [
        (
            "max_changes",
            rules.max_changes,
            changes,
            f"{counted(changes, 'row')} would change",
            "Check the source; if all of this is meant, approve the plan or raise max_changes",
            "changes",
        ),
        (
            "max_resubscribes",
            rules.max_resubscribes,
            again,
            f"{counted(again, 'subscriber')} who unsubscribed would be subscribed again",
            "Check that each has given a new consent; then approve the plan or raise max_resubscribes",
            "resubscribe",
        ),
        (
            "max_shrink",
            rules.max_shrink,
            gone,
            f"{gone:.1%} of the rows are gone: {rows:,} instead of {previous_rows or 0:,}",
            "Find out whether the source is whole; if it is, approve the plan or raise max_shrink",
            "",
        ),
        (
            "legal_basis",
            0,
            lacking,
            f"{counted(lacking, 'row')} would subscribe without a legal basis",
            "Give these rows one, or all rows (legal_basis); or approve the plan, which leaves them out",
            LEGAL_BASIS_MISSING,
        ),
        (
            "subscriptions",
            0,
            unusable,
            f"{counted(unusable, 'row')} with no subscription that is active in the portal",
            "Correct these rows; or approve the plan, which leaves them out",
            INVALID_SUBSCRIPTION,
        ),
    ]
    return [
        Guard(
            name=name,
            limit=limit,
            found=number,
            tripped=limit is not None and number > limit,
            examples=counts.examples.get(examples, []),
            says=says,
            remedy=remedy,
            report_only=name in rules.report_only,
        )
        for name, limit, number, says, remedy, examples in found
    ]


def guards_that_stop(guards: Iterable[Guard]) -> list[Guard]:
    """Return the guards that keep a plan from being applied unless it is approved."""
    return [one for one in guards if one.tripped and not one.report_only]


def stop_if_tripped(guards: Iterable[Guard]) -> None:
    """Refuse a plan that a guard stops.

    :raises GuardError: names each of them, what it allows and has found, examples, and how to go on.
    """
    stopping = guards_that_stop(guards)
    if not stopping:
        return
    texts = []
    for one in stopping:
        allowed = f"{one.limit:.1%}" if one.name == "max_shrink" else f"{one.limit:,}"
        such_as = f", such as {', '.join(one.examples)}" if one.examples else ""
        texts.append(f"guard {one.name}: {one.says}{such_as}; allowed: {allowed}. {one.remedy}")
    raise GuardError(f"{'. '.join(texts)}. Nothing was written", not_applied=True)
