"""Prove that an audit is as it was written, and look a subscriber up in it."""

from __future__ import annotations

import json
import pathlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys
from airflow_provider_hubprefs.bulk.audit.recorder import ENDING
from airflow_provider_hubprefs.bulk.audit.records import BATCH, END, SIGNATURE, START, hash_of
from airflow_provider_hubprefs.bulk.source.files import pattern_in
from airflow_provider_hubprefs.hubspot.privacy import fingerprint
from airflow_provider_hubprefs.storage import files_in, json_in, lines_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.storage import Path

_TAIL = re.compile(rb',"previous":"([0-9a-f]{32})"(,"hash":"([0-9a-f]{32})"}\n)\Z')


class AuditResult(TypedDict):
    """What :func:`verify_audit` found in a file.

    :param state: ``proven``: all records are there, as they were written. ``altered``: they are not. ``unconfirmed``:
        they fit together, and all could have been made anew: no key for the signature is here, and no report.
    :param line: number of the first record that was changed, removed, added or moved.
    :param complete: whether the run was, when the file was written; otherwise later tries may have written more.
    :param records: number of records up to the first that is wrong.
    :param head: hash of the last of them; the run's report and XCom ``hubprefs_report`` have it as ``audit_head``.
    :param confirmed_by: ``signature``, ``report``, both or neither.
    """

    path: str
    state: Literal["proven", "unconfirmed", "altered"]
    line: int | None
    why: str | None
    complete: bool
    records: int
    head: str
    confirmed_by: list[str]


def verify_audit(path: Path | str, keys: AuditKeys | None = None) -> AuditResult:
    """Check one file of an audit, and compare it with ``report.json`` beside it.

    :param path: ``pathlib.Path``, ``ObjectStoragePath`` or the like; text is a local one.
    :param keys: that may have signed it; None: the signature is not checked.
    :raises OSError: it cannot be read.
    """
    path = pathlib.Path(path) if isinstance(path, str) else path
    found = AuditResult(
        path=str(path),
        state="unconfirmed",
        line=None,
        why=None,
        complete=False,
        records=0,
        head=START.decode(),
        confirmed_by=[],
    )
    keys, closed, why = keys or AuditKeys(), False, None
    for line in lines_in(path):
        why = "it stands after the end" if closed else _wrong(line, found, keys)
        if why is not None:
            break
        found["records"] += 1
        found["head"], closed = line[-35:-3].decode(), line.startswith(END)
    if why is None and not closed:
        why = "it is missing: the end was cut off" if found["records"] else "the file is empty"
    report = _head_of_report(path) if why is None else None
    if report not in {None, found["head"]}:
        found["records"] -= 1
        why = "the run's report says that another record is the last one"
    if why is not None:
        return {**found, "state": "altered", "line": found["records"] + 1, "why": why, "confirmed_by": []}
    found["confirmed_by"] += ["report"] if report else []
    return {**found, "state": "proven" if found["confirmed_by"] else "unconfirmed"}


def _wrong(line: bytes, found: AuditResult, keys: AuditKeys) -> str | None:
    """What is wrong with the next line of a file; None: nothing. What closes the file is noted in ``found``."""
    tail, head = _TAIL.search(line), found["head"].encode()
    if tail is None:
        return "it is cut off, or no record"
    if hash_of(line[: tail.start(2)]) != tail[3]:
        return "it was changed"
    if tail[1] != head:
        return "it was added or moved, or a record before it was removed"
    if head == START and not line.startswith(BATCH):
        return "it does not describe a batch, as the first record does"
    if line.startswith(END):
        text, _, signature = line[: tail.start()].rpartition(SIGNATURE)
        end = _decoded(line)
        signed = keys.sign(head + text, end.get("key"))
        if end.get("records") != found["records"] or (signed and f'"{signed}"'.encode() != signature):
            return "it was forged: its signature or its number of records is wrong"
        found["complete"], found["confirmed_by"] = (
            end.get("complete") is True,
            ["signature"] if signed else [],
        )
    return None


def records_of(path: Path, subscriber: str, keys: AuditKeys) -> Iterator[dict[str, Any]]:
    """Yield the records of a subscriber in a file, each with what is the same for all records of its try.

    :param subscriber: normalised.
    :raises OSError: it cannot be read.
    """
    made = {name: fingerprint(subscriber, key=key) for name, key in keys.by_id.items()}
    prints = {name: f'"subscriber":"{found}"'.encode() for name, found in made.items()}
    batch: dict[str, Any] = {}
    mine = b"\n\n"  # in no line
    for number, line in enumerate(lines_in(path), 1):
        if line.startswith(BATCH):
            batch = _decoded(line)
            mine = prints.get(batch.get("key") or "", b"\n\n")
        elif mine in line:
            yield {"line": number, **batch, **(batch.get("same") or {}), **_decoded(line)}


def audits_at(path: Any) -> list[Any]:
    """Return the audit files at a path: the file itself, those below a folder, those that match wildcards."""
    folder, pattern = path, f"**/*{ENDING}"
    if (found := pattern_in(path)) is not None and not path.exists():
        folder, pattern = found
    elif not path.is_dir():
        return [path]
    next(files_in(folder), None)  # clients remember what folders held; this makes them look again
    return sorted((one for one in folder.glob(pattern) if one.name.endswith(ENDING)), key=str)


def _head_of_report(path: Path) -> str | None:
    """The head that the run's report has; None: no report of this file is beside it."""
    with suppress(OSError):
        found = json_in(path.parent / "report.json") or {}
        if str(found.get("audit")).endswith(f"/{path.name}"):
            return str(found.get("audit_head"))
    return None


def _decoded(text: bytes) -> dict[str, Any]:
    """A JSON object; an empty one where it is none."""
    with suppress(ValueError):
        return found if isinstance(found := json.loads(text), dict) else {}
    return {}
