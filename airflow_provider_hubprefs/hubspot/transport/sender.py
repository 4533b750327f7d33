"""How both clients send a call: token, budget, retries and usage.

Written once, as coroutines: ``client.py`` runs them on the calling thread, where every wait blocks; ``aio.py`` runs
them in an event loop. The two only move bytes, sleep and ask the pacer.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_hubprefs import __version__
from airflow_provider_hubprefs.hubspot.api.calls import Call, Calls
from airflow_provider_hubprefs.hubspot.api.endpoints import DEFAULT_VERSION
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    BurstLimitError,
    HubSpotError,
    SettingsError,
    StaleReadingError,
)
from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for, search_pacer
from airflow_provider_hubprefs.hubspot.privacy import fingerprint
from airflow_provider_hubprefs.hubspot.transport.auth import Auth, OAuthRefresh, StaticToken, refresh_failure
from airflow_provider_hubprefs.hubspot.transport.body import ACCEPT_ENCODING
from airflow_provider_hubprefs.hubspot.transport.host import base_url, budget_of
from airflow_provider_hubprefs.hubspot.transport.latency import bucket_of
from airflow_provider_hubprefs.hubspot.transport.observer import IGNORED, Observer
from airflow_provider_hubprefs.hubspot.transport.retry import CallTime, retrying
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from tenacity import RetryCallState

    from airflow_provider_hubprefs.hubspot.api.models import Reply

T = TypeVar("T")
HEADERS = {
    "User-Agent": f"airflow-provider-hubprefs/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": ACCEPT_ENCODING,
}
"""Headers of every request."""

CONNECTIONS = 32
"""Kept open at most; more are closed after their answer."""

_UNAUTHORIZED = 401

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Usage:
    """What a client has used.

    :param requests: sent, retries included, token refreshes not.
    :param retries: attempts after a first one.
    :param throttled: 429s received.
    :param waited_for_budget: seconds that all threads or tasks together waited for a slot.
    :param answered: how many answers took how long; see :mod:`~airflow_provider_hubprefs.hubspot.transport.latency`.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    waited_for_budget: float = 0.0
    answered: Counter[int] = field(default_factory=Counter)


_alive: weakref.WeakSet[Sender] = weakref.WeakSet()


def _begin_in_child() -> None:
    for each in list(_alive):
        each.begin()


os.register_at_fork(after_in_child=_begin_in_child)


