"""How both clients send a call: token, budget, retries and usage.

Written once, as coroutines: ``client.py`` runs them on the calling thread, where every wait blocks; ``aio.py`` runs
them in an event loop. The two only move bytes, sleep and ask the pacer.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
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
from airflow_provider_hubprefs.hubspot.transport.retry import retrying
from airflow_provider_hubprefs.hubspot.transport.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
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
        self._usage_lock = threading.Lock()
        self._refresh_error: HubSpotError | None = None
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what only this kind of client has."""

    @abstractmethod
    async def _exchange(self, call: Call[Any], token: str | None) -> Reply:
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
        if call.not_after is not None:
            return await self._attempt(call)

        async def attempt() -> T:
            return await self._attempt(call)

        return await self.repeat(attempt)

    async def repeat(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something; after failures that pass wait and do all of it again, as :meth:`asend` does with one call.

        :param work: sends calls, such as a read and the write that rests on it.
        :raises HubSpotError: what ``work`` raised last.
        """

        def before_sleep(state: RetryCallState) -> None:
            self._count(retries=1)
            error = state.outcome.exception() if state.outcome else None
            _log.info("%s; attempt %d, next in %.1f s", error, state.attempt_number, state.upcoming_sleep)

        policy = retrying(self.settings, sleep=self._sleep, before_sleep=before_sleep)
        result: T = await policy(work)
        return result

    async def _attempt(self, call: Call[T]) -> T:
        """Send once; a second time with a new token if the first one has expired."""
        token = await self._access_token()
        try:
            return await self._paced(call, token)
        except AuthenticationError as error:
            # HubSpot calls some invalid static tokens expired, too; there is no other one.
            if not error.expired or isinstance(self.auth, StaticToken):
                raise
            async with self._token_lock:
                self.auth.forget(token)
        if call.not_after is not None:
            raise _stale(call)  # to get a new token takes a while
        return await self._paced(call, await self._access_token())

    async def _access_token(self) -> str:
        """The token to send. The first caller refreshes it; the others wait, and share its failure.

        If they tried one after the other, the last of many would wait for hours. Each retries the refresh together
        with its call, which was not sent.
        """
        auth, known = self.auth, self._refresh_error
        if isinstance(auth, StaticToken):
            return auth.access_token
        async with self._token_lock:
            if (token := auth.token()) is not None:
                return token
            if (failed := self._refresh_error) is not None and failed is not known:
                raise copy.copy(failed)
            await self._refresh(auth)
            fresh = auth.token()
        if fresh is None:
            raise AuthenticationError("HubSpot's token endpoint returned a token that has already expired")
        return fresh

    async def _refresh(self, auth: OAuthRefresh) -> None:
        try:
            auth.accept(await self._paced(auth.refresh_call(self.calls.version), None))
        except HubSpotError as error:
            failed = refresh_failure(error)
        else:
            return
        self._refresh_error = failed
        raise failed  # out here it has no context

    async def _paced(self, call: Call[T], token: str | None) -> T:
        if not call.endpoint.paced:
            return call.conclude(await self._exchange(call, token))
        pacer = self.search_pacer if call.endpoint.search else self.pacer
        ticket = Ticket()
        headers: dict[str, str] = {}
        try:
            while (wait := await self._ask(pacer.wait, ticket)) > 0:
                self._count(waited_for_budget=wait)
                await self._sleep(wait)
                _check_fresh(call)  # before a slot is taken: the next reading needs it
            self._check_going_on()
            _check_fresh(call)
            self._count(requests=1)
            begin = time.monotonic()
            reply = await self._exchange(call, token)
            self._count(took=time.monotonic() - begin)
            headers.update(reply.headers)
        finally:
            await self._ask(pacer.done, ticket, headers)
        try:
            return call.conclude(reply)
        except BurstLimitError as error:
            self._count(throttled=1)
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


def request_headers(call: Call[Any], token: str | None) -> dict[str, str]:
    """Headers of one request, beside :data:`HEADERS`."""
    headers = {} if call.body is None else {"Content-Type": call.content_type}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers
