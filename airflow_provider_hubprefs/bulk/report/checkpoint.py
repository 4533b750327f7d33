"""Where a later try resumes a run.

A run takes its batches in the order of the source, so one number says which rows are done: how many were read. The
checkpoint keeps it with the counts. It is saved after the first batch, then after a batch once a second, before each
wait, and when the run ends early. A try that is killed repeats at most the writes of a second and those in flight;
repeating them does no harm, because HubSpot's writes are idempotent.

A checkpoint holds positions, counts and fingerprints, never an address.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.files import fingerprint_of
from airflow_provider_hubprefs.hubspot.privacy import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.storage import Place

INTERVAL = 1.0
"""Seconds between two saves while a run goes on."""

_FORMAT = 3
"""Of what is saved; a checkpoint of another format is ignored."""


class CheckpointError(Exception):
    """The run cannot be resumed: its checkpoint is missing, or belongs to another run."""


CHECKPOINT_MISSING = (
    "The checkpoint of this task is missing, so its wait cannot be resumed. All rows were sent before; clear the task "
    "to send them again"
)
"""Why a task cannot resume after a wait."""


def identity_of(client: Client, source: Any, *, arguments: Mapping[str, Any]) -> dict[str, str] | None:
    """Return fingerprints of what must be the same in every try of a run.

    :param arguments: those that decide what is read and what is written.
    :return: None for a source that cannot be read twice.
    """
    key = client.auth.identity()
    if isinstance(source, list | tuple):
        digest = hashlib.blake2b(key=key.encode()[:64], digest_size=16)
        for item in source:
            digest.update(repr(item).encode("utf-8", "surrogatepass") + b"\n")
        of_source: str | None = digest.hexdigest()
    else:
        of_source = fingerprint_of(source, key=key)
    if of_source is None:
        return None
    return {
        "source": of_source,
        "arguments": fingerprint(json.dumps(arguments, sort_keys=True, default=str), key="arguments"),
        "portal": fingerprint(f"{client.url} {key}", key="portal"),
    }


class Checkpoint:
    """The checkpoint of one run.

    :param place: where it is kept.
    :param identity: fingerprints of what must not change between tries, by the words that an error names them with.
    :param interval: seconds between two saves while the run goes on.
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

    def resume(self, state: RunState, *, restart: bool = False, same_try: bool = False) -> bool:
        """Restore the state that an earlier try saved.

        :param restart: begin again where the checkpoint belongs to another run, instead of raising.
        :param same_try: whether this try continues after a wait: then there must be a checkpoint.
        :return: whether there was something to resume.
        :raises CheckpointError: the checkpoint is missing, or belongs to another run; the text names what changed.
        """
        found = self._place.load()
        if found is None or found.get("format") != _FORMAT:
            if same_try:
                raise CheckpointError(CHECKPOINT_MISSING)
            return False
        was = found["identity"]
        changed = [name for name, now in self.identity.items() if was.get(name) != now]
        if changed and not restart:
            raise CheckpointError(
                f"The {' and the '.join(changed)} changed since an earlier try stopped after {found['report']['read']} "
                "rows; resuming would mix two runs. Set on_changed_source='restart' to begin again, or resume=False "
                "to ignore the checkpoint"
            )
        if changed:
            self.remove()
            return False
        state.restore(found["report"], same_try=same_try)
        return True

    def save(self, state: RunState, *, last: bool = False) -> None:
        """Save the state, unless it was saved less than the interval ago.

        :param last: save it in any case: the try ends, or waits.
        """
        if not last and self._saved_at is not None and self._clock() - self._saved_at < self._interval:
            return
        state.flush()
        self._place.save({"format": _FORMAT, "identity": self.identity, "report": state.save()})
        self._saved_at = self._clock()

    def remove(self) -> None:
        """Remove the checkpoint: there is nothing to resume."""
        self._place.clear()
