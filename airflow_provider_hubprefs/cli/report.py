"""The command ``report``: what became of a run's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.page.letters import clean, first_letters
from airflow_provider_hubprefs.bulk.page.plan import plan_of
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from airflow_provider_hubprefs.bulk.report.words import CALLED, last_line
from airflow_provider_hubprefs.cli.access import path_of
from airflow_provider_hubprefs.cli.errors import ExitCode, usage
from airflow_provider_hubprefs.cli.output import note, show
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from argparse import Namespace

_SHOWN = ("file", "row", "subscriber", "outcome", "category")


class _Plan(msgspec.Struct):
    actions: dict[str, int] = {}
    guards: list[dict[str, Any]] = []


class _Report(msgspec.Struct):
    """What a report of any version has; of another JSON file this is not so."""

    read: int
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    invalid: int = 0
    duplicate: int = 0
    unconfirmed: int = 0
    skipped: int | None = 0
    share: float | None = None
    reasons: dict[str, int] = {}
    plan: _Plan | None = None


def report(args: Namespace) -> ExitCode:
    """Show a run's report."""
    given = path_of(args.path)
    path = given if given.name.endswith(".json") else given / "report.json"
    try:
        with path.open("rb") as file:
            content = file.read()
        msgspec.json.decode(content, type=_Report)
        found = msgspec.json.decode(content)
    except (FileNotFoundError, NotADirectoryError):
        usage(f"there is no report at {path}; expected a run's folder, or its report.json")
    except (msgspec.DecodeError, UnicodeDecodeError):
        usage(f"no report of a run: {path}; expected a run's folder, or its report.json")
    letters = first_letters(path.parent / "dead_letters.jsonl", 20) if found.get("dead_letters") else []
    show(args, {"report": found, "dead_letters": letters}, tables_of(found, letters))
    note(scrub(last_line(found, hint=str(path))))
    return ExitCode.DONE


def tables_of(found: dict[str, Any], letters: list[dict[str, Any]]) -> dict[str, Any]:
    """A report as tables."""
    state = found.get("state") or ("complete" if found.get("complete") else "incomplete")
    if state == "incomplete":
        state = scrub(f"{state}: {found.get('error') or found.get('incomplete_because')}")
    reasons, called = found.get("reasons", {}), CALLED.get(str(found.get("kind")), {})
    return {
        f"Rows ({state})": [
            {"outcome": called.get(name, name), "rows": found.get(name, 0)} for name in ("read", *OUTCOMES)
        ],
        **_plan(found),
        "Why rows were not applied": [{"reason": name, "rows": rows} for name, rows in reasons.items()],
        "First dead letters": [{name: one.get(name) for name in _SHOWN} for one in letters],
    }


def _plan(found: dict[str, Any]) -> dict[str, Any]:
    """A report's plan, its export's target and its audit trail, as tables; empty ones are not shown."""
    plan = plan_of(found)
    files = [(name, clean(found.get(name) or "", most=1000)) for name in ("target", "audit", "audit_head")]
    if plan is not None:
        files[:0] = [("plan", plan.path), ("checksum", plan.checksum), ("approved by", plan.approved_by)]
    shown: dict[str, Any] = {"Files": [{"what": name, "is": value} for name, value in files if value]}
    if plan is None:
        return shown
    before = bool(plan.before_at)
    return {
        "Plan": [
            {
                "action": one.name,
                "rows": round(one.rows),
                **({"before": round(one.before or 0)} if before else {}),
            }
            for one in (*plan.actions, plan.rows)
        ],
        "Changes by subscription": [
            {
                "subscription": f"{one.name} {one.number}".strip(),
                "from": one.before,
                "to": one.after,
                "rows": round(one.rows),
            }
            for one in plan.moves
        ],
        "Guards": [
            {
                "guard": one.name,
                "state": "tripped" if one.tripped else "passed",
                "found": one.found,
                "limit": one.limit,
                "such as": ", ".join(one.examples),
                "how to go on": one.remedy if one.tripped else "",
            }
            for one in plan.guards
        ],
        **shown,
    }
