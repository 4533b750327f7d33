"""The command ``report``: what became of a run's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.page.letters import first_letters
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from airflow_provider_hubprefs.bulk.report.words import last_line
from airflow_provider_hubprefs.cli.access import path_of
from airflow_provider_hubprefs.cli.errors import ExitCode, usage
from airflow_provider_hubprefs.cli.output import note, show
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from argparse import Namespace

_SHOWN = ("file", "row", "subscriber", "outcome", "category")


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
    reasons = found.get("reasons", {})
    return {
        f"Rows ({state})": [{"outcome": name, "rows": found.get(name, 0)} for name in ("read", *OUTCOMES)],
        "Why rows were not applied": [{"reason": name, "rows": rows} for name, rows in reasons.items()],
        "First dead letters": [{name: one.get(name) for name in _SHOWN} for one in letters],
    }
