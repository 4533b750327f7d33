"""The client for tasks: it moves bytes over ``requests``, sleeps and asks the pacer, and decides nothing."""

from __future__ import annotations

import math
import ssl
import threading
import time
import zlib
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import urllib3

from airflow_provider_hubprefs.hubspot.api.models import Reply
from airflow_provider_hubprefs.hubspot.errors import StoppedError
from airflow_provider_hubprefs.hubspot.privacy import mask_paths_logged_by
from airflow_provider_hubprefs.hubspot.transport.body import PIECE, Body
from airflow_provider_hubprefs.hubspot.transport.connections import Adapter, HandshakeError
from airflow_provider_hubprefs.hubspot.transport.environment import TrustError, ca_bundle, proxy_for
from airflow_provider_hubprefs.hubspot.transport.no_answer import Cause, unanswered
from airflow_provider_hubprefs.hubspot.transport.sender import HEADERS, Secret, Sender, request_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from airflow_provider_hubprefs.hubspot.api.calls import Call

T = TypeVar("T")
CAUSES = (
    (Cause.PROXY, (urllib3.exceptions.ProxyError,)),
    (Cause.TLS, (ssl.SSLCertVerificationError, TrustError)),
    (Cause.UNREACHABLE, (HandshakeError,)),
    (Cause.BROKEN, (ssl.SSLError, zlib.error)),
    (
        Cause.BAD_PROXY,
        (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            urllib3.exceptions.LocationValueError,
        ),
    ),
    (Cause.NAME, (urllib3.exceptions.NameResolutionError,)),
    (Cause.UNREACHABLE, (requests.ConnectTimeout, urllib3.exceptions.NewConnectionError)),
    (Cause.SILENT, (requests.Timeout, urllib3.exceptions.TimeoutError)),
    (Cause.BROKEN, (requests.RequestException, urllib3.exceptions.HTTPError)),
    (Cause.TLS, (OSError,)),  # a bundle of certificates that is not there
)
"""What the errors of requests and urllib3 mean, see :data:`~.no_answer.Causes`."""


_MOST_CONNECTIONS = 1000
"""urllib3 warns of each connection beyond, and closes it; threads are never that many."""


class Client(Sender):
    """HubSpot over HTTP, for any number of threads. For its arguments see :class:`~.sender.Sender`."""

    def _prepare(self) -> None:
        self._token_lock = _ThreadLock()
        # No threading.Event: a signal handler that sets one while its own thread reads it would deadlock.
        self._stopping = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._session = _session(self.url)
        self._latest = threading.local()
        mask_paths_logged_by("urllib3.connectionpool", "urllib3.connection")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._session.close()

    def stop(self) -> None:
        """Begin no more requests; those in flight may end. Threads that wait or send get StoppedError.

        Another thread or a signal handler may call this.
        """
        self._stopping = True
        self._wake.put(None)

    def send(self, call: Call[T]) -> T:
        """Send a call and return its result; failures that pass are waited for and retried.

        :param call: made by ``client.calls``.
        :raises HubSpotError: HubSpot refused it, or it could not be done in time.
        """
        return run(self.asend(call))

    @property
    def sent_at(self) -> float:
        """When this thread's latest request left, in monotonic seconds: its answer is as old as that, at most."""
        return getattr(self._latest, "sent_at", -math.inf)

    async def _sleep(self, seconds: float) -> None:
        self.rest(seconds)

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        return question(*arguments)

    def _check_going_on(self) -> None:
        self.rest(0)

    async def _exchange(self, call: Call[Any], token: Secret | None) -> Reply:
        self._latest.sent_at = now = time.monotonic()
        connect = self.settings.connect_timeout
        if call.not_after is not None:  # it leaves when it is connected
            connect = min(connect, max(call.not_after - now, 0.1))
        timeout = (connect, self.settings.read_timeout)
        try:
            with self._session.request(
                call.endpoint.method,
                self.url + call.path,
                data=call.body,
                headers=request_headers(call, token),
                timeout=timeout,
                stream=True,
                allow_redirects=False,
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, headers, self._read(response, call))
        except (OSError, urllib3.exceptions.HTTPError, zlib.error) as error:
            failed = unanswered(error, CAUSES, what=call.name, url=self.url)
        raise failed  # out here it has no context: the original's text names the URL, and with it the address

    def _read(self, response: requests.Response, call: Call[Any]) -> bytes:
        """Read a body within the limits of size and time, however slowly it comes.

        ``read1`` returns what has arrived; ``iter_content`` would wait for a whole piece.
        """
        encoding = response.headers.get("Content-Encoding", "")
        limit = self.settings.max_answer_bytes
        body = Body(limit, what=call.name, status=response.status_code, encoding=encoding)
        until = time.monotonic() + self.settings.read_timeout
        while piece := response.raw.read1(PIECE, decode_content=False):
            body.add(piece)
            if time.monotonic() > until:
                raise requests.ReadTimeout
        return body.whole()

    def rest(self, seconds: float) -> None:
        """Sleep until the time is over or :meth:`stop` is called.

        :raises StoppedError: the client is stopped.
        """
        if seconds > 0 and not self._stopping:
            with suppress(Empty):
                self._wake.get(timeout=seconds)
                self._wake.put(None)  # the others rest, too
        if self._stopping:
            raise StoppedError("stopped before the request was sent", not_applied=True)


class _ThreadLock:
    """A thread lock for the shared code's ``async with``; waiting for it blocks the thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on this thread; everything it awaits must block the thread, as :meth:`Client.asend` does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("the client for tasks waited for an event loop")  # pragma: no cover - a mistake here


class _Session(requests.Session):
    """A session that never looks at where a redirect leads: it would read the whole answer for that."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""


def _session(url: str) -> requests.Session:
    """Make the session: it keeps no cookies, and takes proxies and certificates from the environment once.

    :param url: scheme and host.
    """
    session = _Session()
    session.trust_env = False  # nor is ~/.netrc read
    session.headers.update(HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.verify = str(ca_bundle())
    if (proxy := proxy_for(url)) is not None:
        session.proxies = {"http": proxy, "https": proxy}
    # Retries are this package's: see retry.py.
    session.mount(url, Adapter(pool_connections=1, pool_maxsize=_MOST_CONNECTIONS, max_retries=0))
    return session
