"""One poll for many waits.

Waits in one event loop that ask the same question on the same connection share one :class:`Poller`. It asks about up
to 100 subscribers by one batch read and gives each wait its own answer. HubSpot allows 19 requests a second; 10,000
waits that ask one by one every minute would take 167.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
import logging
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.hubspot.api.answers import operations_by_subscriber
from airflow_provider_hubprefs.hubspot.errors import HubSpotError
from airflow_provider_hubprefs.hubspot.polling.connection import PolledConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable

    from airflow_provider_hubprefs.hubspot.api.models import Operation
    from airflow_provider_hubprefs.hubspot.polling.question import Question
    from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient
    from airflow_provider_hubprefs.hubspot.transport.batches import CallPair

SUBSCRIBERS_PER_POLL = 100
"""HubSpot documents no limit for this API; 100 is its rule for CRM batches."""

POLLS_AT_ONCE = 8
"""Half of 19 requests a second takes 8 at once, where an answer takes 0.8 s."""

BUDGET_SHARE = 0.5
"""Of the account's budget, for all waits of a process together, by default."""

EARLY = 0.5
"""Share of its pause by which a wait may be asked early, to join a request. So waits that began apart come together."""

SOONEST = 0.1
"""Seconds in which waits that begin together find each other."""

LATE = 15.0
"""Seconds; a wait that is asked later than this, and later than twice its pause, is behind."""

_log = logging.getLogger(__name__)


class _Waiter(NamedTuple):
    """One wait in the queue; the order is that of ``due``, then of arrival.

    :param due: when it should be asked, by the loop's clock.
    :param early: seconds before ``due`` from which on it may be asked.
    :param alone: whether it takes the single call.
    """

    due: float
    number: int
    early: float
    subscriber: str
    answer: asyncio.Future[Operation[Any]]
    alone: bool = False

    def __repr__(self) -> str:
        return f"<Waiter {self.number}, due {self.due:.1f}>"


_Batch = dict[str, list[_Waiter]]
"""The subscribers of one request, each with its waiters."""

_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Poller]] = (
    weakref.WeakKeyDictionary()
)


@asynccontextmanager
async def shared_poller(
    *,
    question: Question,
    connection: Hashable,
    connect: Callable[[], Awaitable[AsyncClient]],
) -> AsyncIterator[Poller]:
    """Join the poller of this event loop for this question and connection. The last wait that leaves closes it.

    :param question: what to ask.
    :param connection: tells connections apart: the name, and what overrides it.
    :param connect: makes a client; called again from time to time. The poller closes the clients.
    """
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    key = (connection, question)
    poller = pollers[key] = pollers.get(key) or Poller(question, connect)
    poller.members += 1
    try:
        yield poller
    finally:
        poller.members -= 1
        if not poller.members:
            del pollers[key]
            await poller.aclose()


