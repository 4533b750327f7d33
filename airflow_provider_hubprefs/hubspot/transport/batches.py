"""Ask HubSpot the same about many subscribers: by one call for a batch, or by one call for each.

Written once, as coroutines over ``send``. A poller awaits them in its event loop; a task runs them on its thread,
where nothing that they await suspends them (see :mod:`.sender`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_hubprefs.hubspot.errors import (
    ConflictError,
    HubSpotError,
    MissingScopesError,
    NotFoundError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.api.models import Operation

T = TypeVar("T")

REFUSALS = (ValidationError, NotFoundError, ConflictError)
"""Errors of a whole batch that one item of it may have caused."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallPair(Generic[T]):
    """A call for a batch, and its twin for a single item.

    :param name: of the batch endpoint.
    """

    name: str
    batch: Callable[[Sequence[T]], Call[Operation[Any]]]
    single: Callable[[T], Call[Operation[Any]]]


class BatchCaller:
    """Sends batches. It halves those that HubSpot refuses and remembers which calls lack the batch scopes.

    Any number of threads may use it.

    :param send: sends one call.
    :param singly: whether each item takes a call of its own from the beginning.
    """

    def __init__(
        self, send: Callable[[Call[Operation[Any]]], Awaitable[Operation[Any]]], *, singly: bool = False
    ) -> None:
        self._send = send
        self._singly = singly
        self._single: set[str] = set()
        self._lock = threading.Lock()

    def goes_singly(self, pair: CallPair[T]) -> bool:
        """Whether each item takes a call of its own, such as where the token lacks the batch scopes."""
        return self._singly or pair.name in self._single

    async def ask(
        self, pair: CallPair[T], items: Sequence[T]
    ) -> AsyncIterator[tuple[Sequence[T], Operation[Any] | HubSpotError | None]]:
        """Ask about all items by batches; each item is in exactly one of the parts that this yields.

        A batch that HubSpot refuses as a whole is halved until the refused item stands alone: n refused items in a
        batch of 100 cost about 2 n log2(100) more requests.

        :return: parts of the items, in their order, each with HubSpot's answer, or with the error that HubSpot
            refused it with, or with None where each of its items takes a single call.
        """
        parts = deque([items] if items else [])
        while parts:
            part = parts.popleft()
            answer: Operation[Any] | HubSpotError | None = None
            if not self.goes_singly(pair):
                try:
                    answer = await self._send(pair.batch(part))
                except MissingScopesError as error:
                    self._fall_back(pair, error)
                except HubSpotError as error:
                    if isinstance(error, REFUSALS) and len(part) > 1:
                        half = len(part) // 2
                        parts.extendleft((part[half:], part[:half]))
                        continue
                    answer = error
            yield part, answer

    def _fall_back(self, pair: CallPair[T], error: MissingScopesError) -> None:
        with self._lock:
            known = pair.name in self._single
            self._single.add(pair.name)
        if not known:
            _log.warning("%s. From here on: one call per subscriber instead of one per batch.", error)
