"""The connection of a poller: looked up once for all its waits, and again from time to time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.errors import AuthenticationError
from airflow_provider_hubprefs.hubspot.transport.batches import BatchCaller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.api.models import Operation
    from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient

LOOK_UP_EVERY = 60.0
"""Seconds between two look-ups of the connection, which may have been changed or removed."""


class PolledConnection:
    """A client for many waits, renewed when the connection changes.

    :param connect: makes a client of the connection as it is now.
    """

    def __init__(self, connect: Callable[[], Awaitable[AsyncClient]]) -> None:
        self.batches = BatchCaller(self.send)
        self._connect = connect
        self._client: AsyncClient | None = None
        self._clients: list[AsyncClient] = []
        self._expires_at = 0.0
        self._lock = asyncio.Lock()

    async def client(self, *, renew: bool = False) -> AsyncClient:
        """Return the client; a new one where the connection has changed.

        :param renew: look the connection up, however long ago that was done.
        :raises Exception: there is no such connection, or it cannot work.
        """
        now = asyncio.get_running_loop().time()
        async with self._lock:
            client = self._client
            if client is None or now >= self._expires_at or renew:
                client = await self._look_up(client)
                self._expires_at = now + LOOK_UP_EVERY
            return client

    async def send(self, call: Call[Operation[Any]]) -> Operation[Any]:
        """Send a call; where HubSpot refuses the token, once more if the connection has another token by now.

        :raises HubSpotError: HubSpot refused the call, or did not answer in time.
        """
        client = await self.client()
        try:
            return await client.send(call)
        except AuthenticationError:
            renewed = await self.client(renew=True)
            if renewed is client:
                raise
            return await renewed.send(call)

    async def aclose(self) -> None:
        """Close all clients."""
        for client in self._clients:
            with suppress(Exception):
                await client.aclose()

    async def _look_up(self, known: AsyncClient | None) -> AsyncClient:
        fresh = await self._connect()
        if known is not None and _identity(fresh) == _identity(known):
            return known
        self._clients.append(fresh)  # the former client may still be sending: aclose() closes all of them
        self._client, self.batches = fresh, BatchCaller(self.send)
        return fresh


def _identity(client: AsyncClient) -> Mapping[str, object]:
    return {
        "url": client.url,
        "credentials": client.auth.identity(),
        "version": client.calls.version,
        "settings": client.settings,
    }
