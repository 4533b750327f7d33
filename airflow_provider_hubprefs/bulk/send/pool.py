"""Work in threads, with the results in the order of the items."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")

TICK = 1.0
"""Seconds between two calls of what is called while a result is waited for."""


class OrderedPool(Generic[Item, Result]):
    """Maps a function over items in threads, without reading further ahead than allowed.

    :param work: is called in a thread, with one item.
    :param threads: how many, at most.
    :param tick: is called in the caller's thread, again and again while that waits for a result.
    """

    def __init__(self, work: Callable[[Item], Result], *, threads: int, tick: Callable[[], None]) -> None:
        self._work = work
        self._tick = tick
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="hubprefs")
        self._begun: deque[tuple[Item, Future[Result]]] = deque()

    def map(
        self, items: Iterable[Item], *, may_begin: Callable[[int], bool]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield each item with its result.

        :param may_begin: whether another item may begin, beside so many in flight; with none it returns True or
            raises.
        :raises Exception: of the first item, in order, whose work failed.
        """
        for item in items:
            while not may_begin(len(self._begun)):
                yield self._first()
                self._begun.popleft()  # only now: where the caller was interrupted, finished() has it again
            self._begun.append((item, self._threads.submit(self._work, item)))
        while self._begun:
            yield self._first()
            self._begun.popleft()

    def close(self) -> None:
        """Let what is in flight end, and begin nothing more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def finished(self) -> Iterator[tuple[Item, Result]]:
        """Yield what ended well since the last result, after :meth:`close`; it stops at the first that did not."""
        for item, future in self._begun:
            if future.cancelled() or future.exception() is not None:
                return
            yield item, future.result()

    def unfinished(self) -> Iterator[Item]:
        """Yield what was begun and whose result was not taken, after :meth:`close`."""
        return (item for item, future in self._begun if not future.cancelled())

    def _first(self) -> tuple[Item, Result]:
        item, future = self._begun[0]
        while not future.done() and not wait([future], timeout=TICK).done:
            self._tick()
        return item, future.result()
