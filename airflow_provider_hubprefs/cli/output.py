"""How a command speaks: its answer on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.cli.errors import CommandError, ExitCode, usage

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    Rows = Sequence[Mapping[str, Any]]


def format_of(args: Namespace) -> str:
    """How the answer is printed: as was asked for, or as fits where it goes."""
    return args.output or ("table" if sys.stdout.isatty() else "plain")


def show(args: Namespace, value: Any, tables: Mapping[str, Rows]) -> None:
    """Print an answer.

    :param value: what JSON and YAML show.
    :param tables: the same for people, by title; all rows of one have the same names.
    :raises CommandError: PyYAML is not installed.
    """
    shown = {title: rows for title, rows in tables.items() if rows}
    match format_of(args):
        case "json":
            say(json.dumps(value, indent=2, ensure_ascii=False, default=str))
        case "yaml":
            say(_yaml(value))
        case "plain":
            say("\n\n".join(map(_plain, shown.values())))
        case _:
            for title, rows in shown.items():
                console().print(_table(title, rows))


def say(line: str) -> None:
    """Print the answer, or a part of it."""
    print(line, flush=True)  # noqa: T201 - a command speaks to its user


def note(line: str, end: str = "\n") -> None:
    """Print what is not the answer."""
    print(line, end=end, file=sys.stderr, flush=True)  # noqa: T201


def confirm(args: Namespace, what: str) -> None:
    """Say what would be written, and ask.

    :raises CommandError: there is no terminal to ask on, or the answer is no.
    """
    if args.yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        usage(f"this would {what}; there is no terminal to ask on, and --yes is not given. Nothing was sent")
    note(f"This will {what}. Go on? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was sent", ExitCode.NOT_APPLIED)


def console(*, stderr: bool = False) -> Console:
    """A terminal that takes text as it is; ``rich`` respects NO_COLOR."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def _table(title: str, rows: Rows) -> Any:
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        count = name != "id" and all(type(row[name]) is int for row in rows)
        table.add_column(name, justify="right" if count else "left", overflow="fold")
    for row in rows:
        cells = row.items()
        table.add_row(
            *(f"{one:,}" if type(one) is int and name != "id" else _cell(one) for name, one in cells)
        )
    return table


def _plain(rows: Rows) -> str:
    return "\n".join("\t".join(map(_cell, cells)) for cells in (rows[0], *(row.values() for row in rows)))


def _cell(value: Any) -> str:
    """A value as text. What HubSpot or a file says cannot control the terminal."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return "".join(one if one.isprintable() else " " for one in str(value))


def _yaml(value: Any) -> str:
    try:
        import yaml  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        usage("--output yaml needs PyYAML, which is not installed; --output json says the same")
    plain = json.loads(json.dumps(value, default=str))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).rstrip()
