"""The client for tasks: moves bytes over ``requests``, sleeps, asks the pacer. It decides nothing itself."""

from __future__ import annotations

import copy
import logging
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from tenacity import Retrying

from airflow_provider_hubprefs import __version__
from airflow_provider_hubprefs.hubspot.calls import Call, Calls
from airflow_provider_hubprefs.hubspot.endpoints import DEFAULT_VERSION, base_url, is_loopback
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    BurstLimitError,
    ConnectionFailedError,
    HubSpotError,
    MalformedAnswerError,
    SettingsError,
    StoppedError,
)
from airflow_provider_hubprefs.hubspot.latency import bucket_of
from airflow_provider_hubprefs.hubspot.models import Reply
from airflow_provider_hubprefs.hubspot.pacing import Pacer, Ticket, pacer_for, shared
from airflow_provider_hubprefs.hubspot.privacy import fingerprint, mask_paths_logged_by
from airflow_provider_hubprefs.hubspot.retry import retry_policy
from airflow_provider_hubprefs.hubspot.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tenacity import RetryCallState

    from airflow_provider_hubprefs.hubspot.auth import Auth

T = TypeVar("T")
USER_AGENT = f"airflow-provider-hubprefs/{__version__}"
_PIECE = 64 * 1024
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Usage:
    """What a client has spent.

    :param requests: sent, retries included, token refreshes not.
    :param retries: attempts after a first one.
    :param throttled: 429s received.
    :param waited_for_budget: seconds all threads together waited for a slot.
    :param answered: how many answers took how long; see :mod:`~airflow_provider_hubprefs.hubspot.latency`.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    waited_for_budget: float = 0.0
    answered: Counter[int] = field(default_factory=Counter)


class Client:
    """HubSpot over HTTP, for any number of threads.

    :param auth: whose token to send.
    :param version: API version, ``v3``, ``v4`` or ``YYYY-MM``.
    :param host: HubSpot's, or loopback; see :func:`~.endpoints.base_url`.
    :param settings: time-outs and limits.
    :param pacer: the budget; by default the one of these credentials in ``budget_store``.
    :param budget_store: where it is kept, and so who shares it: ``process``, ``file`` (this machine) or
        ``file:///a/folder``.
    :param max_budget_share: so much of it for this client, at most.
    :param connections: kept open at most.
    :param sleep: for tests; by default one that :meth:`stop` ends.
    :raises SettingsError: a version, host or token that cannot work.
    """

    def __init__(
        self,
        auth: Auth,
        *,
        version: str = DEFAULT_VERSION,
        host: str | None = None,
        settings: Settings | None = None,
        pacer: Pacer | None = None,
        budget_store: str = "process",
        max_budget_share: float = 1.0,
        connections: int = 32,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.calls = Calls(version)
        self.auth = auth
        self.settings = settings or Settings()
        self.url = base_url(host)
        try:
            whole = pacer or pacer_for(
                budget_store, fingerprint(f"{self.url} {auth.identity()}", key="budget")
            )
            self.pacer = whole if max_budget_share == 1 else shared(whole, max_budget_share)
        except (ValueError, ModuleNotFoundError) as error:
            raise SettingsError(str(error)) from None
        self.usage = Usage()
        self._usage_lock = threading.Lock()
        self._token_lock = threading.Lock()
        self._refresh_error: HubSpotError | None = None
        self._stopping = threading.Event()
        self._sleep = sleep or self._rest
        self._session = _session(self.url, connections)
        for logger in ("urllib3.connectionpool", "urllib3.connection"):
            mask_paths_logged_by(logger)

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
        """Let requests under way end, and begin no other: whoever waits, or asks from now on, gets StoppedError.

        May be called from another thread or a signal handler.
        """
        self._stopping.set()

    def send(self, call: Call[T]) -> T:
        """Send a call and return its result; failures that pass are waited for and retried.

        :param call: made by ``client.calls``.
        :raises HubSpotError: HubSpot refused it, or it could not be done in time.
        """

        def before_sleep(state: RetryCallState) -> None:
            self._count(retries=1)
            error = state.outcome.exception() if state.outcome else None
            _log.info("%s; attempt %d, next in %.1f s", error, state.attempt_number, state.upcoming_sleep)

        policy = retry_policy(self.settings, call.endpoint, before_sleep=before_sleep)
        result: T = Retrying(sleep=self._sleep, **policy)(self._attempt, call)
        return result

    def _attempt(self, call: Call[T]) -> T:
        """Send once; a second time with a new token where the first one's time was over."""
        token = self._access_token()
        try:
            return self._paced(call, token)
        except AuthenticationError as error:
            if not (error.expired and self._renewable(token)):
                raise
        return self._paced(call, self._access_token())

    def _renewable(self, token: str) -> bool:
        with self._token_lock:
            return self.auth.expired(token)

    def _access_token(self) -> str:
        """The token to send; refreshed by the one thread that gets here first, the others wait for it.

        They share its failure, too: trying one after the other, the last of many would wait for hours. What
        failed is tried again together with the call it was for, which certainly was not sent.
        """
        known = self._refresh_error
        with self._token_lock:
            if (token := self.auth.token()) is not None:
                return token
            if (failed := self._refresh_error) is not None and failed is not known:
                raise copy.copy(failed)
            try:
                self.auth.accept(self._paced(self.auth.refresh_call(), None))
            except HubSpotError as error:
                error.not_applied = True
                self._refresh_error = error
                raise
            fresh = self.auth.token()
        if fresh is None:
            raise AuthenticationError("HubSpot's token endpoint gave a token whose time is already over")
        return fresh

    def _paced(self, call: Call[T], token: str | None) -> T:
        if not call.endpoint.paced:
            return call.conclude(self._exchange(call, token))
        ticket = Ticket()
        headers: dict[str, str] = {}
        try:
            while (wait := self.pacer.wait(ticket)) > 0:
                self._count(waited_for_budget=wait)
                self._sleep(wait)
            self._rest(0)
            self._count(requests=1)
            begin = time.monotonic()
            reply = self._exchange(call, token)
            self._count(took=time.monotonic() - begin)
            headers.update(reply.headers)
        finally:
            self.pacer.done(ticket, headers)
        try:
            return call.conclude(reply)
        except BurstLimitError as error:
            self._count(throttled=1)
            asked = error.retry_after
            self.pacer.pause(None if asked is None else min(asked, self.settings.retry_total))
            raise

    def _exchange(self, call: Call[Any], token: str | None) -> Reply:
        """One request and its whole answer, or an error that says whether HubSpot can have acted on it."""
        headers = {"Accept": "application/json"}
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        what = f"{call.endpoint.name} ({call.version})"
        try:
            with self._session.request(
                call.endpoint.method,
                self.url + call.path,
                data=call.body,
                headers=headers,
                auth=_Bearer(token),
                timeout=(self.settings.connect_timeout, self.settings.read_timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                names = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, names, self._body(response, what))
        except (OSError, urllib3.exceptions.HTTPError) as error:
            failed = connection_error(error, what, self.url)
        raise failed  # out here it has no context: the original's text names the URL, and with it the address

    def _body(self, response: requests.Response, what: str) -> bytes:
        """Read an answer with an end: in bytes, and in seconds however slowly it drips.

        ``read1`` returns what is there; ``iter_content`` would wait until a whole piece has dripped in.
        """
        most = self.settings.max_answer_bytes
        until = time.monotonic() + self.settings.read_timeout
        pieces, size = [], 0
        while piece := response.raw.read1(_PIECE, decode_content=True):
            size += len(piece)
            if size > most:
                raise MalformedAnswerError(
                    f"HubSpot's answer to {what} is longer than {most} bytes; it was not read to its end. "
                    "Use smaller batches, or raise max_answer_bytes in the connection's extra",
                    status=response.status_code,
                )
            if time.monotonic() > until:
                raise requests.ReadTimeout
            pieces.append(piece)
        return b"".join(pieces)

    def _rest(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise StoppedError("stopped before the request was sent", not_applied=True)

    def _count(self, *, took: float | None = None, **amounts: float) -> None:
        with self._usage_lock:
            for name, amount in amounts.items():
                setattr(self.usage, name, getattr(self.usage, name) + amount)
            if took is not None:
                self.usage.answered[bucket_of(took)] += 1


class _Bearer(AuthBase):
    """Sets the header; being an ``auth`` it also keeps requests from reading ``~/.netrc``."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Session(requests.Session):
    """A session that sees no redirects.

    With ``allow_redirects=False`` alone, requests would still read the whole body of one, without a limit.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Nowhere."""
        return None


def _session(url: str, connections: int) -> requests.Session:
    """Make a pooled session without retries of its own: there is one policy, and it is not urllib3's."""
    session = _Session()
    session.headers["User-Agent"] = USER_AGENT
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one call never colours the next
    session.trust_env = not is_loopback(url)  # a proxy of the environment is for the world outside
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0, pool_block=False)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def connection_error(error: Exception, what: str, url: str) -> HubSpotError:
    """Tell what kind of failure it was, without the original's text: that names the URL.

    :param error: of requests or urllib3.
    :param what: the call, for the text.
    :param url: scheme and host.
    """
    reasons = list(_reasons(error))

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(reason, kinds) for reason in reasons)

    if isinstance(error, ValueError):
        return SettingsError(
            f"{what}: no request could be made of {url} and the proxy of the environment ({type(error).__name__}); "
            "check HTTPS_PROXY"
        )
    if among(urllib3.exceptions.ProxyError):
        text = f"{what}: no way to {url} through the proxy of the environment; check HTTPS_PROXY and NO_PROXY"
        return ConnectionFailedError(text, retryable=True, not_applied=True)
    unreadable_bundle = not isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError)
    tls = among(requests.exceptions.SSLError, urllib3.exceptions.SSLError)
    if unreadable_bundle or (tls and not among(ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ConnectionFailedError(
            f"{what}: no trusted TLS connection to {url}; check the certificates of this machine and any "
            "proxy between (REQUESTS_CA_BUNDLE)"
        )
    if among(urllib3.exceptions.NameResolutionError):
        text = f"{what}: the name in {url} cannot be looked up; check DNS and the connection's host"
        return ConnectionFailedError(text, retryable=True, not_applied=True)
    if among(requests.exceptions.ConnectTimeout, urllib3.exceptions.NewConnectionError):
        text = f"{what}: no connection to {url} (refused, unreachable or timed out)"
        return ConnectionFailedError(text, retryable=True, not_applied=True)
    if among(requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        return ConnectionFailedError(f"{what}: {url} did not answer in time", retryable=True)
    return ConnectionFailedError(
        f"{what}: the connection to {url} broke before the whole answer was there ({type(error).__name__})",
        retryable=True,
    )


def _reasons(error: BaseException | None) -> list[BaseException]:
    """The error and all it was caused by; requests hides urllib3's in arguments and ``reason``."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or any(one is known for known in found):
            continue
        found.append(one)
        waiting += [getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting += [argument for argument in one.args if isinstance(argument, BaseException)]
    return found
