"""The client for the triggerer: moves bytes over ``httpx``, sleeps, asks the pacer. It decides nothing itself."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import ssl
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import httpx

from airflow_provider_hubprefs.hubspot.endpoints import is_loopback
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, MalformedAnswerError
from airflow_provider_hubprefs.hubspot.models import Reply
from airflow_provider_hubprefs.hubspot.pacing import BusyError
from airflow_provider_hubprefs.hubspot.privacy import mask_paths_logged_by
from airflow_provider_hubprefs.hubspot.sending import (
    USER_AGENT,
    Options,
    Sender,
    name_of,
    request_headers,
)
from airflow_provider_hubprefs.hubspot.unanswered import Body, Cause, reasons, unanswered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from airflow_provider_hubprefs.hubspot.auth import Auth
    from airflow_provider_hubprefs.hubspot.calls import Call

T = TypeVar("T")
_PIECE = 64 * 1024
_LOADED_LATE = ("httpcore._backends.anyio", "anyio._backends._asyncio")
"""What httpx would load with its first request, in the loop: 111 ms. A release without them loses nothing."""
_GZIP = 16 + zlib.MAX_WBITS

_url = lru_cache(maxsize=100)(httpx.URL)
"""Who waits asks the same again and again, and httpx takes longer to read a URL than to write the request."""


class AsyncClient(Sender):
    """HubSpot over HTTP, for any number of tasks of one event loop.

    A task that is cancelled gives the place in the queue back that it had.

    :param auth: whose token to send.
    :param connections: kept open at most.
    :param sleep: for tests.
    :param options: version, host, settings, budget: see :class:`~.sending.Options`.
    :raises SettingsError: a version, host or token that cannot work.
    """

    def __init__(
        self,
        auth: Auth,
        *,
        connections: int = 32,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(auth, **options)
        self._token_lock = asyncio.Lock()
        self._nap = sleep
        self._connections = connections
        self._opening = asyncio.Lock()
        limit = self.settings.read_timeout
        self._timeout = httpx.Timeout(limit, connect=self.settings.connect_timeout, pool=None).as_dict()
        self._opened: httpx.AsyncHTTPTransport | None = None
        mask_paths_logged_by(*(f"httpcore.{part}" for part in ("connection", "http11", "proxy")))

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
        return await self._send(call)

    async def _sleep(self, seconds: float) -> None:
        await self._nap(seconds)

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """Ask here; in a thread only where the answer takes time: a thread costs ten times what the answer does.

        A thread cannot be cancelled: a task that is cancelled meanwhile waits for its answer, or a slot would be
        promised after the place in the queue was given back.
        """
        with suppress(BusyError):
            return question(*arguments, blocking=False)
        asked = asyncio.ensure_future(asyncio.to_thread(question, *arguments))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            while not asked.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([asked])
            raise

    async def _http(self) -> httpx.AsyncHTTPTransport:
        """The connections; certificates are read by the first request, in a thread."""
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncio.to_thread(_open, self)
            return self._opened

    async def _exchange(self, call: Call[Any], token: str | None) -> Reply:
        what = name_of(call)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", **request_headers(call)}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            http = await self._http()
            request = httpx.Request(
                call.endpoint.method,
                _url(self.url + call.path),
                content=call.body,
                headers=headers,
                extensions={"timeout": self._timeout},
            )
            response = await http.handle_async_request(request)
            try:
                names = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, names, await self._body(response, what))
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError, zlib.error) as error:
            failed = connection_error(error, what, self.url)
        raise failed  # out here it has no context: the original's text names the URL, and with it the address

    async def _body(self, response: httpx.Response, what: str) -> bytes:
        """Read an answer with an end: in bytes, also once unpacked, and in seconds however slowly it drips."""
        body = Body(self.settings.max_answer_bytes, what=what, status=response.status_code)
        packed = response.headers.get("content-encoding", "identity").strip().lower()
        if packed not in {"identity", "gzip"}:
            raise MalformedAnswerError(
                f"HubSpot's answer to {what} is packed as nobody asked for", status=response.status_code
            )
        unpacker = zlib.decompressobj(_GZIP) if packed == "gzip" else None
        async with asyncio.timeout(self.settings.read_timeout):
            async for piece in response.aiter_raw(_PIECE if unpacker is None else None):
                for part in [piece] if unpacker is None else _unpacked(piece, unpacker):
                    body.add(part)
        return body.whole()


def _unpacked(piece: bytes, unpacker: zlib._Decompress) -> Iterator[bytes]:
    """What a piece unpacks to, little by little; httpx would unpack all of it at once, however much it is."""
    while piece:
        yield unpacker.decompress(piece, _PIECE)
        piece = unpacker.unconsumed_tail


def _open(client: AsyncClient) -> httpx.AsyncHTTPTransport:
    """Make the pool. It reads certificates and loads libraries, so it is made in a thread.

    What httpx has on top of it, cookies, redirects and authentication, nobody here wants, and it costs a tenth of
    a poll.
    """
    for module in _LOADED_LATE:
        with suppress(ImportError):
            importlib.import_module(module)
    return httpx.AsyncHTTPTransport(
        verify=_trust() if client.url.startswith("https:") else False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=client._connections),
        proxy=httpx.Proxy(proxy) if (proxy := _proxy_to(client.url)) else None,
    )


def _proxy_to(url: str) -> str | None:
    """The proxy that the environment names for a host; it is for the world outside."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _trust() -> ssl.SSLContext:
    """Whom to trust, by the same rules as requests."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    bundle = Path(named or certifi.where())
    return _trusting(bundle, bundle.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _trusting(bundle: Path, changed_at: int) -> ssl.SSLContext:
    """Reading the bundle takes tens of milliseconds: all clients share it."""
    if bundle.is_dir():
        return ssl.create_default_context(capath=str(bundle))
    return ssl.create_default_context(cafile=str(bundle))


def connection_error(error: Exception, what: str, url: str) -> HubSpotError:
    """Tell what kind of failure it was.

    :param error: of httpx, or of what it uses.
    :param what: the call, for the text.
    :param url: scheme and host.
    """
    return unanswered(_cause(error), what, url, type(error).__name__)


def _cause(error: Exception) -> Cause:
    known = reasons(error)

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(reason, kinds) for reason in known)

    if isinstance(error, httpx.ProxyError):
        return Cause.PROXY
    if isinstance(error, httpx.ConnectTimeout):
        return Cause.UNREACHABLE
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Cause.SILENT
    if among(ssl.SSLError) and not among(ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return Cause.TLS
    if isinstance(error, httpx.ConnectError):
        return Cause.NAME if among(socket.gaierror) else Cause.UNREACHABLE
    if isinstance(error, httpx.HTTPError | zlib.error):
        return Cause.BAD_PROXY if isinstance(error, httpx.UnsupportedProtocol) else Cause.BROKEN
    # What is left comes from opening the pool: certificates that cannot be read, a proxy that is no URL.
    return Cause.TLS if isinstance(error, OSError) else Cause.BAD_PROXY
