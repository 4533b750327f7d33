"""Start DAGs when a contact opts out."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_hubprefs.triggers.retry import retried

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

    from airflow_provider_hubprefs.hubspot.api.contacts import Found
    from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient
    from airflow_provider_hubprefs.watch.numbered_lists import NewList
    from airflow_provider_hubprefs.watch.opt_outs import OptOutLists

T = TypeVar("T")

STORED_WITHIN = 5.0
"""Seconds after which Airflow has certainly stored an event; the triggerer does so about once a second."""

SHORTEST_INTERVAL = 1.0
"""Seconds between two searches, at least."""

_STATE_KEY = "hubprefs_opt_outs"
"""Where the cursor is in the asset's state store."""

_RETRY_TOTAL = 30.0
"""Seconds. A search that fails is followed by another, so its own retries may end early."""


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
    index does. Its cursor is kept in ``output`` and, on Airflow 3.3, in the asset's state store. On Airflow 3.3 all
    watchers of one connection share one search.

    :param output: folder of the lists, for this watcher alone: any path that ``ObjectStoragePath`` reads and writes.
    :param since: begin with opt-outs at this time (ISO 8601, UTC where it has no offset) rather than now. Ignored
        where there is a cursor.
    :param poll_interval: seconds between two searches.
    :param overlap: seconds by which HubSpot's index may lag, at most.
    :param max_consecutive_failures: so many tries in a row may fail before the trigger does; each waits longer.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    :raises ValueError: an argument cannot work.
    """

    def __init__(
        self,
        *,
        output: str,
        since: str | None = None,
        poll_interval: float = 60.0,
        overlap: float = 600.0,
        max_consecutive_failures: int = 10,
        hubprefs_conn_id: str = "hubprefs_default",
        api_version: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        if not isinstance(output, str) or not output.strip():
            raise ValueError(
                f"output: expected a folder for the lists, such as s3://bucket/opt-outs, got {output!r}"
            )
        if since is not None:
            _milliseconds(since)
        _check_seconds("poll_interval", poll_interval, least=SHORTEST_INTERVAL)
        _check_seconds("overlap", overlap, least=0)
        if not isinstance(max_consecutive_failures, int) or max_consecutive_failures < 0:
            raise ValueError(
                f"max_consecutive_failures: expected a whole number of at least 0, got {max_consecutive_failures!r}"
            )
        self.output = output
        self.since = since
        self.poll_interval = poll_interval
        self.overlap = overlap
        self.max_consecutive_failures = max_consecutive_failures
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments. Airflow knows an event trigger by their order, which must not change."""
        return "airflow_provider_hubprefs.triggers.opt_out.HubPrefsOptOutTrigger", {
            "output": self.output,
            "since": self.since,
            "poll_interval": self.poll_interval,
            "overlap": self.overlap,
            "max_consecutive_failures": self.max_consecutive_failures,
            "hubprefs_conn_id": self.hubprefs_conn_id,
            "api_version": self.api_version,
        }

    # One search for all watchers of a connection (Airflow 3.3) ---------------------------------------------

    def shared_stream_key(self) -> Hashable | None:
        """Watchers share a search unless anything but ``output`` and ``since`` differs."""
        own = {"output", "since"}
        return (_STATE_KEY, *(value for name, value in self.serialize()[1].items() if name not in own))

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Search again and again; yield what each search found, also when that is nothing."""
        trigger = cls(**kwargs)
        search = _Search(trigger)
        try:
            while True:
                yield await trigger._retried(search.what, search.run)
                await asyncio.sleep(trigger.poll_interval * random.uniform(0.9, 1.1))  # noqa: S311
        finally:
            await search.aclose()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Write what is new for this watcher, and emit its lists."""
        lists = await self._retried("The cursor cannot be read", self._open_lists)
        async for event in self._emit(lists):
            yield event
        begun = False
        async for found in shared_stream:
            if not begun:
                await self._begin(lists, found)
                begun = True
            await self._take(lists, found)
            async for event in self._emit(lists):
                yield event

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same without a shared stream: before Airflow 3.3, and in tests."""
        stream = type(self).open_shared_stream(self.serialize()[1])
        async for event in self.filter_shared_stream(stream):
            yield event

    # This watcher's own lists ------------------------------------------------------------------------------

    async def _open_lists(self) -> OptOutLists:
        store = getattr(self, "asset_state_store", None)
        kept = []
        if store is not None:
            try:
                kept.append(await store.aget(_STATE_KEY))
            except ValueError:  # several assets have this watcher: the cursor in the folder must do
                self.asset_state_store = None
        return await asyncio.to_thread(self._make_lists, kept)

    def _make_lists(self, kept: list[Any]) -> OptOutLists:
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        from airflow_provider_hubprefs.watch.opt_outs import OptOutLists

        folder = ObjectStoragePath(self.output)
        folder.mkdir(parents=True, exist_ok=True)
        arguments = {"lists": _STATE_KEY, "hubprefs_conn_id": self.hubprefs_conn_id}
        return OptOutLists(folder, overlap=int(self.overlap * 1000), arguments=arguments, kept=kept)

    async def _begin(self, lists: OptOutLists, found: Found) -> None:
        """Take what the shared search has passed already: this watcher's cursor may be further back."""
        if lists.cursor is None:
            begin = (
                partial(lists.begin, floor=found.watermark + 1, watermark=found.watermark)
                if self.since is None
                else partial(lists.begin, floor=_milliseconds(self.since))
            )
            await self._retried("The cursor cannot be written", partial(asyncio.to_thread, begin))
            if self.since is None:
                return
        if lists.cursor is None or (found.whole and found.floor <= lists.cursor.floor):
            return
        search = _Search(self, floor=lists.cursor.floor)
        try:
            await self._take(lists, await self._retried(search.what, search.run))
        finally:
            await search.aclose()

    async def _take(self, lists: OptOutLists, found: Found) -> None:
        if await self._retried("The list cannot be written", partial(asyncio.to_thread, lists.take, found)):
            await self._keep_cursor(lists)

    async def _emit(self, lists: OptOutLists) -> AsyncIterator[TriggerEvent]:
        """Emit each undelivered list, and note its delivery once Airflow has certainly stored the event."""
        if lists.cursor is None:
            return
        new_lists = await self._retried(
            "The list cannot be read", lambda: asyncio.to_thread(list, lists.undelivered())
        )
        for new in new_lists:
            yield TriggerEvent(self._payload(new, lists.cursor.watermark))  # type: ignore[no-untyped-call]
            await asyncio.sleep(STORED_WITHIN)
            await self._retried(
                "The cursor cannot be written", partial(asyncio.to_thread, lists.mark_delivered, new)
            )
            await self._keep_cursor(lists)

    def _payload(self, new: NewList, watermark: int) -> dict[str, Any]:
        from airflow_provider_hubprefs.watch.numbered_lists import iso  # loaded before, with the lists

        return {
            "list": f"{self.output.rstrip('/')}/{new.name}",
            "number": new.number,
            "count": new.count,
            "watermark": iso(watermark),
        }

    async def _keep_cursor(self, lists: OptOutLists) -> None:
        """Keep the cursor in the asset's state store, too: Airflow shows it, and it survives the loss of the folder."""
        store = getattr(self, "asset_state_store", None)
        if store is not None and lists.cursor is not None:
            state = lists.cursor.state()
            await self._retried("The asset's state cannot be stored", lambda: store.aset(_STATE_KEY, state))

    async def _retried(self, what: str, do: Callable[[], Awaitable[T]]) -> T:
        return await retried(what, do, rest=self.poll_interval, failures=self.max_consecutive_failures)


