"""Start DAGs when somebody opts out."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

    from airflow_provider_hubprefs.bulk.feed import Mark, News, OptOutFeed
    from airflow_provider_hubprefs.hubspot.aio import AsyncClient
    from airflow_provider_hubprefs.hubspot.crm import Found

T = TypeVar("T")
KEPT = "hubprefs_opt_outs"
"""Where the mark is in the asset's state store."""

ARRIVES_WITHIN = 5.0
"""Seconds after which Airflow has certainly stored an event; the triggerer does so about once a second."""

SHORTEST_INTERVAL = 1.0
"""Seconds between two searches, at least."""

_RETRY_TOTAL = 30.0
"""Seconds; a look that fails is followed by another, so its own retries may end early."""

_LONGEST_REST = 600.0
"""Seconds until the next try, however often it has failed."""

_log = logging.getLogger(__name__)


class HubPrefsOptOutTrigger(BaseEventTrigger):
    """Tell of contacts that have opted out of everything: for an ``AssetWatcher``.

    .. code-block:: python

        opt_outs = Asset(
            "hubspot_opt_outs",
            watchers=[AssetWatcher(name="portal", trigger=HubPrefsOptOutTrigger(output="s3://bucket/opt-outs"))],
        )

    New opt-outs are written as a list, a JSON object with ``subscriber``, ``contact_id``, ``opted_out_at`` and
    ``opted_out_at_ms`` on each line, to the folder ``output``; the event says where: ``{"list": ..., "number":
    1, "opt_outs": 12, "watermark": "2027-01-15T08:00:00.000Z"}``, without an address. Every opt-out is in one
    list, and in one only, also when the triggerer is killed at any time. An event may come twice then, of the
    same list: whoever remembers the last ``number`` reads nothing twice.

    It searches the CRM (scope ``crm.objects.contacts.read``), so it sees contacts only, and as late as HubSpot's
    index does. Where it stands is kept in ``output`` and, on Airflow 3.3, in the asset's state store. There, too,
    all watchers of one connection share one poll.

    :param output: folder of the lists, for this watcher alone: whatever ``ObjectStoragePath`` reads and writes.
    :param since: begin with opt-outs at this time (ISO 8601, UTC where it has no offset) rather than now. Where
        there already is a mark it changes nothing.
    :param poll_interval: seconds between two searches.
    :param overlap: seconds that HubSpot may take to show an opt-out in its index, at most.
    :param max_consecutive_failures: so many tries in a row may fail before the trigger does; each waits longer.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    :raises ValueError: an argument that cannot work.
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
                "output: expected a folder for the lists, such as s3://bucket/opt-outs, got nothing"
            )
        for name, value, least in (
            ("poll_interval", poll_interval, SHORTEST_INTERVAL),
            ("overlap", overlap, 0),
        ):
            if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= 86_400:
                raise ValueError(f"{name}: expected seconds from {least:g} to 86400, got {value!r}")
        if not isinstance(max_consecutive_failures, int) or max_consecutive_failures < 0:
            raise ValueError(
                f"max_consecutive_failures: expected a whole number of at least 0, got {max_consecutive_failures!r}"
            )
        if since is not None:
            _milliseconds(since)
        self.output = output
        self.since = since
        self.poll_interval = poll_interval
        self.overlap = overlap
        self.max_consecutive_failures = max_consecutive_failures
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments. Their order must stay: Airflow knows the trigger by it."""
        return (
            "airflow_provider_hubprefs.triggers.opt_out.HubPrefsOptOutTrigger",
            {
                "output": self.output,
                "since": self.since,
                "poll_interval": self.poll_interval,
                "overlap": self.overlap,
                "max_consecutive_failures": self.max_consecutive_failures,
                "hubprefs_conn_id": self.hubprefs_conn_id,
                "api_version": self.api_version,
            },
        )

    # One poll for all watchers of a connection (Airflow 3.3) -----------------------------------------------

    def shared_stream_key(self) -> Hashable | None:
        """Watchers share a poll unless they look at another portal, or in another rhythm."""
        kwargs = self.serialize()[1]
        return (
            "hubprefs opt-outs",
            *(value for name, value in kwargs.items() if name not in {"output", "since"}),
        )

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Poll; yield what each look found, also when that is nothing."""
        portal = _Portal(cls(**kwargs))
        try:
            while True:
                yield await portal.look_again()
                await asyncio.sleep(portal.trigger.poll_interval * random.uniform(0.9, 1.1))  # noqa: S311
        finally:
            await portal.aclose()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Write what is new to this watcher, and tell of it."""
        feed = await self._patiently("The mark cannot be read", self._open_feed)
        async for event in self._tell(feed):
            yield event
        caught_up = False
        async for found in shared_stream:
            if not caught_up:
                for before in await self._catch_up(feed, found):
                    await self._take(feed, before)
                caught_up = True
            await self._take(feed, found)
            async for event in self._tell(feed):
                yield event

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same where nothing is shared: before Airflow 3.3, and in tests."""
        stream = type(self).open_shared_stream(self.serialize()[1])
        async for event in self.filter_shared_stream(stream):
            yield event

    # This watcher's own ------------------------------------------------------------------------------------

    async def _open_feed(self) -> OptOutFeed:
        store = getattr(self, "asset_state_store", None)
        kept = []
        if store is not None:
            try:
                kept.append(await store.aget(KEPT))
            except ValueError:  # several assets have this watcher: the mark in the folder must do
                self.asset_state_store = None
        return await asyncio.to_thread(_feed, self.output, int(self.overlap * 1000), kept)

    async def _catch_up(self, feed: OptOutFeed, found: Found) -> list[Found]:
        """What there was before the shared poll: its first look reached back to another mark, or was no whole one."""
        if feed.mark is None and self.since is None:
            await self._patiently(
                "The mark cannot be written",
                lambda: asyncio.to_thread(feed.begin, floor=found.watermark + 1, watermark=found.watermark),
            )
            return []
        if feed.mark is None and self.since is not None:
            since = _milliseconds(self.since)
            await self._patiently(
                "The mark cannot be written", lambda: asyncio.to_thread(feed.begin, floor=since)
            )
        mark: Mark = feed.mark  # type: ignore[assignment]
        if found.whole and found.floor <= mark.floor:
            return []
        portal = _Portal(self)
        try:
            return [await portal.look_again(mark.floor)]
        finally:
            await portal.aclose()

    async def _take(self, feed: OptOutFeed, found: Found) -> None:
        if await self._patiently("The list cannot be written", lambda: asyncio.to_thread(feed.take, found)):
            await self._keep(feed)

    async def _tell(self, feed: OptOutFeed) -> AsyncIterator[TriggerEvent]:
        """Tell of each list, and keep that it was told once that is certain."""
        if feed.mark is None:
            return
        news = await self._patiently(
            "The list cannot be read", lambda: asyncio.to_thread(list, feed.untold())
        )
        for one in news:
            yield TriggerEvent(self._payload(one, feed.mark))  # type: ignore[no-untyped-call]
            await asyncio.sleep(ARRIVES_WITHIN)
            await self._patiently("The mark cannot be written", partial(asyncio.to_thread, feed.told, one))
            await self._keep(feed)

    def _payload(self, news: News, mark: Mark) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.feed import iso

        return {
            "list": f"{self.output.rstrip('/')}/{news.name}",
            "number": news.number,
            "opt_outs": news.count,
            "watermark": iso(mark.watermark),
        }

    async def _keep(self, feed: OptOutFeed) -> None:
        """Keep the mark in the asset's state store, too: one folder lost is not all lost, and Airflow shows it."""
        store = getattr(self, "asset_state_store", None)
        if store is not None and feed.mark is not None:
            state = feed.mark.state()
            await self._patiently("The asset's state cannot be stored", lambda: store.aset(KEPT, state))

    async def _patiently(self, what: str, do: Callable[[], Awaitable[T]]) -> T:
        return await patiently(what, do, rest=self.poll_interval, failures=self.max_consecutive_failures)


