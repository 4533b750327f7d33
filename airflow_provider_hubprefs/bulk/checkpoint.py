"""Where to go on after a crash.

A run takes its batches in order, so that one number says what is done: how many rows of the source have their
outcome. It is kept with the counters at most once a second and at the end, and what was done since then in a
journal of this machine; a second run over the same source passes those rows over. At most the batches under way are
sent again (on another machine those of the last second as well), which v4 and dated writes do not mind.

A checkpoint holds positions, counters and fingerprints, never an address.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from airflow_provider_hubprefs.bulk.source import fingerprint_of
from airflow_provider_hubprefs.hubspot.privacy import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_hubprefs.bulk.dead_letters import Path
    from airflow_provider_hubprefs.bulk.report import Report
    from airflow_provider_hubprefs.hubspot.client import Client

INTERVAL = 1.0
"""Seconds between two writes, at least."""

_FORMAT = 3


class ChangedError(Exception):
    """The checkpoint is of another run: another source, other arguments, another portal. Or it is gone."""


GONE = (
    "this task has sent its rows and waited for what HubSpot takes its time for, and where it was to go on from is "
    "gone: was the task's state removed, or the objects beside its report, or has the report another path in every "
    "try? Nothing was sent again; clear the task to send all of it again"
)
"""Why a task cannot go on after a wait."""


class Place(Protocol):
    """Where a checkpoint is kept. Values are JSON."""

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, or None."""

    def save(self, state: dict[str, Any]) -> None:
        """Replace what is there."""

    def clear(self) -> None:
        """Forget it."""


class ObjectPlace:
    """Two small objects beside the report, where Airflow has no task state store (before 3.3).

    They are written in turn, so that a worker killed while it writes one leaves the other whole.

    :param path: of the objects, but for their ending.
    """

    def __init__(self, path: Path) -> None:
        self._slots = [path.parent / f"{path.name}.{number}" for number in (0, 1)]
        self._saved = 0

    def load(self) -> dict[str, Any] | None:
        """See :class:`Place`. What is cut off counts as not there."""
        found = [one for slot in self._slots if (one := _read(slot)) is not None]
        latest = max(found, key=lambda one: int(one["saved"]), default=None)
        if latest is None:
            return None
        self._saved = latest["saved"]
        state: dict[str, Any] = latest["state"]
        return state

    def save(self, state: dict[str, Any]) -> None:
        """See :class:`Place`."""
        self._saved += 1
        with self._slots[self._saved % 2].open("wb") as file:
            file.write(msgspec.json.encode({"saved": self._saved, "state": state}))

    def clear(self) -> None:
        """See :class:`Place`."""
        for slot in self._slots:
            slot.unlink(missing_ok=True)


def _read(slot: Path) -> dict[str, Any] | None:
    try:
        with slot.open("rb") as file:
            found = msgspec.json.decode(file.read())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) and {"saved", "state"} <= set(found) else None


def identity_of(client: Client, source: Any, *, arguments: Mapping[str, Any]) -> dict[str, str] | None:
    """Fingerprints of what a run is about, to be the same in every try of it.

    :param arguments: that decide what is read and what is written.
    :return: None for a source that cannot be read twice.
    """
    secret = client.auth.identity()
    if isinstance(source, list | tuple):
        digest = hashlib.blake2b(key=secret.encode()[:64], digest_size=16)
        for item in source:
            digest.update(repr(item).encode("utf-8", "surrogatepass") + b"\n")
        of_source: str | None = digest.hexdigest()
    else:
        of_source = fingerprint_of(source, key=secret)
    if of_source is None:
        return None
    told = json.dumps(arguments, sort_keys=True, default=str)
    return {
        "source": of_source,
        "arguments": fingerprint(told, key="arguments"),
        "portal": fingerprint(f"{client.url} {secret}", key="portal"),
    }


class Checkpoint:
    """The mark of one run.

    :param place: where it is kept.
    :param identity: fingerprints of what must not have changed, by the words an error names them with.
    :param interval: seconds between two writes, at least.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        place: Place,
        identity: Mapping[str, str],
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = dict(identity)
        self._place = place
        self._interval = interval
        self._clock = clock
        self._saved_at: float | None = None

    def resume(self, report: Report, *, restart: bool = False, same_try: bool = False) -> bool:
        """Put a report where an earlier try left it; a first try finds nothing and begins.

        :param restart: begin again where the checkpoint is of another run.
        :param same_try: this one goes on after a wait.
        :return: whether there was something to go on from.
        :raises ChangedError: there is none, and there should be; or it is of another run, and ``restart`` is not
            set. The text names what changed.
        """
        found = self._place.load()
        if found is None or found.get("format") != _FORMAT:
            if same_try:
                raise ChangedError(GONE)
            return False
        was = found.get("identity", {})
        changed = [name for name, now in self.identity.items() if was.get(name) != now]
        if changed and not restart:
            raise ChangedError(
                f"an earlier try of this task stopped after {found['report']['read']} rows, and since then the "
                f"{' and the '.join(changed)} changed: going on would mix two runs. Set "
                "on_changed_source='restart' to begin again, or resume=False to ignore what was done"
            )
        if changed:
            self.remove()
            return False
        report.restore(found["report"], same_try=same_try)
        return True

    def reached(self, report: Report, *, last: bool = False) -> None:
        """Keep the mark, unless that was done a moment ago.

        :param last: nothing comes after it in this try, or not for long.
        """
        now = self._clock()
        if not last and self._saved_at is not None and now - self._saved_at < self._interval:
            return
        report.flush()
        self._place.save({"format": _FORMAT, "identity": self.identity, "report": report.state()})
        self._saved_at = self._clock()

    def remove(self) -> None:
        """Remove the checkpoint: there is nothing to resume."""
        self._place.clear()
