"""One poll for many waits.

Whoever waits for the same thing of different subscribers, in one event loop and on one connection, shares one
:class:`Poller`: it asks for up to 100 of them by one batch read and gives each its own answer. HubSpot allows 19
requests a second; 10,000 waits asked one by one every minute would take 167.

What a batch read tells of an operation that is not over, HubSpot's documents do not say, and recorded live answers
are all COMPLETE. What is doubtful in an answer is therefore asked again, of that subscriber alone: see
:func:`told_of`.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
import logging
import threading
import weakref
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    ConflictError,
    MissingScopesError,
    NotFoundError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.models import Operation, SubscriberStatuses, SubscriberWideStatuses
from airflow_provider_hubprefs.hubspot.pacing import QueuedPacer, shared
from airflow_provider_hubprefs.hubspot.privacy import mask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence

    from airflow_provider_hubprefs.hubspot.aio import AsyncClient
    from airflow_provider_hubprefs.hubspot.calls import Call, Calls
    from airflow_provider_hubprefs.hubspot.pacing import Pacer

BATCH_SIZE = 100
"""HubSpot documents no limit for this API; 100 is its rule for CRM batches."""

CONCURRENCY = 8
"""Requests under way at once. Half of 19 requests a second takes 8 of them, where an answer takes 0.8 s."""

BUDGET_SHARE = 0.5
"""Of the account's budget, for all waits of a process together, unless somebody says otherwise."""

EARLY = 0.5
"""So much of its pause a wait may be asked early, to share a request. So waits that began apart come together."""

SOONEST = 0.1
"""Seconds in which waits that begin together find each other."""

LATE = 15.0
"""Seconds; whoever is asked later than this, and later than twice its pause, is behind."""

LOOK_UP_EVERY = 60.0
"""Seconds; so often is the connection looked up, which may have been changed or removed."""