class Secret(str):
    """A token that tracebacks with local variables do not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


class Sender(ABC):
    """What both clients have in common.

    :param auth: whose token to send.
    :param version: API version, ``v4`` or ``YYYY-MM``.
    :param host: HubSpot's, or loopback; see :func:`~.host.base_url`.
    :param settings: time-outs and limits.
    :param pacer: the budget; by default the one of these credentials that the next two name.
    :param budget_store: where it is kept, and so which clients share it; see :func:`~.store.pacer_for`.
    :param max_budget_share: of the budget, at most, for all clients of this process that name the same share.
    :raises SettingsError: a version, host or token that cannot work.
    """

    _token_lock: AbstractAsyncContextManager[Any]

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
    ) -> None:
        self.calls = Calls(version)
        self.auth = auth
        self.settings = settings or Settings()
        self.url = base_url(host)
        try:
            key = fingerprint(f"{budget_of(self.url)} {auth.identity()}", key="budget 2")
            self.pacer = pacer or pacer_for(budget_store, key, max_budget_share)
            self.search_pacer = search_pacer(key)
        except (ValueError, ModuleNotFoundError) as error:
            raise SettingsError(str(error)) from None
        self.usage = Usage()
        self.observer: Observer = IGNORED
        """Hears of every request; who makes the client may set it."""
        self._refresh_error: HubSpotError | None = None
        self.begin()
        _alive.add(self)

    def begin(self) -> None:
        """Make connections and locks; runs again in a forked child, which must not share its parent's."""
        self._usage_lock = threading.Lock()
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what only this kind of client has, and what it must not share with another process."""

    @abstractmethod
    async def _exchange(self, call: Call[Any], token: Secret | None) -> Reply:
        """One request and its whole answer, or an error that says whether HubSpot can have acted on it."""

    @abstractmethod
    async def _sleep(self, seconds: float) -> None:
        """Wait."""

    @abstractmethod
    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """Ask the pacer; its store may block."""

    def _check_going_on(self) -> None:  # noqa: B027 - a task of an event loop is cancelled instead
        """Raise if no request may begin any more."""

    async def asend(self, call: Call[T]) -> T:
        """Send a call and return its result; failures that pass are waited for and retried.

        :param call: made by ``client.calls``.
        :raises HubSpotError: HubSpot refused it, or it could not be done in time.
        :raises StaleReadingError: its ``not_after`` is over; a call that has one is not retried.
        """
        spent = CallTime(self.settings)
        if call.not_after is not None:
            return await self._attempt(call, spent)

        async def attempt() -> T:
            return await self._attempt(call, spent)

        return await self.repeat(attempt, spent)

    async def repeat(self, work: Callable[[], Awaitable[T]], spent: CallTime | None = None) -> T:
        """Do something; after failures that pass wait and do all of it again, as :meth:`asend` does with one call.

        :param work: sends calls, such as a read and the write that rests on it.
        :param spent: the time of the one call that it sends; otherwise each has a time of its own.
        :raises HubSpotError: what ``work`` raised last.
        """

        def before_sleep(state: RetryCallState) -> None:
            self._count(retries=1)
            error = state.outcome.exception() if state.outcome else None
            _log.info("%s; attempt %d, next in %.1f s", error, state.attempt_number, state.upcoming_sleep)

        policy = retrying(self.settings, spent=spent, sleep=self._sleep, before_sleep=before_sleep)
        result: T = await policy(work)
        return result

    async def _attempt(self, call: Call[T], spent: CallTime) -> T:
        """Send once; a second time with a new token where the first one is refused, for whatever reason.

        A 401 is never applied, and its body need not say why (HubSpot's guide "Error handling").
        """
        token = await self._access_token()
        try:
            return await self._paced(call, token, spent)
        except AuthenticationError as error:
            if error.status != _UNAUTHORIZED or isinstance(self.auth, StaticToken):
                raise self._explained(error) from None
            async with self._token_lock:
                self.auth.forget(token)
            if call.not_after is not None and call.not_after < math.inf:
                raise _stale(call) from self._explained(error)  # to get a new token takes a while
        token = await self._access_token()
        try:
            return await self._paced(call, token, spent)
        except AuthenticationError as error:
            raise self._explained(error) from None

    def _explained(self, error: AuthenticationError) -> AuthenticationError:
        """Say what to do with the kind of credential that this connection has, where HubSpot refused it."""
        if error.status == _UNAUTHORIZED and error.permanent:
            error.args = (f"{self.auth.remedy}; {error}",)
        return error

    async def _access_token(self) -> Secret:
        """The token to send. The first caller refreshes it; the others wait, and share its failure.

        If they tried one after the other, the last of many would wait for hours. Each retries the refresh together
        with its call, which was not sent.
        """
        auth, known = self.auth, self._refresh_error
        if isinstance(auth, StaticToken):
            return Secret(auth.access_token)
        async with self._token_lock:
            if (token := auth.token()) is not None:
                return Secret(token)
            if (failed := self._refresh_error) is not None and failed is not known:
                raise copy.copy(failed)
            await self._refresh(auth)
            fresh = auth.token()
        if fresh is None:
            raise AuthenticationError("HubSpot's token endpoint returned a token that has already expired")
        return Secret(fresh)

    async def _refresh(self, auth: OAuthRefresh) -> None:
        try:
            auth.accept(
                await self._paced(auth.refresh_call(self.calls.version), None, CallTime(self.settings))
            )
        except HubSpotError as error:
            failed = refresh_failure(error)
        else:
            return
        self._refresh_error = failed
        raise failed  # out here it has no context

    async def _paced(self, call: Call[T], token: Secret | None, spent: CallTime) -> T:
        if not call.endpoint.paced:
            with untraced():
                return call.conclude(await self._exchange(call, token))
        pacer = self.search_pacer if call.endpoint.search else self.pacer
        ticket = Ticket()
        headers: dict[str, str] = {}
        try:
            while (wait := await self._ask(pacer.wait, ticket)) > 0:
                spent.wait_for_budget(wait)
                self._count(waited_for_budget=wait)
                await self._sleep(wait)
                _check_fresh(call)  # before a slot is taken: the next reading needs it
            self._check_going_on()
            _check_fresh(call)
            spent.attempt()
            self._count(requests=1)
            self.observer.count("requests")
            begin = time.monotonic()
            with untraced():
                reply = await self._exchange(call, token)
            self._count(took=time.monotonic() - begin)
            headers.update(reply.headers)
            if (left := headers.get("x-hubspot-ratelimit-daily-remaining", "")).isdecimal():
                self.observer.gauge("budget.remaining", int(left))
        finally:
            await self._ask(pacer.done, ticket, headers)
        try:
            return call.conclude(reply)
        except BurstLimitError as error:
            self._count(throttled=1)
            self.observer.count("throttled")
            asked = error.retry_after
            pause = None if asked is None else min(asked, self.settings.retry_total)
            await self._ask(pacer.pause, pause)
            raise

    def _count(self, *, took: float | None = None, **amounts: float) -> None:
        with self._usage_lock:
            for name, amount in amounts.items():
                setattr(self.usage, name, getattr(self.usage, name) + amount)
            if took is not None:
                self.usage.answered[bucket_of(took)] += 1


def _check_fresh(call: Call[Any]) -> None:
    if call.not_after is not None and time.monotonic() > call.not_after:
        raise _stale(call)


def _stale(call: Call[Any]) -> StaleReadingError:
    text = f"{call.name} was not sent: what it rests on was read too long ago"
    return StaleReadingError(text, not_applied=True)


@contextmanager
def untraced() -> Iterator[None]:
    """Have OpenTelemetry's instrumentations of HTTP libraries make no spans: the path has the address in it.

    The keys are those that ``opentelemetry.instrumentation.utils`` looks at, by name in older releases. Where nothing
    has loaded OpenTelemetry, nothing is instrumented.
    """
    context = sys.modules.get("opentelemetry.context")
    if context is None:
        yield
        return
    suppressed = context.get_current()
    for name in ("suppress_instrumentation", "suppress_http_instrumentation"):
        key = getattr(context, f"_{name.upper()}_KEY", name)
        suppressed = context.set_value(name, value=True, context=suppressed)
        suppressed = context.set_value(key, value=True, context=suppressed)
    attached = context.attach(suppressed)
    try:
        yield
    finally:
        context.detach(attached)


def request_headers(call: Call[Any], token: Secret | None) -> dict[str, str]:
    """Headers of one request, beside :data:`HEADERS`."""
    headers = {} if call.body is None else {"Content-Type": call.content_type}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers
