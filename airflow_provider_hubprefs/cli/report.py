"""The command ``report``: what became of a run's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.page.letters import first_letters
from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from airflow_provider_hubprefs.cli.access import path_of
from airflow_provider_hubprefs.cli.errors import ExitCode, usage
from airflow_provider_hubprefs.cli.output import show
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from argparse import Namespace

_SHOWN = ("file", "row", "subscriber", "outcome", "category")


def report(args: Namespace) -> ExitCode:
    """Show a run's report."""
    given = path_of(args.path)
    path = given if given.name.endswith(".json") else given / "report.json"
    found: Any = None
    try:
        with path.open("rb") as file:
            found = msgspec.json.decode(file.read())
    except (FileNotFoundError, NotADirectoryError):
        usage(f"there is no report at {path}; expected a run's folder, or its report.json")
    except msgspec.DecodeError:
        pass
    if not isinstance(found, dict) or "read" not in found:
        usage(f"no report of a run: {path}; expected a run's folder, or its report.json")
    letters = first_letters(path.parent / "dead_letters.jsonl", 20) if found.get("dead_letters") else []
    show(args, {"report": found, "dead_letters": letters}, tables_of(found, letters))
    return ExitCode.DONE


def tables_of(found: dict[str, Any], letters: list[dict[str, Any]]) -> dict[str, Any]:
    """A report as tables."""
    state = "complete" if found.get("complete") else scrub(f"incomplete: {found.get('incomplete_because')}")
    reasons = found.get("reasons", {})
    return {
        f"Rows ({state})": [{"outcome": name, "rows": found.get(name, 0)} for name in ("read", *OUTCOMES)],
        "Why rows were not applied": [{"reason": name, "rows": rows} for name, rows in reasons.items()],
        "First dead letters": [{name: one.get(name) for name in _SHOWN} for one in letters],
    }
