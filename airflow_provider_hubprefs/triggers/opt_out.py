"""Start DAGs when a contact opts out."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import TriggerEvent
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from airflow_provider_hubprefs.arguments import count, optional, path, seconds, text, yes_or_no
from airflow_provider_hubprefs.compat import BaseEventTrigger, ObjectStoragePath
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.errors import NotFoundError, ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown
from airflow_provider_hubprefs.triggers import RETRY_TOTAL
from airflow_provider_hubprefs.watch.opt_outs import ListError, OptOutLists, iso

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping

    from airflow_provider_hubprefs.hubspot.api.contacts import Found
    from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient

T = TypeVar("T")

STORED_WITHIN = 5.0
"""Seconds after which Airflow has certainly stored an event; the triggerer does so about once a second."""

SHORTEST_INTERVAL = 1.0
"""Seconds between two searches, at least."""

NOTED = "hubprefs_watch"
"""Key under which Airflow's asset state store (3.3) has what a watcher noted last: for people, not for the watcher."""

NOTED_EVERY = 60.0
"""Seconds between two notes, where nothing has happened."""

_LONGEST_REST = 600.0
"""Seconds until the next try, however often it has failed."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class HubPrefsOptOutTrigger(BaseEventTrigger):
    """Emit an event when contacts have opted out of everything: for an ``AssetWatcher``.

    .. code-block:: python

        opt_outs = Asset(
            "hubspot_opt_outs",
            watchers=[AssetWatcher(name="portal", trigger=HubPrefsOptOutTrigger(output="s3://bucket/opt-outs"))],
        )

    The watcher writes new opt-outs to a list in the folder ``output``, one JSON object with ``subscriber``,
    ``contact_id``, ``opted_out_at`` and ``opted_out_at_ms`` on each line. The event names the list, without an
    address: ``{"list": ..., "number": 1, "count": 12, "watermark": "2027-01-15T08:00:00.000Z"}``. Each opt-out is in
    exactly one list, whenever the triggerer is killed. After a kill an event may come twice, with the same list: a
    consumer that remembers the last ``number`` reads nothing twice.

    It searches the CRM (scope ``crm.objects.contacts.read``), so it sees contacts only, and as late as HubSpot's
    index does. Its cursor is kept in ``output``, too. On Airflow 3.3 all watchers of one connection share one search.

    :param output: folder of the lists, for this watcher alone: a path object, or text that ``ObjectStoragePath`` takes.
        Airflow renders no templates in a watcher's arguments; they are refused.
    :param since: begin with opt-outs at this time (ISO 8601 or a datetime, UTC without an offset), not now. Ignored
        where there is a cursor.
    :param poll_interval: between two searches: a ``timedelta``, or seconds.
    :param overlap: by how much HubSpot's index may lag, at most: a ``timedelta``, or seconds.
    :param max_consecutive_failures: so many tries in a row may fail before the trigger does; each waits longer.
    :param hubprefs_conn_id: connection. A token that is replaced in it is used by the next search.
    :param api_version: overrides the connection's.
    :param ignore_own: leave out opt-outs that this connection's own app has made, as HubSpot's history of the property
        says (``sourceType`` INTEGRATION with the app's id). HubSpot tells only a private app which one it is: with
        other credentials nothing is left out, and the log says so.
    :raises ValueError: an argument cannot work.
    """

    output: Any
    since: Any = None
    poll_interval: Any = 60.0
    overlap: Any = 600.0
    max_consecutive_failures: int = 10
    hubprefs_conn_id: str = HubPrefsHook.default_conn_name
    api_version: str | None = None
    ignore_own: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work where the DAG is written."""
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        try:
            self.output = _folder("output", self.output)
            since = self.since.isoformat() if isinstance(self.since, datetime) else self.since
            self.since = optional(_plain)("since", since)
            self.poll_interval = seconds(
                "poll_interval", self.poll_interval, least=SHORTEST_INTERVAL, most=86_400
            )
            self.overlap = seconds("overlap", self.overlap, least=0, most=86_400)
            self.max_consecutive_failures = count("max_consecutive_failures", self.max_consecutive_failures)
            self.hubprefs_conn_id = _plain("hubprefs_conn_id", self.hubprefs_conn_id)
            self.api_version = optional(_plain)("api_version", self.api_version)
            self.ignore_own = yes_or_no("ignore_own", self.ignore_own)
        except ValidationError as error:
            raise ValueError(str(error)) from None
        self._since = _milliseconds(self.since)
        self._app: tuple[str, str | None] | None = None
        self._noted: dict[str, Any] = {}
        self._noted_at = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments. Airflow knows an event trigger by their order, which must not change."""
        return (
            "airflow_provider_hubprefs.triggers.opt_out.HubPrefsOptOutTrigger",
            {field.name: getattr(self, field.name) for field in fields(self)},
        )

    def shared_stream_key(self) -> Hashable | None:
        """Watchers share a search unless anything but ``output`` and ``since`` differs."""
        own = {"output", "since"}
        return ("hubprefs", *(value for name, value in self.serialize()[1].items() if name not in own))

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Search again and again; yield what each search found, also when that is nothing.

        After each search that fails, yield how many have failed in a row.
        """
        trigger = cls(**kwargs)
        floor: int | None = None
        seen: Mapping[int, int] = {}
        missed: Mapping[int, int] = {}
        while True:
            async for attempt in trigger._policy():
                with attempt:
                    found = await trigger._search(floor, seen, missed)
                failures, outcome = attempt.retry_state.attempt_number, attempt.retry_state.outcome
                if outcome is not None and isinstance(outcome.exception(), Exception):
                    yield failures
            trigger._log_recovery(failures)
            floor, seen = max(found.floor, found.watermark - trigger._overlap), found.seen
            missed = found.missed
            yield found
            await asyncio.sleep(trigger.poll_interval * random.uniform(0.9, 1.1))  # noqa: S311

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Write what is new for this watcher, and emit its lists.

        An event is emitted until Airflow has certainly stored it.
        """
        lists: OptOutLists = await self._retried(asyncio.to_thread, self._open_lists)
        begun = lists.cursor.floor is None
        missed: Mapping[int, int] = {}
        async for shared in shared_stream:
            if isinstance(shared, int):
                await self._note(failures=shared)
                continue
            # The cursor may be further back than what the shared search asks for, and has read already.
            found: Found = shared
            if not begun:
                found = await self._retried(self._search, lists.cursor.floor, {}, missed)
                begun, missed = not found.missed, found.missed
            await self._retried(asyncio.to_thread, lists.take, found)
            await self._note(last=max((at for _, at in lists.cursor.recent), default=0))
            for new in await self._retried(asyncio.to_thread, lists.undelivered):
                yield TriggerEvent(  # type: ignore[no-untyped-call]
                    {
                        "list": f"{self.output.rstrip('/')}/{new.name}",
                        "number": new.number,
                        "count": new.count,
                        "watermark": new.watermark,
                    }
                )
                await asyncio.sleep(STORED_WITHIN)
                await self._retried(asyncio.to_thread, lists.mark_delivered, new)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same without a shared stream: before Airflow 3.3, and in tests."""
        stream = type(self).open_shared_stream(self.serialize()[1])
        async for event in self.filter_shared_stream(stream):
            yield event

    async def _note(self, *, failures: int = 0, last: int = 0) -> None:
        """Note for people when the watcher looked last, its last opt-out and its failures in a row (Airflow 3.3)."""
        store: Any = getattr(self, "asset_state_store", None)
        noted = {**self._noted, "failures": failures}
        if last:
            noted["last_opt_out"] = iso(last)
        if store is None or (noted == self._noted and time.monotonic() - self._noted_at < NOTED_EVERY):
            return
        with suppress(Exception):  # a watcher goes on without it
            if not self._noted:
                noted = {**((await store.aget(NOTED)) or {}), **noted}
            self._noted, self._noted_at = noted, time.monotonic()
            looked = {} if failures else {"looked_at": iso(time.time() * 1000)}
            await store.aset(NOTED, {**noted, **looked})

    @property
    def _overlap(self) -> int:
        return int(self.overlap * 1000)

    def _open_lists(self) -> OptOutLists:
        """Runs in a thread: it reads files."""
        folder = ObjectStoragePath(self.output)
        folder.mkdir(parents=True, exist_ok=True)
        return OptOutLists(folder, connection=self.hubprefs_conn_id, overlap=self._overlap, since=self._since)

    async def _search(self, floor: int | None, seen: Mapping[int, int], missed: Mapping[int, int]) -> Found:
        """Search once, with the connection as it is now.

        :param floor: see :func:`~airflow_provider_hubprefs.hubspot.api.contacts.find_opt_outs`, also for the others;
            None: ``overlap`` before the last change that HubSpot's index knows.
        """
        settings = {"retry_total": min(RETRY_TOTAL, self.poll_interval)}
        hook = HubPrefsHook(self.hubprefs_conn_id, self.api_version, settings=settings)
        async with await hook.aget_client() as client:
            # What takes long of this was loaded in a thread, with the client.
            from airflow_provider_hubprefs.hubspot.api.contacts import find_opt_outs, last_change_call

            version = client.calls.version
            if floor is None:
                newest = await client.send(last_change_call(version))
                floor = max([0, *(one.modified - self._overlap for one in newest.results)])
            found = await find_opt_outs(client.send, version, floor=floor, seen=seen, missed=missed)
            if self.ignore_own and (own := await self._own_app(client)) is not None:
                found.opt_outs[:] = [one for one in found.opt_outs if one.app != own]
            return found

    async def _own_app(self, client: AsyncClient) -> str | None:
        """Id of the connection's app; None where HubSpot does not tell. Asked once for each token."""
        from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken, token_info_call

        if self._app is None or self._app[0] != client.auth.identity():
            app = None
            if isinstance(client.auth, StaticToken):
                with suppress(NotFoundError, ValidationError):  # a service key
                    app = (await client.send(token_info_call(client.auth.access_token))).app_id
            if app is None:
                _log.warning(
                    "ignore_own: HubSpot does not tell which app connection %r belongs to; no opt-out is left out",
                    self.hubprefs_conn_id,
                )
            self._app = client.auth.identity(), None if app is None else str(app)
        return self._app[1]

    async def _retried(self, do: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Repeat something until it succeeds, or has failed too often in a row.

        The rests between two tries double with each failure, up to ten minutes. In a folder that belongs to another
        watcher only one failure is tolerated: a new start reads the cursor again. It is tolerated because Airflow
        restarts a watcher that fails at once.
        """
        policy = self._policy()
        result: T = await policy(do, *arguments)
        self._log_recovery(policy.statistics.get("attempt_number", 1))
        return result

    def _log_recovery(self, attempts: int) -> None:
        if attempts > 1:
            _log.info(
                "The watcher of %r for %s works again, after it failed", self.hubprefs_conn_id, self.output
            )

    def _policy(self) -> AsyncRetrying:
        """How something is repeated, see :meth:`_retried`; one use of it."""

        def tolerated(state: RetryCallState) -> int:
            error = state.outcome and state.outcome.exception()
            return 1 if isinstance(error, ListError) else self.max_consecutive_failures

        began = datetime.now(UTC).isoformat(timespec="seconds")

        async def log(state: RetryCallState) -> None:
            error = state.outcome and state.outcome.exception()
            _log.warning(
                "The watcher of %r for %s sees no opt-outs since %s: %s: %s (failure %d in a row, %d tolerated; next "
                "try in %.0f s)",
                self.hubprefs_conn_id,
                self.output,
                began,
                type(error).__name__,
                error,
                state.attempt_number,
                tolerated(state),
                state.upcoming_sleep,
            )
            await self._note(failures=state.attempt_number)

        longest = max(_LONGEST_REST, self.poll_interval)
        return AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(multiplier=self.poll_interval, max=longest)
            + wait_random(0, self.poll_interval / 10),
            stop=lambda state: state.attempt_number > tolerated(state),
            before_sleep=log,
            reraise=True,
        )


def _folder(name: str, value: Any) -> str:
    """Read a folder: a text, or a path object of Airflow's or of Python's."""
    if hasattr(value, "open"):
        value = str(value) if hasattr(type(value), "fs") else f"file://{value.absolute()}"
    return _plain(name, path(name, value))


def _plain(name: str, value: object) -> str:
    """Read a text that is no template: Airflow renders none in a watcher."""
    found = text(name, value)
    if "{{" in found or "{%" in found:
        raise ValidationError(
            f"{name}: expected a text without a template, which Airflow does not render in a watcher; read an "
            f"environment variable where the DAG is parsed; got {shown(found)[:60]}"
        )
    return found


def _milliseconds(since: str | None) -> int | None:
    if since is None:
        return None
    try:
        moment = datetime.fromisoformat(since)
    except (TypeError, ValueError):
        raise ValueError(f"since: expected a time such as 2027-01-15T08:00:00Z, got {shown(since)}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
