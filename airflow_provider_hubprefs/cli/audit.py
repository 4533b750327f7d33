"""The command ``audit``: whether audits are as they were written, and what they say of a subscriber."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.audit.verify import audits_at, records_of, verify_audit
from airflow_provider_hubprefs.cli.access import path_of, use_airflow_as_library
from airflow_provider_hubprefs.cli.errors import ExitCode, usage
from airflow_provider_hubprefs.cli.output import note, show

if TYPE_CHECKING:
    from argparse import Namespace

_RECORD = ("path", "line", "at", "dag_id", "run_id", "task_id", "map_index", "try_number", "started_by")
_ROW = ("subscription", "brand", "before", "after", "outcome", "category", "legal_basis", "explanation")


def audit(args: Namespace) -> ExitCode:
    """Check files of audits, or look a subscriber up in them."""
    use_airflow_as_library()
    from airflow_provider_hubprefs.arguments import normalised_subscriber
    from airflow_provider_hubprefs.operators._audit import audit_keys

    keys, finds = audit_keys(), args.action == "find"
    given, *names = args.what if finds else ("", *args.what)
    files = [file for name in names for file in audits_at(path_of(name))]
    if not files:
        usage("there are no audits: expected files, or folders with files whose names end in .audit.jsonl")
    checked = [verify_audit(file, keys) for file in files]
    bad = [one for one in checked if one["state"] != "proven"]
    for one in bad:
        why = (
            f"record {one['line']}: {one['why']}"
            if one["why"]
            else "no key signed it, and no report is there"
        )
        note(f"hubprefs: {one['state']}: {one['path']}: {why}")
    if not finds:
        show(
            args,
            checked,
            {"Audits": [{**one, "confirmed_by": ", ".join(one["confirmed_by"])} for one in checked]},
        )
        return ExitCode.NOT_APPLIED if bad else ExitCode.DONE
    if keys.id is None:
        usage("no key: set [hubprefs] audit_key, or fernet_key of Airflow, as where the audits were written")
    subscriber = normalised_subscriber((sys.stdin.readline() if given == "-" else given).strip())
    found: list[dict[str, Any]] = [
        {name: {"path": str(file), **one}.get(name) for name in (*_RECORD, *_ROW, "correlation_id")}
        for file in files
        for one in records_of(file, subscriber, keys)
    ]
    show(args, found, {"Records": found})
    if not found:
        note(f"hubprefs: no record of this subscriber in {len(files)} audits")
    return ExitCode.DONE if found and not bad else ExitCode.NOT_APPLIED
