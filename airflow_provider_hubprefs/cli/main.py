"""The command line: the console script ``hubprefs``, and ``airflow hubprefs``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from airflow_provider_hubprefs import __version__
from airflow_provider_hubprefs.cli.definition import COMMANDS, EXIT_CODES, epilog_of
from airflow_provider_hubprefs.cli.errors import CommandError, ExitCode, code_of
from airflow_provider_hubprefs.cli.output import note
from airflow_provider_hubprefs.hubspot.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Sequence

_OWN = "airflow_provider_hubprefs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script; return its exit code.

    :raises SystemExit: the arguments make no command (2), or help was asked for (0).
    """
    args = _parser().parse_args(argv)
    logger, handler = logging.getLogger(_OWN), logging.StreamHandler(sys.stderr)
    # A command says itself how its run ended.
    handler.addFilter(lambda record: args.verbose or record.funcName != "_say_how_it_ended")
    logger.addHandler(handler)
    try:
        return run(args.command, args)
    finally:
        logger.removeHandler(handler)


def run_in_airflow(name: str, args: argparse.Namespace) -> NoReturn:
    """Run a command of ``airflow hubprefs``, where connections may be in Airflow's database.

    :raises SystemExit: always: Airflow ignores what a command returns.
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")  # as Airflow's own commands have it
    sys.exit(run(name, args))


def run(name: str, args: argparse.Namespace) -> int:
    """Run a command; what the user or HubSpot did wrong becomes one line on standard error."""
    logger = logging.getLogger(_OWN)
    before = logger.level
    logger.setLevel(logging.INFO if args.verbose else logging.WARNING)
    try:
        return _run(name, args)
    finally:
        logger.setLevel(before)


def _run(name: str, args: argparse.Namespace) -> int:
    (command,) = (each for each in COMMANDS if each.name == name)
    try:
        code: ExitCode = getattr(import_module(f"{_OWN}.cli.{command.module}"), name)(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        note("hubprefs: stopped")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OUTPUT_CLOSED
    except Exception as error:
        if (found := code_of(error)) is None:
            raise
        text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError | CommandError):  # the others have no address in their text
            text = scrub(text)
        used = getattr(args, "credentials", None)
        with_ = f"with {used}: " if used and found is ExitCode.CREDENTIALS else ""
        note(f"hubprefs: {with_}{' '.join(text.split())}")
        return found
    return code


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, without an address."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.USAGE, f"{self.prog}: {scrub(message)}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hubprefs", description="HubSpot's communication preferences.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"hubprefs {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name, help=command.help, description=command.help, epilog=epilog_of(command)
        )
        for argument in command.arguments:
            sub.add_argument(*argument.flags, **argument.options)
    return parser
