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
import secrets
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.bulk.source.files import Files, fingerprint_of, is_file
from airflow_provider_hubprefs.bulk.source.kept import KeptRows
from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.privacy import fingerprint
from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh, token_info_call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_hubprefs.bulk.report.state import RunState
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.storage import Place

INTERVAL = 1.0
"""Seconds between two saves while a run goes on."""

_FORMAT = 5
"""Of what is saved; a checkpoint of another format is ignored."""


class CheckpointError(Exception):
    """The run cannot be resumed: its checkpoint is missing, or belongs to another run."""


CHECKPOINT_MISSING = (
    "The checkpoint of this task is missing, so its wait cannot be resumed. All rows were sent before; clear the task "
    "to send them again"
)
"""Why a task cannot resume after a wait."""


class SupersededError(CheckpointError):
    """A later try of this run has begun while this one was still at work."""


class Identity:
    """What must be the same in every try of a run.

    :param client: of the portal. It is asked for the portal's id once, where the token shows it (OAuth apps and
        private apps); otherwise host and connection stand for the portal. A token may change.
    :param source: what is read.
    :param arguments: those that decide what is read and what is written.
    :param connection: name of the connection.
    """

    def __init__(
        self, client: Client, source: Any, *, arguments: Mapping[str, Any], connection: str = ""
    ) -> None:
        self._client = client
        self._source = source
        self._arguments = json.dumps(arguments, sort_keys=True, default=str)
        self._connection = connection

    @staticmethod
    def applies_to(source: Any) -> bool:
        """Whether a source can be read again, so that a later try can resume."""
        return is_file(source) or (
            isinstance(source, Sequence | Files) and not isinstance(source, str | bytes)
        )

    @property
    def source_word(self) -> str:
        """What an error text calls the source."""
        of_query = isinstance(self._source, KeptRows) and self._source.header
        return "result of the query (ORDER BY a unique key?)" if of_query else "source"

    def fingerprints(self, secret: str) -> dict[str, str | None]:
        """Return fingerprints by the words that an error names them with, and that of the connection.

        :param secret: of the run.
        """
        return {
            "source": fingerprint_of_source(self._source, key=secret),
            "arguments": fingerprint(self._arguments, key=secret),
            "connection": fingerprint(f"{self._client.url} {self._connection}", key=secret),
        }

    @cached_property
    def portal(self) -> int | None:
        """HubSpot's id of the portal; None where HubSpot does not show it."""
        return portal_of(self._client)


def portal_of(client: Client, checkpoint: Checkpoint | None = None) -> int | None:
    """Return HubSpot's id of the portal; None where HubSpot does not show it.

    :param checkpoint: that knows it; None: HubSpot is asked.
    """
    if checkpoint is not None:
        return checkpoint.portal
    auth = client.auth
    try:
        if not isinstance(auth, OAuthRefresh):
            return client.send(token_info_call(auth.access_token)).hub_id
        if auth.hub_id is None:  # it comes with an access token, which every call needs
            client.send(client.calls.get_definitions())
    except HubSpotError as error:
        if error.retryable:
            raise
    return auth.hub_id if isinstance(auth, OAuthRefresh) else None


def fingerprint_of_source(source: Any, *, key: str) -> str | None:
    """Return what differs where another source is read, a path or a sequence; None: it can be read only once."""
    if not isinstance(source, Sequence) or isinstance(source, str | bytes):
        return fingerprint_of(source, key=key)
    digest = hashlib.blake2b(key=key.encode()[:64], digest_size=16)
    for item in source:
        digest.update(repr(item).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


class Checkpoint:
    """The checkpoint of one run, and which try it belongs to.

    :param place: where it is kept.
    :param identity: what must not change between tries.
    :param writer: name of this try.
    :param interval: seconds between two saves while the run goes on.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        place: Place,
        identity: Identity,
        *,
        writer: str = "",
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._identity = identity
        self._fingerprints: dict[str, Any] = {}
        self._writer = writer or secrets.token_hex(8)
        self._interval = interval
        self._clock = clock
        self._saved_at: float | None = None

    @property
    def portal(self) -> int | None:
        """HubSpot's id of the portal; None where HubSpot does not show it."""
        return self._identity.portal

    def resume(self, state: RunState, *, restart: bool = False, same_try: bool = False) -> bool:
        """Restore the state that an earlier try saved; from now on the checkpoint is this try's.

        :param restart: begin again where the checkpoint belongs to another run, instead of raising.
        :param same_try: whether this try continues after a wait: then there must be a checkpoint.
        :return: whether there was something to resume.
        :raises CheckpointError: the checkpoint is missing, or belongs to another run; the text names what changed.
        """
        found = self._place.load()
        if found is None or found.get("format") != _FORMAT:
            if same_try:
                raise CheckpointError(CHECKPOINT_MISSING)
            found = None
        elif changed := self._changed(found):
            if not restart and found["report"]["begun"]:
                named = [self._identity.source_word if what == "source" else what for what in changed]
                raise changed_since(named, found["report"]["read"])
            found = None
        if found is not None:
            state.restore(found["report"], same_try=same_try)
        self._fingerprints = self._identity.fingerprints(state.secret)
        state.source = self._fingerprints["source"]
        self._save(state)
        return found is not None

    def _changed(self, found: Mapping[str, Any]) -> list[str]:
        was, now = found["identity"], self._identity.fingerprints(found["report"]["secret"])
        changed = [name for name in ("source", "arguments") if was[name] != now[name]]
        if not changed:  # otherwise HubSpot is not asked
            portal = self._identity.portal
            known = portal is not None and was["portal"] is not None
            if (portal != was["portal"]) if known else (now["connection"] != was["connection"]):
                changed.append("portal")
        return changed

    def save(self, state: RunState, *, last: bool = False, ended: bool = False) -> None:
        """Save the state, unless it was saved less than the interval ago.

        :param last: save it in any case.
        :param ended: the try sends nothing more.
        :raises SupersededError: a later try has begun.
        """
        if not last and self._saved_at is not None and self._clock() - self._saved_at < self._interval:
            return
        self.check_mine()
        state.flush()
        self._save(state, ended=ended)
        self._saved_at = self._clock()

    def check_mine(self) -> None:
        """Check that no later try of this run has begun.

        :raises SupersededError: one has.
        """
        found = self._place.load()
        if found is None or found.get("writer") != self._writer:
            raise SupersededError(
                "A later try of this task has begun, and goes on with the run. This one, which should have ended "
                "before, sends nothing more and leaves the later one's files alone"
            )

    def _save(self, state: RunState, *, ended: bool = False) -> None:
        identity = {**self._fingerprints, "portal": self._identity.portal}
        report = state.save(ended=ended)
        self._place.save({"format": _FORMAT, "writer": self._writer, "identity": identity, "report": report})

    def remove(self) -> None:
        """Remove the checkpoint: there is nothing to resume."""
        self._place.clear()


def changed_since(what: Sequence[str], rows: int) -> CheckpointError:
    """Return the error for a run that cannot be resumed."""
    return CheckpointError(
        f"The {' and the '.join(what)} changed since an earlier try stopped after {rows} rows; resuming would mix two "
        "runs. Set on_changed_source='restart' to begin again, or resume=False to ignore the checkpoint"
    )