class _Search:
    """Searches the contacts of a connection, again and again.

    :param trigger: what to search for, and how.
    :param floor: search for contacts changed at this time (milliseconds since 1970) or later; by default from
        ``overlap`` before the last change that HubSpot's index knows.
    """

    def __init__(self, trigger: HubPrefsOptOutTrigger, floor: int | None = None) -> None:
        self.what = f"Opt-outs of {trigger.hubprefs_conn_id!r} cannot be searched for"
        self._trigger = trigger
        self._client: AsyncClient | None = None
        self._floor = floor
        self._seen: dict[int, int] = {}

    async def run(self) -> Found:
        """Search once. Safe to repeat when it fails."""
        overlap = int(self._trigger.overlap * 1000)
        await asyncio.to_thread(_load)
        try:
            client = self._client = self._client or await self._open()
            from airflow_provider_hubprefs.hubspot.api.contacts import find_opt_outs, last_change_call

            version = client.calls.version
            if self._floor is None:
                newest = await client.send(last_change_call(version))
                self._floor = max([0, *(one.modified - overlap for one in newest.results)])
            found = await find_opt_outs(client.send, version, floor=self._floor, seen=self._seen)
        except BaseException:
            await self.aclose()  # the next try looks the connection up again: it may have been changed
            raise
        self._seen = found.seen
        self._floor = max(self._floor, found.watermark - overlap)
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _open(self) -> AsyncClient:
        from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

        trigger = self._trigger
        settings = {"retry_total": min(_RETRY_TOTAL, trigger.poll_interval)}
        return await HubPrefsHook(
            trigger.hubprefs_conn_id, trigger.api_version, settings=settings
        ).aget_client()


def _load() -> None:
    """Import what a search needs, in a thread: it would block the event loop."""
    import airflow_provider_hubprefs.hooks.hubprefs
    import airflow_provider_hubprefs.hubspot.api.contacts  # noqa: F401


def _check_seconds(name: str, value: object, *, least: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= 86_400:
        raise ValueError(f"{name}: expected seconds from {least:g} to 86400, got {value!r}")


def _milliseconds(since: str) -> int:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(since)
    except (TypeError, ValueError):
        raise ValueError(f"since: expected a time such as 2027-01-15T08:00:00Z, got {since!r}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