class Poller:
    """Asks one question for many waits, the longest due first. It belongs to one event loop.

    For its arguments see :func:`shared_poller`.
    """

    def __init__(self, question: Question, connect: Callable[[], Awaitable[AsyncClient]]) -> None:
        self.members = 0
        self.connection = PolledConnection(connect)
        self._question = question
        self._loop = asyncio.get_running_loop()
        self._queue: list[_Waiter] = []
        self._number = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._polls: set[asyncio.Task[None]] = set()
        self._behind = False

    def ask(self, subscriber: str, *, after: float = 0.0) -> asyncio.Future[Operation[Any]]:
        """Queue a subscriber; the future brings HubSpot's next answer, as the single call would. Cancel it to leave.

        The future raises HubSpotError where this poll failed, for the subscriber or for all of its request.

        :param subscriber: normalised.
        :param after: seconds until HubSpot should be asked. The poller may ask once half of them are over, and asks
            later where the budget does not suffice for all.
        """
        if len(self._queue) > 2 * self.members + SUBSCRIBERS_PER_POLL:  # most of these waits have left
            self._queue = [waiter for waiter in self._queue if not waiter.answer.done()]
            heapq.heapify(self._queue)
        pause = max(after, SOONEST)
        answer: asyncio.Future[Operation[Any]] = self._loop.create_future()
        early = max(after * EARLY, pause - after)
        self._enqueue(_Waiter(self._loop.time() + pause, next(self._number), early, subscriber, answer))
        return answer

    async def aclose(self) -> None:
        """Cancel all polls and close the connections."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        for poll in self._polls:
            poll.cancel()
        await asyncio.gather(*self._polls, return_exceptions=True)
        await self.connection.aclose()

    # When to ask ------------------------------------------------------------------------------------

    def _enqueue(self, waiter: _Waiter) -> None:
        heapq.heappush(self._queue, waiter)
        if self._timer is None or waiter.due < self._timer.when():
            self._set_timer()

    def _set_timer(self) -> None:
        """Wake up when the first waiter is due; while all polls are busy, the next that ends does so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue and len(self._polls) < POLLS_AT_ONCE:
            self._timer = self._loop.call_at(self._queue[0].due, self._start_polls)

    def _start_polls(self) -> None:
        self._timer = None
        while len(self._polls) < POLLS_AT_ONCE and (batch := self._next_batch()):
            poll = self._loop.create_task(self._poll(batch))
            self._polls.add(poll)
            poll.add_done_callback(self._end_poll)
        self._set_timer()

    def _end_poll(self, poll: asyncio.Task[None]) -> None:
        self._polls.discard(poll)
        self._set_timer()

    def _next_batch(self) -> _Batch:
        """Take from the queue what one request can ask about; nothing while no waiter is due."""
        batch: _Batch = {}
        now, most = self._loop.time(), SUBSCRIBERS_PER_POLL
        while self._queue:
            first = self._queue[0]
            if not first.answer.done():
                if first.due - (first.early if batch else 0) > now:
                    break
                if batch and first.subscriber not in batch and (len(batch) == most or first.alone):
                    break
                if not batch:
                    self._log_lateness(now - first.due, pause=first.early / EARLY)
                    most = 1 if first.alone else most
                batch.setdefault(first.subscriber, []).append(first)
            heapq.heappop(self._queue)
        return batch

    def _log_lateness(self, late: float, *, pause: float) -> None:
        """Log once when the waits fall behind, and once when they are in time again."""
        tolerated = max(LATE, pause)
        if not self._behind and late > tolerated:
            self._behind = True
            _log.warning(
                "%d waits on HubSpot are asked %.0f s later than they should be: their share of the account's budget "
                "is not enough for all of them, or HubSpot is slow. The delay is the same for all; longer poke "
                "intervals, a larger max_budget_share or, where they are missing, the batch scopes make it shorter.",
                self.members,
                late,
            )
        elif self._behind and late < tolerated / 2:
            self._behind = False
            _log.warning("The waits on HubSpot are asked in time again")

    # What to ask ------------------------------------------------------------------------------------

    async def _poll(self, batch: _Batch) -> None:
        """Give every waiter an answer or an error; those that take a single call go back to the queue."""
        try:
            client = await self.connection.client()
            pair = self._question.pair(client.calls)
            if len(batch) == 1:
                (subscriber,) = batch
                _answer(batch[subscriber], await self.connection.send(pair.single(subscriber)))
            else:
                await self._ask_together(pair, batch)
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
            _fail(_all_of(batch), error)

    async def _ask_together(self, pair: CallPair[str], batch: _Batch) -> None:
        async for subscribers, answer in self.connection.batches.ask(pair, list(batch)):
            if isinstance(answer, HubSpotError):
                for one in subscribers:
                    _fail(batch.pop(one), answer)
            elif answer is not None:
                for one, operation in operations_by_subscriber(answer, subscribers).items():
                    _answer(batch.pop(one), operation)
        # No answer, or an ambiguous one: at its old place in the queue the wait takes a single call.
        for waiter in _all_of(batch):
            self._enqueue(waiter._replace(alone=True))
        batch.clear()


def _all_of(batch: _Batch) -> list[_Waiter]:
    return [waiter for waiters in batch.values() for waiter in waiters]


def _answer(waiters: Iterable[_Waiter], operation: Operation[Any]) -> None:
    for waiter in waiters:
        if not waiter.answer.done():
            waiter.answer.set_result(operation)


def _fail(waiters: Iterable[_Waiter], error: Exception) -> None:
    """Give each waiter a copy of the error: a traceback grows with every raise."""
    for waiter in waiters:
        if not waiter.answer.done():
            waiter.answer.set_exception(copy.copy(error))
