"""What a client and a bulk run say of their work while they do it: numbers for metrics and traces, never an address."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Observer:
    """Ignores everything; a subclass passes on what it wants.

    Its methods are called once a request or a batch, from several threads and in event loops: they must not block.
    """

    def count(self, name: str, amount: int = 1) -> None:
        """So many more of something: ``requests``, ``throttled``, ``rows.changed``."""

    def gauge(self, name: str, value: float) -> None:
        """How many there are now: ``budget.remaining``."""

    def lasted(self, name: str, seconds: float) -> None:
        """How long something took: ``run.duration``."""

    def span(self, name: str, **attributes: Any) -> AbstractContextManager[dict[str, Any]]:
        """Surround some work; what is put into the dict describes its result."""
        return nullcontext({})


IGNORED = Observer()
"""Where nothing is measured and traced."""
