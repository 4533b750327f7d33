"""The command ``unsubscribe``: a bulk run without a DAG, by the code of the operators."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.cli.access import access_of, path_of
from airflow_provider_hubprefs.cli.errors import CommandError, ExitCode, usage
from airflow_provider_hubprefs.cli.output import confirm, console, format_of, note, say, show
from airflow_provider_hubprefs.cli.report import tables_of

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd
    from airflow_provider_hubprefs.bulk.source.files import Files
    from airflow_provider_hubprefs.bulk.source.reader import Reader
    from airflow_provider_hubprefs.bulk.source.row import Row
    from airflow_provider_hubprefs.bulk.source.size import SourceSize
    from airflow_provider_hubprefs.cli.access import Access

_POLL = 10.0
"""Seconds between two questions about rows that HubSpot has not finished with."""


def unsubscribe(args: Namespace) -> ExitCode:
    """Opt everybody in a file out."""
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.options import ReadOptions
    from airflow_provider_hubprefs.bulk.source.reader import reader_of
    from airflow_provider_hubprefs.bulk.source.size import SourceSize

    files, columns, options = _source(args), Columns(email=args.column), ReadOptions.of(_options(args))
    size = SourceSize(files)
    with _Rows(reader_of(files, columns=columns, options=options), size) as rows:
        if args.dry_run:
            return _dry_run(args, rows.count())
        folder, access = _folder_of(args, files), access_of(args)
        found = rows.count()
    of = "everything" if access.brand is None else f"the brand {access.brand}"
    confirm(args, f"opt {found['to send']:,} subscribers out of {of}, with {args.credentials}")
    with rows:
        return _run(args, access, rows, folder, {"columns": columns, "options": options})


def _run(
    args: Namespace, access: Access, rows: _Rows, folder: RunFolder | None, reading: dict[str, Any]
) -> ExitCode:
    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, CheckpointError, Identity
    from airflow_provider_hubprefs.bulk.report.words import last_line
    from airflow_provider_hubprefs.bulk.send.run import run_bulk
    from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll
    from airflow_provider_hubprefs.storage import ObjectPlace

    client = access.client
    checkpoint: Checkpoint | None = None
    write = UnsubscribeAll(client.calls, business_unit_id=access.brand)
    if folder is not None:
        identity = Identity(client, rows.size.source, arguments={**reading, **write.arguments()})
        checkpoint = Checkpoint(ObjectPlace(folder.checkpoint), identity, writer=folder.writer)
    try:
        summary = run_bulk(
            client,
            write,
            rows,
            source_size=rows.size,
            max_changes=args.max_changes,
            wait=_wait_for(client, args.timeout),
            folder=folder,
            checkpoint=checkpoint,
            connection=args.credentials,
        )
    except KeyboardInterrupt:
        again = "sends all rows, and what is done is unchanged then; --output-folder would let it go on"
        if folder is not None:
            again = f"goes on there; so far: hubprefs report {folder.path}"
        text = f"stopped, after the requests in flight. The same command again {again}"
        raise CommandError(text, ExitCode.INTERRUPTED) from None
    except CheckpointError as error:
        usage(f"{str(error).partition(' Set on_changed_source')[0]} --from-start begins a new run")
    rows.close()
    sentence = last_line(summary, hint="give --output-folder to keep a report")
    if format_of(args) == "plain":
        say(sentence)
    else:
        show(args, summary, tables_of(summary, []))
        note(sentence)
    missed = any(summary[name] for name in ("rejected", "invalid", "unconfirmed"))
    return ExitCode.NOT_APPLIED if missed else ExitCode.DONE


def _dry_run(args: Namespace, found: Counter[str]) -> ExitCode:
    reasons = {name: rows for name, rows in found.items() if ": " in name}
    value = {"read": found["read"], "to_send": found["to send"]}
    value |= {"invalid": found["invalid"], "duplicate": found["duplicate"]}
    tables = {
        "Nothing was sent": [{"rows": name, "count": count} for name, count in value.items()],
        "Why rows cannot be sent": [{"reason": name, "rows": rows} for name, rows in reasons.items()],
    }
    show(args, {**value, "reasons": reasons}, tables)
    return ExitCode.NOT_APPLIED if found["invalid"] else ExitCode.DONE


def _source(args: Namespace) -> Files:
    """The files to read. Standard input stays in memory: a temporary file would leave addresses on the disk."""
    from airflow_provider_hubprefs.bulk.source.files import Files

    if args.file != "-":
        return Files([path_of(args.file)])
    if args.token_file == "-":  # noqa: S105
        usage("expected one '-', got two: standard input cannot be the file and the token")
    from upath import UPath

    path: Any = UPath("memory://hubprefs/stdin")
    path.write_bytes(sys.stdin.buffer.read())
    return Files([path])


def _options(args: Namespace) -> dict[str, Any]:
    where: dict[str, list[str]] = {}
    for one in args.where or ():
        name, equals, value = one.partition("=")
        if not equals:
            usage("--where: expected COLUMN=VALUE, such as 'Opted Out=TRUE'")
        where.setdefault(name, []).append(value)
    options = {name: getattr(args, name) for name in ("format", "encoding", "delimiter", "skip_lines")}
    return {**options, "where": where or None, "header": False if args.no_header else None}


def _folder_of(args: Namespace, files: Files) -> RunFolder | None:
    """The folder of this run: of the same file's latest run if that was interrupted, or a new one."""
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder, name_of
    from airflow_provider_hubprefs.storage import files_in

    if not args.output_folder:
        return None
    output, name = path_of(args.output_folder), name_of(files.given[0].name)
    runs = sorted(
        (one for one in files_in(output) if one.name.startswith(f"{name}-")), key=lambda one: one.name
    )
    folder = RunFolder(output / f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    if runs and not args.from_start and any((runs[-1] / f"checkpoint.{slot}").exists() for slot in (0, 1)):
        note(f"This goes on with the run in {runs[-1]}")
        folder = RunFolder(runs[-1])
    folder.check_apart_from(files.given)
    return folder


def _wait_for(client: Any, timeout: float) -> Callable[..., WaitEnd | None]:
    """Ask again about what HubSpot has not finished with, until a timeout."""
    from airflow_provider_hubprefs.bulk.send.pending_wait import WaitEnd

    end = time.monotonic() + timeout

    def wait(*_: Any) -> WaitEnd | None:
        if (left := end - time.monotonic()) <= 0:
            return WaitEnd.LEFT_TO_RETRY
        client.rest(min(left, _POLL))
        return None

    return wait


class _Rows(ExitStack):
    """Reads a source, with a progress bar on a terminal until it is closed.

    :param read: reads it from its beginning.
    :param size: of the source.
    """

    def __init__(self, read: Reader, size: SourceSize) -> None:
        super().__init__()
        self._read = read
        self.counts = read.counts
        self.size = size
        self._bar: Any = None

    def __call__(self) -> Iterator[Row]:
        """Yield all rows."""
        rows = self._read()
        if not sys.stderr.isatty():
            return rows
        from rich.progress import MofNCompleteColumn, Progress

        self.close()  # each reading has a bar of its own
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        bar = self.enter_context(Progress(*columns, console=console(stderr=True), transient=True))
        return iter(
            bar.track(rows, total=self.size.rows, description="Sending" if self.size.rows else "Reading")
        )

    def count(self) -> Counter[str]:
        """Read all: how many rows, how many of them to send, invalid, duplicate, and why."""
        found: Counter[str] = Counter()
        for row in self():
            found.update(["read", row.problem or "to send"])
            if row.problem == "invalid":
                found[f"invalid: {row.category}"] += 1
        self.size.rows = found["read"]
        return found
