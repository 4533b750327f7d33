"""What watchers of HubSpot have in common: a poll that they share, and numbered lists that they tell of."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence

    from airflow_provider_hubprefs.bulk.feed import Feed, News

T = TypeVar("T")
ARRIVES_WITHIN = 5.0
"""Seconds after which Airflow has certainly stored an event; the triggerer does so about once a second."""

SHORTEST_INTERVAL = 1.0
"""Seconds between two looks, at least."""

_LONGEST_REST = 600.0
"""Seconds until the next try, however often it has failed."""

_DEFECTS = (
    TypeError,
    AttributeError,
    NameError,
    LookupError,
    AssertionError,
    ImportError,
    NotImplementedError,
)
"""No waiting helps against these. What does pass has no common base: stores have errors of their own."""

_log = logging.getLogger(__name__)


class Poll(Protocol):
    """Looks at HubSpot, again and again."""

    what: str
    """Fails where a look does, for the log."""

    async def look(self) -> Any:
        """Look once; safe to be repeated when it fails."""

    async def aclose(self) -> None:
        """Close the connections."""


class Watcher(BaseEventTrigger):
    """Tell of what is new at HubSpot: for an ``AssetWatcher``.

    What is new is written as a list to a folder; the event says where. Where the watcher stands is kept there, and
    on Airflow 3.3 in the asset's state store. There, too, watchers that look at the same share one poll.

    :param output: folder of the lists, for this watcher alone.
    :param poll_interval: seconds between two looks.
    :param max_consecutive_failures: so many tries in a row may fail before the trigger does.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    :raises ValueError: an argument that cannot work.
    """

    ARGUMENTS: ClassVar[Sequence[str]]
    """In this order they are stored. It must stay: Airflow knows the trigger by it."""

    OWN: ClassVar[frozenset[str]] = frozenset({"output"})
    """Arguments in which watchers may differ and share a poll."""

    ABOUT: ClassVar[Sequence[str]] = ("hubprefs_conn_id",)
    """Arguments that decide what is in the lists: a folder is for one set of them."""

    KEPT: ClassVar[str]
    """Where the mark is in the asset's state store."""

    def __init__(
        self,
        *,
        output: str,
        poll_interval: float,
        max_consecutive_failures: int,
        hubprefs_conn_id: str,
        api_version: str | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        check_place(output, "output", "a folder for the lists, such as s3://bucket/opt-outs")
        check_seconds(poll_interval, "poll_interval", least=SHORTEST_INTERVAL)
        if not isinstance(max_consecutive_failures, int) or max_consecutive_failures < 0:
            raise ValueError(
                f"max_consecutive_failures: expected a whole number of at least 0, got {max_consecutive_failures!r}"
            )
        self.output = output
        self.poll_interval = poll_interval
        self.max_consecutive_failures = max_consecutive_failures
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {
            name: getattr(self, name) for name in self.ARGUMENTS
        }

    @abstractmethod
    def _poll(self) -> Poll:
        """Make what looks at HubSpot for all who share it."""

    @abstractmethod
    def _make_feed(self, folder: Any, *, arguments: dict[str, Any], kept: list[Any]) -> Feed[Any]:
        """Make the lists. It reads the folder, and runs in a thread."""

    async def _begin(self, feed: Any, found: Any) -> Sequence[Any]:
        """What there is to be taken before the first look that this watcher sees."""
        return ()

    # One poll for all who look at the same (Airflow 3.3) ---------------------------------------------------

    def shared_stream_key(self) -> Hashable | None:
        """Watchers share a poll unless they look at something else, or in another rhythm."""
        kwargs = self.serialize()[1]
        return (self.KEPT, *(value for name, value in kwargs.items() if name not in self.OWN))

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Poll; yield what each look found, also when that is nothing."""
        trigger = cls(**kwargs)
        poll = trigger._poll()
        try:
            while True:
                yield await trigger._patiently(poll.what, poll.look)
                await asyncio.sleep(trigger.poll_interval * random.uniform(0.9, 1.1))  # noqa: S311
        finally:
            await poll.aclose()

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Write what is new to this watcher, and tell of it."""
        feed = await self._patiently("The mark cannot be read", self._open_feed)
        async for event in self._tell(feed):
            yield event
        begun = False
        async for found in shared_stream:
            if not begun:
                for before in await self._begin(feed, found):
                    await self._take(feed, before)
                begun = True
            await self._take(feed, found)
            async for event in self._tell(feed):
                yield event

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same where nothing is shared: before Airflow 3.3, and in tests."""
        stream = type(self).open_shared_stream(self.serialize()[1])
        async for event in self.filter_shared_stream(stream):
            yield event

    # This watcher's own ------------------------------------------------------------------------------------

    async def _open_feed(self) -> Feed[Any]:
        store = getattr(self, "asset_state_store", None)
        kept = []
        if store is not None:
            try:
                kept.append(await store.aget(self.KEPT))
            except ValueError:  # several assets have this watcher: the mark in the folder must do
                self.asset_state_store = None
        return await asyncio.to_thread(self._feed, kept)

    def _feed(self, kept: list[Any]) -> Feed[Any]:
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        folder = ObjectStoragePath(self.output)
        folder.mkdir(parents=True, exist_ok=True)
        arguments = {"lists": self.KEPT, **{name: getattr(self, name) for name in self.ABOUT}}
        return self._make_feed(folder, arguments=arguments, kept=kept)

    async def _take(self, feed: Any, found: Any) -> None:
        if await self._patiently("The list cannot be written", partial(asyncio.to_thread, feed.take, found)):
            await self._keep(feed)

    async def _tell(self, feed: Feed[Any]) -> AsyncIterator[TriggerEvent]:
        """Tell of each list, and keep that it was told once that is certain."""
        if feed.mark is None:
            return
        news = await self._patiently(
            "The list cannot be read", lambda: asyncio.to_thread(list, feed.untold())
        )
        for one in news:
            yield TriggerEvent(self._payload(one, feed.mark.watermark))  # type: ignore[no-untyped-call]
            await asyncio.sleep(ARRIVES_WITHIN)
            await self._patiently("The mark cannot be written", partial(asyncio.to_thread, feed.told, one))
            await self._keep(feed)

    def _payload(self, news: News, watermark: int) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.feed import iso  # loaded with the feed

        return {
            "list": f"{self.output.rstrip('/')}/{news.name}",
            "number": news.number,
            "count": news.count,
            "watermark": iso(watermark),
        }

    async def _keep(self, feed: Feed[Any]) -> None:
        """Keep the mark in the asset's state store, too: one folder lost is not all lost, and Airflow shows it."""
        store = getattr(self, "asset_state_store", None)
        if store is not None and feed.mark is not None:
            state = feed.mark.state()
            await self._patiently("The asset's state cannot be stored", lambda: store.aset(self.KEPT, state))

    async def _patiently(self, what: str, do: Callable[[], Awaitable[T]]) -> T:
        return await patiently(what, do, rest=self.poll_interval, failures=self.max_consecutive_failures)


async def patiently(what: str, do: Callable[[], Awaitable[T]], *, rest: float, failures: int) -> T:
    """Do something until it works, or has failed too often in a row.

    What no waiting helps against is raised after a single rest: a watcher that raises is started again at once.

    :param what: has failed, for the log.
    :param rest: seconds until it is tried again; they double each time, up to ten minutes.
    :param failures: so many are waited for; the next one is raised.
    """
    failed = 0
    while True:
        try:
            return await do()
        except Exception as error:
            if _is_final(error):
                _log.error("%s: %s: %s", what, type(error).__name__, error)
                await asyncio.sleep(rest)
                raise
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


def _is_final(error: Exception) -> bool:
    from airflow_provider_hubprefs.bulk.feed import FeedError

    return isinstance(error, (FeedError, *_DEFECTS))


def check_place(value: object, name: str, expected: str) -> None:
    """Check an argument that says where something is.

    :raises ValueError: it does not.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected {expected}, got nothing")


def check_seconds(value: object, name: str, *, least: float) -> None:
    """Check an argument in seconds.

    :raises ValueError: no number, less than ``least`` or more than a day.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= 86_400:
        raise ValueError(f"{name}: expected seconds from {least:g} to 86400, got {value!r}")
