"""Start DAGs when somebody opts out."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.triggers.watching import Watcher, check_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.opt_outs import OptOutFeed
    from airflow_provider_hubprefs.hubspot.aio import AsyncClient
    from airflow_provider_hubprefs.hubspot.crm import Found

_RETRY_TOTAL = 30.0
"""Seconds; a look that fails is followed by another, so its own retries may end early."""


class HubPrefsOptOutTrigger(Watcher):
    """Tell of contacts that have opted out of everything: for an ``AssetWatcher``.

    .. code-block:: python

        opt_outs = Asset(
            "hubspot_opt_outs",
            watchers=[AssetWatcher(name="portal", trigger=HubPrefsOptOutTrigger(output="s3://bucket/opt-outs"))],
        )

    New opt-outs are written as a list, a JSON object with ``subscriber``, ``contact_id``, ``opted_out_at`` and
    ``opted_out_at_ms`` on each line, to the folder ``output``; the event says where: ``{"list": ..., "number":
    1, "count": 12, "watermark": "2027-01-15T08:00:00.000Z"}``, without an address. Every opt-out is in one
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

    ARGUMENTS: ClassVar[Sequence[str]] = (
        "output",
        "since",
        "poll_interval",
        "overlap",
        "max_consecutive_failures",
        "hubprefs_conn_id",
        "api_version",
    )
    OWN: ClassVar[frozenset[str]] = frozenset({"output", "since"})
    KEPT: ClassVar[str] = "hubprefs_opt_outs"

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
        super().__init__(
            output=output,
            poll_interval=poll_interval,
            max_consecutive_failures=max_consecutive_failures,
            hubprefs_conn_id=hubprefs_conn_id,
            api_version=api_version,
        )
        check_seconds(overlap, "overlap", least=0)
        if since is not None:
            _milliseconds(since)
        self.since = since
        self.overlap = overlap

    def _poll(self) -> _Portal:
        return _Portal(self)

    def _make_feed(self, folder: Any, *, arguments: dict[str, Any], kept: list[Any]) -> OptOutFeed:
        from airflow_provider_hubprefs.bulk.opt_outs import OptOutFeed

        return OptOutFeed(folder, overlap=int(self.overlap * 1000), arguments=arguments, kept=kept)

    async def _begin(self, feed: OptOutFeed, found: Found) -> Sequence[Found]:
        """What there was before the shared poll: its first look reached back to another mark, or was no whole one."""
        if feed.mark is None:
            begin = (
                partial(feed.begin, floor=found.watermark + 1, watermark=found.watermark)
                if self.since is None
                else partial(feed.begin, floor=_milliseconds(self.since))
            )
            await self._patiently("The mark cannot be written", partial(asyncio.to_thread, begin))
            if self.since is None:
                return ()
        if feed.mark is None or (found.whole and found.floor <= feed.mark.floor):
            return ()
        portal = _Portal(self, floor=feed.mark.floor)
        try:
            return [await self._patiently(portal.what, portal.look)]
        finally:
            await portal.aclose()


class _Portal:
    """The contacts of a connection, looked at again and again.

    :param trigger: what to look for, and how.
    :param floor: how far back to begin; by default with the last change that HubSpot's index knows.
    """

    def __init__(self, trigger: HubPrefsOptOutTrigger, floor: int | None = None) -> None:
        self.what = f"Opt-outs of {trigger.hubprefs_conn_id!r} cannot be looked for"
        self._trigger = trigger
        self._client: AsyncClient | None = None
        self._floor = floor
        self._seen: dict[int, int] = {}

    async def look(self) -> Found:
        """Look once."""
        overlap = int(self._trigger.overlap * 1000)
        await asyncio.to_thread(_load)
        try:
            client = self._client = self._client or await self._open()
            from airflow_provider_hubprefs.hubspot.crm import find_opt_outs, last_change_call

            version = client.calls.version
            if self._floor is None:
                newest = await client.send(last_change_call(version))
                self._floor = max([0, *(one.modified - overlap for one in newest.results)])
            found = await find_opt_outs(client.send, version, floor=self._floor, seen=self._seen)
        except BaseException:
            await self.aclose()  # whatever it was, the connection may be another one when it is tried again
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
        patience = {"retry_total": min(_RETRY_TOTAL, trigger.poll_interval)}
        return await HubPrefsHook(
            trigger.hubprefs_conn_id, trigger.api_version, settings=patience
        ).aget_client()


def _load() -> None:
    """Load what a look needs: in a thread, as it takes its time."""
    import airflow_provider_hubprefs.hooks.hubprefs
    import airflow_provider_hubprefs.hubspot.crm  # noqa: F401


def _milliseconds(since: str) -> int:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(since)
    except (TypeError, ValueError):
        raise ValueError(f"since: expected a time such as 2027-01-15T08:00:00Z, got {since!r}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
