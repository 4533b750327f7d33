"""The commands and their arguments, as data: the console script and Airflow make their parsers of the same table.

Airflow imports this module on every ``airflow`` command, so it imports nothing but what is there already.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

EXIT_CODES = (
    "Exit codes: 0 done; 1 rows were not applied, or HubSpot or a guard refused; 2 wrong use or bad input; 3 no "
    "credentials, or not those that are needed; 4 HubSpot, the network or a limit; 130 Ctrl-C."
)
CREDENTIALS = (
    "Credentials, in this order: --token-file or --conn-id; the environment's HUBPREFS_TOKEN (with HUBPREFS_HOST, "
    "HUBPREFS_API_VERSION, HUBPREFS_BRAND, HUBPREFS_BUDGET_STORE); the connection hubprefs_default. 'hubprefs' finds "
    "connections in AIRFLOW_CONN_... and secrets backends, 'airflow hubprefs' also in Airflow's database."
)
PRIVACY = "Shells keep a history and ps shows arguments: '-' reads the address from standard input."
OF_AUDIT = (
    "The key is [hubprefs] audit_key of Airflow's configuration, or its fernet_key. Exit code 1: an audit was altered "
    "or cannot be confirmed, or there is no record of the subscriber."
)
AFTER_CTRL_C = (
    "After Ctrl-C the requests in flight end first. The same command again goes on there if --output-folder was given; "
    "otherwise it sends all rows again, which does no harm."
)


class Argument(NamedTuple):
    """One argument: its flags or its name, and what ``add_argument`` takes."""

    flags: tuple[str, ...]
    options: dict[str, Any]


class Command(NamedTuple):
    """One command.

    :param module: of this package; it has a function of the command's name, which returns the exit code.
    :param more: what ``--help`` says besides.
    """

    name: str
    help: str
    module: str
    arguments: tuple[Argument, ...] = ()
    more: str = ""


def _arg(flags: str, help_text: str, metavar: str | None = None, **options: Any) -> Argument:
    named = {"metavar": metavar} if metavar else {}
    return Argument(tuple(flags.split()), {"help": help_text, **named, **options})


def _flag(flags: str, help_text: str) -> Argument:
    return _arg(flags, help_text, action="store_true")


_FORMATS = ("table", "plain", "json", "yaml")
_STATUSES = ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED")
_ALWAYS = (
    _arg("-o --output", "by default a table on a terminal, and plain (tabs) elsewhere", choices=_FORMATS),
    _flag("-v --verbose", "log what is done to standard error"),
)
_CONNECTION = (
    _arg("--conn-id", "Airflow connection of the type hubprefs", "ID"),
    _arg("--token-file", "file that holds a private app's token; - is standard input", "PATH"),
    _arg("--host", "beside a token: HubSpot's host, or a local one's", "URL"),
    _arg("--api-version", "v4 or YYYY-MM; 2026-09 by default", "VERSION"),
    _arg("--brand", "businessUnitId, in portals with the Brands add-on", "ID"),
    *_ALWAYS,
)
_YES = _flag("-y --yes", "write without asking; needed where no terminal is")
_SUBSCRIBER = _arg("subscriber", "an e-mail address; - reads it from standard input")
_SET = (
    _arg("--subscription", "number of the subscription, see: definitions", "ID", type=int, required=True),
    _arg("--status", "the wanted status", type=str.upper, choices=_STATUSES, required=True),
    _arg("--legal-basis", "HubSpot's, such as CONSENT_WITH_NOTICE", "BASIS"),
    _arg("--legal-basis-explanation", "the legal basis in words", "TEXT"),
    _flag("--allow-resubscribe", "also a subscriber who has unsubscribed; needs --legal-basis"),
)
_UNSUBSCRIBE = (
    _arg("file", "CSV, lines, JSON Lines or Parquet: a path, URL, folder or glob; - is standard input"),
    _arg("--column", "where the address is (email)", default="email"),
    _arg("--format", "detected by default", choices=("csv", "lines", "jsonl", "parquet")),
    _arg("--encoding", "of a text file; UTF-8 by default"),
    _arg("--delimiter", "of a CSV file; detected by default", "CHARACTER"),
    _flag("--no-header", "columns are numbers then: --column 1"),
    _arg("--skip-lines", "lines before the header or the first row", "N"),
    _arg("--where", "only rows with this value; may be repeated", "COLUMN=VALUE", action="append"),
    _arg(
        "--output-folder", "here the run makes a folder with report and dead letters (with addresses)", "PATH"
    ),
    _flag("--from-start", "do not go on with a run that was interrupted"),
    _flag("--dry-run", "read and count the rows, and send nothing"),
    _arg("--max-changes", "stop before the first write if there would be more", "N", type=int),
    _arg(
        "--timeout", "to wait for what HubSpot has not finished (3600)", "SECONDS", type=float, default=3600.0
    ),
)
_STATUS = (
    _flag("--watch", "look again and again, until Ctrl-C"),
    _arg("--every", "between two looks of --watch (5)", "SECONDS", type=float, default=5.0),
)
_AUDIT = (
    _arg("action", "verify files, or find a subscriber's records in them", choices=("verify", "find")),
    _arg(
        "what", "for find the address first, or - for standard input; then files, folders, globs", nargs="+"
    ),
)
_SIMULATE = (
    _arg("--host", "address to listen on (127.0.0.1)", default="127.0.0.1"),
    _arg("--port", "port to listen on; by default a free one", type=int, default=0),
    _arg("--portal", "JSON file with the portal", "FILE"),
    _arg("--seed", "the same seed gives the same tokens (0)", type=int, default=0),
    _arg("--burst-limit", "requests per 10 seconds (190)", "N", type=int),
    _arg("--latency-ms", "of every answer (0)", "MS", type=float, default=0.0),
)
_UNSUBSCRIBES = "opt everybody in a file out of everything, or of one brand"

COMMANDS = (
    Command("check", "what the credentials can do; writes nothing", "preferences", _CONNECTION),
    Command("definitions", "the portal's subscriptions", "preferences", _CONNECTION),
    Command(
        "get", "a subscriber's statuses and opt-outs", "preferences", (_SUBSCRIBER, *_CONNECTION), PRIVACY
    ),
    Command("set", "set a status", "preferences", (_SUBSCRIBER, *_SET, _YES, *_CONNECTION), PRIVACY),
    Command("unsubscribe", _UNSUBSCRIBES, "unsubscribe", (*_UNSUBSCRIBE, _YES, *_CONNECTION), AFTER_CTRL_C),
    Command(
        "status", "the account's request budget", "budget", (*_STATUS, *_CONNECTION), "A look is one request."
    ),
    Command(
        "report", "what became of a run", "report", (_arg("path", "a run's folder or report.json"), *_ALWAYS)
    ),
    Command(
        "audit",
        "prove that audits are as they were written, or look a subscriber up in them",
        "audit",
        (*_AUDIT, *_ALWAYS),
        f"{OF_AUDIT} {PRIVACY}",
    ),
    Command("simulate", "a local HubSpot; serves until Ctrl-C", "simulate", (*_SIMULATE, *_ALWAYS)),
)


def epilog_of(command: Command) -> str:
    """What ``--help`` says below a command's arguments."""
    with_credentials = CREDENTIALS if _CONNECTION[0] in command.arguments else ""
    return " ".join(filter(None, (command.more, with_credentials, EXIT_CODES)))


def get_cli_commands() -> list[Any]:
    """The group ``airflow hubprefs``, for Airflow 3.2 and later."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    run = lazy_load_command("airflow_provider_hubprefs.cli.main.run_in_airflow")
    commands = [
        ActionCommand(
            name=command.name,
            help=command.help,
            func=partial(run, command.name),
            args=[Arg(flags=one.flags, **one.options) for one in command.arguments],  # type: ignore[no-untyped-call]
            epilog=epilog_of(command),
        )
        for command in COMMANDS
    ]
    return [GroupCommand(name="hubprefs", help="HubSpot's communication preferences", subcommands=commands)]