_REFUSALS = (ValidationError, NotFoundError, ConflictError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a subscriber, by a call for one or by a call for many.

    :param about: the opt-out, or the statuses for all subscriptions.
    :param business_unit_id: brand.
    """

    about: Literal["opt_out", "statuses"]
    business_unit_id: int | None = None

    def single(self, calls: Calls, subscriber: str) -> Call[Operation[Any]]:
        """The call for one."""
        ask: Any = calls.get_unsubscribe_all if self.about == "opt_out" else calls.get_statuses
        call: Call[Operation[Any]] = ask(subscriber, business_unit_id=self.business_unit_id)
        return call

    def batch(self, calls: Calls, subscribers: Sequence[str]) -> Call[Operation[Any]]:
        """The call for many."""
        ask: Any = calls.batch_get_unsubscribe_all if self.about == "opt_out" else calls.batch_get_statuses
        call: Call[Operation[Any]] = ask(subscribers, business_unit_id=self.business_unit_id)
        return call


class PollingError(Exception):
    """A poller came to its end while somebody waited on it: a defect of this package."""


class Wait:
    """One subscriber's place with a poller.

    :param poller: that asks.
    :param subscriber: normalised.
    """

    __slots__ = ("_poller", "_subscriber")

    def __init__(self, poller: Poller, subscriber: str) -> None:
        self._poller = poller
        self._subscriber = subscriber

    def __repr__(self) -> str:
        return f"<Wait for {mask(self._subscriber)}>"

    async def answer(self, *, after: float = 0.0) -> Operation[Any]:
        """Wait for HubSpot's next answer, as the call for this subscriber alone would bring it.

        :param after: seconds until it should be asked. It may be asked when half of them are over, and is asked
            later where the budget does not suffice for all.
        :raises HubSpotError: this poll failed, for all that it asked for or for this subscriber.
        :raises PollingError: there will be no answer.
        """
        return await self._poller.ask(self._subscriber, after)


class _Asked(NamedTuple):
    """What somebody waits for; the order is that of ``due``, then of coming.

    :param due: when it should be asked, by the loop's clock.
    :param early: seconds it may be asked before.
    :param alone: whether it takes the call for one.
    """

    due: float
    number: int
    early: float
    subscriber: str
    answer: asyncio.Future[Operation[Any]]
    alone: bool = False


Asked = dict[str, list[_Asked]]
"""Whom one request is about, and who waits for what it says of them."""


@asynccontextmanager
async def waiting(
    subscriber: str | Callable[[AsyncClient], str],
    *,
    question: Question,
    connection: Hashable,
    connect: Callable[[], Awaitable[AsyncClient]],
    max_budget_share: float = BUDGET_SHARE,
) -> AsyncIterator[Wait]:
    """Wait in company: all of this event loop that ask the same on the same connection share a poller.

    :param subscriber: normalised; or who says it to whoever has the connection.
    :param question: what to ask.
    :param connection: what tells one connection from another: its name, and what overrides it.
    :param connect: makes the client; asked again from time to time. The poller closes what it brings.
    :param max_budget_share: so much of the account's budget for all waits of this process, at most.
    """
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    key = (connection, question, max_budget_share)
    poller = pollers.get(key)
    if poller is None or poller.failed:
        poller = pollers[key] = Poller(question, connect, max_budget_share=max_budget_share)
    poller.members += 1
    try:
        yield Wait(poller, subscriber if isinstance(subscriber, str) else subscriber(await poller.client()))
    finally:
        poller.members -= 1
        if not poller.members:
            if pollers.get(key) is poller:
                del pollers[key]
            await poller.aclose()


_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Poller]] = (
    weakref.WeakKeyDictionary()
)


class Poller:
    """Asks one question for many waits, oldest due first. It belongs to one event loop, and lives in its callbacks.

    :param question: what to ask.
    :param connect: makes the client.
    :param max_budget_share: see :func:`waiting`.
    """

    def __init__(
        self,
        question: Question,
        connect: Callable[[], Awaitable[AsyncClient]],
        *,
        max_budget_share: float = BUDGET_SHARE,
    ) -> None:
        self.members = 0
        self.failed = False
        self._question = question
        self._connection = _Connection(connect, max_budget_share)
        self._share = max_budget_share
        self._loop = asyncio.get_running_loop()
        self._queue: list[_Asked] = []
        self._number = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._behind = False

    def ask(self, subscriber: str, after: float) -> asyncio.Future[Operation[Any]]:
        """Queue for an answer; whoever does not want it any more cancels it. See :meth:`Wait.answer`."""
        if self.failed:
            raise PollingError("the poller of this wait has failed; the log says why")
        if len(self._queue) > 2 * self.members + BATCH_SIZE:  # most of them are of waits that are gone
            self._queue = [asked for asked in self._queue if not asked.answer.done()]
            heapq.heapify(self._queue)
        pause = max(after, SOONEST)
        due = self._loop.time() + pause
        answer: asyncio.Future[Operation[Any]] = self._loop.create_future()
        early = max(after * EARLY, pause - after)
        self._enqueue(_Asked(due, next(self._number), early, subscriber, answer))
        return answer

    def _enqueue(self, asked: _Asked) -> None:
        heapq.heappush(self._queue, asked)
        if self._timer is None or asked.due < self._timer.when():
            self._arm()

    async def client(self) -> AsyncClient:
        """What it asks with, of the connection as it is now.

        :raises Exception: there is no such connection, or it cannot work.
        """
        return await self._connection.client()

    async def aclose(self) -> None:
        """End: what is under way is for nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._connection.aclose()

    # When -------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Wake up when the first is due, or when a request has come back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue and len(self._asking) < CONCURRENCY:
            self._timer = self._loop.call_at(self._queue[0].due, self._turn)

    def _turn(self) -> None:
        self._timer = None
        try:
            while len(self._asking) < CONCURRENCY and (asked := self._take()):
                task = self._loop.create_task(self._serve(asked))
                self._asking.add(task)
                task.add_done_callback(self._served)
            self._arm()
        except Exception as error:  # noqa: BLE001 - better an error than to wait for ever
            self._fail_all(error)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        self._arm()

    def _take(self) -> Asked:
        """Whom to ask now: nobody while nobody is due, else as many as one request can be about."""
        taken: Asked = {}
        now = self._loop.time()
        most = 1 if self._connection.one_by_one else BATCH_SIZE
        while self._queue:
            first = self._queue[0]
            if not first.answer.done():
                if first.due - (first.early if taken else 0) > now:
                    break
                if taken and first.subscriber not in taken and (len(taken) == most or first.alone):
                    break
                if not taken:
                    self._note(now - first.due, pause=first.early / EARLY)
                    most = 1 if first.alone else most
                taken.setdefault(first.subscriber, []).append(first)
            heapq.heappop(self._queue)
        return taken

    def _note(self, late: float, *, pause: float) -> None:
        """Say once that the waits are behind, and once that they are not any more."""
        bearable = max(LATE, pause)
        if not self._behind and late > bearable:
            self._behind = True
            _log.warning(
                "%d waits on HubSpot are asked %.0f s later than they should be: %g of the account's budget is not "
                "enough for all of them, or HubSpot is slow. The delay is the same for all; longer poke intervals, "
                "a larger max_budget_share or, where they are missing, the batch scopes make it shorter.",
                self.members,
                late,
                self._share,
            )
        elif self._behind and late < bearable / 2:
            self._behind = False
            _log.warning("The waits on HubSpot are asked in time again")

    def _fail_all(self, error: Exception) -> None:
        self.failed = True
        _log.error("The poller of %d waits on HubSpot failed", self.members, exc_info=error)
        queue, self._queue = self._queue, []
        _fail(
            queue,
            PollingError(f"the poller of this wait has failed ({type(error).__name__}); the log says why"),
        )

    # What -------------------------------------------------------------------------------------------

    async def _serve(self, asked: Asked) -> None:
        """Get an answer, or an error, for every one of these; those that are asked for anew are taken out."""
        try:
            if len(asked) == 1:
                await self._get_one(asked)
            else:
                await self._get_together(asked)
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            _fail(_all_of(asked), error)
        finally:
            _fail(_all_of(asked), PollingError("the poll ended without an answer"))

    async def _get_one(self, asked: Asked) -> None:
        ((subscriber, some),) = asked.items()
        _answer(some, await self._send(partial(self._question.single, subscriber=subscriber)))

    async def _get_together(self, asked: Asked) -> None:
        """Ask for all by one call or, where that is refused, for each half, until who is refused stands alone."""
        subscribers = list(asked)
        try:
            operation = await self._send(partial(self._question.batch, subscribers=subscribers))
        except MissingScopesError as error:
            self._connection.fall_back(error)
            self._ask_alone(asked)
        except _REFUSALS:
            half = len(subscribers) // 2
            for part in (subscribers[:half], subscribers[half:]):
                await self._serve({one: asked.pop(one) for one in part})
        else:
            for one, answer in told_of(operation, subscribers).items():
                _answer(asked.pop(one), answer)
            self._ask_alone(asked)

    def _ask_alone(self, asked: Asked) -> None:
        """Put them in the queue again, at their old places: each takes a call of its own."""
        for one in _all_of(asked):
            self._enqueue(one._replace(alone=True))
        asked.clear()

    async def _send(self, ask: Callable[[Calls], Call[Operation[Any]]]) -> Operation[Any]:
        """Send, and where the token is refused once more, if the connection has another one by now."""
        client = await self._connection.client()
        try:
            return await client.send(ask(client.calls))
        except AuthenticationError:
            renewed = await self._connection.client(anew=True)
            if renewed is client:
                raise
            return await renewed.send(ask(renewed.calls))


class _Connection:
    """A connection that is looked up once for all, and anew from time to time.

    :param connect: makes the client.
    :param share: of its budget, at most.
    """

    def __init__(self, connect: Callable[[], Awaitable[AsyncClient]], share: float) -> None:
        self.one_by_one = False
        self._connect = connect
        self._share = share
        self._client: AsyncClient | None = None
        self._clients: list[AsyncClient] = []
        self._old_at = 0.0
        self._lock = asyncio.Lock()

    async def client(self, *, anew: bool = False) -> AsyncClient:
        """The client to ask with; another one than before where the connection is another one.

        :param anew: look the connection up, however fresh what is known of it is.
        :raises Exception: there is no such connection, or it cannot work.
        """
        now = asyncio.get_running_loop().time()
        async with self._lock:
            client = self._client
            if client is None or now >= self._old_at or anew:
                client = await self._look_up(client)
                self._old_at = now + LOOK_UP_EVERY
            return client

    async def _look_up(self, known: AsyncClient | None) -> AsyncClient:
        fresh = await self._connect()
        if known is not None and _identity(fresh) == _identity(known):
            return known
        fresh.pacer = await asyncio.to_thread(_part_of, fresh.pacer, self._share)
        self._clients.append(fresh)  # requests of the one before may be under way: all are closed in the end
        self._client, self.one_by_one = fresh, False
        return fresh

    def fall_back(self, error: MissingScopesError) -> None:
        """Ask for one at a time from here on; say so once."""
        if not self.one_by_one:
            _log.warning("%s. From here on: one request per waiting task instead of one per 100.", error)
        self.one_by_one = True

    async def aclose(self) -> None:
        """Close all there is."""
        for client in self._clients:
            with suppress(Exception):
                await client.aclose()


def told_of(operation: Operation[Any], subscribers: Sequence[str]) -> dict[str, Operation[Any]]:
    """Read the answer to a batch read: for each subscriber what the call for it alone would have brought.

    Who has a row and is not named in ``errors`` is done: COMPLETE. Who is named there with CANCELED was canceled.
    Who has no row in an answer that is not COMPLETE is under way, with the answer's status.

    :param subscribers: asked for.
    :return: those the answer is clear about. It is not about who has no row in a COMPLETE or CANCELED answer, nor
        who is named with another error, nor anybody where an error names nobody of them, or where all have rows and
        it is not COMPLETE.
    """
    rows: dict[str, list[Any]] = {}
    for row in operation.results:
        rows.setdefault(row.subscriber.lower(), []).extend(_statuses(row))
    asked = {subscriber: subscriber.lower() for subscriber in subscribers}
    named: dict[str, list[Any]] = {}
    for error in operation.errors:
        names = {name.lower() for name in error.names()} & set(asked.values())
        if not names:
            return {}
        for name in names:
            named.setdefault(name, []).append(error)
    under_way = not (operation.complete or operation.canceled)
    # An answer that is not COMPLETE must show whose fault that is: by leaving somebody out without a word.
    credible = operation.complete or (under_way and bool(set(asked.values()) - rows.keys() - named.keys()))
    told: dict[str, Operation[Any]] = {}
    for subscriber, key in asked.items():
        errors = named.get(key, [])
        if errors:
            if key in rows and all(error.category == "CANCELED" for error in errors):
                told[subscriber] = _single(operation, "CANCELED", rows[key], errors)
        elif key in rows:
            if credible:
                told[subscriber] = _single(operation, "COMPLETE", rows[key])
        elif under_way:
            told[subscriber] = _single(operation, operation.status, [])
    return told


def _single(
    operation: Operation[Any], status: str, results: list[Any], errors: Sequence[Any] = ()
) -> Operation[Any]:
    return Operation(
        status=status,
        given_results=results,
        given_errors=list(errors) or None,
        num_errors=len(errors) or None,
        requested_at=operation.requested_at,
        started_at=operation.started_at,
        completed_at=operation.completed_at,
    )


def _statuses(row: SubscriberStatuses | SubscriberWideStatuses) -> Sequence[Any]:
    return (row.statuses if isinstance(row, SubscriberStatuses) else row.wide_statuses) or ()


def _all_of(asked: Asked) -> list[_Asked]:
    return [one for some in asked.values() for one in some]


def _answer(asked: Sequence[_Asked], operation: Operation[Any]) -> None:
    for one in asked:
        if not one.answer.done():
            one.answer.set_result(operation)


def _fail(asked: Sequence[_Asked], error: Exception) -> None:
    """Tell each its own: a traceback grows with every one who raises it."""
    for one in asked:
        if not one.answer.done():
            one.answer.set_exception(copy.copy(error))


def _identity(client: AsyncClient) -> Mapping[str, object]:
    return {
        "url": client.url,
        "credentials": client.auth.identity(),
        "version": client.calls.version,
        "settings": client.settings,
    }


_parts: dict[tuple[Pacer, float], Pacer] = {}
_parts_lock = threading.Lock()


def _part_of(pacer: Pacer, share: float) -> Pacer:
    """The part of a budget that all waits of this process share, whatever they ask. It may ask the budget's store."""
    with _parts_lock:
        if (pacer, share) not in _parts:
            _parts[pacer, share] = QueuedPacer(pacer if share == 1 else shared(pacer, share))
        return _parts[pacer, share]
