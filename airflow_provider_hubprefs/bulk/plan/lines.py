"""The lines of a plan: one for every row that is not unchanged, and what they add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_hubprefs.bulk.plan.actions import CHANGES, Action, Rules, decide
from airflow_provider_hubprefs.bulk.source.row import Row, Wanted
from airflow_provider_hubprefs.hubspot.privacy import mask

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome

_EXAMPLES = 3


class PlanLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is to be done about one row.

    :param row: where a person finds it in its source.
    :param subscription_id: None: everything.
    :param status: that is wanted.
    :param before: HubSpot's status when the plan was made, and ``before_at`` since when; see
        :class:`~.actions.Planned`.
    :param guard: of a row that is refused, why: the category of its outcome.
    :param file: name of the row's file, where the source has several.
    """

    action: Action
    row: int
    subscriber: str
    subscription_id: int | None
    status: str | None
    before: str | None
    before_at: datetime | None
    legal_basis: str | None
    explanation: str | None
    effective_at: datetime | None
    guard: str | None
    file: str | None = None

    def __repr__(self) -> str:
        return f"PlanLine({self.action!r}, {self.row}, {mask(self.subscriber)!r})"

    def as_row(self, number: int) -> Row:
        """Return the row that is written for this line.

        :param number: of the line in the plan's file.
        """
        change = PlannedChange(
            status=self.status,
            subscription_id=self.subscription_id,
            everything=self.subscription_id is None,
            legal_basis=self.legal_basis,
            legal_basis_explanation=self.explanation,
            effective_at=self.effective_at,
            action=self.action,
            before=self.before,
            before_at=self.before_at,
        )
        return Row(number, self.subscriber, wanted=change)


class PlannedChange(Wanted, frozen=True, kw_only=True, gc=False):
    """What a plan wants of one subscriber, and what HubSpot had when it was made; see :class:`PlanLine`."""

    action: Action
    before: str | None
    before_at: datetime | None = None


def line_of(outcome: Outcome, rules: Rules, *, brand: int | None) -> PlanLine | None:
    """Return the line about an outcome of a comparison; None: it is unchanged, unknown, or another row says it."""
    row, wanted = outcome.row, outcome.row.wanted or Wanted()
    planned = None
    if outcome.outcome not in {"changed", "rejected", "invalid"}:
        return None
    if outcome.outcome != "invalid":
        planned = decide(wanted, outcome.actual, rules, brand=brand)
    return PlanLine(
        action="refused" if planned is None or outcome.outcome != "changed" else planned.action,
        row=row.position,
        subscriber=row.subscriber,
        subscription_id=wanted.subscription_id,
        status=wanted.status,
        before=planned and planned.before,
        before_at=planned and planned.before_at,
        legal_basis=wanted.legal_basis,
        explanation=wanted.legal_basis_explanation,
        effective_at=wanted.effective_at,
        guard=None if outcome.outcome == "changed" else outcome.category,
        file=row.file,
    )


@dataclass(slots=True)
class PlanCounts:
    """What lines add up to.

    :param actions: lines by action.
    :param moves: changes by subscription, status before, and status that is wanted.
    :param refused: rows that are refused, by category.
    :param examples: masked addresses by action, by category, and of all ``changes``: the first few.
    """

    actions: Counter[str] = field(default_factory=Counter)
    moves: Counter[tuple[int | None, str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, line: PlanLine) -> None:
        """Count a line."""
        self.actions[line.action] += 1
        names = [line.guard or line.action]
        if line.action in CHANGES:
            self.moves[line.subscription_id, line.before or "", line.status or ""] += 1
            names.append("changes")
        else:
            self.refused[line.guard or ""] += 1
        for name in names:
            some = self.examples.setdefault(name, [])
            if len(some) < _EXAMPLES:
                some.append(mask(line.subscriber))

    @property
    def changes(self) -> int:
        """Number of rows to change."""
        return sum(self.actions[name] for name in CHANGES)