class _Portal:
    """The contacts of a connection, looked at again and again.

    :param trigger: what to look for, and how.
    """

    def __init__(self, trigger: HubPrefsOptOutTrigger) -> None:
        self.trigger = trigger
        self._client: AsyncClient | None = None
        self._floor: int | None = None
        self._judged: dict[int, int] = {}

    async def look_again(self, floor: int | None = None) -> Found:
        """Look until it works.

        :param floor: how far back to begin; by default with the last change that HubSpot's index knows.
        """
        if self._floor is None:
            self._floor = floor
        trigger = self.trigger
        return await patiently(
            f"Opt-outs of {trigger.hubprefs_conn_id!r} cannot be looked for",
            self._look,
            rest=trigger.poll_interval,
            failures=trigger.max_consecutive_failures,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _look(self) -> Found:
        from airflow_provider_hubprefs.hubspot.crm import find_opt_outs, last_change_call, send_all_async

        overlap = int(self.trigger.overlap * 1000)
        try:
            client = self._client = self._client or await self._open()
            version = client.calls.version
            if self._floor is None:
                newest = await client.send(last_change_call(version))
                self._floor = max([0, *(one.modified - overlap for one in newest.results)])
            calls = find_opt_outs(version, floor=self._floor, judged=self._judged)
            found = await send_all_async(calls, client.send)
        except BaseException:
            await self.aclose()  # whatever it was, the connection may be another one when it is tried again
            raise
        self._judged = found.judged
        self._floor = max(self._floor, found.watermark - overlap)
        return found

    async def _open(self) -> AsyncClient:
        from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

        trigger = self.trigger
        patience = {"retry_total": min(_RETRY_TOTAL, trigger.poll_interval)}
        return await HubPrefsHook(
            trigger.hubprefs_conn_id, trigger.api_version, settings=patience
        ).aget_client()


async def patiently(what: str, do: Callable[[], Awaitable[T]], *, rest: float, failures: int) -> T:
    """Do something until it works, or has failed too often in a row.

    :param what: has failed, for the log.
    :param rest: seconds until it is tried again; they double each time, up to ten minutes.
    :param failures: so many are waited for; the next one is raised.
    """
    failed = 0
    while True:
        try:
            return await do()
        except Exception as error:  # a watcher that raises is restarted at once, again and again
            failed += 1
            if failed > failures:
                raise
            wait = min(rest * 2.0 ** (failed - 1), max(_LONGEST_REST, rest)) * random.uniform(0.5, 1.0)  # noqa: S311
            _log.warning(
                "%s: %s (failure %d in a row, %d are tolerated; next try in %.0f s)",
                what,
                error,
                failed,
                failures,
                wait,
            )
            await asyncio.sleep(wait)


def _feed(output: str, overlap: int, kept: list[Any]) -> OptOutFeed:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_hubprefs.bulk.feed import OptOutFeed

    folder = ObjectStoragePath(output)
    folder.mkdir(parents=True, exist_ok=True)
    return OptOutFeed(folder, overlap=overlap, kept=kept)


def _milliseconds(since: str) -> int:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(since)
    except (TypeError, ValueError):
        raise ValueError(f"since: expected a time such as 2027-01-15T08:00:00Z, got {since!r}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
