"""The client for tasks: moves bytes over ``requests``, sleeps, asks the pacer. It decides nothing itself."""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import requests
import urllib3
from requests.adapters import HTTPAdapter

from airflow_provider_hubprefs.hubspot.endpoints import is_loopback
from airflow_provider_hubprefs.hubspot.errors import HubSpotError, StoppedError
from airflow_provider_hubprefs.hubspot.models import Reply
from airflow_provider_hubprefs.hubspot.privacy import mask_paths_logged_by
from airflow_provider_hubprefs.hubspot.sending import (
    USER_AGENT,
    Options,
    Sender,
    Usage,
    name_of,
    request_headers,
)
from airflow_provider_hubprefs.hubspot.unanswered import Body, Cause, reasons, unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from airflow_provider_hubprefs.hubspot.auth import Auth
    from airflow_provider_hubprefs.hubspot.calls import Call

__all__ = ["Client", "Usage"]

T = TypeVar("T")
_PIECE = 64 * 1024


class Client(Sender):
    """HubSpot over HTTP, for any number of threads.

    :param auth: whose token to send.
    :param connections: kept open at most.
    :param sleep: for tests; by default one that :meth:`stop` ends.
    :param options: version, host, settings, budget: see :class:`~.sending.Options`.
    :raises SettingsError: a version, host or token that cannot work.
    """

    def __init__(
        self,
        auth: Auth,
        *,
        connections: int = 32,
        sleep: Callable[[float], None] | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(auth, **options)
        self._token_lock = _ThreadLock()
        # No threading.Event: a signal handler that sets one while its thread looks at it waits for itself.
        self._stopping = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._nap = sleep or self.rest
        # One policy of retries, and it is not urllib3's.
        self._adapter = HTTPAdapter(
            pool_connections=1, pool_maxsize=connections, max_retries=0, pool_block=False
        )
        self._surroundings = _surroundings(self.url)
        mask_paths_logged_by("urllib3.connectionpool", "urllib3.connection")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._adapter.close()

    def stop(self) -> None:
        """Let requests under way end, and begin no other: whoever waits, or asks from now on, gets StoppedError.

        May be called from another thread or a signal handler.
        """
        self._stopping = True
        self._wake.put(None)

    def send(self, call: Call[T]) -> T:
        """Send a call and return its result; failures that pass are waited for and retried.

        :param call: made by ``client.calls``.
        :raises HubSpotError: HubSpot refused it, or it could not be done in time.
        """
        return _run(self._send(call))

    async def _sleep(self, seconds: float) -> None:
        self._nap(seconds)

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        return question(*arguments)

    def _check_going_on(self) -> None:
        self.rest(0)

    async def _exchange(self, call: Call[Any], token: str | None) -> Reply:
        what = name_of(call)
        timeout = (self.settings.connect_timeout, self.settings.read_timeout)
        try:
            request = self._prepared(call, token)
            with self._adapter.send(request, timeout=timeout, **self._surroundings) as response:
                names = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, names, self._body(response, what))
        except (OSError, urllib3.exceptions.HTTPError) as error:
            failed = connection_error(error, what, self.url)
        raise failed  # out here it has no context: the original's text names the URL, and with it the address

    def _prepared(self, call: Call[Any], token: str | None) -> requests.PreparedRequest:
        """Make the request as it goes out.

        A session would parse the address and read the environment, cookies and ``~/.netrc`` again for every one of
        them, and look for redirects in the answers: a third of what a request costs, and none of it is wanted here.
        """
        request = requests.PreparedRequest()
        request.method, request.url, request.body = call.endpoint.method, self.url + call.path, call.body
        request.headers = requests.utils.default_headers()
        request.headers.update({"User-Agent": USER_AGENT, **request_headers(call)})
        request.prepare_content_length(call.body)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    def _body(self, response: requests.Response, what: str) -> bytes:
        """Read an answer with an end: in bytes, and in seconds however slowly it drips.

        ``read1`` returns what is there; ``iter_content`` would wait until a whole piece has dripped in.
        """
        body = Body(self.settings.max_answer_bytes, what=what, status=response.status_code)
        until = time.monotonic() + self.settings.read_timeout
        while piece := response.raw.read1(_PIECE, decode_content=True):
            body.add(piece)
            if time.monotonic() > until:
                raise requests.ReadTimeout
        return body.whole()

    def rest(self, seconds: float) -> None:
        """Sleep, unless the client is told to stop.

        :raises StoppedError: it is, or was before.
        """
        if seconds > 0 and not self._stopping:
            with suppress(Empty):
                self._wake.get(timeout=seconds)
                self._wake.put(None)  # the others rest, too
        if self._stopping:
            raise StoppedError("stopped before the request was sent", not_applied=True)


class _ThreadLock:
    """A lock of threads where the shared code says ``async with``; waiting for it blocks the thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends: everything it awaits blocks this thread instead."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("the client for tasks waited for an event loop")  # pragma: no cover - a mistake here


def _surroundings(url: str) -> dict[str, Any]:
    """Proxies and certificates, as the environment has them: what an adapter is told with every request."""
    with requests.Session() as session:
        session.trust_env = not is_loopback(url)  # a proxy of the environment is for the world outside
        return dict(session.merge_environment_settings(url, proxies={}, stream=True, verify=None, cert=None))


def connection_error(error: Exception, what: str, url: str) -> HubSpotError:
    """Tell what kind of failure it was.

    :param error: of requests or urllib3.
    :param what: the call, for the text.
    :param url: scheme and host.
    """
    return unanswered(_cause(error), what, url, type(error).__name__)


def _cause(error: Exception) -> Cause:
    known = reasons(error)

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(reason, kinds) for reason in known)

    if isinstance(error, ValueError):
        return Cause.BAD_PROXY
    if among(urllib3.exceptions.ProxyError):
        return Cause.PROXY
    unreadable_bundle = not isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError)
    tls = among(requests.exceptions.SSLError, urllib3.exceptions.SSLError)
    if unreadable_bundle or (tls and not among(ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return Cause.TLS
    if among(urllib3.exceptions.NameResolutionError):
        return Cause.NAME
    if among(requests.exceptions.ConnectTimeout, urllib3.exceptions.NewConnectionError):
        return Cause.UNREACHABLE
    if among(requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        return Cause.SILENT
    return Cause.BROKEN
