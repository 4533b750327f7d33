"""What a run's page shows of a plan: actions, changes by subscription, guards, and the plan before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.bulk.page.charts import number_in
from airflow_provider_hubprefs.bulk.page.letters import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_MOVES, _MOST_GUARDS, _MOST_ACTIONS, _MOST_EXAMPLES = 60, 10, 10, 3
_LONGEST, _WORD = 120, 24

_ACTIONS = {
    "opt_out": "Opt out of everything",
    "unsubscribe": "Unsubscribe",
    "subscribe": "Subscribe",
    "resubscribe": "Resubscribe",
    "unchanged": "Nothing: it is so already",
    "refused": "Nothing: refused, or left to HubSpot",
}
_GUARDS = {
    "max_changes": "Rows to change",
    "max_resubscribes": "Resubscribed after an opt-out",
    "max_shrink": "Fewer rows than the last time",
    "legal_basis": "To subscribe, without a legal basis",
    "subscriptions": "Unknown or inactive subscriptions",
}


class Action(NamedTuple):
    """Rows with one action, now and in the plan before; None: that is not known."""

    name: str
    rows: float
    before: float | None = None

    @property
    def more(self) -> str:
        """How many more than before, such as ``+12``."""
        more = self.rows - (self.before or 0)
        return f"{more:+,.0f}" if more else "0"


class Move(NamedTuple):
    """Rows that go from one status to another, of one subscription."""

    name: str
    number: str
    before: str
    after: str
    rows: float


class ShownGuard(NamedTuple):
    """One guard.

    :param limit: such as ``limit 5,000`` or ``no limit``.
    :param found: a number, or a share.
    :param report_only: whether it stops nothing.
    """

    name: str
    means: str
    limit: str
    found: str
    tripped: bool
    report_only: bool
    examples: list[str]
    remedy: str


class ShownPlan:
    """What is shown of a report's ``plan``; any field of it may be missing or odd.

    :param plan: as the report has it.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.path, self.checksum = _text(plan.get("path"), most=1000), _text(plan.get("checksum"))
        self.approved_by = _text(plan.get("approved_by"))
        self.changes = number_in(plan.get("changes"))
        before = _mapping(plan.get("before"))
        self.before_at = _text(before.get("at"))
        self.actions = _actions(
            _mapping(plan.get("actions")), _mapping(before.get("actions")) if before else None
        )
        self.rows = Action(
            "Rows in the source", number_in(plan.get("rows")) or 0, number_in(before.get("rows"))
        )
        moves = [_move(one) for one in _mappings(plan.get("subscriptions"))]
        self.moves, rest = moves[:_MOST_MOVES], moves[_MOST_MOVES:]
        self.more_moves, self.rows_of_more = len(rest), sum(one.rows for one in rest)
        guards = [_guard(one) for one in _mappings(plan.get("guards"))]
        self.guards = sorted(guards, key=lambda one: not one.tripped)[:_MOST_GUARDS]

    @property
    def tripped(self) -> list[ShownGuard]:
        """Those that stop the plan."""
        return [one for one in self.guards if one.tripped and not one.report_only]


def plan_of(report: Mapping[str, Any]) -> ShownPlan | None:
    """Return the plan of a report; None: it has none."""
    plan = _mapping(report.get("plan"))
    return ShownPlan(plan) if plan else None


def _actions(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Action]:
    names = [
        name
        for name in dict.fromkeys([*_ACTIONS, *now, *(before or {})])
        if name in now or name in (before or {})
    ]
    return [
        Action(
            _ACTIONS.get(name) or clean(name, most=_LONGEST),
            number_in(now.get(name)) or 0,
            None if before is None else number_in(before.get(name)) or 0,
        )
        for name in names[:_MOST_ACTIONS]
    ]


def _move(one: Mapping[str, Any]) -> Move:
    name, number = _text(one.get("name")), _text(one.get("id"), most=_WORD)
    name, number = (name, number) if name else (f"Subscription {number}" if number else "Everything", "")
    before, after = (_text(one.get(end), most=_WORD) for end in ("from", "to"))
    return Move(name, number, before, after, number_in(one.get("rows")) or 0)


def _guard(one: Mapping[str, Any]) -> ShownGuard:
    name, examples = _text(one.get("name")), one.get("examples")
    return ShownGuard(
        name,
        _GUARDS.get(name, ""),
        f"limit {limit}" if (limit := _amount(name, one.get("limit"))) else "no limit",
        _amount(name, one.get("found")) or "–",  # noqa: RUF001 - as in other tables
        one.get("tripped") is True,
        one.get("report_only") is True,
        [_text(each) for each in examples[:_MOST_EXAMPLES]] if isinstance(examples, list | tuple) else [],
        _text(one.get("remedy"), most=400),
    )


def _amount(guard: str, value: object) -> str:
    found = number_in(value)
    if found is None:
        return _text(value)
    return f"{100 * found:.3g} %" if guard == "max_shrink" else f"{found:,.0f}"


def _text(value: object, *, most: int = _LONGEST) -> str:
    return clean(value, most=most) if isinstance(value, str | int) else ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list | tuple) else []
