"""Waiting for rows that HubSpot accepted and has not finished with, when all the others are done.

A run sends everything before it waits, so that one slow operation holds up nothing else, and a run that is deferred
needs no worker. The checkpoint keeps the places of pending rows in the source: a later try asks about them and does
not send them again.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from airflow_provider_hubprefs.hubspot.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_hubprefs.bulk.send.pipeline import Pipeline
    from airflow_provider_hubprefs.bulk.source.row import Row


class WaitEnd(Enum):
    """How a run's wait for pending rows ended."""

    COMPLETE = "every row has its outcome"
    GIVEN_UP = "pending rows are unconfirmed, for good"
    LEFT_TO_RETRY = "pending rows are unconfirmed in this try, and a later one resumes the wait"


class PendingWait(Protocol):
    """How a run waits, and for how long."""

    on_timeout: WaitEnd
    """GIVEN_UP, or LEFT_TO_RETRY where the task's author wants a retry."""

    def is_over(self) -> bool:
        """Whether the timeout has passed."""

    def wait(self, rows: Sequence[Row]) -> None:
        """Wait until the operations of some rows are over, or until the timeout.

        :param rows: pending, one of each of the latest batches.
        :raises BaseException: the run stops here; a later one finds its pending rows in the checkpoint.
        """


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a time to wait.

    :raises ValidationError: not a number of more than 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValidationError(f"{name}: expected seconds, more than 0, got {value!r}")


def wait_for_pending(
    pipeline: Pipeline,
    read: Callable[[], Iterable[Row]],
    wait: PendingWait | None,
    *,
    watched: Sequence[Row],
    save: Callable[[], None],
) -> WaitEnd:
    """Wait until no row is pending, or until the timeout; pending rows are asked about before they are given up.

    :param read: reads the source from its beginning.
    :param wait: None: ask once about what an earlier try sent.
    :param watched: pending rows that were sent a moment ago; none where an earlier try sent them.
    :param save: writes the checkpoint: called before each wait, after which another process may resume the run.
    :raises HubSpotError: see :meth:`~.pipeline.Pipeline.send`.
    """
    if watched and wait is not None and not wait.is_over():
        save()
        wait.wait(watched)
    while watched := pipeline.ask_again(read()):
        if wait is None:
            return WaitEnd.GIVEN_UP
        if wait.is_over():
            return wait.on_timeout
        save()
        wait.wait(watched)
    return WaitEnd.COMPLETE
