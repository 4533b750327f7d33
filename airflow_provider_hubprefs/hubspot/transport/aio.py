"""The client for event loops: it moves bytes over ``httpx``, sleeps and asks the pacer, and decides nothing."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import ssl
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from airflow_provider_hubprefs.hubspot.api.models import Reply
from airflow_provider_hubprefs.hubspot.pacing.pacers import BusyError
from airflow_provider_hubprefs.hubspot.privacy import mask_paths_logged_by
from airflow_provider_hubprefs.hubspot.transport.body import Body
from airflow_provider_hubprefs.hubspot.transport.environment import TrustError, proxy_for, trust
from airflow_provider_hubprefs.hubspot.transport.no_answer import Cause, unanswered
from airflow_provider_hubprefs.hubspot.transport.sender import (
    CONNECTIONS,
    HEADERS,
    Secret,
    Sender,
    request_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.transport.settings import Settings

T = TypeVar("T")
CAUSES = (
    (Cause.PROXY, (httpx.ProxyError,)),
    (Cause.TLS, (ssl.SSLCertVerificationError, TrustError)),
    (Cause.NAME, (socket.gaierror,)),
    (Cause.UNREACHABLE, (httpx.ConnectTimeout, httpx.ConnectError)),  # also a handshake of TLS that failed
    (Cause.BROKEN, (ssl.SSLError, zlib.error)),
    (Cause.SILENT, (httpx.TimeoutException, TimeoutError)),
    (Cause.BAD_PROXY, (httpx.UnsupportedProtocol,)),
    (Cause.BROKEN, (httpx.HTTPError,)),
    # The rest comes from making the client: unreadable certificates, or a proxy that is not a URL.
    (Cause.TLS, (OSError,)),
    (Cause.BAD_PROXY, (Exception,)),
)
"""What the errors of httpx mean, see :data:`~.no_answer.Causes`."""

_LOADED_LATE = ("httpcore._backends.anyio", "anyio._backends._asyncio")
"""Modules that httpx loads with its first request, blocking the loop for 111 ms. It may work without them."""


@cache
def _budget_threads(_process: int) -> ThreadPoolExecutor:
    """Threads of this process for budgets: a store that hangs occupies these, and not the loop's own."""
    return ThreadPoolExecutor(4, thread_name_prefix="hubprefs-budget")


class AsyncClient(Sender):
    """HubSpot over HTTP, for any number of tasks of one event loop.

    Make it in a thread: the budget's store may block. A task that is cancelled gives back its place in the queue.
    For its arguments see :class:`~.sender.Sender`.
    """

    def _prepare(self) -> None:
        self._token_lock = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._opened: httpx.AsyncClient | None = None
        mask_paths_logged_by("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "proxy")))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that are kept open."""
        if self._opened is not None:
            await self._opened.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call and return its result; failures that pass are waited for and retried.

        :param call: made by ``client.calls``.
        :raises HubSpotError: HubSpot refused it, or it could not be done in time.
        """
        return await self.asend(call)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """Ask the pacer, in a thread if its store may block.

        A quick store is asked in the loop first: a thread costs ten times as much as the answer.

        A thread cannot be cancelled. A task that is cancelled meanwhile waits for the thread's answer; otherwise the
        pacer would promise a slot after the task gave its place back.
        """
        with suppress(BusyError):
            return question(*arguments, blocking=False)
        asked = asyncio.get_running_loop().run_in_executor(_budget_threads(os.getpid()), question, *arguments)
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            while not asked.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([asked])
            raise

    async def _http(self) -> httpx.AsyncClient:
        """The connections; certificates are read by the first request, in a thread."""
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncio.to_thread(_open, self.url, self.settings)
            return self._opened

    async def _exchange(self, call: Call[Any], token: Secret | None) -> Reply:
        settings = self.settings
        try:
            http = await self._http()
            # A time-out of httpx begins anew with every byte.
            async with (
                asyncio.timeout(settings.connect_timeout + settings.read_timeout) as head,
                http.stream(
                    call.endpoint.method,
                    self.url + call.path,
                    content=call.body,
                    headers=request_headers(call, token),
                ) as response,
            ):
                head.reschedule(None)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, headers, await self._read(response, call))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError, zlib.error) as error:
            failed = unanswered(error, CAUSES, what=call.name, url=self.url)
        raise failed  # out here it has no context: the original's text names the URL, and with it the address

    async def _read(self, response: httpx.Response, call: Call[Any]) -> bytes:
        """Read a body within the limits of size and time, however slowly it comes."""
        encoding = response.headers.get("Content-Encoding", "")
        limit = self.settings.max_answer_bytes
        body = Body(limit, what=call.name, status=response.status_code, encoding=encoding)
        async with asyncio.timeout(self.settings.read_timeout):
            async for piece in response.aiter_raw():
                body.add(piece)
        return body.whole()


def _open(url: str, settings: Settings) -> httpx.AsyncClient:
    """Make httpx' client: it keeps no cookies, and takes proxies and certificates from the environment once.

    This reads certificates and loads libraries, so it runs in a thread.

    :param url: scheme and host.
    """
    for module in _LOADED_LATE:
        with suppress(ImportError):
            importlib.import_module(module)
    http = httpx.AsyncClient(
        headers=HEADERS,
        timeout=httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS),
        verify=trust() if url.startswith("https:") else False,
        proxy=proxy_for(url),
        trust_env=False,
        follow_redirects=False,
        event_hooks={"response": [_forget_redirect]},
    )
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return http


async def _forget_redirect(response: httpx.Response) -> None:
    """Httpx prepares the next request even where it follows no redirect, and fails where that leads nowhere."""
    response.headers.pop("Location", None)
