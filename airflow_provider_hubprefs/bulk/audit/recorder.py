"""Writes the audit of a run, over all its tries."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.audit.records import BATCH, Chain, hash_of, record_of
from airflow_provider_hubprefs.bulk.report.folder import RunFolder, name_of
from airflow_provider_hubprefs.storage import lines_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys
    from airflow_provider_hubprefs.bulk.audit.records import Same
    from airflow_provider_hubprefs.bulk.report.outcome import Outcome
    from airflow_provider_hubprefs.storage import Path

ENDING = ".audit.jsonl"
"""Ends the names of audit files."""


class AuditRecorder:
    """A recorder of what is written to HubSpot.

    Its file is named after the run's first record. So a later try replaces it by one that begins with the same records,
    and another run of the same task instance never touches it.

    :param about: the run, for its record; asked when there is something to record.
    :param addresses: whether records have addresses besides fingerprints.
    :param copies: the folder of all audits, which gets a copy; None: there is none.
    """

    kind = "audit"

    def __init__(
        self,
        folder: RunFolder,
        same: Same,
        about: Callable[[], Mapping[str, Any]],
        keys: AuditKeys,
        *,
        addresses: bool = False,
        copies: Path | None = None,
    ) -> None:
        self._folder, self._same, self._about, self._keys = folder, same, about, keys
        self._addresses, self._copies = addresses, copies
        self.path: Path | None = None
        """The file, once it is written."""
        self.head: str | None = None
        """The hash of its last record."""

    def lines(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return a record for each row that was written or was to be, and one of the batch before them."""
        same, key, addresses = self._same, self._keys.current, self._addresses
        records = [record_of(one, same, key=key, addresses=addresses) for one in outcomes]
        found = [one for one in records if one is not None]
        return [self._batch(), *found] if found else []

    def _batch(self) -> str:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f'{BATCH.decode()}"at":"{now}",{self._of_run}'

    @cached_property
    def _of_run(self) -> str:
        run = {
            **self._about(),
            "format": 1,
            "id": self._folder.writer,
            "key": self._keys.id,
            "same": self._same,
        }
        return msgspec.json.encode(run).decode()[1:]

    def finish(self, lines: Iterator[bytes], counts: Mapping[str, int], *, complete: bool) -> None:
        """Write the file, and its copy; nothing where nothing is recorded yet and the run is not complete."""
        first = next(lines, None) or (self._batch().encode() if complete else b"")
        if not first:
            return
        run, number = msgspec.json.decode(first), hash_of(first.rstrip())[:12].decode()
        chained = Chain()

        def content() -> Iterator[bytes]:
            yield from map(chained.add, chain((first,), lines))
            yield chained.close(counts, self._keys, complete=complete)

        time = run["at"].replace("-", "").replace(":", "")
        self.path = self._folder.path / f"{time}-{number}{ENDING}"
        self._folder.write(self.path, content())
        self.head = chained.head.decode()
        if self._copies is not None:
            names = [name_of(run[one])[:48] for one in _NAMED_AFTER if run.get(one) is not None]
            folder = RunFolder(self._copies / name_of(run.get("portal") or run.get("connection")))
            name = "-".join([run["at"][:10], *names, number]) + ENDING
            folder.write(folder.path / name, lines_in(self.path))

    def reported(self) -> dict[str, Any]:
        """Return the file's path and its last hash, for the report."""
        return {"audit": None if self.path is None else str(self.path), "audit_head": self.head}


_NAMED_AFTER = ("dag_id", "run_id", "task_id", "map_index")
