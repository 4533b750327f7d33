"""The client of event loops with the face of the one for tasks, so that one test can be about either."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.transport.auth import Auth


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in it, and wait here for what comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Threaded:
    """An :class:`AsyncClient` that any thread may use."""

    def __init__(self, loop: Loop, auth: Auth, **options: Any) -> None:
        self._loop = loop
        self.client = AsyncClient(auth, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def __repr__(self) -> str:
        return repr(self.client)

    def __enter__(self) -> Threaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, call: Call[Any]) -> Any:
        return self._loop.run(self.client.send(call))

    def close(self) -> None:
        self._loop.run(self.client.aclose())
